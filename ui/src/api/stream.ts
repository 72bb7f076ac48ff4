/** The health of a stream as the page shows it. */
export type Connection = "connecting" | "open" | "retrying";

export interface StreamHandlers {
  onData(data: string): void;
  onConnection(connection: Connection): void;
  /** The server answered with something other than a stream: the browser won't retry by itself, the owner decides. */
  onClosed(): void;
}

/**
 * Opens a server-sent event stream. The browser reconnects by itself after a broken connection and says where it was
 * (Last-Event-ID). Returns the function that ends it; after that no handler is called.
 */
export function openStream(url: string, handlers: StreamHandlers): () => void {
  const source = new EventSource(url);
  handlers.onConnection("connecting");
  source.onopen = () => handlers.onConnection("open");
  source.onmessage = (message: MessageEvent<string>) => handlers.onData(message.data);
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) handlers.onClosed();
    else handlers.onConnection("retrying");
  };
  return () => {
    source.onopen = source.onmessage = source.onerror = null;
    source.close();
  };
}

/** Waits grow from one second to half a minute, so that a restarting server isn't stampeded. */
export function retryDelayMs(attempt: number): number {
  return Math.min(1_000 * 2 ** attempt, 30_000);
}

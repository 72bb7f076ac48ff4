/** The browser's part: the events of one run, with a ticket that the back end got for it. No key and no user is known here. */
import { type FollowOptions, follow } from "./follow.js";
import { HexwardError } from "./errors.js";
import type { RunEvent } from "./events.js";

export { HexwardError, isPassing } from "./errors.js";
export type { ClientCode, ErrorCode } from "./errors.js";
export type { DenialCode, KnownCode } from "./codes.js";
export type * from "./events.js";
export { EMPTY_VIEW, reduce, textOf, viewOf } from "./view.js";
export type { RunPart, RunView, ToolView } from "./view.js";
export type { FollowOptions } from "./follow.js";

/** What `tickets` of the server client returns, as it is handed to the page. */
export interface RunTicket {
  ticket: string;
  eventsUrl: string;
  expiresAtMs: number;
}

export interface TicketOptions extends FollowOptions {
  /** Gets another ticket from the back end, where the first one is over before its run. Without it that ends the stream. */
  renew?: () => Promise<RunTicket>;
  fetch?: typeof fetch;
}

/** The events of a run, each once and in order, until it has ended. */
export function events(first: RunTicket, options: TicketOptions = {}): AsyncGenerator<RunEvent, void, undefined> {
  let ticket = first;
  const ask = options.fetch ?? globalThis.fetch.bind(globalThis);
  const open = (after: number, signal: AbortSignal) => {
    const headers: Record<string, string> = { authorization: `Bearer ${ticket.ticket}`, accept: "text/event-stream" };
    if (after > 0) headers["last-event-id"] = String(after);
    // The ticket is all that is shown: no cookie, no address in which it stands, no page that it came from.
    return ask(ticket.eventsUrl, { headers, signal, credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer", redirect: "error" });
  };
  return follow(async (after, signal) => {
    const response = await open(after, signal);
    if (response.status !== 401 || !options.renew) return response;
    await response.body?.cancel();
    ticket = await options.renew();
    return open(after, signal);
  }, options);
}

export interface Subscriber {
  onEvent: (event: RunEvent) => void;
  /** The stream can't go on; nothing follows. */
  onError?: (error: HexwardError) => void;
  /** The run has ended; nothing follows. */
  onEnd?: () => void;
}

/** The same for pages without a framework; what it returns ends it. */
export function subscribe(ticket: RunTicket, subscriber: Subscriber, options: TicketOptions = {}): () => void {
  const abort = new AbortController();
  const onAbort = () => abort.abort(options.signal?.reason);
  if (options.signal?.aborted) onAbort();
  options.signal?.addEventListener("abort", onAbort, { once: true });
  void (async () => {
    try {
      for await (const event of events(ticket, { ...options, signal: abort.signal })) {
        if (abort.signal.aborted) return;
        subscriber.onEvent(event);
      }
      subscriber.onEnd?.();
    } catch (error) {
      if (abort.signal.aborted) return;
      subscriber.onError?.(error instanceof HexwardError ? error : new HexwardError(0, "client.stream", "The page failed while it showed an event.", { cause: error }));
    } finally {
      options.signal?.removeEventListener("abort", onAbort);
    }
  })();
  return () => abort.abort();
}

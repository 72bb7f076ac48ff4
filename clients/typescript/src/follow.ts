/**
 * The events of a run, each exactly once and in order, over as many connections as it takes. What was seen is told to the gateway
 * (`Last-Event-ID`); what comes twice all the same is passed over, and a gap is never passed on: the connection is taken up again behind
 * the last event that was seen.
 */
import { errorOf, HexwardError, isPassing } from "./errors.js";
import { readEvent, type RunEvent } from "./events.js";
import { SseParser } from "./sse.js";

export interface FollowOptions {
  /** The last `seq` that was seen; 0 begins at the beginning. */
  after?: number;
  signal?: AbortSignal;
  /** Connections in a row that bring nothing new, after which it gives up. */
  attemptsMax?: number;
  /** A gateway says something every 15 seconds; silence for longer is a broken connection. */
  silenceMs?: number;
  /** Told of each break, before it is taken up again. */
  onBreak?: (error: HexwardError) => void;
}

/** Opens one connection behind the event `after`. */
export type Open = (after: number, signal: AbortSignal) => Promise<Response>;

const FIRST_PAUSE_MS = 250;
const PAUSE_MAX_MS = 8_000;

export async function* follow(open: Open, options: FollowOptions = {}): AsyncGenerator<RunEvent, void, undefined> {
  const { signal, attemptsMax = 8, silenceMs = 45_000 } = options;
  let seen = options.after ?? 0;
  let barren = 0;
  for (;;) {
    let error: HexwardError;
    let pauseMs: number | undefined;
    const before = seen;
    const connection = new Connection(signal, silenceMs);
    try {
      for await (const { seq, event } of connection.events(open, seen)) {
        // The end is known for longer than the events before it, and then has a number of its own.
        if (event?.type === "run_ended") {
          yield event;
          return;
        }
        if (seq <= seen) continue;
        if (seq !== seen + 1) throw new HexwardError(0, "client.stream", `Event ${seq} came after event ${seen}.`);
        seen = seq;
        if (event) yield event;
      }
      error = new HexwardError(0, "client.stream", "The stream ended before the run.");
    } catch (cause) {
      signal?.throwIfAborted();
      if (!(cause instanceof HexwardError)) throw cause;
      if (cause.status !== 0 && !isPassing(cause)) throw cause;
      if (cause.code === "client.protocol") throw cause;
      error = cause;
      pauseMs = cause.retryAfterMs;
    } finally {
      connection.close();
    }
    barren = seen > before ? 0 : barren + 1;
    if (barren >= attemptsMax) {
      throw new HexwardError(error.status, error.status === 0 ? "client.stream" : error.code, `The events of the run could not be had in ${barren} attempts. The last reason: ${error.message}`, { cause: error });
    }
    options.onBreak?.(error);
    const backOff = Math.min(FIRST_PAUSE_MS * 2 ** Math.max(barren - 1, 0), PAUSE_MAX_MS);
    await pause(Math.max(Math.min(pauseMs ?? 0, 60_000), backOff * (0.75 + Math.random() / 2)), signal);
  }
}

class Connection {
  #abort = new AbortController();
  #outer: AbortSignal | undefined;
  #silenceMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #silent = false;
  #onAbort = () => this.#abort.abort();

  constructor(outer: AbortSignal | undefined, silenceMs: number) {
    this.#outer = outer;
    this.#silenceMs = silenceMs;
    outer?.throwIfAborted();
    outer?.addEventListener("abort", this.#onAbort, { once: true });
  }

  async *events(open: Open, after: number) {
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    try {
      this.#heard();
      const response = await open(after, this.#abort.signal);
      if (!response.ok) throw await errorOf(response);
      if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) {
        throw new HexwardError(response.status, "client.protocol", "What came is no stream of events. Check the address and what stands in between.");
      }
      reader = response.body.getReader();
      const parser = new SseParser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.#heard();
        for (const message of parser.push(value)) {
          const read = readEvent(message.data);
          if (!read) throw new HexwardError(0, "client.stream", "The stream has something that is no event.");
          yield read;
        }
      }
    } catch (cause) {
      if (cause instanceof HexwardError) throw cause;
      if (this.#silent) throw new HexwardError(0, "client.timeout", `Nothing came for ${this.#silenceMs} ms.`, { cause });
      throw new HexwardError(0, "client.unreachable", "The connection to the gateway broke, or none could be made.", { cause });
    } finally {
      clearTimeout(this.#timer);
      reader?.cancel().catch(() => {});
    }
  }

  #heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#silent = true;
      this.#abort.abort();
    }, this.#silenceMs);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#onAbort);
    this.#abort.abort();
  }
}

export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

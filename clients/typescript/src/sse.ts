/**
 * Server-sent events (WHATWG HTML, "Event stream interpretation"): bytes in, messages out. It reads nothing by itself, so it is the same
 * in Node.js and in a browser, and it can be fed in any pieces: a cut may fall into a character or between a CR and its LF.
 */

/** One message of a stream. */
export interface SseMessage {
  /** `message` unless the stream says otherwise. */
  event: string;
  data: string;
  /** The last id that the stream gave, with this message or before; empty before the first. */
  id: string;
}

/** A line or a message longer than this is an attack or a mistake, never an event of a run. */
export const SSE_CHARS_MAX = 8 * 1024 * 1024;

/** What can't be read as a stream of events. */
export class SseError extends Error {
  override name = "SseError";
}

export class SseParser {
  #decoder = new TextDecoder("utf-8");
  /** The beginning of a line whose end has not come. */
  #line: string[] = [];
  #lineChars = 0;
  /** The last character was a CR: an LF that follows belongs to it. */
  #afterCr = false;
  #event = "";
  #data: string[] = [];
  #dataChars = 0;
  #id = "";
  /** Milliseconds to wait before the next connection, once the stream has said so. */
  retryMs: number | undefined;

  /** Messages that these bytes complete. */
  push(bytes: Uint8Array): SseMessage[] {
    const found: SseMessage[] = [];
    let text = this.#decoder.decode(bytes, { stream: true });
    if (this.#afterCr && text.length > 0) {
      this.#afterCr = false;
      if (text.startsWith("\n")) text = text.slice(1);
    }
    let from = 0;
    for (let at = 0; at < text.length; at += 1) {
      const letter = text.charCodeAt(at);
      if (letter !== 10 && letter !== 13) continue;
      this.#keep(text.slice(from, at));
      const message = this.#endLine();
      if (message) found.push(message);
      if (letter === 13) {
        if (at + 1 === text.length) this.#afterCr = true;
        else if (text.charCodeAt(at + 1) === 10) at += 1;
      }
      from = at + 1;
    }
    this.#keep(text.slice(from));
    return found;
  }

  #keep(part: string): void {
    if (part === "") return;
    this.#lineChars += part.length;
    if (this.#lineChars > SSE_CHARS_MAX) throw new SseError("a line of the event stream is longer than any event may be");
    this.#line.push(part);
  }

  #endLine(): SseMessage | undefined {
    const line = this.#line.join("");
    this.#line = [];
    this.#lineChars = 0;
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "event") this.#event = value;
    else if (field === "data") {
      this.#dataChars += value.length + 1;
      if (this.#dataChars > SSE_CHARS_MAX) throw new SseError("an event of the stream is longer than any event may be");
      this.#data.push(value);
    } else if (field === "id") {
      if (!value.includes("\0")) this.#id = value;
    } else if (field === "retry" && /^\d{1,9}$/.test(value)) this.retryMs = Number(value);
    return undefined;
  }

  #dispatch(): SseMessage | undefined {
    const message = this.#data.length === 0 ? undefined : { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
    this.#event = "";
    this.#data = [];
    this.#dataChars = 0;
    return message;
  }
}

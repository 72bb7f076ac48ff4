import type { KnownCode } from "./codes.js";

/** What goes wrong on this side of the wire. */
export type ClientCode =
  /** The gateway could not be reached, or hung up before it answered. */
  | "client.unreachable"
  /** What came is no answer of a gateway. */
  | "client.protocol"
  /** A stream of events broke off and could not be taken up again. */
  | "client.stream"
  /** It took longer than this client waits. */
  | "client.timeout";

/** Every code of this version's gateway, and whatever a later one says. */
export type ErrorCode = KnownCode | ClientCode | (string & {});

/** An answer that is not what was asked for. `message` is a sentence for people; match on `code`. */
export class HexwardError extends Error {
  override name = "HexwardError";
  /** 0 where no answer came. */
  readonly status: number;
  readonly code: ErrorCode;
  /** Names this answer in the gateway's log. */
  readonly requestId: string | undefined;
  /** When it is worth asking again, where the gateway said so. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, code: ErrorCode, message: string, more: { requestId?: string | undefined; retryAfterMs?: number | undefined; cause?: unknown } = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.status = status;
    this.code = code;
    this.requestId = more.requestId;
    this.retryAfterMs = more.retryAfterMs;
  }

  /** Whether it is one of these; the compiler knows the codes. */
  is(...codes: (KnownCode | ClientCode)[]): boolean {
    return (codes as string[]).includes(this.code);
  }
}

const ERROR_BYTES_MAX = 64 * 1024;

/** What an answer that is no success says. */
export async function errorOf(response: Response): Promise<HexwardError> {
  const seconds = Number(response.headers.get("retry-after") ?? "x");
  const retryAfterMs = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
  const text = await response.text().catch(() => "");
  try {
    const body = JSON.parse(text.slice(0, ERROR_BYTES_MAX)) as { error?: { code?: unknown; message?: unknown; type?: unknown }; request_id?: unknown };
    // The second form is the one in which the paths of the model answer.
    const code = body.error?.code ?? body.error?.type;
    if (typeof code === "string" && typeof body.error?.message === "string") {
      const requestId = typeof body.request_id === "string" ? body.request_id : undefined;
      return new HexwardError(response.status, code, body.error.message, { requestId, retryAfterMs });
    }
  } catch {
    // It is no answer of a gateway's.
  }
  return new HexwardError(response.status, "client.protocol", `An answer with status ${response.status} came that is none of a gateway's. Check the base URL and what stands in between.`, { retryAfterMs });
}

/** Whether the same request may go well a little later, without anybody changing anything. */
export function isPassing(error: unknown): error is HexwardError {
  if (!(error instanceof HexwardError)) return false;
  if (error.status === 0) return error.code !== "client.protocol";
  return error.status === 502 || error.status === 503 || error.status === 504 || error.code === "streams.too_many" || error.code === "ticket.in_use";
}

/** Webhooks of Hexward, signed as Standard Webhooks says: `v1,<base64 HMAC-SHA256 of "id.timestamp.body">`. */

export interface WebhookEvent<Data = Record<string, unknown>> {
  /** The same for every try: deliveries come at least once, so remember which were dealt with. */
  id: string;
  type: "run.finished" | "confirmation.pending" | "budget.threshold" | "anomaly" | (string & {});
  created_at_ms: number;
  host: string;
  /** Your own id of them. */
  user: { subject: string } | null;
  data: Data;
}

export class WebhookError extends Error {
  override name = "WebhookError";
}

export interface VerifyOptions {
  /** The secret of `secret_env`, or several while it is being replaced. */
  secret: string | readonly string[];
  /** How old, or how far ahead, a delivery may be. */
  toleranceSecs?: number;
  now?: () => number;
  crypto?: Crypto;
}

/**
 * The event of a delivery. `body` is the text as it arrived, before any parsing.
 *
 * @throws WebhookError when it is not Hexward's, or not of now. Answer 401 then, and do nothing.
 */
export async function verifyWebhook(headers: Headers | Record<string, string | undefined>, body: string, options: VerifyOptions): Promise<WebhookEvent> {
  const crypto = options.crypto ?? globalThis.crypto;
  const id = header(headers, "webhook-id");
  const timestamp = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature");
  if (!/^\d{1,12}$/.test(timestamp)) throw new WebhookError("webhook-timestamp is no number of seconds");
  const age = Math.abs((options.now ?? Date.now)() / 1000 - Number(timestamp));
  if (age > (options.toleranceSecs ?? 300)) throw new WebhookError("the delivery is too old, or comes from the future: check this machine's clock");
  const secrets = typeof options.secret === "string" ? [options.secret] : options.secret;
  if (secrets.length === 0 || secrets.some((secret) => secret === "")) throw new TypeError("no secret for webhooks was given");
  const encode = (text: string) => new TextEncoder().encode(text) as Uint8Array<ArrayBuffer>;
  const signed = encode(`${id}.${timestamp}.${body}`);
  for (const secret of secrets) {
    const key = await crypto.subtle.importKey("raw", encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    for (const part of signatures.split(" ")) {
      const bytes = part.startsWith("v1,") ? decoded(part.slice(3)) : undefined;
      // Compared by WebCrypto, in constant time.
      if (bytes && (await crypto.subtle.verify("HMAC", key, bytes, signed))) return parsed(body, id);
    }
  }
  throw new WebhookError("no signature of the delivery is right");
}

function parsed(body: string, id: string): WebhookEvent {
  let event: WebhookEvent;
  try {
    event = JSON.parse(body) as WebhookEvent;
  } catch {
    throw new WebhookError("the delivery's body is no JSON");
  }
  if (typeof event !== "object" || event === null || event.id !== id || typeof event.type !== "string") throw new WebhookError("the delivery's body is no event");
  return event;
}

function header(headers: Headers | Record<string, string | undefined>, name: string): string {
  const value = headers instanceof Headers ? headers.get(name) : headers[name];
  if (!value) throw new WebhookError(`${name} is missing`);
  return value;
}

function decoded(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    return undefined;
  }
}

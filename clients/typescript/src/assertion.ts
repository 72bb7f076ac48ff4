/**
 * The short-lived signed word of whose request it is. Made anew for each request: a state-changing one is good once. Needs WebCrypto
 * (`globalThis.crypto`; in Node.js 18 hand over `webcrypto` of `node:crypto`).
 */

/** Whom a request is for: your own id of them, and optionally their tier. */
export interface HostUser {
  /** 1 to 200 characters, the same for as long as the account exists. Don't use what can change hands, like an e-mail address. */
  subject: string;
  tier?: string;
}

export type SignUser = (user: HostUser) => Promise<string> | string;

export interface SignerOptions {
  /** `issuer` of the host in Hexward's configuration. */
  issuer: string;
  /** `audience` there; `hexward` unless it says otherwise. */
  audience?: string;
  /** How long each assertion is good; at most 300 seconds. */
  lifeSecs?: number;
  /** The claim in which the tier stands (`tier_claim`). */
  tierClaim?: string;
  crypto?: Crypto;
  /** Milliseconds since 1970. */
  now?: () => number;
}

const LIFE_SECS_MAX = 300;
const SECRET_BYTES_MIN = 32;
const SUBJECT_CHARS_MAX = 200;

/** Assertions signed with a secret that both sides hold (`secret_env` of the host). */
export function hs256Signer(options: SignerOptions & { secret: string | Uint8Array }): SignUser {
  const bytes = typeof options.secret === "string" ? new TextEncoder().encode(options.secret) : options.secret;
  if (bytes.byteLength < SECRET_BYTES_MIN) throw new TypeError(`the secret for assertions has ${bytes.byteLength} bytes; at least ${SECRET_BYTES_MIN} are needed: openssl rand -hex 32`);
  const crypto = cryptoOf(options);
  let key: Promise<CryptoKey> | undefined;
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return signer(options, crypto, { alg: "HS256", typ: "JWT" }, async (data) => {
    key ??= crypto.subtle.importKey("raw", bytes as Uint8Array<ArrayBuffer>, algorithm, false, ["sign"]);
    return crypto.subtle.sign("HMAC", await key, data);
  });
}

/** Assertions signed with a private key (P-256) whose public half stands at the host's `jwks_url` under `kid`. */
export function es256Signer(options: SignerOptions & { privateKey: JsonWebKey | CryptoKey; kid: string }): SignUser {
  const crypto = cryptoOf(options);
  const given = options.privateKey;
  let key: Promise<CryptoKey> | undefined;
  return signer(options, crypto, { alg: "ES256", typ: "JWT", kid: options.kid }, async (data) => {
    key ??= isCryptoKey(given) ? Promise.resolve(given) : crypto.subtle.importKey("jwk", given, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
    // WebCrypto's form is the one of RFC 7518: r and s, 32 bytes each.
    return crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, await key, data);
  });
}

function isCryptoKey(key: JsonWebKey | CryptoKey): key is CryptoKey {
  return "algorithm" in key && "usages" in key;
}

/** The public half of a P-256 key as one entry of a JWK set. */
export function publicJwk(key: JsonWebKey, kid: string): JsonWebKey & { kid: string; alg: string; use: string } {
  const { kty, crv, x, y } = key;
  if (kty !== "EC" || crv !== "P-256" || !x || !y) throw new TypeError("the key for assertions is no P-256 key in the form of a JWK");
  return { kty, crv, x, y, kid, alg: "ES256", use: "sig" };
}

function signer(options: SignerOptions, crypto: Crypto, header: object, sign: (data: Uint8Array<ArrayBuffer>) => Promise<ArrayBuffer>): SignUser {
  const { issuer, audience = "hexward", lifeSecs = 60, tierClaim = "tier", now = Date.now } = options;
  if (!(lifeSecs > 0 && lifeSecs <= LIFE_SECS_MAX)) throw new TypeError(`an assertion is good for 1 to ${LIFE_SECS_MAX} seconds, not ${lifeSecs}`);
  return async ({ subject, tier }) => {
    const chars = [...subject].length;
    if (chars < 1 || chars > SUBJECT_CHARS_MAX) throw new TypeError(`a subject has 1 to ${SUBJECT_CHARS_MAX} characters, not ${chars}`);
    const iat = Math.floor(now() / 1000);
    const claims: Record<string, unknown> = { iss: issuer, aud: audience, sub: subject, iat, exp: iat + Math.floor(lifeSecs), jti: crypto.randomUUID() };
    if (tier !== undefined) claims[tierClaim] = tier;
    const signed = `${base64url(utf8(JSON.stringify(header)))}.${base64url(utf8(JSON.stringify(claims)))}`;
    return `${signed}.${base64url(new Uint8Array(await sign(utf8(signed))))}`;
  };
}

function cryptoOf(options: SignerOptions): Crypto {
  const crypto = options.crypto ?? globalThis.crypto;
  if (!crypto?.subtle) throw new TypeError("there is no WebCrypto here; in Node.js 18 hand over `webcrypto` of node:crypto as `crypto`");
  return crypto;
}

export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text) as Uint8Array<ArrayBuffer>;
}

function base64url(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

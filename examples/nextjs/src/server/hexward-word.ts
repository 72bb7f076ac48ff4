/**
 * Whose call it is, as Hexward signed it for this one call: an EdDSA token with user, method, tool and a digest of the arguments. So neither
 * who holds the shared credential nor who saw one call can make another.
 */
import { createHash, createPublicKey, type JsonWebKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { settings, single } from "./settings";

export const AUDIENCE = "tiles";
const LEEWAY_SECS = 10;
const LIFE_SECS_MAX = 120;

export class NotHexward extends Error {}

interface Claims {
  iss: string;
  aud: string;
  sub: string;
  iat: number;
  exp: number;
  jti: string;
  method?: string;
  tool?: string;
  args_sha256?: string;
}

export interface Asked {
  method: string;
  params?: { name?: unknown; arguments?: unknown };
}

/** Hexward's id of the user. */
export function whoseCall(token: string | null, asked: Asked, now = Date.now() / 1000): string {
  const [header, claims, signature, ...rest] = (token ?? "").split(".");
  if (!header || !claims || !signature || rest.length > 0) throw new NotHexward("the assertion is missing, or is none");
  const { alg, kid } = json(header) as { alg?: unknown; kid?: unknown };
  if (alg !== "EdDSA" || typeof kid !== "string") throw new NotHexward("the assertion is not signed as agreed");
  const key = keys().find((known) => known.kid === kid && known.kty === "OKP" && known.crv === "Ed25519");
  if (!key) throw new NotHexward("the assertion's key is not known");
  if (!verify(null, Buffer.from(`${header}.${claims}`), createPublicKey({ key, format: "jwk" }), Buffer.from(signature, "base64url"))) {
    throw new NotHexward("the assertion's signature is wrong");
  }
  const said = json(claims) as Claims;
  if (said.iss !== "hexward" || said.aud !== AUDIENCE) throw new NotHexward("the assertion is for somebody else");
  if (!(said.iat <= now + LEEWAY_SECS && said.exp > now - LEEWAY_SECS && said.exp - said.iat <= LIFE_SECS_MAX)) throw new NotHexward("the assertion is not of now");
  if (said.method !== asked.method) throw new NotHexward("the assertion is for another method");
  if (asked.method === "tools/call") {
    const digest = createHash("sha256").update(canonical(asked.params?.arguments ?? {})).digest("hex");
    if (said.tool !== asked.params?.name || said.args_sha256 !== digest) throw new NotHexward("the assertion is for another call");
    once(said, now);
  }
  return said.sub;
}

/** A call's assertion is good once. */
function once({ jti, exp }: Claims, now: number): void {
  const used = single("used", () => new Map<string, number>());
  for (const [old, until] of used) if (until < now - LEEWAY_SECS) used.delete(old);
  if (typeof jti !== "string" || used.has(jti)) throw new NotHexward("the assertion was used before");
  used.set(jti, exp);
}

function json(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString());
  } catch {
    throw new NotHexward("the assertion can't be read");
  }
}

/** Read anew each time: Hexward may have made others. */
function keys(): (JsonWebKey & { kid?: string })[] {
  return (JSON.parse(readFileSync(settings.assertionKeysFile, "utf8")) as { keys: (JsonWebKey & { kid?: string })[] }).keys;
}

/** RFC 8785. JavaScript writes numbers and strings as it says; what is left is the order of the names. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value).filter(([, held]) => held !== undefined);
    fields.sort(([one], [other]) => (one < other ? -1 : 1));
    return `{${fields.map(([name, held]) => `${JSON.stringify(name)}:${canonical(held)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

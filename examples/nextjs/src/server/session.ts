/** Who is signed in: a signed cookie that scripts can't read. */
import { createHmac, timingSafeEqual } from "node:crypto";
import { cookies } from "next/headers";
import { settings } from "./settings";
import { type User, userById } from "./users";

const LIFE_SECS = 12 * 60 * 60;
const isSecure = () => settings.origin.startsWith("https:");
const cookieName = () => (isSecure() ? "__Host-tiles" : "tiles");

const sign = (text: string) => createHmac("sha256", settings.sessionSecret).update(`session:${text}`).digest();

export async function begin(user: User): Promise<void> {
  const said = Buffer.from(JSON.stringify({ sub: user.id, exp: Math.floor(Date.now() / 1000) + LIFE_SECS })).toString("base64url");
  const value = `${said}.${sign(said).toString("base64url")}`;
  // Lax: the way back from Hexward's page is a link from another site.
  (await cookies()).set(cookieName(), value, { httpOnly: true, sameSite: "lax", secure: isSecure(), path: "/", maxAge: LIFE_SECS });
}

export async function end(): Promise<void> {
  (await cookies()).delete({ name: cookieName(), path: "/", secure: isSecure() });
}

export async function signedIn(): Promise<User | undefined> {
  const [said, signature, ...rest] = ((await cookies()).get(cookieName())?.value ?? "").split(".");
  if (!said || !signature || rest.length > 0) return undefined;
  const given = Buffer.from(signature, "base64url");
  const right = sign(said);
  if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined;
  const { sub, exp } = JSON.parse(Buffer.from(said, "base64url").toString()) as { sub: string; exp: number };
  return exp > Date.now() / 1000 ? userById(sub) : undefined;
}

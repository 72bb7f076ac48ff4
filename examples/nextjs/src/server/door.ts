/** What every route of the page shares: who asks, from where, and how an answer says that something went wrong. */
import { HexwardError } from "@hexward/client";
import { readText } from "./body";
import { signedIn } from "./session";
import { settings } from "./settings";
import { Told, type User } from "./users";

const BODY_BYTES_MAX = 16 * 1024;

export function refusal(status: number, code: string, message: string): Response {
  return Response.json({ error: { code, message } }, { status });
}

/** Whether a request that changes something comes from this application's own page. */
export function isOwn(request: Request): boolean {
  return request.headers.get("origin") === settings.origin;
}

/** JSON of this application's own page, as an object. */
export async function bodyOf(request: Request): Promise<Record<string, unknown>> {
  if (!request.headers.get("content-type")?.startsWith("application/json")) throw new Told("The body has to be JSON.");
  const text = await readText(request, BODY_BYTES_MAX);
  if (text === null) throw new Told("That is too long.");
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new Told("The body is no JSON object.");
}

export function textOf(body: Record<string, unknown>, name: string): string {
  const value = body[name];
  if (typeof value !== "string" || value === "") throw new Told(`${name} is missing.`);
  return value;
}

/** A route for whoever is signed in. What Hexward refused is passed on with its code; what nobody expected is not. */
export async function forUser(request: Request, answer: (user: User) => Promise<Response>): Promise<Response> {
  return guarded(request, async () => {
    const user = await signedIn();
    return user ? answer(user) : refusal(401, "session", "Sign in first.");
  });
}

export async function guarded(request: Request, answer: () => Promise<Response>): Promise<Response> {
  if (request.method !== "GET" && !isOwn(request)) return refusal(403, "origin", "This came from another page.");
  try {
    return await answer();
  } catch (error) {
    if (error instanceof Told) return refusal(400, "told", error.message);
    if (error instanceof HexwardError) {
      console.error(`hexward: ${error.status} ${error.code} ${error.requestId ?? ""}`);
      // Its own refusals are for people; that the key is wrong, say, is not.
      const own = error.status === 0 || error.status === 401 || error.status === 403 || error.status >= 500;
      return own ? refusal(502, "assistant", "The assistant is not available at the moment. Try again in a while.") : refusal(error.status, error.code, error.message);
    }
    console.error(error);
    return refusal(500, "internal", "Something went wrong here. Try again.");
  }
}

import { type NextRequest, NextResponse } from "next/server";

/** What this application's pages may load and reach: themselves, and one run's events at Hexward. */
export function proxy(request: NextRequest): NextResponse {
  const nonce = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("base64");
  const [events, answers] = [process.env.HEXWARD_URL ?? "", process.env.HEXWARD_PUBLIC_URL ?? ""].map((url) => (url ? new URL(url).origin : ""));
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'nonce-${nonce}' 'strict-dynamic'`,
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self' ${events}`,
    // A form's answer may lead to Hexward's page for confirmations.
    `form-action 'self' ${answers}`,
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  const headers = new Headers(request.headers);
  headers.set("x-nonce", nonce);
  headers.set("content-security-policy", policy);
  const response = NextResponse.next({ request: { headers } });
  response.headers.set("content-security-policy", policy);
  response.headers.set("x-content-type-options", "nosniff");
  // Not `no-referrer`: a posted form would then say that it comes from nowhere.
  response.headers.set("referrer-policy", "same-origin");
  return response;
}

export const config = { matcher: [{ source: "/((?!api|_next/static|favicon.ico).*)" }] };

import { assistantOf } from "@/server/assistant";
import { forUser } from "@/server/door";
import { settings } from "@/server/settings";

export const dynamic = "force-dynamic";

/**
 * Sends the person's browser to Hexward's own page, where the answer is given: this application can neither give it nor dress it up.
 * A form is posted here, so the page is opened by the person's own click, as a page of its own.
 */
export function POST(request: Request, { params }: { params: Promise<{ id: string }> }): Promise<Response> {
  return forUser(request, async (user) => {
    const { url } = await assistantOf(user).confirmations.link((await params).id, { returnTo: `${settings.origin}/answered` });
    return new Response(null, { status: 303, headers: { location: url, "referrer-policy": "no-referrer", "cache-control": "no-store" } });
  });
}

import { verifyWebhook, WebhookError } from "@hexward/client/webhooks";
import { readText } from "@/server/body";
import { settings, single } from "@/server/settings";

export const dynamic = "force-dynamic";
const REMEMBERED_MAX = 1000;

/** What Hexward tells this application by itself. It may come twice, so what was dealt with is remembered. */
export async function POST(request: Request): Promise<Response> {
  const body = await readText(request);
  if (body === null) return new Response(null, { status: 413 });
  try {
    const event = await verifyWebhook(request.headers, body, { secret: settings.hookSecret });
    const seen = single("hooks", () => new Set<string>());
    if (seen.has(event.id)) return new Response(null, { status: 204 });
    seen.add(event.id);
    const [oldest] = seen;
    if (seen.size > REMEMBERED_MAX && oldest) seen.delete(oldest);
    console.log(`hook: ${event.type} for ${event.user?.subject ?? "nobody"}`);
    return new Response(null, { status: 204 });
  } catch (error) {
    if (!(error instanceof WebhookError)) throw error;
    return new Response(null, { status: 401 });
  }
}

import { assistantOf } from "@/server/assistant";
import { forUser } from "@/server/door";

export const dynamic = "force-dynamic";

/** What waits for this person's answer. */
export function GET(request: Request): Promise<Response> {
  return forUser(request, async (user) => Response.json(user.conversation ? await assistantOf(user).confirmations.list() : []));
}

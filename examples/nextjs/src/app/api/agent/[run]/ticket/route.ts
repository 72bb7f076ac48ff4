import { assistantOf } from "@/server/assistant";
import { forUser } from "@/server/door";

export const dynamic = "force-dynamic";

/** Another ticket for a run of one's own; nobody else's exists for this user. */
export function POST(request: Request, { params }: { params: Promise<{ run: string }> }): Promise<Response> {
  return forUser(request, async (user) => Response.json(await assistantOf(user).runs.ticket((await params).run)));
}

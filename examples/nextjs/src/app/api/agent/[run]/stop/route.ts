import { assistantOf } from "@/server/assistant";
import { forUser } from "@/server/door";

export const dynamic = "force-dynamic";

export function POST(request: Request, { params }: { params: Promise<{ run: string }> }): Promise<Response> {
  return forUser(request, async (user) => {
    await assistantOf(user).runs.stop((await params).run);
    return new Response(null, { status: 202 });
  });
}

import { assistantOf } from "@/server/assistant";
import { bodyOf, forUser, textOf } from "@/server/door";

export const dynamic = "force-dynamic";

/** Takes back everything that one run changed. */
export function POST(request: Request): Promise<Response> {
  return forUser(request, async (user) => {
    const body = await bodyOf(request);
    return Response.json(await assistantOf(user).undo({ run: textOf(body, "run") }, { redo: body.redo === true }));
  });
}

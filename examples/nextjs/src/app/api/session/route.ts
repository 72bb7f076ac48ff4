import { bodyOf, guarded, textOf } from "@/server/door";
import { begin, end } from "@/server/session";
import { signIn, signUp } from "@/server/users";

export const dynamic = "force-dynamic";

export function POST(request: Request): Promise<Response> {
  return guarded(request, async () => {
    const body = await bodyOf(request);
    const [name, password] = [textOf(body, "name"), textOf(body, "password")];
    await begin(await (body.create === true ? signUp(name, password) : signIn(name, password)));
    return new Response(null, { status: 204 });
  });
}

export function DELETE(request: Request): Promise<Response> {
  return guarded(request, async () => {
    await end();
    return new Response(null, { status: 204 });
  });
}

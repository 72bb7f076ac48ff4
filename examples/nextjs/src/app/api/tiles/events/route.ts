import { forUser } from "@/server/door";
import { tilesOf, watch } from "@/server/tiles";

export const dynamic = "force-dynamic";
const KEEP_ALIVE_MS = 15_000;

/** This user's tiles, and all of them again after each change, whoever made it. */
export function GET(request: Request): Promise<Response> {
  return forUser(request, async (user) => {
    let stop = () => {};
    const body = new ReadableStream<Uint8Array>({
      start(stream) {
        const write = (text: string) => stream.enqueue(new TextEncoder().encode(text));
        const tell = () => write(`data: ${JSON.stringify(tilesOf(user.id).map(({ id, path, title, content }) => ({ id, path, title, content })))}\n\n`);
        const unwatch = watch(user.id, tell);
        const alive = setInterval(() => write(": still here\n\n"), KEEP_ALIVE_MS);
        stop = () => {
          unwatch();
          clearInterval(alive);
        };
        tell();
      },
      cancel: () => stop(),
    });
    request.signal.addEventListener("abort", () => stop());
    return new Response(body, { headers: { "content-type": "text/event-stream", "cache-control": "no-store" } });
  });
}

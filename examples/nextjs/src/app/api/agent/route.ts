import { assistantOf, conversationOf } from "@/server/assistant";
import { bodyOf, forUser, textOf } from "@/server/door";

export const dynamic = "force-dynamic";

/** What was said, and the run that is going on, if there is one: for a page that is opened anew. */
export function GET(request: Request): Promise<Response> {
  return forUser(request, async (user) => {
    if (!user.conversation) return Response.json({ messages: [], run: null, confirmations: [] });
    const assistant = assistantOf(user);
    const [{ messages, active_run: run }, confirmations] = await Promise.all([assistant.conversations.get(await conversationOf(user)), assistant.confirmations.list()]);
    return Response.json({ messages, run: run && { run, ...(await assistant.runs.ticket(run)) }, confirmations });
  });
}

/** Sends a message. The page gets a ticket for this run's events, and nothing that opens more. */
export function POST(request: Request): Promise<Response> {
  return forUser(request, async (user) => {
    const body = await bodyOf(request);
    const [text, idempotencyKey] = [textOf(body, "text"), textOf(body, "message")];
    const assistant = assistantOf(user);
    const { runId } = await assistant.runs.start(await conversationOf(user), text, { writes: body.writes === true, idempotencyKey });
    return Response.json({ run: runId, ...(await assistant.runs.ticket(runId)) }, { status: 202 });
  });
}

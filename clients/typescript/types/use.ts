// What the compiler has to say to users of this package: the wrong lines below are errors, or else this file is one.
import { createHexward, type DenialCode, HexwardError, hs256Signer, type RunEvent, verifyWebhook } from "../dist/index.js";
import { events, type RunTicket } from "../dist/browser.js";
import { useRun } from "../dist/react.js";

const hexward = createHexward({ baseUrl: "https://hexward.example", key: "k", signUser: hs256Signer({ issuer: "i", secret: "s" }) });
const ada = hexward.as({ subject: "ada" });

export async function right(ticket: RunTicket): Promise<string> {
  const { id } = await ada.conversations.create({ app: "tiles" });
  const { runId, replayed } = await ada.runs.start(id, "Hello", { writes: true });
  const seen: boolean = replayed;
  try {
    await ada.undo({ run: runId });
    await ada.undo({ app: "tiles", sinceMs: 1 }, { redo: seen });
  } catch (error) {
    if (error instanceof HexwardError && error.is("budget.day", "run.active", "client.timeout")) return error.code;
  }
  for await (const event of events(ticket)) {
    if (event.type === "tool_result") return event.undo?.call ?? event.result;
    if (event.type === "run_ended") return event.outcome;
  }
  return useRun(ticket).view.outcome ?? (await verifyWebhook({}, "", { secret: "s" })).type;
}

export function known(event: RunEvent, error: HexwardError): DenialCode {
  // @ts-expect-error there is no such code
  error.is("budget.nonsense");
  // @ts-expect-error a text has no result
  if (event.type === "text_delta") void event.result;
  // @ts-expect-error there is no such event
  if (event.type === "nonsense") void event;
  // @ts-expect-error an undo has one scope
  void ada.undo({ since: 1 });
  // @ts-expect-error a user has a subject
  hexward.as({ tier: "premium" });
  // @ts-expect-error where there is no signer there is no user
  createHexward({ baseUrl: "https://hexward.example", key: "k" });
  // @ts-expect-error no denial
  return "client.timeout";
}

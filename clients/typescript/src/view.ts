/** What a page shows of a run: a pure function from its events. Telling an event again changes nothing. */
import type { Confirmation, Denial, Outcome, RunEvent, UndoHandle } from "./events.js";

export interface ToolView {
  callId: string;
  tool: string;
  arguments: unknown;
  /** `calling`, then `ok`, `failed`, or `waiting` for the person. */
  state: "calling" | "ok" | "failed" | "waiting";
  result: string | undefined;
  denial: Denial | undefined;
  undo: UndoHandle | undefined;
}

/** What the agent said and did, in order. */
export type RunPart = { kind: "text"; text: string } | ({ kind: "tool" } & ToolView);

export interface RunView {
  seq: number;
  state: "starting" | "queued" | "thinking" | "answering" | "calling_tool" | "ended";
  /** Place in the line, while the run waits for one. */
  position: number | undefined;
  parts: readonly RunPart[];
  /** What waits for the person's answer now. */
  confirmations: readonly Confirmation[];
  challenge: { id: string; bits: number } | undefined;
  outcome: Outcome | undefined;
  /** Why it did not finish. */
  denial: Denial | undefined;
  costMicrousd: number;
}

export const EMPTY_VIEW: RunView = {
  seq: 0,
  state: "starting",
  position: undefined,
  parts: [],
  confirmations: [],
  challenge: undefined,
  outcome: undefined,
  denial: undefined,
  costMicrousd: 0,
};

export function viewOf(events: Iterable<RunEvent>): RunView {
  let view = EMPTY_VIEW;
  for (const event of events) view = reduce(view, event);
  return view;
}

/** Everything that the agent said, as one text. It is the model's: show it as text, never as HTML. */
export function textOf(view: RunView): string {
  return view.parts.map((part) => (part.kind === "text" ? part.text : "")).join("");
}

export function reduce(before: RunView, event: RunEvent): RunView {
  if (before.outcome || (event.type !== "run_ended" && event.seq <= before.seq)) return before;
  const view = { ...before, seq: Math.max(event.seq, before.seq) };
  switch (event.type) {
    case "queued":
      return { ...view, state: "queued", position: event.position };
    case "state":
      return { ...view, state: event.state, position: undefined };
    case "text_delta": {
      const last = view.parts.at(-1);
      if (last?.kind === "text") return { ...view, parts: [...view.parts.slice(0, -1), { kind: "text", text: last.text + event.text }] };
      return { ...view, parts: [...view.parts, { kind: "text", text: event.text }] };
    }
    case "tool_call_started":
      return { ...view, parts: [...view.parts, started(event.call_id, event.tool, undefined)] };
    case "tool_call": {
      const known = view.parts.some((part) => part.kind === "tool" && part.callId === event.call_id);
      if (!known) return { ...view, parts: [...view.parts, started(event.call_id, event.tool, event.arguments)] };
      return changed(view, event.call_id, { arguments: event.arguments });
    }
    case "tool_result":
      return changed(view, event.call_id, {
        state: event.waits ? "waiting" : event.ok ? "ok" : "failed",
        result: event.result,
        denial: event.denial ?? undefined,
        undo: event.undo ?? undefined,
      });
    case "confirmation":
      return { ...changed(view, event.call_id, { state: "waiting" }), confirmations: [...view.confirmations.filter(({ id }) => id !== event.confirmation.id), event.confirmation] };
    case "confirmation_ended":
      return { ...view, confirmations: view.confirmations.filter(({ id }) => id !== event.id) };
    case "model_call":
      return { ...view, costMicrousd: view.costMicrousd + event.cost_microusd };
    case "challenge":
      return { ...view, challenge: { id: event.challenge_id, bits: event.bits } };
    case "challenge_ended":
      return { ...view, challenge: undefined };
    case "run_ended":
      return {
        ...view,
        state: "ended",
        position: undefined,
        challenge: undefined,
        outcome: event.outcome,
        denial: event.code === null ? undefined : { code: event.code, message: event.message ?? "" },
        costMicrousd: event.cost_microusd,
      };
    case "run_started":
    case "denied":
      return view;
    default:
      return view;
  }
}

function started(callId: string, tool: string, given: unknown): RunPart {
  return { kind: "tool", callId, tool, arguments: given, state: "calling", result: undefined, denial: undefined, undo: undefined };
}

function changed(view: RunView, callId: string, change: Partial<ToolView>): RunView {
  return { ...view, parts: view.parts.map((part) => (part.kind === "tool" && part.callId === callId ? { ...part, ...change } : part)) };
}

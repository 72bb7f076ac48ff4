/** What a run tells, one object an event: docs/api.md, "Events of a run". */

/** Why something was not done. */
export interface Denial {
  code: string;
  message: string;
}

/** How a change can be taken back: `call` and `run` are what `undo` takes. */
export interface UndoHandle {
  call: string;
  run: string;
  /** `possible`, `undone`, `final`, `pending`, `uncertain` or `no_way_back`. */
  state: string;
}

/** What waits for the person's own yes. */
export interface Confirmation {
  id: string;
  state: string;
  app: string;
  tool: string;
  /** Exactly as they will be sent. */
  arguments: unknown;
  /** What the call does, as the application told the gateway; null if it can't. */
  summary: string | null;
  class: string;
  asked_by: string | null;
  run_id: string | null;
  conversation_id: string | null;
  expires_at_ms: number;
}

export type Outcome = "finished" | "failed" | "stopped";

interface Numbered {
  /** From 1, without gaps; also the id of the server-sent event. */
  seq: number;
}

export interface RunStarted extends Numbered { type: "run_started"; run_id: string; conversation_id: string }
export interface Queued extends Numbered { type: "queued"; position: number }
export interface StateChanged extends Numbered { type: "state"; state: "starting" | "thinking" | "answering" | "calling_tool" }
export interface TextDelta extends Numbered { type: "text_delta"; text: string }
export interface ToolCallStarted extends Numbered { type: "tool_call_started"; call_id: string; tool: string }
export interface ToolCall extends Numbered { type: "tool_call"; call_id: string; tool: string; arguments: unknown; inside: boolean }
export interface ToolResult extends Numbered {
  type: "tool_result";
  call_id: string;
  tool: string;
  ok: boolean;
  result: string;
  denial: Denial | null;
  undo: UndoHandle | null;
  /** Nothing was done yet: it waits for the person. */
  waits: boolean;
}
export interface ConfirmationAsked extends Numbered { type: "confirmation"; call_id: string; confirmation: Confirmation }
export interface ConfirmationEnded extends Numbered { type: "confirmation_ended"; id: string; call_id: string; state: string; result: string | null }
export interface ModelCall extends Numbered { type: "model_call"; model: string; input_tokens: number; output_tokens: number; cost_microusd: number }
export interface Challenge extends Numbered { type: "challenge"; challenge_id: string; bits: number }
export interface ChallengeEnded extends Numbered { type: "challenge_ended"; challenge_id: string; goes_on: boolean }
export interface Denied extends Numbered { type: "denied"; code: string; message: string; wanted: string | null }
export interface RunEnded extends Numbered {
  type: "run_ended";
  outcome: Outcome;
  code: string | null;
  message: string | null;
  cost_microusd: number;
  turns: number;
  duration_ms: number;
}

/** Every event that this version knows. */
export type RunEvent =
  | RunStarted
  | Queued
  | StateChanged
  | TextDelta
  | ToolCallStarted
  | ToolCall
  | ToolResult
  | ConfirmationAsked
  | ConfirmationEnded
  | ModelCall
  | Challenge
  | ChallengeEnded
  | Denied
  | RunEnded;

/** Reads one event; an event of a kind that this version does not know is undefined, and is to be passed over. */
export function readEvent(data: string): { seq: number; event: RunEvent | undefined } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { seq, type } = value as { seq?: unknown; type?: unknown };
  if (typeof seq !== "number" || !Number.isSafeInteger(seq) || seq < 1 || typeof type !== "string") return undefined;
  return { seq, event: KNOWN.has(type) ? (value as RunEvent) : undefined };
}

const KNOWN: ReadonlySet<string> = new Set<RunEvent["type"]>([
  "run_started",
  "queued",
  "state",
  "text_delta",
  "tool_call_started",
  "tool_call",
  "tool_result",
  "confirmation",
  "confirmation_ended",
  "model_call",
  "challenge",
  "challenge_ended",
  "denied",
  "run_ended",
]);

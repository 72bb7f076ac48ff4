import type { Denial, RunEvent, RunOutcome, RunState, Undo, UndoState } from "./types";

type Fields = Record<string, unknown>;

/**
 * One frame of a run's stream as a typed event. Null for what this page doesn't know: a newer gateway may say more than
 * an older page understands, and that is no reason to stop showing the rest.
 */
export function parseRunEvent(data: string): RunEvent | null {
  const fields = parseFields(data);
  if (!fields || typeof fields["seq"] !== "number") return null;
  const seq = fields["seq"];
  const call = { call_id: text(fields["call_id"]), tool: text(fields["tool"]) };
  switch (fields["type"]) {
    case "run_started":
      return { seq, type: "run_started", run_id: text(fields["run_id"]), conversation_id: text(fields["conversation_id"]) };
    case "queued":
      return { seq, type: "queued", position: count(fields["position"]) };
    case "state":
      return { seq, type: "state", state: runState(fields["state"]) };
    case "text_delta":
      return { seq, type: "text_delta", text: text(fields["text"]) };
    case "tool_call_started":
      return { seq, type: "tool_call_started", ...call };
    case "tool_call":
      return { seq, type: "tool_call", ...call, arguments: fields["arguments"], inside: fields["inside"] === true };
    case "tool_result":
      return {
        seq,
        type: "tool_result",
        ...call,
        ok: fields["ok"] === true,
        result: text(fields["result"]),
        denial: denial(fields["denial"]),
        undo: undo(fields["undo"]),
        waits: fields["waits"] === true,
      };
    case "confirmation":
      return { seq, type: "confirmation", call_id: call.call_id };
    case "confirmation_ended":
      return {
        seq,
        type: "confirmation_ended",
        call_id: call.call_id,
        state: text(fields["state"]),
        result: text(fields["result"]),
      };
    case "model_call":
      return {
        seq,
        type: "model_call",
        model: text(fields["model"]),
        input_tokens: count(fields["input_tokens"]),
        output_tokens: count(fields["output_tokens"]),
        cost_microusd: count(fields["cost_microusd"]),
      };
    case "challenge":
      return { seq, type: "challenge", challenge_id: text(fields["challenge_id"]), bits: count(fields["bits"]) };
    case "challenge_ended":
      return {
        seq,
        type: "challenge_ended",
        challenge_id: text(fields["challenge_id"]),
        goes_on: fields["goes_on"] === true,
      };
    case "denied":
      return {
        seq,
        type: "denied",
        code: text(fields["code"]),
        message: text(fields["message"]),
        wanted: text(fields["wanted"]),
      };
    case "run_ended":
      return {
        seq,
        type: "run_ended",
        outcome: runOutcome(fields["outcome"]),
        code: textOrNull(fields["code"]),
        message: textOrNull(fields["message"]),
        cost_microusd: count(fields["cost_microusd"]),
        turns: count(fields["turns"]),
        duration_ms: count(fields["duration_ms"]),
      };
    default:
      return null;
  }
}

/** Whether a frame of the change stream is about this app. One that names none says that some were missed, whichever. */
export function isChangeOf(app: string, data: string): boolean {
  const fields = parseFields(data);
  return fields?.["type"] === "app_changed" && (fields["app"] === app || fields["app"] === null);
}

/** The conversation whose changes were undone or done again, if the frame of the change stream says so. */
export function undoneIn(data: string): string | null {
  const fields = parseFields(data);
  return fields?.["type"] === "undo_changed" ? textOrNull(fields["conversation"]) : null;
}

/** Whether a frame of the change stream says that other questions wait for the person than before. */
export function isChangeOfConfirmations(data: string): boolean {
  const fields = parseFields(data);
  return fields?.["type"] === "confirmations_changed" || fields?.["app"] === null;
}

function parseFields(data: string): Fields | null {
  try {
    const value: unknown = JSON.parse(data);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : null;
  } catch {
    return null;
  }
}

/** Strings as they are; anything else that should have been text is shown as its JSON rather than lost. */
function text(value: unknown): string {
  if (typeof value === "string") return value;
  return value === undefined || value === null ? "" : JSON.stringify(value);
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function count(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function denial(value: unknown): Denial | null {
  if (typeof value !== "object" || value === null) return null;
  const { code, message } = value as Fields;
  return { code: text(code), message: text(message) };
}

/** A state this page doesn't know offers nothing. */
function undo(value: unknown): Undo | null {
  if (typeof value !== "object" || value === null) return null;
  const { call, run, state } = value as Fields;
  if (typeof call !== "string" || typeof run !== "string") return null;
  const known: readonly UndoState[] = ["possible", "undone", "final", "pending", "uncertain"];
  return { call, run, state: known.find((one) => one === state) ?? "no_way_back" };
}

function runState(value: unknown): RunState {
  const known: readonly RunState[] = ["starting", "thinking", "answering", "calling_tool"];
  return known.find((state) => state === value) ?? "thinking";
}

/** An outcome this page doesn't know is not a success. */
function runOutcome(value: unknown): RunOutcome {
  return value === "finished" || value === "stopped" ? value : "failed";
}

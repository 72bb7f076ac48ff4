import type { Denial, RunEvent, RunOutcome, RunState, StoredMessage, Undo, UndoState } from "../api/types";

/** What the chat pane shows, top to bottom. */
export type Entry =
  | { kind: "user"; text: string }
  | { kind: "assistant"; text: string; streaming: boolean }
  | ToolEntry
  | { kind: "denied"; code: string; message: string; wanted: string }
  /** The foot of an answer that changed something: from here all of it can be undone at once. */
  | { kind: "changes"; run: string }
  | EndEntry;

export interface ToolEntry {
  kind: "tool";
  callId: string;
  tool: string;
  arguments: unknown;
  outcome: "running" | "waiting" | "ok" | "failed" | "denied" | "interrupted" | "inside";
  result: string;
  denial: Denial | null;
  undo: Undo | null;
}

/** The foot of an answer: how it ended and what it took. */
export interface EndEntry {
  kind: "end";
  outcome: RunOutcome;
  code: string | null;
  message: string | null;
  costMicrousd: number;
  inputTokens: number;
  outputTokens: number;
  turns: number;
  durationMs: number;
}

export interface ActiveRun {
  id: string;
  /** Everything up to here is in the entries: a stream that is opened anew tells the beginning again. */
  lastSeq: number;
  state: RunState;
  /** How many go before this one, and it, while it waits for a place. */
  position: number;
  inputTokens: number;
  outputTokens: number;
  /** The question whether it shall go on, while it is open. */
  challenge: { id: string; bits: number } | null;
}

export interface Transcript {
  entries: readonly Entry[];
  run: ActiveRun | null;
}

export const emptyTranscript: Transcript = { entries: [], run: null };

export function fromStored(messages: readonly StoredMessage[]): Transcript {
  return { entries: withChanges(messages.map(storedEntry)), run: null };
}

/** How the changes stand by now, as the stored conversation says; everything else stays as it is. */
export function withStandings(transcript: Transcript, messages: readonly StoredMessage[]): Transcript {
  const states = new Map<string, UndoState>();
  for (const message of messages) {
    if (message.role === "tool" && "undo" in message && message.undo) states.set(message.undo.call, message.undo.state);
  }
  const entries = transcript.entries.map((entry) => {
    const state = entry.kind === "tool" && entry.undo ? states.get(entry.undo.call) : undefined;
    if (entry.kind !== "tool" || !entry.undo || !state || state === entry.undo.state) return entry;
    return { ...entry, undo: { ...entry.undo, state } };
  });
  return { ...transcript, entries };
}

/** How many of a run's changes can be undone, and how many be done again. */
export function changesOf(entries: readonly Entry[], run: string): { undoable: number; undone: number } {
  const states = entries.flatMap((entry) => (entry.kind === "tool" && entry.undo?.run === run ? [entry.undo.state] : []));
  const count = (state: UndoState) => states.filter((one) => one === state).length;
  return { undoable: count("possible"), undone: count("undone") };
}

export function addUserMessage(transcript: Transcript, text: string): Transcript {
  return { ...transcript, entries: [...transcript.entries, { kind: "user", text }] };
}

/** Takes back a message that the gateway refused: the person still has it in the composer. */
export function withoutLastUserMessage(transcript: Transcript): Transcript {
  return transcript.entries.at(-1)?.kind === "user"
    ? { ...transcript, entries: transcript.entries.slice(0, -1) }
    : transcript;
}

export function beginRun(transcript: Transcript, runId: string): Transcript {
  return {
    ...transcript,
    run: { id: runId, lastSeq: -1, state: "starting", position: 0, inputTokens: 0, outputTokens: 0, challenge: null },
  };
}

export function lastUserText(entries: readonly Entry[]): string | null {
  const last = entries.findLast((entry) => entry.kind === "user");
  return last ? last.text : null;
}

/** The next view after one event. Events of no active run, and events already seen, change nothing. */
export function reduce(transcript: Transcript, event: RunEvent): Transcript {
  if (!transcript.run || event.seq <= transcript.run.lastSeq) return transcript;
  const run = { ...transcript.run, lastSeq: event.seq };
  const entries = transcript.entries;
  switch (event.type) {
    case "run_started":
      return { entries: upToLastUser(entries), run };
    case "queued":
      return { entries, run: { ...run, state: "queued", position: event.position } };
    case "state":
      return { entries, run: { ...run, state: event.state } };
    case "text_delta":
      return { entries: appendText(entries, event.text), run: { ...run, state: "answering" } };
    case "tool_call_started":
    case "tool_call":
    case "tool_result":
      return { entries: updateCall(settleText(entries), event), run };
    case "confirmation":
      return { entries, run };
    case "confirmation_ended":
      return { entries: endWaiting(entries, event), run };
    case "model_call":
      return {
        entries,
        run: {
          ...run,
          inputTokens: run.inputTokens + event.input_tokens,
          outputTokens: run.outputTokens + event.output_tokens,
        },
      };
    case "challenge":
      return { entries, run: { ...run, challenge: { id: event.challenge_id, bits: event.bits } } };
    case "challenge_ended":
      return { entries, run: run.challenge?.id === event.challenge_id ? { ...run, challenge: null } : run };
    case "denied": {
      const { code, message, wanted } = event;
      return { entries: [...settleText(entries), { kind: "denied", code, message, wanted }], run };
    }
    case "run_ended":
      return { entries: [...withChanges(interruptCalls(settleText(entries))), endEntry(run, event)], run: null };
  }
}

function storedEntry(message: StoredMessage): Entry {
  switch (message.role) {
    case "user":
      return { kind: "user", text: message.text };
    case "assistant":
      return { kind: "assistant", text: message.text, streaming: false };
    case "tool":
      return {
        kind: "tool",
        callId: message.call_id,
        tool: message.tool,
        arguments: message.arguments,
        ...("inside" in message
          ? { outcome: "inside", result: "", denial: null, undo: null }
          : { outcome: outcomeOf(message), result: message.result, denial: message.denial, undo: message.undo ?? null }),
      };
  }
}

/** A foot after the last entry of each run that changed something and has none yet. */
function withChanges(entries: readonly Entry[]): readonly Entry[] {
  const feet = new Set(entries.flatMap((entry) => (entry.kind === "changes" ? [entry.run] : [])));
  const shown: Entry[] = [];
  let run: string | null = null;
  const close = (): void => {
    if (run && !feet.has(run)) shown.push({ kind: "changes", run });
    run = null;
  };
  for (const entry of entries) {
    if (entry.kind === "user") close();
    if (entry.kind === "tool" && entry.undo) run = entry.undo.run;
    shown.push(entry);
  }
  close();
  return shown.length === entries.length ? entries : shown;
}

/** A run tells its whole story from its start: what the stored conversation already holds of it would stand there twice. */
function upToLastUser(entries: readonly Entry[]): readonly Entry[] {
  return entries.slice(0, entries.findLastIndex((entry) => entry.kind === "user") + 1);
}

function appendText(entries: readonly Entry[], text: string): readonly Entry[] {
  const last = entries.at(-1);
  if (last?.kind === "assistant" && last.streaming) {
    return [...entries.slice(0, -1), { ...last, text: last.text + text }];
  }
  return [...entries, { kind: "assistant", text, streaming: true }];
}

function settleText(entries: readonly Entry[]): readonly Entry[] {
  const last = entries.at(-1);
  if (last?.kind !== "assistant" || !last.streaming) return entries;
  return [...entries.slice(0, -1), { ...last, streaming: false }];
}

type CallEvent = Extract<RunEvent, { type: "tool_call_started" | "tool_call" | "tool_result" }>;

function updateCall(entries: readonly Entry[], event: CallEvent): readonly Entry[] {
  const index = entries.findLastIndex((entry) => entry.kind === "tool" && entry.callId === event.call_id);
  const known = entries[index];
  const call: ToolEntry =
    known?.kind === "tool"
      ? known
      : {
          kind: "tool",
          callId: event.call_id,
          tool: event.tool,
          arguments: undefined,
          outcome: "running",
          result: "",
          denial: null,
          undo: null,
        };
  const next = applyCall(call, event);
  return index < 0 ? [...entries, next] : entries.with(index, next);
}

function applyCall(call: ToolEntry, event: CallEvent): ToolEntry {
  switch (event.type) {
    case "tool_call_started":
      return call;
    case "tool_call":
      return { ...call, arguments: event.arguments, outcome: event.inside ? "inside" : call.outcome };
    case "tool_result":
      return { ...call, outcome: outcomeOf(event), result: event.result, denial: event.denial, undo: event.undo };
  }
}

/** A call that the agent was told waits is over now. One whose result is still to come is told by that. */
function endWaiting(
  entries: readonly Entry[],
  event: Extract<RunEvent, { type: "confirmation_ended" }>,
): readonly Entry[] {
  const outcomes: Record<string, ToolEntry["outcome"]> = { done: "ok", denied: "denied", uncertain: "interrupted" };
  return entries.map((entry) =>
    entry.kind === "tool" && entry.callId === event.call_id && entry.outcome === "waiting"
      ? { ...entry, outcome: outcomes[event.state] ?? "failed", result: event.result || entry.result }
      : entry,
  );
}

function outcomeOf(result: { ok: boolean; denial: Denial | null; waits?: boolean }): ToolEntry["outcome"] {
  if (result.waits) return "waiting";
  if (result.denial) return "denied";
  return result.ok ? "ok" : "failed";
}

/** A call without a result when the run is over was cut off: whether it took effect isn't known here. */
function interruptCalls(entries: readonly Entry[]): readonly Entry[] {
  return entries.map((entry) =>
    entry.kind === "tool" && entry.outcome === "running" ? { ...entry, outcome: "interrupted" } : entry,
  );
}

function endEntry(run: ActiveRun, event: Extract<RunEvent, { type: "run_ended" }>): EndEntry {
  return {
    kind: "end",
    outcome: event.outcome,
    code: event.code,
    message: event.message,
    costMicrousd: event.cost_microusd,
    inputTokens: run.inputTokens,
    outputTokens: run.outputTokens,
    turns: event.turns,
    durationMs: event.duration_ms,
  };
}

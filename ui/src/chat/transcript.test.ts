import { describe, expect, it } from "vitest";
import type { RunEvent, StoredMessage, Undo, UndoState } from "../api/types";
import {
  addUserMessage,
  beginRun,
  changesOf,
  emptyTranscript,
  type Entry,
  fromStored,
  lastUserText,
  reduce,
  type Transcript,
  withoutLastUserMessage,
  withStandings,
} from "./transcript";

type Unnumbered = RunEvent extends infer Event ? (Event extends RunEvent ? Omit<Event, "seq"> : never) : never;

function numbered(events: Unnumbered[], from = 1): RunEvent[] {
  return events.map((event, index) => ({ ...event, seq: from + index }) as RunEvent);
}

function after(events: RunEvent[], start: Transcript = beginRun(addUserMessage(emptyTranscript, "hello"), "r")): Transcript {
  return events.reduce(reduce, start);
}

const STARTED: Unnumbered = { type: "run_started", run_id: "r", conversation_id: "c" };
const ENDED: Unnumbered = {
  type: "run_ended",
  outcome: "finished",
  code: null,
  message: null,
  cost_microusd: 30,
  turns: 2,
  duration_ms: 900,
};
const CALL = { call_id: "t1", tool: "addItem" };
const STORY: Unnumbered[] = [
  STARTED,
  { type: "state", state: "thinking" },
  { type: "text_delta", text: "I will " },
  { type: "text_delta", text: "add it." },
  { type: "tool_call_started", ...CALL },
  { type: "tool_call", ...CALL, arguments: { title: "Aurora" }, inside: false },
  { type: "tool_result", ...CALL, ok: true, result: "{}", denial: null, undo: null, waits: false },
  { type: "model_call", model: "m", input_tokens: 10, output_tokens: 4, cost_microusd: 20 },
  { type: "text_delta", text: "Done." },
  { type: "model_call", model: "m", input_tokens: 12, output_tokens: 3, cost_microusd: 10 },
  ENDED,
];

describe("reduce", () => {
  it("turns a run into messages, calls and a foot", () => {
    const { entries, run } = after(numbered(STORY));
    expect(run).toBeNull();
    expect(entries).toEqual([
      { kind: "user", text: "hello" },
      { kind: "assistant", text: "I will add it.", streaming: false },
      {
        kind: "tool",
        callId: "t1",
        tool: "addItem",
        arguments: { title: "Aurora" },
        outcome: "ok",
        result: "{}",
        denial: null,
        undo: null,
      },
      { kind: "assistant", text: "Done.", streaming: false },
      {
        kind: "end",
        outcome: "finished",
        code: null,
        message: null,
        costMicrousd: 30,
        inputTokens: 22,
        outputTokens: 7,
        turns: 2,
        durationMs: 900,
      },
    ]);
  });

  it("says how many go first, until the run begins", () => {
    const waiting = after(
      numbered([
        { type: "run_started", run_id: "r", conversation_id: "c" },
        { type: "queued", position: 3 },
        { type: "queued", position: 2 },
      ]),
    );
    expect(waiting.run).toMatchObject({ state: "queued", position: 2 });
    expect(waiting.entries.map((entry) => entry.kind)).toEqual(["user"]);
    const begun = after(numbered([{ type: "queued", position: 1 }, { type: "state", state: "starting" }]));
    expect(begun.run?.state).toBe("starting");
  });

  it("shows the same however often the beginning is told again", () => {
    const events = numbered(STORY);
    for (let cut = 0; cut <= events.length; cut += 1) {
      expect(after([...events.slice(0, cut), ...events])).toEqual(after(events));
    }
  });

  it("replaces what was already stored of the run it joins", () => {
    const stored: StoredMessage[] = [
      { role: "user", text: "first" },
      { role: "assistant", text: "answer" },
      { role: "user", text: "hello" },
      { role: "assistant", text: "I will" },
      { role: "tool", ...CALL, arguments: {}, ok: true, result: "{}", denial: null },
    ];
    const joined = after(numbered(STORY), beginRun(fromStored(stored), "r"));
    expect(joined.entries.slice(0, 2)).toEqual(fromStored(stored).entries.slice(0, 2));
    expect(joined.entries.slice(2)).toEqual(after(numbered(STORY)).entries);
  });

  it("keeps what is stored when the stream begins in the middle", () => {
    const stored = fromStored([
      { role: "user", text: "hello" },
      { role: "assistant", text: "I will" },
    ]);
    const joined = after(numbered([{ type: "text_delta", text: "more" }], 9), beginRun(stored, "r"));
    expect(joined.entries).toHaveLength(3);
  });

  it("finishes a call by its id, not by its place", () => {
    const other = { call_id: "t2", tool: "getItemByCoords" };
    const { entries } = after(
      numbered([
        STARTED,
        { type: "tool_call", ...CALL, arguments: 1, inside: false },
        { type: "tool_call", ...other, arguments: 2, inside: false },
        { type: "tool_result", ...CALL, ok: false, result: "taken", denial: null, undo: null, waits: false },
        { type: "tool_result", ...other, ok: false, result: "", denial: { code: "tool.write_off", message: "off" }, undo: null, waits: false },
      ]),
    );
    expect(entries.map((entry) => (entry.kind === "tool" ? [entry.callId, entry.outcome] : entry.kind))).toEqual([
      "user",
      ["t1", "failed"],
      ["t2", "denied"],
    ]);
  });

  it("shows a result whose call was never announced", () => {
    const { entries } = after(numbered([STARTED, { type: "tool_result", ...CALL, ok: true, result: "x", denial: null, undo: null, waits: false }]));
    expect(entries.at(-1)).toMatchObject({ kind: "tool", outcome: "ok", arguments: undefined });
  });

  it("says of a call inside the sandbox that nobody saw its result, live and later", () => {
    const { entries } = after(
      numbered([STARTED, { type: "tool_call", ...CALL, arguments: { command: "ls" }, inside: true }, { ...ENDED, outcome: "finished" } as Unnumbered]),
    );
    expect(entries.at(-2)).toMatchObject({ kind: "tool", outcome: "inside", result: "" });
    const stored = fromStored([{ role: "tool", ...CALL, arguments: { command: "ls" }, inside: true }]);
    expect(stored.entries[0]).toMatchObject({ kind: "tool", outcome: "inside", result: "", denial: null });
  });

  it("doesn't claim to know how a call ended that was cut off", () => {
    const { entries } = after(
      numbered([STARTED, { type: "tool_call", ...CALL, arguments: {}, inside: false }, { ...ENDED, outcome: "stopped" } as Unnumbered]),
    );
    expect(entries.at(-2)).toMatchObject({ kind: "tool", outcome: "interrupted" });
    expect(entries.at(-1)).toMatchObject({ kind: "end", outcome: "stopped" });
  });

  it("takes nothing after the end or without a run", () => {
    const done = after(numbered(STORY));
    expect(reduce(done, { seq: 99, type: "text_delta", text: "ghost" })).toBe(done);
    expect(reduce(emptyTranscript, { seq: 1, type: "text_delta", text: "ghost" })).toBe(emptyTranscript);
  });

  it("shares what didn't change, so that only the growing message is drawn anew", () => {
    const before = after(numbered(STORY.slice(0, 9)));
    const next = reduce(before, { seq: 50, type: "text_delta", text: "!" });
    expect(next.entries.slice(0, -1).every((entry, index) => entry === before.entries[index])).toBe(true);
    expect(next.entries.at(-1)).not.toBe(before.entries.at(-1));
  });

  it("shows a refusal where it happened", () => {
    const { entries } = after(
      numbered([
        STARTED,
        { type: "text_delta", text: "a" },
        { type: "denied", code: "egress.host", message: "no", wanted: "x:443" },
        { type: "text_delta", text: "b" },
      ]),
    );
    expect(entries.map((entry: Entry) => entry.kind)).toEqual(["user", "assistant", "denied", "assistant"]);
  });
});

describe("undo", () => {
  const way = (call: string, state: UndoState = "possible", run = "r"): Undo => ({ call, run, state });
  const done = (call_id: string, undo: Undo | null): Unnumbered => ({ type: "tool_result", call_id, tool: "addItem", ok: true, result: "{}", denial: null, undo, waits: false });
  const stored = (call_id: string, undo?: Undo): StoredMessage => ({ role: "tool", call_id, tool: "addItem", arguments: {}, ok: true, result: "{}", denial: null, ...(undo ? { undo } : {}) });
  const kinds = (transcript: Transcript) => transcript.entries.map((entry: Entry) => entry.kind);

  it("is offered once below an answer that changed something, before its foot", () => {
    const changed = after(numbered([STARTED, done("t1", way("c1")), done("t2", null), done("t3", way("c3")), { type: "text_delta", text: "Done." }, ENDED]));
    expect(kinds(changed)).toEqual(["user", "tool", "tool", "tool", "assistant", "changes", "end"]);
    expect(changesOf(changed.entries, "r")).toEqual({ undoable: 2, undone: 0 });
    expect(changesOf(changed.entries, "other")).toEqual({ undoable: 0, undone: 0 });
    const looked = after(numbered([STARTED, done("t1", null), ENDED]));
    expect(kinds(looked)).toEqual(["user", "tool", "end"]);
  });

  it("is offered again after a reload, run by run, and not twice", () => {
    const messages: StoredMessage[] = [
      { role: "user", text: "one" },
      stored("t1", way("c1", "undone", "r1")),
      { role: "assistant", text: "done" },
      { role: "user", text: "two" },
      stored("t2"),
      { role: "user", text: "three" },
      stored("t3", way("c3", "possible", "r3")),
    ];
    const restored = fromStored(messages);
    expect(kinds(restored)).toEqual(["user", "tool", "assistant", "changes", "user", "tool", "user", "tool", "changes"]);
    expect(changesOf(restored.entries, "r1")).toEqual({ undoable: 0, undone: 1 });
    const next = after(numbered([STARTED, done("t4", way("c4")), ENDED]), beginRun(addUserMessage(restored, "four"), "r"));
    expect(kinds(next).filter((kind) => kind === "changes")).toHaveLength(3);
  });

  it("follows how the changes stand and leaves everything else as it is", () => {
    const before = after(numbered([STARTED, done("t1", way("c1")), done("t2", way("c2")), ENDED]));
    const next = withStandings(before, [stored("t1", way("c1", "undone")), stored("t2", way("c2")), stored("t9", way("c9", "undone"))]);
    expect(changesOf(next.entries, "r")).toEqual({ undoable: 1, undone: 1 });
    expect(next.entries[2]).toBe(before.entries[2]);
    expect(kinds(next)).toEqual(kinds(before));
  });
});

describe("user messages", () => {
  it("can be taken back only while nothing follows them", () => {
    const asked = addUserMessage(emptyTranscript, "hello");
    expect(withoutLastUserMessage(asked).entries).toEqual([]);
    const answered = after(numbered(STORY));
    expect(withoutLastUserMessage(answered)).toBe(answered);
  });

  it("are found for another try", () => {
    expect(lastUserText(after(numbered(STORY)).entries)).toBe("hello");
    expect(lastUserText([])).toBeNull();
  });
});

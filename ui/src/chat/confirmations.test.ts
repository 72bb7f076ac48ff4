import { describe, expect, it } from "vitest";
import { parseRunEvent } from "../api/events";
import { exact, isFramed, isReadable, UNREAD_MS } from "./confirmations";
import { addUserMessage, beginRun, emptyTranscript, fromStored, reduce } from "./transcript";

describe("exact", () => {
  it("shows arguments as they are", () => {
    expect(exact({ coords: { path: [2] }, title: "Ça va? 日本 🌍" })).toBe(
      '{\n  "coords": {\n    "path": [\n      2\n    ]\n  },\n  "title": "Ça va? 日本 🌍"\n}',
    );
    expect(exact(undefined)).toBe("");
  });

  it("hides nothing", () => {
    expect(exact("a\u200bb\u202ec\u00a0d\u2028e\ue000")).toBe('"a\\u{200b}b\\u{202e}c\\u{a0}d\\u{2028}e\\u{e000}"');
  });
});

describe("the time to read", () => {
  it("begins when it is shown", () => {
    expect(isReadable(null, 10_000)).toBe(false);
    expect(isReadable(1_000, 1_000 + UNREAD_MS - 1)).toBe(false);
    expect(isReadable(1_000, 1_000 + UNREAD_MS)).toBe(true);
  });

  it("never comes in a frame", () => {
    const page = {};
    expect(isFramed({ self: page, top: page })).toBe(false);
    expect(isFramed({ self: page, top: {} })).toBe(true);
  });
});

describe("a call that waits", () => {
  const call = { call_id: "t1", tool: "deleteItem" };
  const waiting = [
    { seq: 1, type: "tool_call", ...call, arguments: {}, inside: false },
    { seq: 2, type: "confirmation", call_id: "t1", confirmation: { id: "c1" } },
    { seq: 3, type: "tool_result", ...call, ok: false, result: "It waits.", denial: null, waits: true },
  ];
  const after = (events: object[]) =>
    events
      .map((event) => parseRunEvent(JSON.stringify(event)))
      .reduce(
        (transcript, event) => (event ? reduce(transcript, event) : transcript),
        beginRun(addUserMessage(emptyTranscript, "delete it"), "r"),
      );

  it("is neither done nor failed", () => {
    expect(after(waiting).entries.at(-1)).toMatchObject({ kind: "tool", outcome: "waiting", result: "It waits." });
  });

  it("is over when the person has answered", () => {
    for (const [state, outcome] of [
      ["done", "ok"],
      ["denied", "denied"],
      ["failed", "failed"],
      ["uncertain", "interrupted"],
      ["something new", "failed"],
    ]) {
      const ended = { seq: 4, type: "confirmation_ended", id: "c1", call_id: "t1", state, result: "So it is." };
      expect(after([...waiting, ended]).entries.at(-1)).toMatchObject({ outcome, result: "So it is." });
    }
  });

  it("keeps the result that it has", () => {
    const done = { ...waiting[2], ok: true, result: "Deleted.", waits: false };
    const ended = { seq: 4, type: "confirmation_ended", id: "c1", call_id: "t1", state: "done", result: "x" };
    expect(after([...waiting.slice(0, 2), done, ended]).entries.at(-1)).toMatchObject({ outcome: "ok", result: "Deleted." });
  });

  it("is stored with what became of it behind it", () => {
    const stored = { role: "tool" as const, ...call, arguments: {}, ok: false, result: "It waits.", denial: null };
    const { entries } = fromStored([
      { ...stored, waits: true },
      { ...stored, call_id: "confirmed_1", ok: true, result: "Deleted." },
    ]);
    expect(entries.map((entry) => entry.kind === "tool" && entry.outcome)).toEqual(["waiting", "ok"]);
  });
});

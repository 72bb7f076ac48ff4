import { describe, expect, it } from "vitest";
import { isChangeOf, parseRunEvent, undoneIn } from "./events";

describe("parseRunEvent", () => {
  it("reads every event of the protocol as it is", () => {
    const events = [
      { seq: 1, type: "run_started", run_id: "r", conversation_id: "c" },
      { seq: 2, type: "state", state: "calling_tool" },
      { seq: 3, type: "text_delta", text: "hi" },
      { seq: 4, type: "tool_call_started", call_id: "t", tool: "addItem" },
      { seq: 5, type: "tool_call", call_id: "t", tool: "addItem", arguments: { title: "A" }, inside: false },
      { seq: 6, type: "tool_result", call_id: "t", tool: "addItem", ok: true, result: "{}", denial: null, waits: false, undo: { call: "c", run: "r", state: "possible" } },
      { seq: 7, type: "model_call", model: "m", input_tokens: 1, output_tokens: 2, cost_microusd: 3 },
      { seq: 8, type: "denied", code: "egress.host", message: "no", wanted: "x:443" },
      {
        seq: 9,
        type: "run_ended",
        outcome: "stopped",
        code: null,
        message: null,
        cost_microusd: 3,
        turns: 1,
        duration_ms: 5,
      },
      { seq: 10, type: "queued", position: 2 },
    ];
    for (const event of events) expect(parseRunEvent(JSON.stringify(event))).toEqual(event);
  });

  it("ignores what it doesn't know instead of failing", () => {
    for (const data of ["", "{", "null", "[]", "7", '{"type":"state"}', '{"seq":"1","type":"state"}', '{"seq":1,"type":"new"}']) {
      expect(parseRunEvent(data)).toBeNull();
    }
  });

  it("never takes a wrong type for a good outcome", () => {
    expect(parseRunEvent('{"seq":1,"type":"tool_result","call_id":"t","tool":"x","ok":"true"}')).toMatchObject({ ok: false });
    expect(parseRunEvent('{"seq":1,"type":"tool_call","call_id":"t","tool":"x","inside":1}')).toMatchObject({ inside: false });
    expect(parseRunEvent('{"seq":1,"type":"run_ended","outcome":"splendid"}')).toMatchObject({
      outcome: "failed",
      cost_microusd: 0,
    });
    expect(parseRunEvent('{"seq":1,"type":"text_delta","text":{"a":1}}')).toMatchObject({ text: '{"a":1}' });
    expect(parseRunEvent('{"seq":1,"type":"tool_result","denial":{"code":5}}')).toMatchObject({
      denial: { code: "5", message: "" },
    });
  });

  it("never offers to undo what it doesn't understand", () => {
    const undo = (value: string) => parseRunEvent(`{"seq":1,"type":"tool_result","undo":${value}}`);
    for (const bad of ["1", "null", '"c"', "[]", "{}", '{"call":"c"}', '{"call":1,"run":"r","state":"possible"}']) {
      expect(undo(bad)).toMatchObject({ undo: null });
    }
    expect(undo('{"call":"c","run":"r","state":"splendid"}')).toMatchObject({ undo: { state: "no_way_back" } });
  });
});

describe("undoneIn", () => {
  it("knows the conversation, and nothing else", () => {
    expect(undoneIn('{"type":"undo_changed","conversation":"c"}')).toBe("c");
    for (const data of ['{"type":"undo_changed"}', '{"type":"app_changed","conversation":"c"}', '{"type":"undo_changed","conversation":1}', ""]) {
      expect(undoneIn(data)).toBeNull();
    }
  });
});

describe("isChangeOf", () => {
  it("knows a change of this app, and that some were missed", () => {
    expect(isChangeOf("hexmap", '{"type":"app_changed","app":"hexmap"}')).toBe(true);
    expect(isChangeOf("hexmap", '{"type":"app_changed","app":null}')).toBe(true);
    for (const data of ['{"type":"other","app":"hexmap"}', '{"type":"app_changed","app":"mtg"}', '{"type":"app_changed"}', "", "{}"]) {
      expect(isChangeOf("hexmap", data)).toBe(false);
    }
  });
});

import { expect, it } from "vitest";
import { countChars, formatCost, formatDuration, formatJson, formatTokens, toolName } from "./format";

it("writes money without pretending to a precision nobody needs", () => {
  expect([0, 1, 999, 1_000, 6_960, 99_999, 100_000, 12_345_678].map(formatCost)).toEqual([
    "$0", "< $0.001", "< $0.001", "$0.001", "$0.007", "$0.100", "$0.10", "$12.35",
  ]);
});

it("writes tokens and durations", () => {
  expect([0, 9_999, 12_345].map(formatTokens)).toEqual(["0", "9,999", "12.3k"]);
  expect([0, 999.4, 1_000, 59_900, 61_000].map(formatDuration)).toEqual(["0 ms", "999 ms", "1.0 s", "59.9 s", "1 min 1 s"]);
});

it("counts characters as the gateway does", () => {
  expect(countChars("aé🌍")).toBe(3);
});

it("shows a tool by its own name", () => {
  expect(["addItem", "mcp__hexmap__addItem", "mcp__my_app__do__it"].map(toolName)).toEqual(["addItem", "addItem", "do__it"]);
});

it("indents JSON, leaves other text alone and bounds both", () => {
  expect(formatJson({ a: 1 })).toBe('{\n  "a": 1\n}');
  expect(formatJson('{"a":1}')).toBe('{\n  "a": 1\n}');
  expect(formatJson("not {json")).toBe("not {json");
  expect(formatJson("x".repeat(50_000))).toMatch(/^x{20000}\n… 30,000 more characters$/);
});

import assert from "node:assert/strict";
import test from "node:test";
import { SseParser } from "../dist/sse.js";
import { SSE_CHARS_MAX } from "../dist/sse.js";

const bytes = (text) => new TextEncoder().encode(text);
const read = (pieces) => {
  const parser = new SseParser();
  return pieces.flatMap((piece) => parser.push(piece));
};

const lines = [
  ": a comment, then an event of two lines with letters that take four, three and two bytes",
  "id: 1",
  "event: tile",
  'data: {"text":"\u{1F41D} – ü',
  'data:"}',
  "",
  "data",
  "",
  "id: 7",
  "",
  "data: after an id alone",
  "unknown: field",
  "retry: 250",
  "",
  "id: has\0zero",
  "data:  two blanks",
  "",
  "event: dropped without data",
  "",
  "data: plain",
  "",
  "data: never finished",
];
const expected = [
  { event: "tile", data: '{"text":"\u{1F41D} – ü\n"}', id: "1" },
  { event: "message", data: "", id: "1" },
  { event: "message", data: "after an id alone", id: "7" },
  { event: "message", data: " two blanks", id: "7" },
  { event: "message", data: "plain", id: "7" },
];

for (const [name, end] of [["LF", "\n"], ["CR", "\r"], ["CRLF", "\r\n"]]) {
  for (const bom of ["", "\uFEFF"]) {
    test(`every split of a stream with ${name}${bom && " and a byte order mark"} has the same events`, () => {
      const all = bytes(bom + lines.join(end));
      assert.deepEqual(read([all]), expected, "whole");
      for (let cut = 0; cut <= all.length; cut += 1) {
        assert.deepEqual(read([all.subarray(0, cut), all.subarray(cut)]), expected, `cut at ${cut}`);
      }
      assert.deepEqual(read([...all].map((byte) => Uint8Array.of(byte))), expected, "byte by byte");
      for (let cut = 0; cut + 3 <= all.length; cut += 1) {
        assert.deepEqual(read([all.subarray(0, cut), all.subarray(cut, cut + 1), all.subarray(cut + 1, cut + 3), all.subarray(cut + 3)]), expected, `cuts from ${cut}`);
      }
    });
  }
}

test("line ends of all kinds may be mixed", () => {
  assert.deepEqual(read([bytes("data: a\r\ndata: b\rdata: c\n\r\n")]), [{ event: "message", data: "a\nb\nc", id: "" }]);
});

test("the time to wait is known", () => {
  const parser = new SseParser();
  parser.push(bytes("retry: 1500\n\nretry: soon\n\n"));
  assert.equal(parser.retryMs, 1500);
});

test("a line and an event have a bound", () => {
  const chunk = new Uint8Array(1024 * 1024).fill(120);
  const feed = (begin, between) => {
    const parser = new SseParser();
    parser.push(bytes(begin));
    for (let sent = 0; sent <= SSE_CHARS_MAX; sent += chunk.length) {
      parser.push(chunk);
      if (between) parser.push(bytes(between));
    }
  };
  assert.throws(() => feed("data: "), /longer than any event/);
  assert.throws(() => feed("data: ", "\ndata: "), /longer than any event/);
});

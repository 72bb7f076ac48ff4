import { describe, expect, it } from "vitest";
import type { ExportPage } from "../api/types";
import { DOCUMENT_BYTES_MAX, fileNameOf, readDocument, writeDocument } from "./document";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const page = (revision: number, tiles: unknown[], next: string | null = null): ExportPage => ({
  format: "hexward.map",
  version: 1,
  revision,
  tiles,
  next,
});

describe("readDocument", () => {
  it("says what a map is before anything is sent", () => {
    const text = JSON.stringify({ format: "hexward.map", version: 1, tiles: [{ path: [1], title: "a" }, { path: [], title: "Trip" }] });
    expect(readDocument(bytes(text))).toEqual({ text, tiles: 2, title: "Trip" });
    expect(readDocument(bytes(`\uFEFF${text}`))).toMatchObject({ tiles: 2 });
  });

  it.each([
    ["nothing", new Uint8Array(), /empty/],
    ["too much", new Uint8Array(DOCUMENT_BYTES_MAX + 1), /24 MiB/],
    ["UTF-16", new Uint8Array([0xff, 0xfe, 0x7b, 0x00]), /UTF-8/],
    ["Latin-1", new Uint8Array([0x22, 0xe9, 0x22]), /UTF-8/],
    ["a cut file", bytes('{"format":"hexward.map","tiles":[{"pa'), /no JSON/],
    ["another file", bytes('{"cards":[]}'), /no map/],
    ["a number", bytes("3"), /no map/],
    ["null", bytes("null"), /no map/],
    ["tiles of another kind", bytes('{"format":"hexward.map","tiles":{}}'), /no map/],
  ])("refuses %s with a reason", (_, given, reason) => {
    const read = readDocument(given);
    expect("problem" in read ? read.problem : "").toMatch(reason);
  });
});

describe("writeDocument", () => {
  it("puts pages together into what can be read", async () => {
    const pages = [page(4, [{ path: [], title: "r" }], "1"), page(4, [{ path: [1], title: "a" }])];
    const asked: (string | null)[] = [];
    const text = await writeDocument((after) => {
      asked.push(after);
      return Promise.resolve(pages[asked.length - 1] ?? page(0, []));
    });
    expect(asked).toEqual([null, "1"]);
    expect(JSON.parse(text)).toEqual({
      format: "hexward.map",
      version: 1,
      tiles: [
        { path: [], title: "r" },
        { path: [1], title: "a" },
      ],
    });
  });

  it("begins anew when the map changed between two pages, and gives up when it never rests", async () => {
    const pages = [page(1, [], "1"), page(2, []), page(2, [], "1"), page(2, [{ path: [] }])];
    let asked = 0;
    expect(JSON.parse(await writeDocument(() => Promise.resolve(pages[asked++] ?? page(0, [])))).tiles).toHaveLength(1);
    let revision = 0;
    await expect(writeDocument((after) => Promise.resolve(page(revision++, [], after === null ? "1" : null)))).rejects.toThrow(/too often/);
  });
});

it("names files plainly", () => {
  expect(fileNameOf("My map / Übersicht: 2026!")).toBe("my-map-ubersicht-2026.hexmap.json");
  expect(fileNameOf("../../etc/passwd")).toBe("etc-passwd.hexmap.json");
  expect(fileNameOf("🗺️")).toBe("map.hexmap.json");
});

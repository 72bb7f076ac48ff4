import { describe, expect, it } from "vitest";
import { costLabel, formatManaValue, piecesOf, symbolOf } from "./mana";

const shown = (text: string) => piecesOf(text).map((piece) => ("symbol" in piece ? `<${piece.symbol.label}>` : piece.text));

describe("piecesOf", () => {
  it("cuts symbols out of a text", () => {
    expect(shown("{T}: Add {W} or {U}.")).toEqual(["<tap>", ": Add ", "<white>", " or ", "<blue>", "."]);
    expect(shown("Flying")).toEqual(["Flying"]);
    expect(shown("")).toEqual([]);
  });

  it("loses nothing of what is no symbol", () => {
    for (const text of ["{", "{}", "{x", "a}b", "{two words}", `{${"9".repeat(40)}}`, "{{"]) {
      expect(piecesOf(text)).toEqual([{ text }]);
    }
    expect(shown("{{R}}")).toEqual(["{", "<red>", "}"]);
  });
});

describe("symbolOf", () => {
  it("says what a symbol is paid with, and has its colours", () => {
    const read = (code: string) => [symbolOf(code).label, symbolOf(code).colors.join("")];
    expect(read("R")).toEqual(["red", "R"]);
    expect(read("12")).toEqual(["12 generic", ""]);
    expect(read("R/G")).toEqual(["red or green", "RG"]);
    expect(read("2/W")).toEqual(["2 generic or white", "W"]);
    expect(read("W/P")).toEqual(["white or 2 life", "W"]);
    expect(read("G/U/P")).toEqual(["green or blue or 2 life", "GU"]);
    expect(read("½")).toEqual(["half generic", ""]);
    expect(read("X")).toEqual(["X", ""]);
    expect(read("/")).toEqual(["/", ""]);
    expect(symbolOf("toString").label).toBe("toString");
  });
});

describe("costLabel", () => {
  it("says a cost in words", () => {
    expect(costLabel("{2}{R}{R}")).toBe("2 generic, 2 red");
    expect(costLabel("{X}{G/W}")).toBe("X, 1 green or white");
    expect(costLabel("{0}")).toBe("0 generic");
    expect(costLabel("{X}{X}{U}")).toBe("2 X, 1 blue");
    expect(costLabel("")).toBe("");
  });

  it("shows halves as halves", () => {
    expect([0, 3, 0.5, 1_000_000].map(formatManaValue)).toEqual(["0", "3", "0.5", "1000000"]);
  });
});

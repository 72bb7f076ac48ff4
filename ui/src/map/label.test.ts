import { expect, it } from "vitest";
import { labelSize, wrapTitle } from "./label";

it("breaks at words, cuts long ones and ends what doesn't fit", () => {
  expect(wrapTitle("Aurora", 12, 3)).toEqual(["Aurora"]);
  expect(wrapTitle("  Launch   date  ", 12, 3)).toEqual(["Launch date"]);
  expect(wrapTitle("Ten thousand users", 12, 3)).toEqual(["Ten thousand", "users"]);
  expect(wrapTitle("Donaudampfschiffahrt", 12, 3)).toEqual(["Donaudampfsc", "hiffahrt"]);
  expect(wrapTitle("one two three four five six", 5, 3)).toEqual(["one", "two", "thre…"]);
});

it("never gives more lines or longer ones than fit", () => {
  for (const title of ["", "a ".repeat(200), "x".repeat(500), "🌍".repeat(50), "word ".repeat(9)]) {
    const lines = wrapTitle(title, 12, 3);
    expect(lines.length).toBeLessThanOrEqual(3);
    for (const line of lines) expect(Array.from(line).length).toBeLessThanOrEqual(12);
  }
});

it("sets long lines smaller", () => {
  expect(labelSize(["Aurora"])).toBe(labelSize([]));
  expect(labelSize(["Announcements"])).toBeLessThan(labelSize(["Aurora"]));
});

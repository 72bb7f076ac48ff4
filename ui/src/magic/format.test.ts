import { expect, it } from "vitest";
import { ageOf, countOf, formatName } from "./format";

it("says numbers as people do", () => {
  expect([-1, 0, 1, 2, 1_500].map(ageOf)).toEqual(["today", "today", "yesterday", "2 days ago", "1,500 days ago"]);
  expect([countOf(0, "card"), countOf(1, "card"), countOf(35_033, "card"), countOf(2, "entry", "entries")]).toEqual(["0 cards", "1 card", "35,033 cards", "2 entries"]);
});

it("writes formats as people do, also those it never heard of", () => {
  expect(["modern", "standardbrawl", "newone", ""].map(formatName)).toEqual(["Modern", "Standard Brawl", "Newone", ""]);
});

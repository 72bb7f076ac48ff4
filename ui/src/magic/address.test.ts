import { describe, expect, it } from "vitest";
import { cardArguments, emptySearch, pathOf, ruleArguments, type View, viewAt, withRuleNumbers } from "./address";

describe("the address of a look-up page", () => {
  it("brings back what it was made of", () => {
    const views: View[] = [
      { at: "deck" },
      { at: "card", name: "Kindlebright // Quenchfall" },
      { at: "card", name: "100% Æther?#/x" },
      { at: "rules", search: { query: "702.9a", page: 3 } },
      { at: "cards", search: emptySearch },
      {
        at: "cards",
        search: { query: "a & b=c #", colors: ["U", "R"], colorMatch: "at_most", type: "Legendary", manaMin: "0", manaMax: "2.5", format: "modern", keyword: "First strike", page: 7 },
      },
    ];
    for (const view of views) expect(viewAt(pathOf(view))).toEqual(view);
  });

  it("shows the search for cards where it says nothing that is known", () => {
    for (const path of ["/magic", "/magic/", "/magic/nowhere", "/magic?x=y", "/magic/card/", "/magic/card/%E0%A4%A", "/magic/cards?page=-1&min=x&colors=zz&match=never"]) {
      expect(viewAt(path)).toEqual({ at: "cards", search: emptySearch });
    }
  });
});

describe("what the tools are asked", () => {
  it("leaves out what nobody filled in", () => {
    expect(cardArguments(emptySearch)).toEqual({ page: 1 });
    expect(cardArguments({ ...emptySearch, colorMatch: "exactly", query: "fox" })).toEqual({ query: "fox", page: 1 });
    expect(cardArguments({ ...emptySearch, colors: ["R"], manaMin: "0", page: 2 })).toEqual({
      filters: { colors: ["R"], colorMatch: "including", manaValueMin: "0" },
      page: 2,
    });
  });

  it("knows a rule's number from a keyword", () => {
    for (const number of ["7", "702", "702.9", "702.9a", " 702.9A. "]) {
      expect(ruleArguments({ query: number, page: 1 })).toEqual({ ruleNumber: number.trim(), page: 1 });
    }
    for (const word of ["flying", "2/2", "20 life"]) {
      expect(ruleArguments({ query: word, page: 2 })).toEqual({ keyword: word, page: 2 });
    }
    expect(ruleArguments({ query: "  ", page: 1 })).toBeNull();
  });
});

describe("withRuleNumbers", () => {
  it("finds numbers of rules and no other numbers", () => {
    expect(withRuleNumbers("See rule 310.1a. Deals 2 damage.")).toEqual([{ text: "See rule " }, { number: "310.1a" }, { text: ". Deals 2 damage." }]);
    expect(withRuleNumbers("Rules 1000 or rule 50%")).toEqual([{ text: "Rules 1000 or rule 50%" }]);
    expect(withRuleNumbers("")).toEqual([]);
  });
});

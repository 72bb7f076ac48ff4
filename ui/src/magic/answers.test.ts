import { describe, expect, it } from "vitest";
import { advice, analysis, cardDetails, cardList, dataStatus, odds, parsedDeck, ruleList, verdictIn, verdicts } from "./answers";

const readers = { advice, analysis, cardDetails, cardList, dataStatus, odds, parsedDeck, ruleList, verdictIn, verdicts };

describe("what the tools answer", () => {
  it("is read as it is", () => {
    const list = cardList({ total: 11, page: 2, pages: 2, cards: [{ name: "A // B", faces: [{ name: "A", manaCost: "{R}" }] }], similar_names: [] });
    expect([list.total, list.pages, list.cards[0]?.faces[0]?.manaCost]).toEqual([11, 2, "{R}"]);
    const card = cardDetails({ name: "A", manaValue: 0.5, legalities: { legal_or_not_in: { modern: "legal", legacy: "banned" }, everywhere_else: "not_legal" }, rulings: [{ date: "2026-01-02", text: "So." }] });
    expect(card.legalities).toEqual([{ format: "modern", word: "legal" }, { format: "legacy", word: "banned" }]);
    expect([card.manaValue, card.rulings]).toEqual([0.5, [{ date: "2026-01-02", text: "So." }]]);
    const rules = ruleList({ total: 1, page: 1, pages: 1, effective: "May", rules: [{ chapter: "702", text: "Keywords" }, { term: "Flying", text: "A" }, { rule: "702.9", text: "Flying" }] });
    expect(rules.rules.map(({ kind, key }) => [kind, key])).toEqual([["chapter", "702"], ["term", "Flying"], ["rule", "702.9"]]);
    const told = analysis({ cards: { deck: 60 }, curve: { "0": 0, "1": 4, "7+": 1 }, types: { Land: 24, Instant: 30 }, draws: { on_the_play_percent: { "2_lands_by_turn_2": 90.1 } } });
    expect(told.curve.map(({ name }) => name)).toEqual(["0", "1", "7+"]);
    expect(told.types[0]).toEqual({ name: "Instant", count: 30 });
    expect(told.landDrops).toEqual([{ name: "2 lands by turn 2", count: 90.1 }]);
    expect(analysis({ draws: "too few cards to draw a hand from" }).landsInHand).toEqual([]);
    expect(dataStatus({ imported: [{ kind: "cards", source: "scryfall", count: 3, as_of: "2026-11-01", age_days: 26 }] }).imported[0]).toEqual({ kind: "cards", source: "scryfall", count: 3, asOf: "2026-11-01", ageDays: 26 });
  });

  it("never is taken for legal when it does not say so", () => {
    expect(verdictIn({ format: "modern", verdict: "legal", problems: [] }).verdict).toBe("legal");
    for (const word of ["Legal", true, null, undefined, "perhaps", ["legal"]]) {
      expect(verdictIn({ format: "modern", verdict: word }).verdict).toBe("unknown");
    }
    expect(verdicts({ formats: [{ format: "modern", verdict: "illegal", problems: ["x"], problem_count: 7 }] })).toEqual([
      { format: "modern", verdict: "illegal", problems: ["x"], problemCount: 7 },
    ]);
  });

  it("is empty where it is of another kind, and nothing breaks", () => {
    for (const answer of [null, undefined, 7, "x", [], { cards: 3, rules: {}, curve: [1], formats: "x", sections: [null, 5], rulings: [1], draws: 5, legalities: "no" }]) {
      for (const [name, read] of Object.entries(readers)) expect(() => read(answer), name).not.toThrow();
    }
    expect(cardList({ total: "12", cards: [null, { name: 5, colors: ["R", 5] }] })).toMatchObject({ total: 0, cards: [{ name: "" }, { name: "", colors: ["R"] }] });
  });
});

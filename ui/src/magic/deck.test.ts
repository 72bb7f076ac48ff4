import { describe, expect, it } from "vitest";
import { deckDraft, deckFault, deckLine, withCard } from "./deck";

const deck = (sections: [string, string[]][]) => ({
  name: "",
  sections: sections.map(([section, lines]) => ({ section, lines, cards: lines.length })),
  problems: [],
  notes: [],
});

describe("deckDraft", () => {
  it("is a message with the deck in it, without what is only thought about", () => {
    const draft = deckDraft(deck([["commander", ["1 Ione"]], ["deck", ["4 Burrowkit", "2 Burowkit (unknown)"]], ["maybeboard", ["1 Gravewort"]]]), "What is weak here?", 2_000);
    expect(draft).toEqual({ text: "What is weak here?\n\nCommander\n1 Ione\n\nDeck\n4 Burrowkit\n2 Burowkit" });
  });

  it("says how long it would be rather than cutting a deck", () => {
    const long = deck([["deck", Array.from({ length: 100 }, (_, at) => `1 A card with a long name ${at}`)]]);
    const draft = deckDraft(long, "Q", 2_000);
    expect(draft).toHaveProperty("tooLong");
    const chars = (draft as { tooLong: number }).tooLong;
    expect(chars).toBeGreaterThan(2_000);
    expect(deckDraft(long, "Q", chars)).toHaveProperty("text");
    expect(deckDraft(long, "Q", chars - 1)).toEqual({ tooLong: chars });
  });
});

describe("a list that is being written", () => {
  it("is refused before it travels where nothing could come of it", () => {
    expect(deckFault(" \n ")).toMatch(/Paste a deck/);
    expect(deckFault("1 A\n".repeat(1_000))).toBeNull();
    expect(deckFault("1 A\n".repeat(1_001))).toMatch(/1,000 lines; this one has 1,001/);
    expect(deckFault("🦊".repeat(40_000))).toBeNull();
    expect(deckFault("🦊".repeat(40_001))).toMatch(/40,000 characters; this one has 40,001/);
  });

  it("takes one card more", () => {
    expect(withCard("", "Burrowkit")).toBe("1 Burrowkit\n");
    expect(withCard("Deck\n4 Gravewort\n\n", "Burrowkit")).toBe("Deck\n4 Gravewort\n1 Burrowkit\n");
    expect(withCard("Deck\n3 burrowkit\n4 Gravewort", "Burrowkit")).toBe("Deck\n4 Burrowkit\n4 Gravewort\n");
    expect(withCard("Burrowkit", "Burrowkit")).toBe("Burrowkit\n1 Burrowkit\n");
  });

  it("reads the app's lines", () => {
    expect(deckLine("4 Burrowkit")).toEqual({ count: 4, name: "Burrowkit", known: true });
    expect(deckLine("12 Burowkit (unknown)")).toEqual({ count: 12, name: "Burowkit", known: false });
    expect(deckLine("Sideboard")).toEqual({ count: 1, name: "Sideboard", known: false });
  });
});

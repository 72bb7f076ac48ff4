import type { ParsedDeck } from "./answers";
import { countChars } from "../chat/format";

/** The bounds of the app's own reader, told before a list travels. */
export const DECK_CHARS_MAX = 40_000;
export const DECK_LINES_MAX = 1_000;

/** Why a list can't be read at all; null when it can be tried. */
export function deckFault(text: string): string | null {
  if (text.trim() === "") return "Paste a deck list first: one card a line, like “4 Lightning Bolt”.";
  const lines = text.trimEnd().split("\n").length;
  if (lines > DECK_LINES_MAX) return `A list may have ${grouped(DECK_LINES_MAX)} lines; this one has ${grouped(lines)}.`;
  const chars = countChars(text);
  if (chars > DECK_CHARS_MAX) return `A list may have ${grouped(DECK_CHARS_MAX)} characters; this one has ${grouped(chars)}.`;
  return null;
}

export type Draft = { text: string } | { tooLong: number };

/** As a list has it on a line of its own. */
export function sectionTitle(section: string): string {
  return section.charAt(0).toUpperCase() + section.slice(1);
}

/**
 * A message about a deck, for the person to finish. Of what was read only counts and names are told: sets and numbers of printings
 * would take a third of the characters. Where even that is longer than a message may be, how long it is.
 */
export function deckDraft(deck: ParsedDeck, question: string, charsMax: number): Draft {
  const told = deck.sections.filter(({ section }) => section !== "maybeboard");
  const list = told.map(({ section, lines }) => [sectionTitle(section), ...lines.map(withoutMark)].join("\n"));
  const text = [question, ...list].join("\n\n");
  const chars = countChars(text);
  return chars <= charsMax ? { text } : { tooLong: chars };
}

/** The app marks names that it does not know; the person did not write that. */
function withoutMark(line: string): string {
  return line.replace(/ \(unknown\)$/, "");
}

/** A line as the app tells it: `4 Burrowkit`, `2 Burowkit (unknown)`. */
export function deckLine(line: string): { count: number; name: string; known: boolean } {
  const match = /^(\d+) (.*?)( \(unknown\))?$/.exec(line);
  if (!match) return { count: 1, name: line, known: false };
  return { count: Number(match[1]), name: match[2] ?? "", known: match[3] === undefined };
}

/** One card more in the list that is being written: below what is there, or one to a line that has it already. */
export function withCard(text: string, name: string): string {
  const lines = text.trimEnd() === "" ? [] : text.trimEnd().split("\n");
  const at = lines.findIndex((line) => deckLine(line.trim()).name.toLowerCase() === name.toLowerCase() && /^\d/.test(line.trim()));
  if (at < 0) return [...lines, `1 ${name}`].join("\n") + "\n";
  return lines.map((line, place) => (place === at ? `${deckLine(line.trim()).count + 1} ${name}` : line)).join("\n") + "\n";
}

function grouped(count: number): string {
  return count.toLocaleString("en-US");
}

/** Costs and rules text hold symbols in braces: `{2}{R/G}`. This is how they are cut out, drawn and read aloud. */

export interface ManaSymbol {
  /** What stands in the braces. */
  code: string;
  /** What is written on it. */
  face: string;
  /** Up to two colours that it is drawn in. */
  colors: string[];
  /** As it is said. */
  label: string;
}

export type Piece = { text: string } | { symbol: ManaSymbol };

const COLORS: ReadonlyMap<string, string> = new Map([
  ["W", "white"],
  ["U", "blue"],
  ["B", "black"],
  ["R", "red"],
  ["G", "green"],
  ["C", "colourless"],
]);
const PHYREXIAN = "P";
const WORDS: ReadonlyMap<string, string> = new Map([
  ["S", "snow"],
  ["T", "tap"],
  ["Q", "untap"],
  ["E", "energy"],
  ["PW", "planeswalker"],
  ["CHAOS", "chaos"],
  ["½", "half generic"],
  ["∞", "infinite"],
]);
const FACES: ReadonlyMap<string, string> = new Map([
  ["T", "↷"],
  ["Q", "↶"],
]);
/** Longer ones are no symbols. */
const SYMBOL = /\{([^{}\s]{1,10})\}/g;

export function symbolOf(code: string): ManaSymbol {
  const parts = code.split("/").filter((part) => part !== "");
  const colors = parts.filter((part) => COLORS.has(part)).slice(0, 2);
  return { code, face: FACES.get(code) ?? code, colors, label: labelOf(code, parts) };
}

function labelOf(code: string, parts: readonly string[]): string {
  // Phyrexian mana is paid with mana or with life.
  const life = parts.length > 1 && parts.includes(PHYREXIAN);
  const ways = parts.filter((part) => !life || part !== PHYREXIAN).map(wordOf);
  if (life) ways.push("2 life");
  return ways.length === 0 ? code : ways.join(" or ");
}

function wordOf(part: string): string {
  return COLORS.get(part) ?? WORDS.get(part) ?? (/^\d+$/.test(part) ? `${part} generic` : part);
}

/** A colour's name by its letter. */
export function colorName(letter: string): string {
  return COLORS.get(letter) ?? letter;
}

/** A text in its pieces, in order; nothing of it is lost. */
export function piecesOf(text: string): Piece[] {
  const pieces: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(SYMBOL)) {
    if (match.index > from) pieces.push({ text: text.slice(from, match.index) });
    pieces.push({ symbol: symbolOf(match[1] ?? "") });
    from = match.index + match[0].length;
  }
  if (from < text.length) pieces.push({ text: text.slice(from) });
  return pieces;
}

/** A cost as it is said: `{2}{R}{R}` is "2 generic, 2 red". */
export function costLabel(cost: string): string {
  const counts = new Map<string, number>();
  for (const piece of piecesOf(cost)) {
    const word = "symbol" in piece ? piece.symbol.label : piece.text.trim();
    if (word !== "") counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  // What has a number of its own is not counted again.
  return [...counts].map(([word, count]) => (/^(\d|X$)/.test(word) && count === 1 ? word : `${count} ${word}`)).join(", ");
}

/** A mana value; there are halves. */
export function formatManaValue(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}

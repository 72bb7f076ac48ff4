/** Of the tile's radius: how wide a label may be, and how high its letters at most. */
const WIDTH = 1.52;
const SIZE_MAX = 0.215;
/** Of the letters' height: how wide the widest common fonts set a semibold letter on average. */
const CHAR_WIDTH = 0.66;

/**
 * Breaks a title into lines that fit a tile. Words that are longer than a line are cut; what doesn't fit ends in an
 * ellipsis. Widths are counted in characters: SVG text has no line breaking of its own.
 */
export function wrapTitle(title: string, lineCharsMax: number, linesMax: number): string[] {
  const lines: string[] = [];
  for (const word of title.trim().split(/\s+/).flatMap((word) => pieces(word, lineCharsMax))) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= lineCharsMax) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else {
      lines.push(word);
    }
  }
  if (lines.length <= linesMax) return lines;
  const kept = lines.slice(0, linesMax);
  const last = kept.at(-1) ?? "";
  kept[kept.length - 1] = `${last.slice(0, lineCharsMax - 1).trimEnd()}…`;
  return kept;
}

/** The largest share of a line's height in the tile's radius at which its longest line fits between the tile's sides. */
export function labelSize(lines: readonly string[]): number {
  const longest = Math.max(1, ...lines.map((line) => line.length));
  return Math.min(SIZE_MAX, WIDTH / (longest * CHAR_WIDTH));
}

function pieces(word: string, chars: number): string[] {
  const letters = Array.from(word);
  const parts: string[] = [];
  for (let start = 0; start < letters.length; start += chars) {
    parts.push(letters.slice(start, start + chars).join(""));
  }
  return parts;
}

/** When something happened, in whole days, as people say it. */
export function ageOf(days: number): string {
  if (days <= 0) return "today";
  return days === 1 ? "yesterday" : `${days.toLocaleString("en-US")} days ago`;
}

/** `1 card`, `1,234 cards`. */
export function countOf(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? one : many}`;
}

const FORMATS: ReadonlyMap<string, string> = new Map([
  ["standardbrawl", "Standard Brawl"],
  ["paupercommander", "Pauper Commander"],
  ["oldschool", "Old School"],
  ["predh", "PreDH"],
]);

/** A format's name as people write it. */
export function formatName(format: string): string {
  return FORMATS.get(format) ?? format.charAt(0).toUpperCase() + format.slice(1);
}

/** The look-up pages have addresses, so that a search can be sent to somebody and the browser's "back" works. */

export type View =
  | { at: "cards"; search: CardSearch }
  | { at: "card"; name: string }
  | { at: "rules"; search: RuleSearch }
  | { at: "deck" };

export interface CardSearch {
  query: string;
  /** Letters of colours, `C` for colourless. */
  colors: string[];
  colorMatch: "including" | "exactly" | "at_most";
  type: string;
  manaMin: string;
  manaMax: string;
  format: string;
  keyword: string;
  page: number;
}

export interface RuleSearch {
  /** A number, a keyword or words. */
  query: string;
  page: number;
}

export const LETTERS = ["W", "U", "B", "R", "G", "C"] as const;
export const emptySearch: CardSearch = {
  query: "",
  colors: [],
  colorMatch: "including",
  type: "",
  manaMin: "",
  manaMax: "",
  format: "",
  keyword: "",
  page: 1,
};
const PAGE_MAX = 10_000;

/** What a path like `/magic/cards?q=fox` shows; the search for cards where it says nothing that is known. */
export function viewAt(path: string): View {
  const [place = "", query = ""] = splitOnce(path, "?");
  const [, , at = "", rest = ""] = place.split("/", 4);
  const given = new URLSearchParams(query);
  if (at === "card" && decoded(rest) !== "") return { at, name: decoded(rest) };
  if (at === "rules") return { at, search: { query: given.get("q") ?? "", page: pageOf(given) } };
  if (at === "deck") return { at };
  return { at: "cards", search: cardSearchOf(given) };
}

export function pathOf(view: View): string {
  switch (view.at) {
    case "card":
      return `/magic/card/${encodeURIComponent(view.name)}`;
    case "deck":
      return "/magic/deck";
    case "rules":
      return `/magic/rules${queryOf({ q: view.search.query, page: pageText(view.search.page) })}`;
    case "cards": {
      const { query, colors, colorMatch, type, manaMin, manaMax, format, keyword, page } = view.search;
      const match = colors.length > 0 && colorMatch !== "including" ? colorMatch : "";
      const given = { q: query, colors: colors.join(""), match, type, min: manaMin, max: manaMax, format, keyword, page: pageText(page) };
      return `/magic/cards${queryOf(given)}`;
    }
  }
}

/** The arguments of the tool that finds cards. */
export function cardArguments(search: CardSearch): Record<string, unknown> {
  const filters = withoutEmpty({
    colors: search.colors.length > 0 ? search.colors : "",
    colorMatch: search.colors.length > 0 ? search.colorMatch : "",
    type: search.type,
    manaValueMin: search.manaMin,
    manaValueMax: search.manaMax,
    format: search.format,
    keyword: search.keyword,
  });
  return withoutEmpty({ query: search.query, filters, page: search.page });
}

/** The arguments of the tool that looks up rules; none where nothing is asked. */
export function ruleArguments(search: RuleSearch): Record<string, unknown> | null {
  const query = search.query.trim();
  if (query === "") return null;
  return /^\d[\d.]*[a-z]?[.)]?$/i.test(query)
    ? { ruleNumber: query, page: search.page }
    : { keyword: query, page: search.page };
}

/** Text with the numbers of rules in it, to be made links of. */
export function withRuleNumbers(text: string): ({ text: string } | { number: string })[] {
  const parts: ({ text: string } | { number: string })[] = [];
  let from = 0;
  for (const match of text.matchAll(/\b(?:rules?|section) (\d{1,3}(?:\.\d{1,3}[a-z]?)?)(?![\d%])/gi)) {
    const number = match[1] ?? "";
    const at = match.index + match[0].length - number.length;
    parts.push({ text: text.slice(from, at) }, { number });
    from = at + number.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from) });
  return parts;
}

function cardSearchOf(given: URLSearchParams): CardSearch {
  const text = (name: string): string => (given.get(name) ?? "").slice(0, 100);
  const asked = text("colors").toUpperCase();
  const match = given.get("match");
  return {
    query: text("q"),
    colors: LETTERS.filter((letter) => asked.includes(letter)),
    colorMatch: match === "exactly" || match === "at_most" ? match : "including",
    type: text("type"),
    manaMin: manaText(text("min")),
    manaMax: manaText(text("max")),
    format: text("format"),
    keyword: text("keyword"),
    page: pageOf(given),
  };
}

function manaText(text: string): string {
  return /^\d{1,7}(\.\d)?$/.test(text) ? text : "";
}

function pageOf(given: URLSearchParams): number {
  const page = Number(given.get("page") ?? 1);
  return Number.isInteger(page) && page >= 1 && page <= PAGE_MAX ? page : 1;
}

function pageText(page: number): string {
  return page > 1 ? String(page) : "";
}

function queryOf(given: Record<string, string>): string {
  const query = new URLSearchParams(withoutEmpty(given)).toString();
  return query && `?${query}`;
}

function withoutEmpty<T>(given: Record<string, T>): Record<string, T> {
  const isEmpty = (value: T): boolean => value === "" || (typeof value === "object" && value !== null && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(given).filter(([, value]) => !isEmpty(value)));
}

function splitOnce(text: string, at: string): [string, string] {
  const place = text.indexOf(at);
  return place < 0 ? [text, ""] : [text.slice(0, place), text.slice(place + 1)];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text).slice(0, 200);
  } catch {
    return "";
  }
}

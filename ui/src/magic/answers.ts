/** What the app's tools answer, as this page shows it. No field is trusted: what is missing or of another kind is empty. */

type Fields = Readonly<Record<string, unknown>>;

export interface Face {
  name: string;
  manaCost: string;
  typeLine: string;
  text: string;
  stats: string;
}

export interface Card extends Face {
  manaValue: number;
  colors: string[];
  faces: Face[];
}

export interface CardDetails extends Card {
  identity: string[];
  keywords: string[];
  layout: string;
  rulings: { date: string; text: string }[];
  furtherRulings: number;
  /** Formats that are not among them: the card is not part of them. */
  legalities: { format: string; word: string }[];
}

export interface Pages {
  total: number;
  page: number;
  pages: number;
}

export interface CardList extends Pages {
  cards: Card[];
  similar: string[];
}

export interface Rule {
  kind: "rule" | "chapter" | "term";
  key: string;
  text: string;
}

export interface RuleList extends Pages {
  effective: string;
  rules: Rule[];
}

export interface Source {
  kind: string;
  source: string;
  count: number;
  asOf: string;
  ageDays: number;
}

export interface DataStatus {
  cards: number;
  rules: number;
  rulesEffective: string;
  cardsInvented: boolean;
  rulesInvented: boolean;
  imported: Source[];
  notices: string[];
  formats: string[];
}

export interface ParsedDeck {
  name: string;
  sections: { section: string; cards: number; lines: string[] }[];
  problems: string[];
  notes: string[];
}

export interface Counted {
  name: string;
  count: number;
}

export interface Analysis {
  cards: { deck: number; commander: number; sideboard: number; unknown: number };
  curve: Counted[];
  manaValueMean: number;
  types: Counted[];
  costSymbols: Counted[];
  manaSources: Counted[];
  multicolored: number;
  colorless: number;
  lands: { count: number; percent: number };
  /** Empty where there are too few cards to draw a hand from. */
  landsInHand: Counted[];
  goodHandPercent: number;
  landDrops: Counted[];
}

export interface Verdict {
  format: string;
  verdict: "legal" | "illegal" | "unknown";
  problems: string[];
  /** How many there are, where not all are told. */
  problemCount: number;
}

export interface Advice {
  findings: string[];
  roles: { role: string; has: number; usual: number; candidates: string[] }[];
  trust: string;
}

export interface Odds {
  percent: number;
  exactlyPercent: number;
}

function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function texts(value: unknown): string[] {
  return list(value).filter((entry): entry is string => typeof entry === "string");
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

/** `{"1": 4, "2": 3}` in the order in which it came. */
function counted(value: unknown): Counted[] {
  return Object.entries(fields(value)).map(([name, count]) => ({ name, count: number(count) }));
}

function pages(answer: Fields): Pages {
  return { total: number(answer["total"]), page: number(answer["page"]), pages: number(answer["pages"]) };
}

function face(value: unknown): Face {
  const it = fields(value);
  return {
    name: text(it["name"]),
    manaCost: text(it["manaCost"]),
    typeLine: text(it["typeLine"]),
    text: text(it["text"]),
    stats: text(it["stats"]),
  };
}

function card(value: unknown): Card {
  const it = fields(value);
  return { ...face(it), manaValue: number(it["manaValue"]), colors: texts(it["colors"]), faces: list(it["faces"]).map(face) };
}

export function cardList(answer: unknown): CardList {
  const it = fields(answer);
  return { ...pages(it), cards: list(it["cards"]).map(card), similar: texts(it["similar_names"]) };
}

export function cardDetails(answer: unknown): CardDetails {
  const it = fields(answer);
  const rulings = list(it["rulings"]).map(fields);
  const legalities = fields(fields(it["legalities"])["legal_or_not_in"]);
  return {
    ...card(it),
    identity: texts(it["colorIdentity"]),
    keywords: texts(it["keywords"]),
    layout: text(it["layout"]),
    rulings: rulings.map((ruling) => ({ date: text(ruling["date"]), text: text(ruling["text"]) })),
    furtherRulings: number(it["furtherRulings"]),
    legalities: Object.entries(legalities).map(([format, word]) => ({ format, word: text(word) })),
  };
}

function rule(value: unknown): Rule {
  const it = fields(value);
  const kind = (["rule", "chapter", "term"] as const).find((known) => typeof it[known] === "string") ?? "term";
  return { kind, key: text(it[kind]), text: text(it["text"]) };
}

export function ruleList(answer: unknown): RuleList {
  const it = fields(answer);
  return { ...pages(it), effective: text(it["effective"]), rules: list(it["rules"]).map(rule) };
}

export function dataStatus(answer: unknown): DataStatus {
  const it = fields(answer);
  return {
    cards: number(it["cards"]),
    rules: number(it["rules"]),
    rulesEffective: text(it["rules_effective"]),
    cardsInvented: it["cards_are_invented"] === true,
    rulesInvented: it["rules_are_invented"] === true,
    imported: list(it["imported"])
      .map(fields)
      .map((set) => ({
        kind: text(set["kind"]),
        source: text(set["source"]),
        count: number(set["count"]),
        asOf: text(set["as_of"]),
        ageDays: number(set["age_days"]),
      })),
    notices: texts(it["notices"]),
    formats: texts(it["formats"]),
  };
}

export function parsedDeck(answer: unknown): ParsedDeck {
  const it = fields(answer);
  return {
    name: text(it["name"]),
    sections: list(it["sections"])
      .map(fields)
      .map((section) => ({
        section: text(section["section"]),
        cards: number(section["cards"]),
        lines: texts(section["lines"]),
      })),
    problems: texts(it["problems"]),
    notes: texts(it["notes"]),
  };
}

export function analysis(answer: unknown): Analysis {
  const it = fields(answer);
  const [cards, colors, lands, draws] = [it["cards"], it["colors"], it["lands"], it["draws"]].map(fields) as [
    Fields,
    Fields,
    Fields,
    Fields,
  ];
  return {
    cards: {
      deck: number(cards["deck"]),
      commander: number(cards["commander"]),
      sideboard: number(cards["sideboard"]),
      unknown: number(cards["unknown"]),
    },
    curve: counted(it["curve"]),
    manaValueMean: number(it["mana_value_mean"]),
    types: counted(it["types"]).sort((one, other) => other.count - one.count),
    costSymbols: counted(colors["cost_symbols"]),
    manaSources: counted(colors["mana_sources"]),
    multicolored: number(colors["multicolored_cards"]),
    colorless: number(colors["colorless_cards"]),
    lands: { count: number(lands["count"]), percent: number(lands["percent_of_deck"]) },
    landsInHand: counted(draws["lands_in_opening_hand_percent"]),
    goodHandPercent: number(draws["opening_hand_with_2_to_4_lands_percent"]),
    landDrops: counted(draws["on_the_play_percent"]).map(({ name, count }) => ({ name: name.replaceAll("_", " "), count })),
  };
}

function verdict(value: unknown): Verdict {
  const it = fields(value);
  const word = it["verdict"];
  const problems = texts(it["problems"]);
  return {
    format: text(it["format"]),
    // Whatever is not said to be legal is not.
    verdict: word === "legal" || word === "illegal" ? word : "unknown",
    problems,
    problemCount: Math.max(number(it["problem_count"]), problems.length),
  };
}

export function verdicts(answer: unknown): Verdict[] {
  return list(fields(answer)["formats"]).map(verdict);
}

export function verdictIn(answer: unknown): Verdict {
  return verdict(answer);
}

export function advice(answer: unknown): Advice {
  const it = fields(answer);
  return {
    findings: texts(it["findings"]),
    roles: list(it["roles"])
      .map(fields)
      .map((role) => ({
        role: text(role["role"]),
        has: number(role["has"]),
        usual: number(role["usual"]),
        candidates: texts(role["candidates"]),
      })),
    trust: text(it["how_far_to_trust_this"]),
  };
}

export function odds(answer: unknown): Odds {
  const it = fields(answer);
  return { percent: number(it["percent"]), exactlyPercent: number(it["exactly_percent"]) };
}

import { api } from "../api/client";
import { cardArguments, type CardSearch, ruleArguments, type RuleSearch } from "./address";
import * as answers from "./answers";

/** The app whose tools answer here. */
export const MAGIC_APP = "magic";

function call(tool: string, args: Record<string, unknown>): Promise<unknown> {
  return api.callTool(MAGIC_APP, tool, args);
}

/** The tools as this page asks them; each rejects with an `ApiError` that says why not. */
export const tools = {
  status: async () => answers.dataStatus(await call("mtg_data_status", {})),
  cards: async (search: CardSearch) => answers.cardList(await call("mtg_card_search", cardArguments(search))),
  card: async (name: string) => answers.cardDetails(await call("mtg_card_details", { name })),
  rules: async (search: RuleSearch) => {
    const args = ruleArguments(search);
    return args && answers.ruleList(await call("mtg_rules_lookup", args));
  },
  parse: async (deck: string) => answers.parsedDeck(await call("mtg_deck_parse", { deck })),
  analyze: async (deck: string) => answers.analysis(await call("mtg_deck_analyze", { deck })),
  verdicts: async (deck: string) => answers.verdicts(await call("mtg_deck_legality", { deck })),
  verdictIn: async (deck: string, format: string) => answers.verdictIn(await call("mtg_deck_legality", { deck, format })),
  advice: async (deck: string) => answers.advice(await call("mtg_deck_advice", { deck })),
  odds: async (asked: { deckSize: number; copies: number; draws: number; atLeast: number }) =>
    answers.odds(await call("mtg_draw_odds", asked)),
};

import type { Advice, Analysis, ParsedDeck, Verdict } from "./answers";
import { deckFault, withCard } from "./deck";
import { Lookup } from "./lookup.svelte";
import { tools } from "./tools";

/** Everything that is said of one list. */
export interface Report {
  /** The list that it is said of. */
  text: string;
  parsed: ParsedDeck;
  analysis: Analysis;
  verdicts: Verdict[];
  advice: Advice;
}

/** The list on the deck page, and what was last said of it. It outlives the page, and is nowhere but in this tab. */
export class DeckModel {
  text = $state("");
  readonly report = new Lookup<Report>();
  /** A format that is looked at more closely. */
  readonly verdict = new Lookup<Verdict>();

  readonly fault = $derived(deckFault(this.text));
  /** Whether the list was changed since. */
  readonly stale = $derived(this.report.value !== null && this.report.value.text !== this.text);

  add(name: string): void {
    this.text = withCard(this.text, name);
  }

  async examine(): Promise<void> {
    if (this.fault) return;
    const text = this.text;
    this.verdict.clear();
    await this.report.ask(async () => {
      // One after the other: where the list can't be read at all, nothing else need be asked.
      const parsed = await tools.parse(text);
      const [analysis, verdicts, advice] = await Promise.all([tools.analyze(text), tools.verdicts(text), tools.advice(text)]);
      return { text, parsed, analysis, verdicts, advice };
    });
  }

  async judge(format: string): Promise<void> {
    const text = this.report.value?.text;
    if (text !== undefined) await this.verdict.ask(() => tools.verdictIn(text, format));
  }
}

/** Money as the person should read it: a tenth of a cent is the smallest amount worth a digit. */
export function formatCost(microusd: number): string {
  if (microusd <= 0) return "$0";
  const dollars = microusd / 1_000_000;
  if (dollars < 0.001) return "< $0.001";
  return `$${dollars.toFixed(dollars < 0.1 ? 3 : 2)}`;
}

export function formatTokens(count: number): string {
  return count < 10_000 ? count.toLocaleString("en-US") : `${(count / 1_000).toFixed(1)}k`;
}

export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** The tool's own name: agents know it as `mcp__server__name`. */
export function toolName(tool: string): string {
  return /^mcp__.+?__(.+)$/.exec(tool)?.[1] ?? tool;
}

/** How long a text is to the gateway, which counts characters and not UTF-16 units. */
export function countChars(text: string): number {
  let chars = 0;
  for (const _ of text) chars += 1;
  return chars;
}

const SHOWN_CHARS_MAX = 20_000;

/** JSON for reading; a tool's result that isn't JSON as it is. Bounded, because a result may be megabytes. */
export function formatJson(value: unknown): string {
  return bounded(typeof value === "string" ? reindented(value) : (JSON.stringify(value, null, 2) ?? ""));
}

function reindented(text: string): string {
  if (text.length > SHOWN_CHARS_MAX) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function bounded(text: string): string {
  if (text.length <= SHOWN_CHARS_MAX) return text;
  return `${text.slice(0, SHOWN_CHARS_MAX)}\n… ${(text.length - SHOWN_CHARS_MAX).toLocaleString("en-US")} more characters`;
}

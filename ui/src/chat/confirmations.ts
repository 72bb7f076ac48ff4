/** A yes sooner than this was not read, whatever it was meant for. The gateway refuses it as well. */
export const UNREAD_MS = 700;

/**
 * A value as it will be sent, in characters that can be seen. What is invisible, turns the writing around or only looks like a
 * space is written out, so that nothing hides between what is read and what is done.
 */
export function exact(value: unknown): string {
  const text = JSON.stringify(value, null, 2) ?? "";
  return text.replace(/[^\P{C}\n]|[\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, (hidden) => `\\u{${hidden.codePointAt(0)?.toString(16)}}`);
}

/** Inside another page one can be made to click on something that is not seen. */
export function isFramed(view: { self: unknown; top: unknown }): boolean {
  return view.self !== view.top;
}

/** Whether it can have been read by now: shown for long enough without a break. */
export function isReadable(shownAtMs: number | null, nowMs: number): boolean {
  return shownAtMs !== null && nowMs - shownAtMs >= UNREAD_MS;
}

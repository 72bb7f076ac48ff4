/**
 * What is on the screen stands in the address, so that a reload or a bookmark brings it back: the conversation, and the look-up page
 * beside it. `#/c/ID`, `#/magic/cards?q=fox`, or both: `#/c/ID/magic/cards?q=fox`.
 */
const PLACE = /^#(?:\/c\/([A-Za-z0-9_-]{1,64}))?(\/magic(?:[/?].*)?)?$/s;

export function conversationInHash(hash: string): string | null {
  return PLACE.exec(hash)?.[1] ?? null;
}

/** The look-up page, as its path below the `#`. */
export function pageInHash(hash: string): string | null {
  return PLACE.exec(hash)?.[2] ?? null;
}

export function hashOf(conversationId: string | null, page: string | null = null): string {
  const place = (conversationId ? `/c/${conversationId}` : "") + (page ?? "");
  return place && `#${place}`;
}

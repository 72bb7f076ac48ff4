/** The conversation on the screen stands in the address, so that a reload or a bookmark brings it back. */
const PREFIX = "#/c/";

export function conversationInHash(hash: string): string | null {
  const id = hash.startsWith(PREFIX) ? hash.slice(PREFIX.length) : "";
  return /^[A-Za-z0-9_-]{1,64}$/.test(id) ? id : null;
}

export function hashOf(conversationId: string | null): string {
  return conversationId ? PREFIX + conversationId : "";
}

/** Numbers tried between two looks at whether the page has something else to do. */
const TRIED_AT_ONCE = 256;

/**
 * A number that, with the question's id and a colon before it, has a SHA-256 that begins with so many zero bits. It takes a
 * fraction of a second: nothing for a person, something for a program that answers thousands of such questions.
 */
export async function solve(challengeId: string, bits: number): Promise<string> {
  for (let from = 0; ; from += TRIED_AT_ONCE) {
    const tried = await Promise.all(
      Array.from({ length: TRIED_AT_ONCE }, async (_, index) => {
        const nonce = String(from + index);
        return (await leadingZeroBits(`${challengeId}:${nonce}`)) >= bits ? nonce : null;
      }),
    );
    const found = tried.find((nonce) => nonce !== null);
    if (found !== undefined && found !== null) return found;
  }
}

export async function leadingZeroBits(text: string): Promise<number> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  let zeros = 0;
  for (const byte of new Uint8Array(digest)) {
    zeros += Math.clz32(byte) - 24;
    if (byte !== 0) break;
  }
  return zeros;
}

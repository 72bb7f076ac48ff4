/** Nobody sends more than this here. */
const BODY_BYTES_MAX = 256 * 1024;

/** A request's body as text; null if it is larger than anything that is taken, of which no more than that is read. */
export async function bodyOf(request: Request): Promise<string | null> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for (const reader = request.body?.getReader(); reader; ) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
    if (bytes > BODY_BYTES_MAX) {
      await reader.cancel();
      return null;
    }
    pieces.push(value);
  }
  return Buffer.concat(pieces).toString("utf8");
}

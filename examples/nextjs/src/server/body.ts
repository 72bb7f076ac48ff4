/** What a body has at most where nothing else is said. */
const BYTES_MAX = 256 * 1024;
const FIRST_BYTES = 4096;

/** A request's body as text; null if it has more bytes than this, of which no more is read. However small its pieces are, it takes
 * the room of its bytes alone. */
export async function readText(request: Request, bytesMax = BYTES_MAX): Promise<string | null> {
  let [body, bytes] = [new Uint8Array(FIRST_BYTES), 0];
  for (const reader = request.body?.getReader(); reader; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (bytes + value.byteLength > bytesMax) {
      void reader.cancel().catch(() => undefined);
      return null;
    }
    if (bytes + value.byteLength > body.byteLength) {
      const larger = new Uint8Array(Math.max(body.byteLength * 2, bytes + value.byteLength));
      larger.set(body.subarray(0, bytes));
      body = larger;
    }
    body.set(value, bytes);
    bytes += value.byteLength;
  }
  return new TextDecoder().decode(body.subarray(0, bytes));
}

import { describe, expect, it } from "vitest";
import { leadingZeroBits, solve } from "./challenge";

describe("solve", () => {
  it("finds a number whose digest begins with enough zero bits", async () => {
    const nonce = await solve("0198c0de-0000-7000-8000-000000000001", 10);
    expect(await leadingZeroBits(`0198c0de-0000-7000-8000-000000000001:${nonce}`)).toBeGreaterThanOrEqual(10);
  });

  it("counts bits as the gateway does", async () => {
    // SHA-256 of "abc" begins with ba, of "1" with 6b, of the empty text with e3.
    expect(await leadingZeroBits("abc")).toBe(0);
    expect(await leadingZeroBits("1")).toBe(1);
    expect(await leadingZeroBits("")).toBe(0);
  });
});

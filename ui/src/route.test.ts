import { expect, it } from "vitest";
import { conversationInHash, hashOf } from "./route";

it("finds in the address what it put there", () => {
  expect(conversationInHash(hashOf("0192-ab_C"))).toBe("0192-ab_C");
  expect(hashOf(null)).toBe("");
});

it("takes nothing else for a conversation", () => {
  for (const hash of ["", "#", "#/c/", "#/c/../x", "#/c/a/b", "#/c/%2e", `#/c/${"a".repeat(65)}`, "#/d/abc"]) {
    expect(conversationInHash(hash)).toBeNull();
  }
});

import { expect, it } from "vitest";
import { conversationInHash, hashOf, pageInHash } from "./route";

it("finds in the address what it put there", () => {
  expect(conversationInHash(hashOf("0192-ab_C"))).toBe("0192-ab_C");
  expect(pageInHash(hashOf("0192-ab_C"))).toBeNull();
  expect(hashOf(null)).toBe("");
  for (const page of ["/magic", "/magic/cards?q=a%20b&colors=RG", "/magic/card/Kindlebright%20%2F%2F%20Quenchfall"]) {
    for (const id of ["0192-ab_C", null]) {
      expect([conversationInHash(hashOf(id, page)), pageInHash(hashOf(id, page))]).toEqual([id, page]);
    }
  }
});

it("takes nothing else for a conversation or a page", () => {
  for (const hash of ["", "#", "#/c/", "#/c/../x", "#/c/a/b", "#/c/%2e", `#/c/${"a".repeat(65)}`, "#/d/abc", "#/magical", "#/c//magic"]) {
    expect([conversationInHash(hash), pageInHash(hash)]).toEqual([null, null]);
  }
});

import { expect, it } from "vitest";
import { ApiError } from "../api/client";
import { Lookup } from "./lookup.svelte";

/** A promise that is settled from outside. */
function later<T>() {
  let [resolve, reject]: [(value: T) => void, (error: unknown) => void] = [() => {}, () => {}];
  const promise = new Promise<T>((settle, fail) => {
    [resolve, reject] = [settle, fail];
  });
  return { promise, resolve, reject };
}

it("shows the answer to the last question, whichever comes first", async () => {
  const lookup = new Lookup<string>();
  const [early, late] = [later<string>(), later<string>()];
  const asked = [lookup.ask(() => early.promise), lookup.ask(() => late.promise)];
  late.resolve("of the last");
  await asked[1];
  early.resolve("of the first");
  await asked[0];
  expect([lookup.value, lookup.error, lookup.loading]).toEqual(["of the last", null, false]);
});

it("shows a failure in place of what was there, but not one of a question that nobody waits for", async () => {
  const lookup = new Lookup<string>();
  await lookup.ask(() => Promise.resolve("first"));
  const refused = later<string>();
  const asked = lookup.ask(() => refused.promise);
  expect([lookup.value, lookup.loading]).toEqual(["first", true]);
  refused.reject(new ApiError(200, "app.refused", "There is no such card.", null));
  await asked;
  expect([lookup.value, lookup.error?.message, lookup.loading]).toEqual([null, "There is no such card.", false]);
  const dropped = later<string>();
  const before = lookup.ask(() => dropped.promise);
  lookup.clear();
  dropped.reject(new Error("late"));
  await before;
  expect([lookup.value, lookup.error, lookup.loading]).toEqual([null, null, false]);
});

import assert from "node:assert/strict";
import { allowChanges, assertAccessible, screenshot, sendMessage, settle, waitForTile } from "../browser.mjs";

/** A full page, judged by axe and left as a picture to be looked at. */
function look(name, context, fixture = {}) {
  return {
    name: `looks right and reads well: ${name}`,
    context: { viewport: { width: 1360, height: 840 }, ...context },
    fixture,
    async run({ page, picture }) {
      await settle(page);
      await assertAccessible(page, `${name}, empty`);
      await screenshot(page, picture(`${name}-empty`));
      await allowChanges(page);
      await sendMessage(page, "Lay out a launch plan around the centre");
      await page.getByTestId("run-end").waitFor();
      await waitForTile(page, "Translations", 10_000);
      await assertAccessible(page, `${name}, full`);
      await screenshot(page, picture(name));
      await page.locator('[data-testid="tile"][data-title="Press kit"]').click();
      await page.getByTestId("tool-call").last().locator("summary").click();
      await sendMessage(page, "please fail");
      await page.getByTestId("retry").waitFor();
      await sendMessage(page, "denied things");
      await page.getByTestId("run-end").nth(2).waitFor();
      await page.getByTestId("composer").fill("x".repeat(2_100));
      await page.getByTestId("history").click();
      await page.getByRole("button", { name: /^Lay out/ }).waitFor();
      await assertAccessible(page, `${name}, everything open`);
      await screenshot(page, picture(`${name}-open`));
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, "nothing sticks out to the side");
    },
  };
}

export const looksStories = [
  look("light", { colorScheme: "light" }),
  look("dark", { colorScheme: "dark" }),
  look("narrow", { colorScheme: "light", viewport: { width: 390, height: 844 } }),
  look("narrow-dark", { colorScheme: "dark", viewport: { width: 390, height: 844 } }, { sandboxed: false }),
  {
    name: "another app is the chat alone, and a call inside its sandbox has no result to show",
    fixture: { app: "code-agent" },
    ready: "composer",
    async run({ page, picture }) {
      await settle(page);
      assert.equal(await page.getByTestId("tile").count(), 0);
      await sendMessage(page, "run it");
      await page.getByTestId("run-end").waitFor();
      for (const time of ["live", "stored"]) {
        const call = page.getByTestId("tool-call");
        assert.equal(await call.getAttribute("data-outcome"), "inside", time);
        assert.match(await call.innerText(), /in its sandbox/, time);
        await page.reload();
        await call.waitFor();
      }
      await assertAccessible(page, "another app");
      await screenshot(page, picture("another-app"));
    },
  },
  {
    name: "an agent without a sandbox is announced for good",
    fixture: { sandboxed: false },
    async run({ page, picture }) {
      const banner = page.getByTestId("sandbox-warning");
      assert.match(await banner.innerText(), /Not sandboxed/);
      await sendMessage(page, "What is on my map?");
      await page.getByTestId("run-end").waitFor();
      assert.equal(await banner.isVisible(), true);
      await assertAccessible(page, "the page with the banner");
      await screenshot(page, picture("unsandboxed"));
    },
  },
  {
    name: "with reduced motion nothing moves for long",
    context: { reducedMotion: "reduce" },
    async run({ page }) {
      await allowChanges(page);
      await sendMessage(page, "Create a tile called Aurora to the east");
      await waitForTile(page, "Aurora", 10_000);
      const longest = await page.evaluate(() => Math.max(0, ...document.getAnimations().map((a) => a.effect.getComputedTiming().endTime)));
      assert.ok(longest <= 10, `an animation lasts ${longest} ms`);
    },
  },
];

import assert from "node:assert/strict";
import { allowChanges, assertAccessible, screenshot, sendMessage, waitForTile } from "../browser.mjs";

/** Each story's first run makes the tile, its second one deletes it. */
const ended = (page, runs = 2) => page.locator('[data-testid="run-end"][data-outcome="finished"]').nth(runs - 1).waitFor();

async function withAurora(page) {
  await allowChanges(page);
  await sendMessage(page, "Create a tile called Aurora to the east");
  await ended(page, 1);
  await waitForTile(page, "Aurora", 10_000);
}

const aurora = (page) => page.locator('[data-testid="tile"][data-title="Aurora"]');

export const confirmationStories = [
  {
    name: "a deletion is shown with its effect, can't be clicked at once, and is done when approved",
    async run({ page, picture }) {
      await withAurora(page);
      // What the page itself does in the first moments is noted there: from here it would be too late to look.
      await page.evaluate(() => {
        window.__states = [];
        const look = () => {
          const approve = document.querySelector('[data-testid="approve"]');
          if (approve) window.__states.push([performance.now(), approve.disabled, document.activeElement === approve]);
          if (window.__states.length < 2_000) requestAnimationFrame(look);
        };
        look();
      });
      await sendMessage(page, "delete Aurora");
      const card = page.getByTestId("confirmation");
      await card.waitFor();
      assert.equal(await page.getByTestId("confirmation-effect").innerText(), "Deletes “Aurora” and 2 tiles below it.");
      await card.locator("summary").click();
      assert.match(await page.getByTestId("confirmation-arguments").innerText(), /hidden\\u\{200b\}here/, "what is invisible is written out");
      await page.locator('[data-testid="approve"]:enabled').waitFor();
      const states = await page.evaluate(() => window.__states);
      const [first] = states[0];
      const enabled = states.find(([, disabled]) => !disabled)[0];
      assert.ok(enabled - first >= 650, `it could be clicked after ${enabled - first} ms`);
      assert.ok(states.every(([, , focused]) => !focused), "nobody's Enter lands on it");
      assert.equal(await aurora(page).count(), 1, "nothing is done before the answer");
      await assertAccessible(page, "a page with a confirmation");
      await screenshot(page, picture("confirmation"));
      await page.getByTestId("approve").click();
      await ended(page);
      await aurora(page).waitFor({ state: "detached" });
      assert.equal(await card.count(), 0);
      assert.equal(await page.getByTestId("tool-call").last().getAttribute("data-outcome"), "ok");
    },
  },
  {
    name: "what is denied is not done, and a no may be quick",
    async run({ page }) {
      await withAurora(page);
      await sendMessage(page, "delete Aurora");
      await page.getByTestId("deny").click();
      await ended(page);
      assert.equal(await aurora(page).count(), 1);
      assert.equal(await page.getByTestId("confirmation").count(), 0);
      assert.equal(await page.getByTestId("denial").last().getAttribute("data-code"), "confirmation.denied");
    },
  },
  {
    name: "a question outlives its run and the page, and what became of it is told",
    async run({ page }) {
      await withAurora(page);
      await sendMessage(page, "delete Aurora later");
      await ended(page);
      assert.equal(await page.getByTestId("tool-call").last().getAttribute("data-outcome"), "waiting");
      await page.reload();
      await page.locator('[data-testid="approve"]:enabled').waitFor();
      await page.getByTestId("approve").click();
      await aurora(page).waitFor({ state: "detached" });
      await page.locator('[data-testid="tool-call"][data-outcome="ok"]').nth(1).waitFor();
      assert.equal(await page.getByTestId("confirmation").count(), 0);
    },
  },
  {
    name: "an answer that is refused is said so, and the question stays",
    async run({ page, fixture }) {
      await withAurora(page);
      await sendMessage(page, "delete Aurora");
      await page.locator('[data-testid="approve"]:enabled').waitFor();
      fixture.refuseNext({ status: 409, code: "confirmation.early", message: "That was too quick to have been read." });
      await page.getByTestId("approve").click();
      await page.getByTestId("confirmation-error").waitFor();
      assert.equal(await page.getByTestId("confirmation-error").getAttribute("data-code"), "confirmation.early");
      assert.equal(await aurora(page).count(), 1);
      await page.getByTestId("deny").click();
      await ended(page);
    },
    allowed: [/409/],
  },
];

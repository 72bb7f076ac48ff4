import assert from "node:assert/strict";
import { assertAccessible, screenshot, sendMessage } from "../browser.mjs";

const ended = (page, outcome) => page.locator(`[data-testid="run-end"][data-outcome="${outcome}"]`).waitFor();

/** Has the agent do so much that its person is asked. */
async function asked(page) {
  await sendMessage(page, "Look at everything at once");
  const question = page.getByTestId("challenge");
  await question.waitFor();
  return question;
}

export const challengeStories = [
  {
    name: "an agent that does unusually much goes on with a yes that can't be clicked at once",
    async run({ page, picture }) {
      // What the page itself does in the first moments is noted there: from here it would be too late to look.
      await page.evaluate(() => {
        window.__states = [];
        const look = () => {
          const goOn = document.querySelector('[data-testid="challenge-go-on"]');
          if (goOn) window.__states.push([performance.now(), goOn.disabled, document.activeElement === goOn]);
          if (window.__states.length < 2_000) requestAnimationFrame(look);
        };
        look();
      });
      const question = await asked(page);
      assert.equal(await question.getAttribute("role"), "alertdialog");
      await page.locator('[data-testid="challenge-go-on"]:enabled').waitFor();
      const states = await page.evaluate(() => window.__states);
      const [first] = states[0];
      const enabled = states.find(([, disabled]) => !disabled)[0];
      assert.ok(enabled - first >= 650, `it could be clicked after ${enabled - first} ms`);
      assert.ok(states.every(([, , focused]) => !focused), "nobody's Enter lands on it");
      await assertAccessible(page, "a page that asks whether it shall go on");
      await screenshot(page, picture("challenge"));
      const calls = await page.getByTestId("tool-call").count();
      // The page does some work of its own for the answer, and the gateway checks it.
      const answer = page.waitForResponse((response) => response.url().endsWith("/challenge"));
      await page.getByTestId("challenge-go-on").click();
      assert.equal((await answer).status(), 204);
      await ended(page, "finished");
      assert.equal(await question.count(), 0, "the question is gone");
      assert.equal(await page.getByTestId("tool-call").count(), calls + 1, "what waited was done");
    },
  },
  {
    name: "a no is quick and stops the agent",
    async run({ page }) {
      const question = await asked(page);
      await page.getByTestId("challenge-stop").click();
      await ended(page, "failed");
      assert.match(await page.getByTestId("run-end").innerText(), /nobody said that it should go on/);
      assert.equal(await question.count(), 0);
      // A new message begins anew.
      await sendMessage(page, "What is on my map?");
      await page.locator('[data-testid="run-end"][data-outcome="finished"]').waitFor();
    },
  },
  {
    name: "a question that is open is there again after a reload",
    async run({ page }) {
      await asked(page);
      await page.reload();
      await page.locator('[data-testid="challenge-go-on"]:enabled').click();
      await ended(page, "finished");
    },
  },
];

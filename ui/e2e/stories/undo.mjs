import assert from "node:assert/strict";
import { allowChanges, assertAccessible, openPage, screenshot, sendMessage, waitForTile } from "../browser.mjs";

const ended = (page) => page.getByTestId("run-end").last().waitFor();
const tile = (page, title) => page.locator(`[data-testid="tile"][data-title=${JSON.stringify(title)}]`);
const changes = (page, undoable, undone) => page.locator(`[data-testid="changes"][data-undoable="${undoable}"][data-undone="${undone}"]`).last();

export const undoStories = [
  {
    name: "one click undoes what an answer changed, and another does it again",
    async run({ page, picture }) {
      await allowChanges(page);
      await sendMessage(page, "Lay out a launch plan around the centre");
      await ended(page);
      await waitForTile(page, "Press kit", 10_000);
      await changes(page, 17, 0).waitFor();
      await screenshot(page, picture("undo-offered"));
      await assertAccessible(page, "an answer that can be undone");
      await page.getByTestId("undo-run").click();
      await changes(page, 0, 17).waitFor();
      await page.waitForFunction(() => document.querySelectorAll('[data-testid="tile"]').length === 1);
      assert.equal(await page.getByTestId("undo-run").count(), 0, "there is nothing left to undo");
      await screenshot(page, picture("undone"));
      await assertAccessible(page, "an answer that was undone");
      await page.getByTestId("redo-run").click();
      await changes(page, 17, 0).waitFor();
      await waitForTile(page, "Press kit", 10_000);
    },
  },
  {
    name: "one change is undone by itself, also after a reload",
    async run({ page }) {
      await allowChanges(page);
      await sendMessage(page, "Create a tile called Aurora to the east");
      await ended(page);
      await waitForTile(page, "Aurora", 10_000);
      await page.getByTestId("undo-call").click();
      await page.getByTestId("redo-call").waitFor();
      await tile(page, "Aurora").waitFor({ state: "detached" });
      assert.equal(await page.getByTestId("tool-outcome").innerText(), "undone");
      await page.reload();
      await page.getByTestId("redo-call").click();
      await page.getByTestId("undo-call").waitFor();
      await waitForTile(page, "Aurora", 10_000);
    },
  },
  {
    name: "what stands in the way is said in words and nothing is forced",
    async run({ page }) {
      await allowChanges(page);
      await sendMessage(page, "Lay out a launch plan around the centre");
      await ended(page);
      await waitForTile(page, "Engineering", 10_000);
      // The tile that has others below it.
      await page.locator('[data-testid="tool-call"]', { hasText: "Engineering" }).locator("xpath=..").getByTestId("undo-call").click();
      const hindrance = page.getByTestId("hindrance");
      await hindrance.waitFor();
      assert.equal(await hindrance.getAttribute("data-outcome"), "conflict");
      assert.match(await hindrance.innerText(), /was changed since[\s\S]+“(Load test|Rollback drill|On call)” is at/);
      await waitForTile(page, "Engineering", 10_000);
      await changes(page, 17, 0).waitFor();
    },
  },
  {
    name: "a second tab sees at once that something was undone",
    async run({ page, context, opened, fixture }) {
      await allowChanges(page);
      await sendMessage(page, "Create a tile called Aurora to the west");
      await ended(page);
      const second = await openPage(null, fixture.url, { context });
      await second.page.goto(page.url());
      await second.page.getByTestId("undo-call").waitFor();
      await waitForTile(second.page, "Aurora", 10_000);
      await page.getByTestId("undo-run").click();
      await second.page.getByTestId("redo-call").waitFor();
      await tile(second.page, "Aurora").waitFor({ state: "detached" });
      assert.equal(second.faults.length + opened.faults.length, 0);
    },
  },
  {
    name: "without the switch there is nothing to undo",
    async run({ page }) {
      await sendMessage(page, "Create a tile called Aurora to the east");
      await ended(page);
      for (const id of ["undo-call", "redo-call", "undo-run", "redo-run", "changes"]) assert.equal(await page.getByTestId(id).count(), 0, id);
    },
  },
];

import assert from "node:assert/strict";
import { allowChanges, openPage, sendMessage, settle, waitForTile } from "../browser.mjs";

export const mapStories = [
  {
    name: "a second tab sees the change without a reload",
    async run({ page, context, opened, fixture }) {
      const second = await openPage(null, fixture.url, { context });
      await second.page.goto(fixture.url);
      await second.page.getByTestId("tile").first().waitFor();
      await allowChanges(page);
      await sendMessage(page, "Create a tile called Aurora to the west");
      await waitForTile(second.page, "Aurora", 10_000);
      assert.equal(second.faults.length + opened.faults.length, 0);
    },
  },
  {
    name: "another person has another map",
    async run({ page, browser, fixture }) {
      await allowChanges(page);
      await sendMessage(page, "Create a tile called Aurora to the west");
      await waitForTile(page, "Aurora", 10_000);
      const stranger = await openPage(browser, fixture.url);
      await stranger.page.goto(fixture.url);
      await stranger.page.getByTestId("tile").first().waitFor();
      assert.equal(await stranger.page.getByTestId("tile").count(), 1);
      await stranger.close();
    },
  },
  {
    name: "a tile tells its content, its link and what is inside it",
    async run({ page }) {
      await allowChanges(page);
      await sendMessage(page, "Lay out a launch plan around the centre");
      await page.getByTestId("run-end").waitFor();
      await (await waitForTile(page, "Press kit", 10_000)).click();
      const detail = page.getByTestId("tile-detail");
      await page.getByTestId("tile-content").waitFor();
      const text = await detail.innerText();
      assert.match(text, /Press kit/);
      assert.match(text, /Texts and pictures/);
      assert.match(text, /plan\s+Plan/);
      assert.match(text, /context, north-west\s+Tone of voice/);
      const link = detail.locator("a");
      assert.equal(await link.getAttribute("href"), "https://example.com/press");
      assert.equal(await link.getAttribute("rel"), "noopener noreferrer nofollow");
      assert.equal(await page.locator('[data-testid="tile"][data-title="Plan"]').count(), 0, "what is inside a tile is no neighbour");
      await page.keyboard.press("Escape");
      assert.equal(await detail.count(), 0);
    },
  },
  {
    name: "arrow keys walk the map, and it can be zoomed, moved and fitted",
    async run({ page }) {
      await allowChanges(page);
      await sendMessage(page, "Create a tile called Aurora to the east");
      const tile = await waitForTile(page, "Aurora", 10_000);
      await page.getByTestId("run-end").waitFor();
      await page.locator('[data-testid="tile"][data-title="My map"]').focus();
      await page.keyboard.press("ArrowRight");
      assert.equal(await page.evaluate(() => document.activeElement.dataset.title), "Aurora");
      await page.keyboard.press("Enter");
      assert.match(await page.getByTestId("tile-detail").innerText(), /Aurora/);
      await settle(page);
      const before = await tile.boundingBox();
      await page.keyboard.press("+");
      await settle(page);
      assert.ok((await tile.boundingBox()).width > before.width * 1.1);
      await page.mouse.move(before.x + 4, 200);
      await page.mouse.down();
      await page.mouse.move(before.x - 96, 150, { steps: 5 });
      await page.mouse.up();
      await page.getByRole("button", { name: "Fit" }).click();
      await settle(page);
      const after = await tile.boundingBox();
      // The outline of a focused tile is a little wider.
      for (const side of ["x", "y", "width", "height"]) {
        assert.ok(Math.abs(after[side] - before[side]) <= 4, `${side}: ${before[side]} became ${after[side]}`);
      }
    },
  },
  {
    name: "an empty place offers a form, or a sentence to finish",
    async run({ page }) {
      await page.getByTestId("slot").first().click();
      const form = page.getByTestId("tile-form");
      assert.equal(await form.getByLabel("Place").evaluate((list) => list.selectedOptions[0].textContent), "north-west");
      await page.getByRole("button", { name: "Ask the assistant instead" }).click();
      assert.match(await page.getByTestId("composer").inputValue(), /^Create a tile called {2}to the north-west$/);
      assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), "composer");
    },
  },
];

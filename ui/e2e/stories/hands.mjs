// What a person does on the map with their own hands. Each of these stories uses nothing but the page, so that they run
// against the fixture (suite.mjs) and against a real gateway (hands.mjs) alike.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { allowChanges, assertAccessible, screenshot, sendMessage, settle, waitForTile } from "../browser.mjs";

const detail = (page) => page.getByTestId("tile-detail");
const tileNamed = (page, title) => page.locator(`[data-testid="tile"][data-title=${JSON.stringify(title)}]`);
const button = (page, name) => detail(page).getByRole("button", { name, exact: true });

/** Adds a tile by the form; `place` is what the list calls it. */
async function add(page, parent, place, title, content = "") {
  await select(page, parent);
  await button(page, "Add below").click();
  const form = page.getByTestId("tile-form");
  await form.getByLabel("Place").selectOption({ label: place });
  await form.getByLabel("Title").fill(title);
  if (content) await form.getByLabel("Content").fill(content);
  await form.getByRole("button", { name: "Create" }).click();
  await form.waitFor({ state: "detached" });
  await waitForTile(page, title, 10_000);
}

async function select(page, title) {
  const tile = tileNamed(page, title);
  if ((await tile.getAttribute("aria-pressed")) !== "true") {
    await tile.focus();
    await page.keyboard.press("Enter");
  }
  await detail(page).getByRole("heading", { name: title, exact: true }).waitFor();
}

const focusedTitle = (page) => page.evaluate(() => document.activeElement?.dataset?.title ?? document.activeElement?.tagName);

export const handStories = [
  {
    name: "a person makes, edits and deletes a tile by hand",
    async run({ page, picture }) {
      await add(page, "My map", "north-east", "Aurora", "Lights of the north");
      assert.equal(await page.getByTestId("unseen-mark").count(), 0, "what one does oneself needs no mark");
      await button(page, "Edit").click();
      const form = page.getByTestId("tile-form");
      await form.getByLabel("Title").fill("Dawn");
      await form.getByLabel("Preview").fill("in short");
      await form.getByLabel("Link").fill("https://example.com/dawn");
      await form.getByLabel("Type").selectOption("system");
      await form.getByLabel("Visibility").selectOption("public");
      await settle(page);
      await screenshot(page, picture("hands-edit"));
      await assertAccessible(page, "the form of a tile");
      await form.getByRole("button", { name: "Save" }).click();
      await tileNamed(page, "Dawn").waitFor();
      await page.getByTestId("tile-content").waitFor();
      const text = await detail(page).innerText();
      for (const expected of [/Dawn/, /in short/, /Lights of the north/, /example\.com\/dawn/, /system/, /public/]) assert.match(text, expected);
      await page.reload();
      await tileNamed(page, "Dawn").click();
      await page.getByTestId("tile-content").waitFor();
      await button(page, "Delete").click();
      await page.getByTestId("confirm-delete").waitFor();
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "Keep it", "the harmless answer has the focus");
      await assertAccessible(page, "the question before a tile goes");
      await button(page, "Keep it").click();
      await tileNamed(page, "Dawn").waitFor();
      await button(page, "Delete").click();
      await page.getByTestId("confirm-delete").getByRole("button", { name: "Delete", exact: true }).click();
      await tileNamed(page, "Dawn").waitFor({ state: "detached" });
      assert.match(await page.getByTestId("notice").innerText(), /Deleted Dawn/);
      await page.getByTestId("notice").getByRole("button", { name: "Undo" }).click();
      await tileNamed(page, "Dawn").waitFor();
      await tileNamed(page, "Dawn").click();
      await page.getByTestId("tile-content").getByText("Lights of the north").waitFor();
    },
  },
  {
    name: "a refusal is shown, and what was written stays in the form",
    async run({ page }) {
      await add(page, "My map", "west", "Aurora");
      await button(page, "Edit").click();
      const form = page.getByTestId("tile-form");
      await form.getByLabel("Title").fill("Kept");
      await form.getByLabel("Link").evaluate((input) => {
        input.type = "text";
      });
      await form.getByLabel("Link").fill("javascript:alert(1)");
      await page.route("**/api/apps/hexmap/tools/updateItem", (route) =>
        route.fulfill({ json: { ok: false, message: "url must be a complete http or https address" } }),
      );
      await form.getByRole("button", { name: "Save" }).click();
      await page.getByTestId("notice").getByText("http or https").waitFor();
      assert.equal(await form.getByLabel("Title").inputValue(), "Kept");
      await page.unroute("**/api/apps/hexmap/tools/updateItem");
      await page.keyboard.press("Escape");
      assert.equal(await page.getByTestId("tile-form").count(), 0);
      await tileNamed(page, "Aurora").waitFor();
    },
  },
  {
    name: "everything on the map can be done by keyboard",
    async run({ page, picture }) {
      await tileNamed(page, "My map").focus();
      await page.keyboard.press("n");
      await page.getByTestId("tile-form").waitFor();
      assert.equal(await page.evaluate(() => document.activeElement.name), "title");
      await page.keyboard.type("East");
      await page.getByTestId("tile-form").getByLabel("Place").selectOption({ label: "east" });
      await page.getByTestId("tile-form").getByLabel("Title").press("Enter");
      await waitForTile(page, "East", 10_000);
      await page.getByTestId("tile-form").waitFor({ state: "detached" });
      await page.keyboard.press("Escape");
      await detail(page).waitFor({ state: "detached" });
      assert.equal(await focusedTitle(page), "East", "who closes a tile is back on it");
      await page.keyboard.press("ArrowLeft");
      assert.equal(await focusedTitle(page), "My map");
      await page.keyboard.press("ArrowRight");
      await page.keyboard.press("e");
      await page.getByTestId("tile-form").getByLabel("Title").fill("Orient");
      await page.getByTestId("tile-form").getByLabel("Title").press("Enter");
      await tileNamed(page, "Orient").waitFor();
      await page.getByTestId("tile-form").waitFor({ state: "detached" });
      await page.keyboard.press("Escape");
      await detail(page).waitFor({ state: "detached" });
      // M lifts a tile, arrows choose a place, Escape leaves it, Enter puts it there.
      await page.keyboard.press("m");
      await page.keyboard.press("ArrowLeft");
      assert.match(await page.getByTestId("moving").innerText(), /Orient/);
      await page.keyboard.press("Escape");
      assert.equal(await page.getByTestId("move-target").count(), 0);
      await page.keyboard.press("m");
      await page.keyboard.press("ArrowLeft");
      await page.keyboard.press("ArrowLeft");
      await page.keyboard.press("ArrowLeft");
      const words = await page.getByTestId("moving").innerText();
      await screenshot(page, picture("hands-moving"));
      assert.match(words, /Orient would lie west of My map/, words);
      await page.keyboard.press("Enter");
      await page.getByTestId("notice").getByText("Orient now lies west of My map").waitFor();
      const [root, tile] = [await tileNamed(page, "My map").boundingBox(), await waitForTile(page, "Orient", 5_000).then((tile) => tile.boundingBox())];
      assert.ok(tile.x < root.x, "it is drawn to the west");
      await page.getByRole("button", { name: "Move back" }).click();
      await page.getByTestId("notice").getByText("Moved back").waitFor();
      await settle(page);
      assert.ok((await tileNamed(page, "Orient").boundingBox()).x > root.x);
      await tileNamed(page, "Orient").focus();
      await page.keyboard.press("Delete");
      await page.getByTestId("confirm-delete").waitFor();
      await page.keyboard.press("Escape");
      assert.equal(await page.getByTestId("confirm-delete").count(), 0);
      await tileNamed(page, "Orient").waitFor();
    },
  },
  {
    name: "a tile is dragged to a free place, and onto another to change places",
    async run({ page, picture }) {
      await add(page, "My map", "east", "Alpha");
      await add(page, "My map", "west", "Beta");
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Fit" }).click({ force: true }).catch(() => {});
      await settle(page);
      const middle = async (title) => {
        const box = await tileNamed(page, title).boundingBox();
        return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
      };
      const [alpha, beta] = [await middle("Alpha"), await middle("Beta")];
      await page.mouse.move(alpha.x, alpha.y);
      await page.mouse.down();
      await page.mouse.move(beta.x, beta.y, { steps: 8 });
      assert.match(await page.getByTestId("moving").innerText(), /Alpha and Beta would change places/);
      await screenshot(page, picture("hands-dragging"));
      await page.mouse.up();
      await page.getByTestId("notice").getByText("changed places").waitFor();
      await settle(page);
      assert.ok((await middle("Alpha")).x < (await middle("Beta")).x);
      assert.equal(await detail(page).count(), 0, "the end of a drag opens nothing");
    },
  },
  {
    name: "two fingers zoom, and one moves the map",
    context: { hasTouch: true, viewport: { width: 390, height: 844 } },
    async run({ page, context }) {
      const root = tileNamed(page, "My map");
      const before = await root.boundingBox();
      const middle = { x: before.x + before.width / 2, y: before.y + before.height / 2 };
      const session = await context.newCDPSession(page);
      const touch = (type, points) => session.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
      await touch("touchStart", [[middle.x - 20, middle.y], [middle.x + 20, middle.y]]);
      for (const reach of [30, 45, 60]) await touch("touchMove", [[middle.x - reach, middle.y], [middle.x + reach, middle.y]]);
      await touch("touchEnd", []);
      const zoomed = await root.boundingBox();
      assert.ok(zoomed.width > before.width * 1.8, `${before.width} became ${zoomed.width}`);
      await touch("touchStart", [[middle.x, middle.y]]);
      for (const step of [10, 30, 60]) await touch("touchMove", [[middle.x + step, middle.y]]);
      await touch("touchEnd", []);
      const moved = await root.boundingBox();
      assert.ok(Math.abs(moved.x - zoomed.x - 60) < 6, `${zoomed.x} became ${moved.x}`);
      assert.equal(await page.getByTestId("tile-detail").count(), 0);
    },
  },
  {
    name: "what the assistant changed is marked until one has looked at it",
    async run({ page, picture }) {
      await allowChanges(page);
      await sendMessage(page, "Create a tile called Aurora to the north-east");
      await page.getByTestId("run-end").waitFor();
      await waitForTile(page, "Aurora", 10_000);
      assert.equal(await page.getByTestId("unseen-mark").count(), 1);
      assert.match(await tileNamed(page, "Aurora").getAttribute("aria-label"), /changed by the assistant/);
      assert.match(await page.getByTestId("unseen").innerText(), /1 changed by the assistant/);
      await settle(page);
      await screenshot(page, picture("hands-unseen"));
      await assertAccessible(page, "a marked tile");
      await page.reload();
      await page.getByTestId("unseen-mark").waitFor();
      await page.getByTestId("unseen").click();
      await detail(page).getByRole("heading", { name: "Aurora" }).waitFor();
      await page.getByTestId("unseen-mark").waitFor({ state: "detached" });
      await page.getByTestId("unseen").waitFor({ state: "detached" });
      await page.reload();
      await waitForTile(page, "Aurora", 10_000);
      assert.equal(await page.getByTestId("unseen-mark").count(), 0, "seen is seen");
    },
  },
  {
    name: "every mark leads somewhere, also those of what lies inside a tile",
    // What a scripted model makes of this sentence, only the fixture knows.
    onlyFixture: true,
    async run({ page }) {
      await allowChanges(page);
      await sendMessage(page, "Lay out a launch plan around the centre");
      await page.getByTestId("run-end").waitFor();
      await page.getByTestId("unseen").getByText("17 changed").waitFor();
      for (let left = 16; left >= 0; left--) {
        await page.getByTestId("unseen").click();
        if (left > 0) await page.getByTestId("unseen").getByText(`${left} changed`).waitFor();
        else await page.getByTestId("unseen").waitFor({ state: "detached" });
      }
    },
  },
  {
    name: "a tile's earlier versions are shown and come back",
    async run({ page, picture }) {
      await add(page, "My map", "east", "First", "the first words");
      await button(page, "Versions").click();
      await detail(page).getByText("has not been changed yet").waitFor();
      await button(page, "Back").click();
      await button(page, "Edit").click();
      const form = page.getByTestId("tile-form");
      await form.getByLabel("Title").fill("Second");
      await form.getByLabel("Content").fill("other words");
      await form.getByRole("button", { name: "Save" }).click();
      await tileNamed(page, "Second").waitFor();
      await button(page, "Versions").click();
      const version = page.getByTestId("version");
      await version.first().waitFor();
      assert.equal(await version.count(), 1);
      assert.match(await version.innerText(), /by you[\s\S]*First[\s\S]*the first words/);
      await settle(page);
      await screenshot(page, picture("hands-versions"));
      await assertAccessible(page, "the versions of a tile");
      await version.getByRole("button", { name: "Restore" }).click();
      await tileNamed(page, "First").waitFor();
      await page.getByTestId("tile-content").getByText("the first words").waitFor();
      await button(page, "Versions").click();
      await version.nth(1).waitFor();
      assert.match(await version.first().innerText(), /Second/, "what was there became a version");
    },
  },
  {
    name: "a map is exported and imported again, and a bad file changes nothing",
    async run({ page, picture }) {
      await add(page, "My map", "north-east", "Aurora", "Lights");
      await add(page, "Aurora", "east", "Green");
      await page.keyboard.press("Escape");
      const [download] = await Promise.all([page.waitForEvent("download"), page.getByTestId("export").click()]);
      assert.equal(download.suggestedFilename(), "my-map.hexmap.json");
      const text = await readFile(await download.path(), "utf8");
      assert.equal(JSON.parse(text).tiles.length, 3);
      const file = (name, buffer) => page.getByTestId("import-file").setInputFiles({ name, mimeType: "application/json", buffer });
      const problem = page.getByTestId("import-problem");
      const dialog = page.getByTestId("import-dialog");
      for (const [what, buffer, says] of [
        ["cut", Buffer.from(text.slice(0, -40)), /end is missing/],
        ["UTF-16", Buffer.from(`\uFEFF${text}`, "utf16le"), /UTF-8/],
        ["another", Buffer.from('{"cards":[]}'), /no map/],
        ["empty", Buffer.alloc(0), /empty/],
      ]) {
        await file("bad.json", buffer);
        await problem.waitFor();
        assert.match(await problem.innerText(), says, what);
        await dialog.getByRole("button", { name: "Close" }).click();
      }
      // What only the server can tell: a tile without one above it.
      const orphan = JSON.parse(text);
      orphan.tiles.push({ path: [4, 4], title: "Orphan" });
      await file("orphan.json", Buffer.from(JSON.stringify(orphan)));
      await page.getByTestId("import-go").click();
      await problem.waitFor();
      assert.match(await problem.innerText(), /no tile above it/);
      await settle(page);
      await screenshot(page, picture("hands-import"));
      await assertAccessible(page, "the import");
      await dialog.getByRole("button", { name: "Cancel" }).click();
      assert.match(await page.getByTestId("tile-count").innerText(), /3 tiles/, "nothing was half-written");
      // In place of another state of the map, everything is as it was written out.
      await select(page, "Aurora");
      await button(page, "Delete").click();
      await page.getByTestId("confirm-delete").getByRole("button", { name: "Delete", exact: true }).click();
      await tileNamed(page, "Aurora").waitFor({ state: "detached" });
      await file("map.json", Buffer.from(text));
      await dialog.getByLabel(/In place of this whole map/).check();
      await page.getByTestId("import-go").click();
      await dialog.waitFor({ state: "hidden" });
      await waitForTile(page, "Green", 10_000);
      // It is taken back like any change, and done again.
      await page.getByRole("button", { name: "Undo", exact: true }).click();
      await tileNamed(page, "Green").waitFor({ state: "detached" });
      await file("map.json", Buffer.from(text));
      await dialog.getByLabel(/In place of this whole map/).check();
      await page.getByTestId("import-go").click();
      await dialog.waitFor({ state: "hidden" });
      await waitForTile(page, "Green", 10_000);
      await select(page, "Aurora");
      await page.getByTestId("tile-content").getByText("Lights").waitFor();
      // And once more below a tile.
      await page.keyboard.press("Escape");
      await file("map.json", Buffer.from(text));
      await page.getByTestId("import-go").click();
      await dialog.waitFor({ state: "hidden" });
      await page.getByTestId("tile-count").getByText("6 tiles").waitFor();
    },
  },
  {
    name: "one looks from a deeper tile and back, and has several maps",
    async run({ page, picture }) {
      await add(page, "My map", "north-east", "Aurora");
      await add(page, "Aurora", "east", "Green");
      await select(page, "Aurora");
      await button(page, "Look from here").click();
      await tileNamed(page, "My map").waitFor({ state: "detached" });
      await tileNamed(page, "Green").waitFor();
      await settle(page);
      await screenshot(page, picture("hands-deeper"));
      await page.getByRole("button", { name: "My map", exact: true }).click();
      await tileNamed(page, "My map").waitFor();
      await page.getByTestId("new-map").click();
      await page.getByLabel("Name of the new map").fill("Garden");
      await page.keyboard.press("Enter");
      await tileNamed(page, "Garden").waitFor();
      assert.equal(await page.getByTestId("tile").count(), 1);
      await add(page, "Garden", "west", "Roses");
      await page.getByTestId("maps").selectOption({ label: "My map" });
      await tileNamed(page, "Green").waitFor();
      assert.equal(await tileNamed(page, "Roses").count(), 0);
      assert.equal(await page.getByTestId("delete-map").count(), 0, "the first map stays");
      await page.getByTestId("maps").selectOption({ label: "Garden" });
      await tileNamed(page, "Roses").waitFor();
      await page.getByTestId("delete-map").click();
      await tileNamed(page, "Green").waitFor();
      await page.getByText("Deleted the map Garden with 2 tiles.").waitFor();
      assert.equal(await page.getByTestId("maps").count(), 0, "there is one map again");
      await page.getByRole("button", { name: "Undo", exact: true }).click();
      await tileNamed(page, "Roses").waitFor();
    },
  },
  {
    name: "a large map is drawn in part, and looked at from deeper tiles",
    async run({ page, picture }) {
      const tiles = [{ path: [], title: "World" }];
      for (const { path } of tiles) {
        if (path.length < 5) for (let step = 1; step <= 6 && tiles.length < 4_000; step++) tiles.push({ path: [...path, step], title: `T${[...path, step].join("")}` });
      }
      const document = JSON.stringify({ format: "hexward.map", version: 1, tiles });
      await page.getByTestId("import-file").setInputFiles({ name: "world.json", mimeType: "application/json", buffer: Buffer.from(document) });
      await page.getByTestId("import-dialog").getByLabel(/In place of this whole map/).check();
      await page.getByTestId("import-go").click();
      await tileNamed(page, "World").waitFor();
      assert.match(await page.getByTestId("tile-count").innerText(), /4,000 tiles/);
      const drawn = await page.getByTestId("tile").count();
      assert.ok(drawn <= 259, `${drawn} tiles are drawn`);
      assert.equal(await tileNamed(page, "T1111").count(), 0, "a level that does not fit is left out as a whole");
      assert.match(await tileNamed(page, "T111").getAttribute("aria-label"), /6 more below/);
      await settle(page);
      await screenshot(page, picture("hands-large"));
      // Moving and zooming it takes no noticeable time.
      const begun = Date.now();
      await tileNamed(page, "World").focus();
      for (let press = 0; press < 10; press++) await page.keyboard.press("+");
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      assert.ok(Date.now() - begun < 5_000, `ten steps took ${Date.now() - begun} ms`);
      assert.ok((await page.getByTestId("tile").count()) < drawn, "what is out of view is not drawn");
      await page.keyboard.press("0");
      await select(page, "T111");
      await button(page, "Look from here").click();
      await tileNamed(page, "T1111").waitFor();
      assert.equal(await tileNamed(page, "World").count(), 0);
      const crumbs = page.getByRole("navigation", { name: "Where you are on the map" });
      assert.deepEqual(await crumbs.getByRole("listitem").allInnerTexts(), ["World", "T1", "T11", "T111"]);
      await crumbs.getByRole("button", { name: "T1", exact: true }).click();
      await tileNamed(page, "T12").waitFor();
    },
  },
  {
    name: "the map works on a small screen",
    context: { viewport: { width: 360, height: 740 } },
    async run({ page, picture }) {
      await add(page, "My map", "east", "Aurora", "Lights of the north");
      await settle(page);
      await screenshot(page, picture("hands-small"));
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${overflow} px stick out to the side`);
      await button(page, "Edit").click();
      await page.getByTestId("tile-form").waitFor();
      await settle(page);
      await screenshot(page, picture("hands-small-edit"));
      await page.getByTestId("tile-form").getByRole("button", { name: "Save" }).scrollIntoViewIfNeeded();
      await assertAccessible(page, "the form on a small screen");
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0);
    },
  },
];

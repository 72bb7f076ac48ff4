import assert from "node:assert/strict";
import { assertAccessible, screenshot, sendMessage, settle } from "../browser.mjs";

const MAGIC = { app: "magic" };
const card = (page, name) => page.locator(`[data-testid="card"][data-name=${JSON.stringify(name)}]`);
const details = (page, name) => page.locator(`[data-testid="card-details"][data-name=${JSON.stringify(name)}]`);
const tab = (page, title) => page.getByRole("navigation", { name: "Look-up pages" }).getByRole("link", { name: title });

/** The notices stand under every look-up page, whichever it is. */
async function assertNoticed(page, where) {
  const notices = page.getByTestId("notices");
  await notices.waitFor();
  const text = await notices.innerText();
  assert.match(text, /unofficial Fan Content permitted under the Fan Content Policy/, where);
  assert.match(text, /Not approved\/endorsed by Wizards/, where);
  assert.match(text, /invented for demonstration/, where);
  assert.match(text, /44/, where);
}

async function search(page, query) {
  await page.getByTestId("card-query").fill(query);
  await page.getByTestId("card-query").press("Enter");
}

/** The box itself is not drawn; people click its symbol. */
async function chooseColor(page, name) {
  const box = page.getByRole("checkbox", { name });
  await page.locator(".color", { has: box }).click();
  assert.equal(await box.isChecked(), true);
}

/** Nothing sticks out to the side, of the page or of its pane. */
async function assertFits(page, where) {
  const over = await page.evaluate(() => {
    const wide = [document.documentElement, ...document.querySelectorAll(".scroller")].filter((element) => element.scrollWidth > element.clientWidth + 1);
    return wide.map((element) => `${element.className || element.tagName}: ${element.scrollWidth} in ${element.clientWidth}`);
  });
  assert.deepEqual(over, [], where);
}

/** On the fixture and on a real gateway alike: a visit from the first search to the draft of a question. */
export const lookupStories = [
  {
    name: "everything is looked up in one visit, without an account and without a message",
    fixture: { magic: true },
    path: "/#/magic/cards",
    ready: "card",
    async run({ page, picture }) {
      await assertNoticed(page, "cards");
      await search(page, "flying");
      await card(page, "Swarm of Paper Gulls").waitFor();
      await page.waitForFunction(() => !document.querySelector('[data-testid="card"][data-name="Burrowkit"]'));
      await search(page, "Kindlebright");
      await page.getByRole("link", { name: /^Kindlebright/ }).click();
      await details(page, "Kindlebright // Quenchfall").waitFor();
      assert.equal(await page.getByTestId("card-side").count(), 2);
      assert.match(await page.getByTestId("legalities").innerText(), /Modern/);
      await assertNoticed(page, "a card");
      await tab(page, "Rules").click();
      await page.getByRole("link", { name: "Flying" }).click();
      await page.locator('[data-testid="rule"][data-kind="term"][data-key="Flying"]').getByRole("link", { name: "310.1" }).click();
      await page.locator('[data-testid="rule"][data-key="310.1a"]').waitFor();
      await assertNoticed(page, "rules");
      await tab(page, "Deck").click();
      await page.getByTestId("deck-example").click();
      await page.getByTestId("deck-text").press("Control+End");
      await page.getByTestId("deck-text").pressSequentially("4 Burowkit");
      await page.getByTestId("deck-examine").click();
      await page.getByTestId("deck-report").waitFor();
      assert.match(await page.getByTestId("deck-problems").innerText(), /Burowkit/);
      assert.ok((await page.getByTestId("verdict").count()) >= 5, "legality by format");
      assert.equal(await page.locator('[data-testid="verdict"][data-verdict="legal"]').count(), 0, "an unknown card is never legal");
      await page.locator('[data-testid="verdict"][data-format="modern"]').click();
      await page.getByTestId("verdict-details").waitFor();
      await page.getByRole("spinbutton", { name: "Cards in the deck" }).fill("60");
      await page.getByTestId("odds-copies").fill("4");
      await page.getByTestId("odds").click();
      await page.getByText("39.9 %").waitFor();
      await assertNoticed(page, "a deck");
      await assertAccessible(page, "a deck");
      await screenshot(page, picture("magic-visit"));
      await page.getByTestId("deck-ask").click();
      assert.match(await page.getByTestId("composer").inputValue(), /^How would you improve this deck\?\n\nCommander\n1 Ione/);
      assert.equal(await page.getByTestId("user-message").count(), 0, "nothing was sent to anybody");
    },
  },
];

export const magicStories = [
  ...lookupStories,
  {
    name: "cards are found by words and filters without a message to the agent",
    fixture: MAGIC,
    ready: "card",
    async run({ page, fixture }) {
      await assertNoticed(page, "cards");
      assert.match(await page.getByTestId("card-count").innerText(), /^44 cards/);
      await search(page, "flying");
      await page.waitForFunction(() => /q=flying/.test(location.hash));
      await card(page, "Swarm of Paper Gulls").waitFor();
      assert.equal(await card(page, "Burrowkit").count(), 0);
      await page.getByTestId("card-query").fill("");
      await page.getByTestId("filters").locator("summary").click();
      await chooseColor(page, "red");
      await page.getByRole("combobox", { name: "Type" }).fill("Instant");
      await page.getByRole("spinbutton", { name: "Mana value to" }).fill("1");
      await page.getByRole("combobox", { name: "Legal in" }).selectOption("modern");
      await page.getByTestId("card-search").click();
      await page.waitForFunction(() => document.querySelector('[data-testid="card-count"]')?.innerText === "1 card");
      const jab = card(page, "Sparkfinger Jab");
      assert.equal(await jab.getByRole("img", { name: "Costs 1 red" }).count(), 1);
      const asked = fixture.calls.at(-1);
      assert.deepEqual(asked, {
        tool: "mtg_card_search",
        arguments: { filters: { colors: ["R"], colorMatch: "including", type: "Instant", manaValueMax: "1", format: "modern" }, page: 1 },
      });
      await page.goBack();
      await card(page, "Swarm of Paper Gulls").waitFor();
      await page.reload();
      await card(page, "Swarm of Paper Gulls").waitFor();
      assert.equal(await page.getByTestId("card-query").inputValue(), "flying", "a search has an address");
      assert.deepEqual(fixture.begun(), [], "no conversation was begun");
    },
  },
  {
    name: "lists have pages, and nothing that is found says so",
    fixture: MAGIC,
    ready: "card",
    async run({ page }) {
      await page.getByRole("link", { name: "Next" }).click();
      await page.getByText("Page 2 of 5").waitFor();
      assert.equal(await page.getByTestId("card").count(), 10);
      await search(page, "Burowkit");
      await page.getByRole("link", { name: "Burrowkit", exact: true }).click();
      await details(page, "Burrowkit").waitFor();
      await page.goBack();
      await page.getByText("Names that are written alike").waitFor();
      assert.equal(await page.getByTestId("card").count(), 0);
    },
  },
  {
    name: "a card is shown with both faces, legalities and rulings",
    fixture: MAGIC,
    path: "/#/magic/card/Kindlebright%20%2F%2F%20Quenchfall",
    ready: "card-details",
    async run({ page, picture }) {
      await assertNoticed(page, "a card");
      assert.equal(await page.getByTestId("card-side").count(), 2);
      assert.match(await page.getByTestId("card-side").last().innerText(), /Quenchfall/);
      assert.match(await page.getByTestId("legalities").innerText(), /Legal in[\s\S]*Modern/);
      await assertAccessible(page, "a card with two faces");
      await screenshot(page, picture("magic-card-faces"));
      await page.goto(page.url().replace(/#.*/, "#/magic/card/Sparkfinger%20Jab"));
      await details(page, "Sparkfinger Jab").waitFor();
      assert.equal(await page.getByTestId("rulings").locator("li").count(), 2);
      assert.match(await page.getByTestId("rulings").innerText(), /2026-03-01/);
      await page.goto(page.url().replace(/#.*/, "#/magic/card/Burowkit"));
      await page.getByTestId("lookup-error").waitFor();
      assert.match(await page.getByTestId("lookup-error").innerText(), /Did you mean: Burrowkit/);
    },
  },
  {
    name: "rules are looked up by number and by words, and lead to each other",
    fixture: MAGIC,
    ready: "card",
    async run({ page, fixture }) {
      await tab(page, "Rules").click();
      await page.getByRole("link", { name: "Flying" }).click();
      const term = page.locator('[data-testid="rule"][data-kind="term"][data-key="Flying"]');
      await term.waitFor();
      await assertNoticed(page, "rules");
      await term.getByRole("link", { name: "310.1" }).click();
      await page.locator('[data-testid="rule"][data-key="310.1a"]').waitFor();
      assert.deepEqual(fixture.calls.at(-1).arguments, { ruleNumber: "310.1", page: 1 });
      assert.equal(await page.getByTestId("rule-query").inputValue(), "310.1");
      await page.getByTestId("rule-query").fill("999");
      await page.getByTestId("rule-search").click();
      await page.getByTestId("lookup-error").waitFor();
      assert.match(await page.getByTestId("lookup-error").innerText(), /no rule numbered/);
    },
  },
  {
    name: "a pasted deck is read, counted and judged",
    fixture: MAGIC,
    path: "/#/magic/deck",
    ready: "deck-text",
    async run({ page, fixture, picture }) {
      await assertNoticed(page, "deck");
      await page.getByTestId("deck-examine").click();
      assert.match(await page.getByTestId("deck-hint").innerText(), /Paste a deck list first/);
      assert.equal(fixture.calls.filter(({ tool }) => tool.startsWith("mtg_deck")).length, 0, "nothing travels for nothing");
      const list = "Commander\n1 Ione, Keeper of Tides\nDeck\n4x Burrowkit (HEX) 12\n3 Burowkit\nSideboard\n2 Gravewort";
      await page.getByTestId("deck-text").fill(list);
      await page.getByTestId("deck-examine").click();
      await page.getByTestId("deck-report").waitFor();
      assert.equal(fixture.calls.find(({ tool }) => tool === "mtg_deck_parse").arguments.deck, list, "as the person wrote it");
      assert.equal(await page.getByTestId("deck-section").count(), 3);
      assert.match(await page.getByTestId("deck-problems").innerText(), /no card is called "Burowkit"/);
      assert.equal(await page.locator('[data-testid="verdict"][data-verdict="legal"]').count(), 0, "an unknown card is never legal");
      assert.equal(await page.locator('[data-format="commander"]').getAttribute("data-verdict"), "unknown");
      await page.locator('[data-format="modern"]').click();
      await page.getByTestId("verdict-details").waitFor();
      assert.match(await page.getByTestId("verdict-details").innerText(), /5 of Burrowkit; modern allows 4/);
      await page.getByTestId("odds-copies").fill("70");
      await page.getByTestId("odds").click();
      await page.getByText("one of them is too large").waitFor();
      await page.getByTestId("odds-copies").fill("4");
      await page.getByTestId("odds").click();
      await page.getByTestId("odds-answer").waitFor();
      assert.match(await page.getByTestId("odds-answer").innerText(), /39.9 % for at least 1 of 4/);
      await assertAccessible(page, "a deck");
      await screenshot(page, picture("magic-deck"));
      await page.getByTestId("deck-text").press("End");
      await page.getByTestId("deck-text").pressSequentially(" ");
      await page.getByText("The list was changed since").waitFor();
      await tab(page, "Rules").click();
      await tab(page, "Deck").click();
      assert.match(await page.getByTestId("deck-text").inputValue(), /Burowkit/, "the list is still there");
    },
  },
  {
    name: "a deck goes to the chat as a draft, and a large one says why not",
    fixture: MAGIC,
    path: "/#/magic/deck",
    ready: "deck-text",
    async run({ page }) {
      await page.getByTestId("deck-example").click();
      await page.getByTestId("deck-examine").click();
      await page.getByTestId("deck-ask").click();
      const draft = await page.getByTestId("composer").inputValue();
      assert.match(draft, /^How would you improve this deck\?\n\nCommander\n1 Ione, Keeper of Tides\n\nDeck\n17 Mossy Hollow/);
      assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), "composer");
      assert.equal(await page.getByTestId("user-message").count(), 0, "the person sends it, nobody else");
      await page.getByTestId("composer").fill("");
      await page.getByTestId("deck-text").fill(Array.from({ length: 120 }, (_, at) => `1 A name nobody knows ${at}`).join("\n"));
      await page.getByTestId("deck-examine").click();
      await page.getByText("120 cards").waitFor();
      await page.getByTestId("deck-ask").click();
      assert.match(await page.getByTestId("deck-hint").innerText(), /would make a message of [\d,]+ characters, and one may have 2,000/);
      assert.equal(await page.getByTestId("composer").inputValue(), "", "never cut silently");
    },
  },
  {
    name: "beside the map a way leads to the cards, and asking begins a conversation with the assistant",
    fixture: { magic: true },
    async run({ page, fixture }) {
      await sendMessage(page, "What is on my map?");
      await page.getByTestId("run-end").waitFor();
      await page.getByRole("link", { name: "Magic", exact: true }).click();
      await card(page, "Quiet Meadow").waitFor();
      assert.equal(await page.getByTestId("tile").count(), 0);
      assert.equal(await page.getByTestId("user-message").count(), 1, "the conversation stays");
      await page.getByRole("link", { name: "Quiet Meadow" }).click();
      await page.getByTestId("add-card").click();
      await page.getByText("is in the list on the deck page").waitFor();
      await page.getByTestId("ask-card").click();
      assert.equal(await page.getByTestId("composer").inputValue(), "About the card Quiet Meadow: ");
      assert.equal(await page.getByTestId("user-message").count(), 0, "the map's agent is not asked about cards");
      await page.getByTestId("composer").press("End");
      await page.getByTestId("composer").pressSequentially("what does it do?");
      await page.getByTestId("send").click();
      await page.getByTestId("run-end").waitFor();
      assert.deepEqual(fixture.begun(), [null, "magic"]);
      await tab(page, "Deck").click();
      assert.equal(await page.getByTestId("deck-text").inputValue(), "1 Quiet Meadow\n");
      await page.goBack();
      await page.goBack();
      await card(page, "Quiet Meadow").waitFor();
      assert.equal(await page.getByTestId("user-message").count(), 1, "going back over pages closes no conversation");
      await page.getByRole("link", { name: "Map" }).click();
      await page.getByTestId("tile").first().waitFor();
    },
  },
  {
    name: "where Magic is off there is no way to it",
    path: "/#/magic/cards",
    async run({ page }) {
      assert.equal(await page.getByRole("link", { name: "Magic", exact: true }).count(), 0);
      assert.equal(await page.getByTestId("magic").count(), 0);
    },
  },
  {
    name: "a look-up that fails says so and can be tried again",
    fixture: MAGIC,
    ready: "card",
    allowed: [/status of 429/],
    async run({ page, fixture }) {
      fixture.refuseNext({ status: 429, code: "rate.edits", message: "You have opened as much as you may for now. Wait a moment." });
      await search(page, "fox");
      const problem = page.getByTestId("lookup-error");
      await problem.waitFor();
      assert.equal(await problem.getAttribute("data-code"), "rate.edits");
      assert.match(await problem.innerText(), /as much as you may/);
      await problem.getByRole("button", { name: "Try again" }).click();
      await card(page, "Burrowkit").waitFor();
      assert.equal(await problem.count(), 0);
    },
  },
  {
    name: "the keyboard alone is enough to find a card and read it",
    fixture: MAGIC,
    ready: "card",
    async run({ page }) {
      await page.getByTestId("card-query").focus();
      await page.keyboard.type("gulls");
      await page.keyboard.press("Enter");
      await page.waitForFunction(() => document.querySelectorAll('[data-testid="card"]').length === 1);
      for (let at = 0; at < 8 && !(await page.evaluate(() => document.activeElement.textContent === "Swarm of Paper Gulls")); at += 1) await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await details(page, "Swarm of Paper Gulls").waitFor();
    },
  },
  ...[
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["narrow", { colorScheme: "light", viewport: { width: 360, height: 780 } }],
    ["narrow-dark", { colorScheme: "dark", viewport: { width: 360, height: 780 } }],
  ].map(([name, context]) => ({
    name: `the look-up pages look right and read well: ${name}`,
    context: { viewport: { width: 1360, height: 900 }, ...context },
    fixture: MAGIC,
    path: "/#/magic/cards",
    ready: "card",
    async run({ page, picture }) {
      const look = async (what) => {
        await settle(page);
        await assertAccessible(page, `${name}, ${what}`);
        await assertFits(page, `${name}, ${what}`);
        await screenshot(page, picture(`magic-${name}-${what}`));
      };
      await page.getByTestId("filters").locator("summary").click();
      await chooseColor(page, "green");
      await look("cards");
      await page.goto(page.url().replace(/#.*/, "#/magic/card/Moonlit%20Courier"));
      await page.getByTestId("card-details").waitFor();
      await look("card");
      await page.goto(page.url().replace(/#.*/, "#/magic/rules?q=flying"));
      await page.getByTestId("rule").first().waitFor();
      await look("rules");
      await page.goto(page.url().replace(/#.*/, "#/magic/deck"));
      await page.getByTestId("deck-example").click();
      await page.getByTestId("deck-examine").click();
      await page.locator('[data-format="modern"]').click();
      await page.getByTestId("verdict-details").waitFor();
      await look("deck");
      await page.getByTestId("deck-advice").scrollIntoViewIfNeeded();
      await look("deck-end");
      await page.getByTestId("notices").scrollIntoViewIfNeeded();
      if (await page.getByTestId("front-chat").isVisible()) {
        await page.getByTestId("front-chat").click();
        assert.equal(await page.getByTestId("magic").isVisible(), false);
        await look("chat");
        await page.getByTestId("front-pane").click();
        await page.getByTestId("deck-ask").click();
        assert.equal(await page.getByTestId("composer").isVisible(), true, "asking shows the conversation");
      }
    },
  })),
];

// One person, one message, one tile, and its deletion: the test that a whole gateway must pass.
//
//   HEXWARD_URL=http://127.0.0.1:8080 node e2e/chat.mjs
//
// Without HEXWARD_URL it tests the built pages against the fixture. HEXWARD_SCREENSHOT names the picture it leaves,
// HEXWARD_E2E_TIMEOUT_MS bounds each wait (default 45 s), and the whole is bounded by four of them.
import { fileURLToPath } from "node:url";
import { allowChanges, assertAccessible, assertClean, explain, launch, openPage, screenshot, sendMessage, waitForTile } from "./browser.mjs";
import { startFixture } from "./fixture/server.mjs";

const TIMEOUT_MS = Number(process.env.HEXWARD_E2E_TIMEOUT_MS ?? 45_000);
const SCREENSHOT = process.env.HEXWARD_SCREENSHOT ?? fileURLToPath(new URL("../../target/e2e/chat.png", import.meta.url));
const MESSAGE = "Create a tile called Aurora to the north-east";

async function main() {
  const fixture = process.env.HEXWARD_URL ? null : await startFixture();
  const url = process.env.HEXWARD_URL ?? fixture.url;
  const browser = await launch();
  try {
    await chat(browser, url);
  } finally {
    await browser.close();
    await fixture?.close();
  }
  console.log(`ok: ${url} drew the tile and answered; picture in ${SCREENSHOT}`);
}

async function chat(browser, url) {
  const opened = await openPage(browser, url);
  const { page } = opened;
  page.setDefaultTimeout(TIMEOUT_MS);
  try {
    await page.goto(url, { timeout: TIMEOUT_MS });
    await page.getByTestId("tile").first().waitFor();
    if (await page.locator('[data-testid="tile"][data-title="Aurora"]').count()) throw new Error("a new person's map already has the tile");
    const preset = (await page.getByTestId("writes").getAttribute("aria-checked")) === "true";
    if (process.env.HEXWARD_URL && !preset) throw new Error("a demo begins with changes switched on");
    await allowChanges(page);
    await sendMessage(page, MESSAGE);
    await waitForAnswer(page);
    await waitForTile(page, "Aurora", TIMEOUT_MS);
    await assertAccessible(page, "the chat page");
    await screenshot(page, SCREENSHOT);
    await confirmDeletion(page);
    await assertClean(opened);
  } catch (error) {
    await screenshot(page, SCREENSHOT).catch(() => {});
    throw await explain(opened, error);
  }
}

/** What can't be undone by a word is done after one: the person sees the effect and says yes. */
async function confirmDeletion(page) {
  const tile = page.locator('[data-testid="tile"][data-title="Aurora"]');
  await sendMessage(page, "Delete the tile Aurora");
  const effect = await page.getByTestId("confirmation-effect").innerText();
  if (!/^Deletes “Aurora”/.test(effect)) throw new Error(`the effect is not told: ${effect}`);
  if ((await tile.count()) !== 1) throw new Error("the tile was deleted before anybody agreed");
  await page.locator('[data-testid="approve"]:enabled').click();
  await tile.waitFor({ state: "detached" });
  await page.locator('[data-testid="run-end"][data-outcome="finished"]').nth(1).waitFor();
}

/** The answer is there when the run has ended well and the agent has said something. */
async function waitForAnswer(page) {
  const ended = page.getByTestId("run-end");
  const refused = page.getByTestId("error");
  await ended.or(refused).first().waitFor();
  if (await refused.count()) throw new Error(`the message was refused: ${await refused.innerText()}`);
  const outcome = await ended.getAttribute("data-outcome");
  if (outcome !== "finished") throw new Error(`the run ended as ${outcome}: ${await ended.innerText()}`);
  const text = (await page.getByTestId("assistant-message").allInnerTexts()).join(" ").replace(/Agent:/g, "").trim();
  if (text === "") throw new Error("the agent finished without a word");
  if (!(await page.locator('[data-testid="tool-call"][data-ok="true"]').count())) throw new Error("no tool call succeeded");
}

const watchdog = setTimeout(() => {
  console.error(`failed: not done after ${4 * TIMEOUT_MS} ms`);
  process.exit(1);
}, 4 * TIMEOUT_MS);

main()
  .catch((error) => {
    console.error(`failed: ${error.message}`);
    process.exitCode = 1;
  })
  .finally(() => clearTimeout(watchdog));

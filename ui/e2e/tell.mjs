// How a story is told: a new person in a new browser context, and nothing on the page that must not be there.
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { assertClean, explain, launch, openPage } from "./browser.mjs";
import { startFixture } from "./fixture/server.mjs";

const STORY_TIMEOUT_MS = 60_000;
const WAIT_MS = 15_000;
const SCREENSHOTS = process.env.HEXWARD_SCREENSHOTS ?? fileURLToPath(new URL("../../target/e2e", import.meta.url));

async function tell(browser, story, gateway) {
  const fixture = gateway ? null : await startFixture({ paceMs: 8, ...story.fixture });
  const url = gateway ?? fixture.url;
  const opened = await openPage(browser, url, story.context);
  opened.page.setDefaultTimeout(WAIT_MS);
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${STORY_TIMEOUT_MS} ms`)), STORY_TIMEOUT_MS);
  });
  try {
    await opened.page.goto(url + (story.path ?? ""));
    await opened.page.getByTestId(story.ready ?? "tile").first().waitFor();
    const picture = (name) => join(SCREENSHOTS, `${name}.png`);
    await Promise.race([story.run({ ...opened, opened, fixture, browser, picture }), late]);
    await assertClean(opened, story.allowed);
  } catch (error) {
    await opened.page.screenshot({ path: join(SCREENSHOTS, "failed.png") }).catch(() => {});
    throw await explain(opened, error);
  } finally {
    clearTimeout(timer);
    await opened.close();
    await fixture?.close();
  }
}

/** Tells the stories whose name has `wanted` in it; 0 when all of them went well. Without a gateway, against the fixture. */
export async function tellAll(all, wanted, gateway) {
  const stories = all.filter(({ name, onlyFixture }) => name.includes(wanted) && !(gateway && onlyFixture));
  const browser = await launch();
  let failed = stories.length === 0 ? 1 : 0;
  for (const story of stories) {
    const begun = performance.now();
    const problem = await tell(browser, story, gateway).then(
      () => null,
      (error) => error,
    );
    if (problem) failed += 1;
    console.log(`${problem ? "FAILED" : "ok    "} ${story.name} (${Math.round(performance.now() - begun)} ms)${problem ? `\n  ${problem.message}` : ""}`);
  }
  await browser.close();
  return failed > 0 ? 1 : 0;
}

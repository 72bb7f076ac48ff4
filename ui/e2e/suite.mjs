// Everything the pages promise beyond the first message, against the fixture: what a gateway can't be told to do on demand.
//
//   node e2e/suite.mjs [part of a story's name]
//
// Pictures go to HEXWARD_SCREENSHOTS (default target/e2e).
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { assertClean, explain, launch, openPage } from "./browser.mjs";
import { startFixture } from "./fixture/server.mjs";
import { chatStories } from "./stories/chat.mjs";
import { looksStories } from "./stories/looks.mjs";
import { mapStories } from "./stories/map.mjs";
import { undoStories } from "./stories/undo.mjs";

const STORY_TIMEOUT_MS = 60_000;
const WAIT_MS = 15_000;
const SCREENSHOTS = process.env.HEXWARD_SCREENSHOTS ?? fileURLToPath(new URL("../../target/e2e", import.meta.url));

async function tell(browser, story) {
  const fixture = await startFixture({ paceMs: 8, ...story.fixture });
  const opened = await openPage(browser, fixture.url, story.context);
  opened.page.setDefaultTimeout(WAIT_MS);
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${STORY_TIMEOUT_MS} ms`)), STORY_TIMEOUT_MS);
  });
  try {
    await opened.page.goto(fixture.url);
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
    await fixture.close();
  }
}

const wanted = process.argv[2] ?? "";
const stories = [...chatStories, ...mapStories, ...undoStories, ...looksStories].filter(({ name }) => name.includes(wanted));
const browser = await launch();
let failed = stories.length === 0 ? 1 : 0;
for (const story of stories) {
  const begun = performance.now();
  const problem = await tell(browser, story).then(
    () => null,
    (error) => error,
  );
  if (problem) failed += 1;
  console.log(`${problem ? "FAILED" : "ok    "} ${story.name} (${Math.round(performance.now() - begun)} ms)${problem ? `\n  ${problem.message}` : ""}`);
}
await browser.close();
process.exit(failed > 0 ? 1 : 0);

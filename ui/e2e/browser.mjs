import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { chromium } from "playwright-core";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** A browser from the system: nothing is downloaded. HEXWARD_CHROMIUM names another one. */
export async function launch() {
  const executablePath = process.env.HEXWARD_CHROMIUM ?? "/usr/bin/chromium";
  if (!existsSync(executablePath)) throw new Error(`no browser at ${executablePath}: install chromium or set HEXWARD_CHROMIUM`);
  // Chromium's own sandbox needs privileges that a container's root lacks; the pages under test are ours.
  return chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
}

/** Opens a page that notes everything that must not happen: policy violations, errors, requests to elsewhere. */
export async function openPage(browser, baseUrl, options = {}) {
  const context = options.context ?? (await browser.newContext({ viewport: { width: 1360, height: 840 }, ...options }));
  const page = await context.newPage();
  const faults = [];
  const origin = new URL(baseUrl).origin;
  await page.addInitScript(() => {
    window.__violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
      window.__violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(`console error: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`page error: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith("data:") && new URL(url).origin !== origin) faults.push(`request to another origin: ${url}`);
  });
  return { page, context, faults, close: () => context.close() };
}

/** Fails when anything went wrong so far; `allowed` are console errors that the test caused on purpose. */
export async function assertClean(opened, allowed = []) {
  const bad = (await faultsOf(opened)).filter((fault) => !allowed.some((pattern) => pattern.test(fault)));
  if (bad.length > 0) throw new Error(`the page was not clean:\n  ${bad.join("\n  ")}`);
}

async function faultsOf({ page, faults }) {
  const violations = await page.evaluate(() => window.__violations ?? []).catch(() => []);
  return [...violations.map((violation) => `policy violation: ${violation}`), ...faults];
}

/** What went wrong, in few lines: what the page complained of is often the reason for what the test missed. */
export async function explain(opened, error) {
  const [first] = error.message.split("\nCall log:");
  const waitedFor = /waiting for .*/.exec(error.message)?.[0] ?? "";
  const faults = error.message.includes("was not clean") ? [] : await faultsOf(opened);
  return new Error([`${first.trim()} ${waitedFor}`.trim(), ...faults].join("\n  "));
}

/** Runs axe through the debugger, which the page's policy doesn't bind, and fails on serious findings. */
export async function assertAccessible(page, what) {
  await settle(page);
  await page.evaluate(await readFile(AXE, "utf8"));
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  if (serious.length > 0) {
    const lines = serious.map(({ id, help, nodes }) => `${id}: ${help}\n      ${nodes.map((node) => `${node.html.slice(0, 200)} ${node.any[0]?.message ?? ""}`).join("\n      ")}`);
    throw new Error(`${what} is not accessible:\n    ${lines.join("\n    ")}`);
  }
}

/** Waits until animations and transitions that end have ended: colours and places are judged at rest. */
export async function settle(page) {
  await page.waitForFunction(
    () => document.getAnimations().every((animation) => animation.playState !== "running" || animation.effect.getTiming().iterations === Infinity),
    undefined,
    { timeout: 10_000 },
  );
}

export async function screenshot(page, path) {
  await mkdir(dirname(path), { recursive: true });
  await page.screenshot({ path });
}

/** Waits until a tile stands on the map where the person can see it. */
export async function waitForTile(page, title, timeout) {
  const tile = page.locator(`[data-testid="tile"][data-title=${JSON.stringify(title)}]`);
  await tile.waitFor({ state: "visible", timeout });
  await settle(page);
  const box = await tile.boundingBox();
  const size = page.viewportSize();
  const inView = box && box.width > 8 && box.height > 8 && box.x >= 0 && box.y >= 0 && box.x + box.width <= size.width + 1 && box.y + box.height <= size.height + 1;
  if (!inView) throw new Error(`the tile ${title} is drawn outside the view: ${JSON.stringify(box)}`);
  return tile;
}

/** Sets the writes switch; it says by itself how it stands. */
export async function allowChanges(page, wanted = true) {
  const toggle = page.getByTestId("writes");
  if (((await toggle.getAttribute("aria-checked")) === "true") !== wanted) await toggle.click();
}

export async function sendMessage(page, text) {
  await page.getByTestId("composer").fill(text);
  await page.getByTestId("send").click();
}

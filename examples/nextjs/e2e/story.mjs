// The example as a person uses it: sign in, ask, watch the application's own tiles change, confirm on Hexward's page, undo.
//
//   EXAMPLE_URL=http://127.0.0.1:7430 EXAMPLE_STATE=.hexward/example node examples/nextjs/e2e/story.mjs
import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { assertAccessible, launch, screenshot } from "../../../ui/e2e/browser.mjs";

const url = process.env.EXAMPLE_URL;
if (!url) throw new Error("EXAMPLE_URL must name the running example (examples/nextjs/run.sh)");
const picture = (name) => fileURLToPath(new URL(`../../../target/e2e/example-${name}.png`, import.meta.url));
const WAIT_MS = 30_000;
/** A question has to be read before it is answered. */
const READING_MS = 1_000;
const person = `ada-${Date.now().toString(36)}`;
const PASSWORD = "correct horse battery";

/** Everything that must not happen, on any page: errors, policy violations, and requests to anywhere but this application and its Hexward. */
function watched(context) {
  const faults = [];
  const origins = new Map();
  const noted = (page) => {
    page.on("console", (message) => message.type() === "error" && faults.push(`console error: ${message.text()}`));
    page.on("pageerror", (error) => faults.push(`page error: ${error.message}`));
  };
  context.on("page", noted);
  context.on("request", (request) => {
    const address = new URL(request.url());
    if (address.protocol === "data:") return;
    if (address.hostname !== "127.0.0.1") faults.push(`request to elsewhere: ${request.url()}`);
    const page = request.isNavigationRequest() ? undefined : request.frame().page();
    if (address.search.includes("hxt_") || address.search.includes("hxw_")) faults.push(`a secret in an address: ${request.url()}`);
    origins.set(address.origin, [...(origins.get(address.origin) ?? []), { path: address.pathname, headers: request.headers(), top: page?.url() }]);
  });
  return { faults, origins };
}

async function signUp(page, name) {
  await page.goto(url);
  await assertAccessible(page, "the sign-in");
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Create an account" }).click();
  await page.getByTestId("tile").first().waitFor();
}

async function ask(page, text) {
  await page.getByTestId("composer").fill(text);
  await page.getByTestId("send").click();
}

const ended = (page) => page.locator('[data-testid="run-end"][data-outcome="finished"]').waitFor();
/** The tool server is Hexward's alone: neither its credential nor a word that Hexward did not sign opens it. */
async function nobodyElseCalls() {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "mapItemsList", arguments: {} } });
  const call = async (headers) => {
    const answer = await fetch(`${url}/api/mcp`, { method: "POST", headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...headers }, body });
    return [answer.status, (await answer.json()).error?.message];
  };
  const secrets = await readFile(`${process.env.EXAMPLE_STATE}/secrets`, "utf8");
  const authorization = `Bearer ${/^TILES_TOOLS_TOKEN=(.+)$/m.exec(secrets)[1]}`;
  const { keys } = JSON.parse(await readFile(`${process.env.EXAMPLE_STATE}/gateway/assertion-keys.json`, "utf8"));
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const claims = part({ iss: "hexward", aud: "tiles", sub: "x", iat: now, exp: now + 60, jti: "j", method: "tools/call", tool: "mapItemsList" });
  const { privateKey } = generateKeyPairSync("ed25519");
  const signed = (header) => {
    const said = `${part(header)}.${claims}`;
    return `${said}.${sign(null, Buffer.from(said), privateKey).toString("base64url")}`;
  };
  assert.deepEqual(await call({}), [401, "no credential of Hexward's"]);
  assert.deepEqual(await call({ authorization: "Bearer x" }), [401, "no credential of Hexward's"]);
  assert.deepEqual(await call({ authorization }), [401, "the assertion is missing, or is none"]);
  for (const [header, why] of [
    [{ alg: "EdDSA", kid: keys[0].kid }, "the assertion's signature is wrong"],
    [{ alg: "EdDSA", kid: "mine" }, "the assertion's key is not known"],
    [{ alg: "none", kid: keys[0].kid }, "the assertion is not signed as agreed"],
  ]) {
    assert.deepEqual(await call({ authorization, "x-hexward-assertion": signed(header) }), [401, why]);
  }
}

/** Hexward told the application itself what happened, signed, and a word that it did not sign is none. */
async function told() {
  const log = `${process.env.EXAMPLE_STATE}/application.log`;
  const wanted = ["hook: run.finished for ", "hook: confirmation.pending for "];
  let seen = "";
  for (let tries = 0; tries < WAIT_MS / 100 && !wanted.every((line) => seen.includes(line)); tries++) {
    await new Promise((done) => setTimeout(done, 100));
    seen = await readFile(log, "utf8");
  }
  for (const line of wanted) assert.ok(seen.includes(line), `the application was told: ${line}`);
  const headers = { "content-type": "application/json", "webhook-id": "msg_x", "webhook-timestamp": String(Math.floor(Date.now() / 1000)), "webhook-signature": `v1,${Buffer.alloc(32).toString("base64")}` };
  const answer = await fetch(`${url}/api/hooks/hexward`, { method: "POST", headers, body: JSON.stringify({ type: "run.finished" }) });
  assert.equal(answer.status, 401);
  const large = await fetch(`${url}/api/hooks/hexward`, { method: "POST", headers, body: "x".repeat(300 * 1024) });
  assert.equal(large.status, 413);
  // Signed as Hexward signs: what is old or was changed on its way is not taken, and as it was sent it is.
  const secrets = await readFile(`${process.env.EXAMPLE_STATE}/secrets`, "utf8");
  const secret = Buffer.from(/^HEXWARD_HOOK_SECRET=(.+)$/m.exec(secrets)[1]);
  const signed = async (agoSecs, sent = (body) => body) => {
    const [id, at, body] = [`msg_${agoSecs}`, String(Math.floor(Date.now() / 1000) - agoSecs), JSON.stringify({ id: `msg_${agoSecs}`, type: "run.finished", user: { subject: "nobody" }, data: {} })];
    const signature = `v1,${createHmac("sha256", secret).update(`${id}.${at}.${body}`).digest("base64")}`;
    const given = { "content-type": "application/json", "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature };
    return (await fetch(`${url}/api/hooks/hexward`, { method: "POST", headers: given, body: sent(body) })).status;
  };
  assert.deepEqual([await signed(0, (body) => body.replace("nobody", "ada")), await signed(3600), await signed(1)], [401, 401, 204]);
}

const tile = (page, title) => page.locator(`[data-testid="tile"][data-title=${JSON.stringify(title)}]`);

async function story(browser) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 } });
  context.setDefaultTimeout(WAIT_MS);
  const { faults, origins } = watched(context);
  const page = await context.newPage();
  await signUp(page, person);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Name").fill(person);
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("don't belong together").waitFor();
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await tile(page, "My tiles").waitFor();
  const cookie = (await context.cookies()).find(({ name }) => name === "tiles");
  assert.ok(cookie?.httpOnly && cookie.sameSite === "Lax", "the session is out of scripts' reach");

  // Ask, and watch the application's own tiles.
  await ask(page, "Create a tile called Aurora to the east");
  await tile(page, "Aurora").waitFor();
  await ended(page);
  await page.getByTestId("answer").first().waitFor();
  await assertAccessible(page, "the page after an answer");
  await screenshot(page, picture("asked"));

  // What an agent did is undone by the person, and done again.
  await page.getByTestId("undo").click();
  await tile(page, "Aurora").waitFor({ state: "detached" });
  await page.locator('[data-testid="run-end"][data-undone="true"]').waitFor();
  await page.getByTestId("undo").click();
  await tile(page, "Aurora").waitFor();

  // A deletion waits until the person has said yes on Hexward's own page.
  await ask(page, "Delete the tile Aurora");
  await page.getByTestId("question").waitFor();
  assert.match(await page.getByTestId("question").innerText(), /Deletes “Aurora”/);
  assert.equal(await tile(page, "Aurora").count(), 1, "nothing is deleted before anybody agreed");
  const [answer] = await Promise.all([context.waitForEvent("page"), page.getByTestId("decide").click()]);
  // On Hexward's own origin, with an address that has lost the link's code.
  await answer.waitForURL((address) => address.origin !== url && address.pathname === "/confirm");
  assert.equal(await answer.evaluate(() => window.top === window && window.opener === null), true, "as a page of its own, that its opener can't reach");
  // Before anything else, for on a busy machine anything takes long enough to have read it.
  const yes = answer.getByRole("button", { name: "Yes, do it" });
  await yes.click();
  assert.equal(await tile(page, "Aurora").count(), 1, "a click that nobody can have thought about is none");
  await answer.getByText("Deletes “Aurora”").waitFor();
  await assertAccessible(answer, "the question");
  await screenshot(answer, picture("confirm"));
  await answer.waitForTimeout(READING_MS);
  await yes.click();
  await answer.getByText("It was done.").waitFor();
  await tile(page, "Aurora").waitFor({ state: "detached" });
  await ended(page);
  await answer.getByRole("link", { name: "Go back" }).click();
  await answer.getByText("Your answer was given").waitFor();
  await answer.close();
  // A link is good once.
  const links = [...origins].flatMap(([origin, requests]) => requests.filter(({ path }) => path.startsWith("/confirm/")).map(({ path }) => origin + path));
  assert.equal(links.length, 1);
  const other = await browser.newContext();
  const again = await other.newPage();
  assert.equal((await again.goto(links[0])).status(), 410);
  await other.close();

  // What was confirmed is undone as well.
  await page.getByTestId("undo").click();
  await tile(page, "Aurora").waitFor();
  await screenshot(page, picture("undone"));

  // Opened anew, the page knows what was said.
  await page.reload();
  await page.getByText("Delete the tile Aurora").waitFor();
  await tile(page, "Aurora").waitFor();

  // Nobody else sees any of it.
  const elsewhere = await browser.newContext();
  const second = await elsewhere.newPage();
  await signUp(second, `${person}-2`);
  await tile(second, "My tiles").waitFor();
  assert.equal(await tile(second, "Aurora").count(), 0);
  assert.equal(await second.getByText("Aurora").count(), 0);
  await elsewhere.close();

  await nobodyElseCalls();
  await told();
  const hexward = [...origins].filter(([origin]) => origin !== url);
  const events = hexward.flatMap(([, requests]) => requests).filter(({ path }) => /^\/v1\/runs\/[^/]+\/events$/.test(path));
  assert.ok(events.length >= 2, "events come from Hexward itself");
  for (const { headers } of events) {
    assert.equal(headers.cookie, undefined, "a ticket is all that is shown there");
    if (headers.authorization) assert.match(headers.authorization, /^Bearer hxt_/);
  }
  const more = hexward.flatMap(([, requests]) => requests).filter(({ path, top }) => top?.startsWith(url) && !path.startsWith("/v1/runs/") && !path.startsWith("/confirm"));
  assert.deepEqual(more, [], "the page asks Hexward for nothing else");
  const serious = faults.filter((fault) => !/status of (400|404|409|410)/.test(fault));
  assert.deepEqual(serious, []);
  return page;
}

const browser = await launch();
const begun = performance.now();
try {
  await story(browser);
  console.log(`ok     the Next.js example: sign in, ask, watch, undo, confirm (${Math.round(performance.now() - begun)} ms)`);
} catch (error) {
  const [page] = browser.contexts().flatMap((context) => context.pages());
  if (page) await screenshot(page, picture("failed")).catch(() => {});
  const [first] = error.message.split("\nCall log:");
  console.error(`FAILED the Next.js example: ${first}\n${error.stack?.split("\n").find((line) => line.includes("story.mjs")) ?? ""}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}

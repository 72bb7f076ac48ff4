import assert from "node:assert/strict";
import { allowChanges, sendMessage, waitForTile } from "../browser.mjs";

const ended = (page, outcome) => page.locator(`[data-testid="run-end"][data-outcome="${outcome}"]`).last().waitFor();

export const chatStories = [
  {
    name: "text streams in while the run goes on",
    async run({ page }) {
      await sendMessage(page, "slow please");
      const message = page.locator('[data-testid="assistant-message"][aria-busy="true"]');
      await message.waitFor();
      const early = (await message.innerText()).length;
      await page.waitForFunction((chars) => document.querySelector('[data-testid="assistant-message"]').innerText.length > chars + 10, early);
      assert.equal(await page.getByTestId("status").getAttribute("data-state"), "answering");
    },
  },
  {
    name: "without the switch a change is denied and nothing appears on the map",
    async run({ page }) {
      assert.equal(await page.getByTestId("writes").getAttribute("aria-checked"), "false");
      await sendMessage(page, "Create a tile called Aurora to the east");
      await ended(page, "finished");
      assert.equal(await page.getByTestId("tool-call").getAttribute("data-ok"), "false");
      assert.equal(await page.getByTestId("denial").getAttribute("data-code"), "tool.write_off");
      assert.equal(await page.getByTestId("tile").count(), 1);
    },
  },
  {
    name: "hostile text is shown, and does nothing",
    async run({ page }) {
      await sendMessage(page, "something hostile");
      await ended(page, "finished");
      const message = page.getByTestId("assistant-message");
      const found = await message.evaluate((element) => ({
        active: element.querySelectorAll("img,script,style,svg,iframe,object,form,input,link,meta").length,
        handlers: [...element.querySelectorAll("*")].flatMap((node) => [...node.attributes]).filter(({ name }) => /^on|^style$|^ping$|^src/.test(name)).length,
        links: [...element.querySelectorAll("a")].map((a) => [a.getAttribute("href"), a.rel, a.target]),
        text: element.innerText,
      }));
      assert.equal(found.active, 0);
      assert.equal(found.handlers, 0);
      assert.ok(found.text.includes('<img src=x onerror="window.pwned=1">'), "raw HTML is shown as text");
      assert.ok(found.text.includes("[image: pixel]"), "an image is shown as its description");
      assert.deepEqual(
        found.links.map(([href]) => href),
        ["https://example.com/page", "https://attacker.example/angle"],
      );
      for (const [, rel, target] of found.links) {
        assert.equal(rel, "noopener noreferrer nofollow");
        assert.equal(target, "_blank");
      }
      assert.equal(await page.evaluate(() => window.pwned), undefined);
      const script = await page.evaluate(() => {
        try {
          document.createElement("div").innerHTML = "<b>x</b>";
          return "allowed";
        } catch (error) {
          return error.name;
        }
      });
      assert.equal(script, "TypeError", "the browser refuses HTML that no policy made");
    },
    // The last step asks for exactly this.
    allowed: [/require-trusted-types-for/, /TrustedHTML/],
  },
  {
    name: "a reload brings the conversation back and joins its run",
    fixture: { paceMs: 12 },
    async run({ page }) {
      await allowChanges(page);
      await sendMessage(page, "Lay out a launch plan around the centre");
      await page.locator('[data-testid="tool-call"][data-ok="true"]').nth(2).waitFor();
      await page.reload();
      await page.getByTestId("stop").waitFor();
      await ended(page, "finished");
      assert.equal(await page.getByTestId("user-message").count(), 1);
      assert.equal(await page.getByTestId("tool-call").count(), 17, "nothing is told twice, nothing is missing");
      assert.equal(await page.getByTestId("assistant-message").count(), 2);
      await page.reload();
      await page.getByTestId("assistant-message").first().waitFor();
      assert.equal(await page.getByTestId("tool-call").count(), 17);
      assert.equal(await page.getByTestId("send").count(), 1);
    },
  },
  {
    name: "a broken connection is noted and mended without a gap",
    async run({ page }) {
      const states = [];
      await page.exposeFunction("noteState", (state) => states.push(state));
      await page.evaluate(() => {
        const status = document.querySelector('[data-testid="status"]');
        new MutationObserver(() => window.noteState(status.dataset.state)).observe(status, { attributeFilter: ["data-state"] });
      });
      await sendMessage(page, "drop the line");
      await ended(page, "finished");
      const text = (await page.getByTestId("assistant-message").allInnerTexts()).join("");
      assert.match(text.replace(/\s+/g, " "), /Before the connection broke\. ?After it came back\./);
      assert.ok(states.includes("retrying"), `the note was shown: ${states}`);
    },
    allowed: [/console error: Failed to load resource: net::ERR/],
  },
  {
    name: "a stream that is refused is asked for again",
    async run({ page, fixture }) {
      fixture.refuseStreams(2);
      await sendMessage(page, "What is on my map?");
      await page.locator('[data-testid="status"][data-state="retrying"]').waitFor();
      // The run may end while the page waits: then the stored conversation has its answer.
      await page.getByTestId("send").waitFor();
      assert.equal(await page.getByTestId("user-message").count(), 1);
      assert.match(await page.getByTestId("assistant-message").innerText(), /only its centre/);
    },
    allowed: [/503/],
  },
  {
    name: "stop ends the run and leaves what was said",
    async run({ page }) {
      await sendMessage(page, "slow please");
      await page.getByTestId("assistant-message").waitFor();
      await page.getByTestId("stop").click();
      await ended(page, "stopped");
      assert.match(await page.getByTestId("assistant-message").innerText(), /Counting/);
      assert.equal(await page.getByTestId("status").innerText(), "Stopped");
      await page.getByTestId("send").waitFor();
    },
  },
  {
    name: "a failed run says so and can be tried again",
    async run({ page }) {
      await sendMessage(page, "please fail");
      await ended(page, "failed");
      // Each limit of the gateway has its own code and sentence, and both are shown as they came.
      assert.match(await page.getByTestId("run-end").innerText(), /needed more memory than allowed.*agent\.memory/s);
      await page.getByTestId("retry").click();
      await page.getByTestId("user-message").nth(1).waitFor();
      await page.getByTestId("run-end").nth(1).waitFor();
      assert.equal(await page.getByTestId("retry").count(), 1, "only the last failure can be retried");
    },
  },
  {
    name: "a refusal by the gateway is shown inside the answer",
    async run({ page }) {
      await sendMessage(page, "denied things");
      await ended(page, "finished");
      const denied = page.getByTestId("denied");
      assert.equal(await denied.getAttribute("data-code"), "egress.host");
      assert.match(await denied.innerText(), /attacker\.example:443/);
    },
  },
  {
    name: "a refused message stays in the composer",
    async run({ page, fixture }) {
      await page.getByTestId("composer").fill("dear agent");
      fixture.refuseNext({ status: 503, code: "run.busy", message: "Too many requests are being worked on right now. Try again in a moment." });
      await page.getByTestId("send").click();
      await page.getByTestId("error").waitFor();
      assert.match(await page.getByTestId("error").innerText(), /being worked on.*Request [0-9a-f-]{36}/s);
      assert.equal(await page.getByTestId("error").getAttribute("data-code"), "run.busy");
      assert.equal(await page.getByTestId("composer").inputValue(), "dear agent");
      assert.equal(await page.getByTestId("user-message").count(), 0);
      await page.getByTestId("send").click();
      await ended(page, "finished");
      assert.equal(await page.getByTestId("error").count(), 0);
    },
    allowed: [/503/],
  },
  {
    name: "a conversation that is answering elsewhere is joined, not broken",
    async run({ page, context, fixture }) {
      await sendMessage(page, "hello");
      await ended(page, "finished");
      const other = await context.newPage();
      await other.goto(page.url());
      await other.getByTestId("assistant-message").waitFor();
      await sendMessage(other, "slow please");
      await other.getByTestId("stop").waitFor();
      await sendMessage(page, "me too");
      await page.getByTestId("error").waitFor();
      assert.equal(await page.getByTestId("error").getAttribute("data-code"), "run.active");
      await page.getByTestId("stop").waitFor();
      assert.equal(await page.getByTestId("composer").inputValue(), "me too");
      assert.equal(await page.getByTestId("user-message").last().innerText().then((text) => text.replace(/^You:\s*/, "")), "slow please");
      assert.ok(fixture.url);
    },
    allowed: [/409/],
  },
  {
    name: "a message that is too long can't be sent",
    async run({ page }) {
      const composer = page.getByTestId("composer");
      await composer.fill("é".repeat(1_590));
      assert.equal(await page.locator("#composer-count").innerText(), "");
      await composer.fill("🌍".repeat(2_000));
      assert.match(await page.locator("#composer-count").innerText(), /2,000 \/ 2,000/);
      assert.equal(await page.getByTestId("send").isEnabled(), true);
      await composer.fill("🌍".repeat(2_001));
      assert.equal(await page.getByTestId("send").isEnabled(), false);
      assert.equal(await composer.getAttribute("aria-invalid"), "true");
      await composer.fill("   ");
      assert.equal(await page.getByTestId("send").isEnabled(), false);
    },
  },
  {
    name: "everything in the chat works from the keyboard",
    async run({ page }) {
      await page.getByTestId("composer").focus();
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), "writes");
      await page.keyboard.press("Space");
      assert.equal(await page.getByTestId("writes").getAttribute("aria-checked"), "true");
      await page.keyboard.press("Shift+Tab");
      await page.keyboard.type("Create a tile called Aurora");
      await page.keyboard.press("Shift+Enter");
      await page.keyboard.press("Backspace");
      await page.keyboard.type(" to the south-west");
      await page.keyboard.press("Enter");
      await waitForTile(page, "Aurora", 10_000);
    },
  },
  {
    name: "conversations can be begun, listed and opened again",
    async run({ page }) {
      await sendMessage(page, "What is on my map?");
      await ended(page, "finished");
      await page.getByTestId("new-conversation").click();
      assert.equal(await page.getByTestId("user-message").count(), 0);
      assert.equal(new URL(page.url()).hash, "");
      await page.getByTestId("suggestion").first().click();
      assert.equal(await page.getByTestId("composer").inputValue(), "What is on my map?");
      await sendMessage(page, "denied things");
      await ended(page, "finished");
      await page.getByTestId("history").click();
      await page.getByRole("button", { name: /^What is on my map\?/ }).click();
      await page.getByTestId("tool-call").waitFor();
      assert.equal(await page.getByTestId("user-message").count(), 1);
      // One is deleted once the person has said so twice; the one that is open leaves an empty page behind.
      await page.getByTestId("history").click();
      await page.getByRole("button", { name: "Delete What is on my map?" }).click();
      await page.getByRole("button", { name: "Keep" }).click();
      await page.getByRole("button", { name: "Delete What is on my map?" }).click();
      await page.getByTestId("delete-conversation-yes").click();
      await page.getByRole("button", { name: "Delete What is on my map?" }).waitFor({ state: "detached" });
      await page.getByRole("button", { name: "Delete denied things" }).waitFor();
      assert.equal(await page.getByTestId("user-message").count(), 0);
      await page.goto(`${new URL(page.url()).origin}/#/c/00000000-0000-0000-0000-000000000000`);
      await page.getByTestId("error").waitFor();
      assert.equal(await page.getByTestId("send").count(), 1, "a lost conversation doesn't block a new one");
    },
    allowed: [/404/],
  },
];

// A back end with the TypeScript client, against a gateway: node host.mjs DIST BASE_URL, with what it needs in the environment.
import assert from "node:assert/strict";

const [dist, baseUrl] = process.argv.slice(2);
const { createHexward, hs256Signer, HexwardError, textOf, viewOf } = await import(`${dist}/index.js`);
const browser = await import(`${dist}/browser.js`);
const { HEXWARD_KEY: key, HOST_SECRET: secret, HOST_ISSUER: issuer, HOST_ORIGIN: origin } = process.env;

const signUser = hs256Signer({ issuer, secret });
const hexward = createHexward({ baseUrl, key, signUser });
const done = [];
const failed = [];
const story = async (name, tell) => {
  try {
    await tell();
    done.push(name);
  } catch (error) {
    failed.push(`${name}: ${error.stack}`);
  }
};
const refused = (wanted, code) =>
  assert.rejects(wanted, (error) => {
    assert.ok(error instanceof HexwardError, String(error));
    assert.ok(error.code === code, `${error.status} ${error.code}: ${error.message}`);
    return true;
  });
const collect = async (events) => {
  const all = [];
  for await (const event of events) all.push(event);
  return all;
};
/** A network that breaks each stream after so many more bytes. */
const breaking = (pieces) => async (address, init) => {
  const response = await fetch(address, init);
  const left = pieces.shift();
  if (left === undefined || !response.headers.get("content-type")?.startsWith("text/event-stream")) return response;
  let room = left;
  const cut = new TransformStream({
    transform(chunk, controller) {
      controller.enqueue(chunk.subarray(0, room));
      room -= chunk.length;
      if (room <= 0) controller.error(new Error("the network broke"));
    },
  });
  return new Response(response.body.pipeThrough(cut), { status: response.status, headers: response.headers });
};

const ada = hexward.as({ subject: "ada" });
const eve = hexward.as({ subject: "eve" });
let conversation;
let run;
let events;

await story("users", async () => {
  const [one, again, other] = [await ada.get(), await ada.get(), await eve.get()];
  assert.deepEqual([one.user, again.user, other.user], ["ada", "ada", "eve"]);
  assert.equal(one.id, again.id);
  assert.notEqual(one.id, other.id);
  assert.ok(Array.isArray(one.quota) && typeof one.cost.total_microusd === "number", JSON.stringify(one));
});

await story("a message is one run, however often it is sent", async () => {
  ({ id: conversation } = await ada.conversations.create({ app: "hexmap" }));
  const send = (text) => ada.runs.start(conversation, text, { writes: true, idempotencyKey: "message-1" });
  const first = await send("Create a tile called Aurora to the east");
  const second = await send("Create a tile called Aurora to the east");
  assert.deepEqual([first.replayed, second.replayed, second.runId], [false, true, first.runId]);
  await refused(send("Create a tile called Borealis to the west"), "idempotency.other");
  run = first.runId;
  events = await collect(ada.runs.events(run));
  assert.deepEqual(events.map(({ seq }) => seq), events.map((_, at) => at + 1), "numbers without gaps");
  const view = viewOf(events);
  assert.equal(view.outcome, "finished", JSON.stringify(events.at(-1)));
  assert.match(textOf(view), /Aurora/);
  assert.ok(view.parts.some((part) => part.kind === "tool" && part.tool === "addItem" && part.state === "ok" && part.undo));
  const held = await ada.conversations.get(conversation);
  assert.ok(held.messages.length >= 3 && held.active_run === null);
  assert.ok((await ada.conversations.list("hexmap")).some(({ id }) => id === conversation));
});

await story("what became of a run is known", async () => {
  const { run_id: id, outcome, cost_microusd: cost } = await ada.runs.get(run);
  assert.deepEqual([id, outcome, cost], [run, "finished", events.at(-1).cost_microusd]);
  await refused(eve.runs.get(run), "not_found");
});

await story("events are taken up again at every id", async () => {
  for (let after = 0; after < events.length; after += 1) {
    assert.deepEqual(await collect(ada.runs.events(run, { after })), events.slice(after), `after ${after}`);
  }
});

await story("a network that breaks loses and doubles nothing", async () => {
  const shaky = createHexward({ baseUrl, key, signUser, fetch: breaking([1, 40, 333, 90, 1200, 17, 640, 5]) }).as({ subject: "ada" });
  let breaks = 0;
  assert.deepEqual(await collect(shaky.runs.events(run, { attemptsMax: 12, onBreak: () => (breaks += 1) })), events);
  assert.ok(breaks >= 1, "the network did break");
});

await story("a page follows one run with a ticket, and that is all it can", async () => {
  const ticket = await ada.runs.ticket(run);
  assert.deepEqual(await collect(browser.events(ticket)), events);
  await refused(eve.runs.ticket(run), "not_found");
  const opens = (address, method = "GET") => fetch(address, { method, headers: { authorization: `Bearer ${ticket.ticket}`, "content-type": "application/json" }, body: method === "POST" ? "{}" : undefined });
  for (const [path, method] of [["/v1/user"], [`/v1/runs/${run}`], [`/v1/runs/${run}/stop`, "POST"], [`/v1/conversations/${conversation}`], ["/v1/confirmations"]]) {
    assert.ok((await opens(baseUrl + path, method)).status >= 400, path);
  }
  const told = await fetch(ticket.eventsUrl, { headers: { authorization: `Bearer ${ticket.ticket}`, origin, "last-event-id": String(events.length - 1) } });
  assert.equal(told.status, 200);
  assert.equal(told.headers.get("access-control-allow-origin"), origin);
  await told.body?.cancel();
});

await story("others see nothing of it", async () => {
  await refused(eve.conversations.get(conversation), "not_found");
  await refused(collect(eve.runs.events(run)), "not_found");
  await refused(eve.undo({ run }), "not_found");
});

await story("an assertion is good once for what changes something, and needs its key", async () => {
  const assertion = await signUser({ subject: "ada" });
  const post = (headers) => fetch(`${baseUrl}/v1/conversations`, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: '{"app":"hexmap"}' });
  const headers = { authorization: `Bearer ${key}`, "x-hexward-user": assertion };
  assert.equal((await post(headers)).status, 201);
  const again = await post(headers);
  assert.ok(again.status >= 400);
  assert.equal((await again.json()).error.code, "assertion.replayed");
  assert.equal((await post({ "x-hexward-user": await signUser({ subject: "ada" }) })).status, 401);
  assert.equal((await post({ authorization: `Bearer ${key}` })).status, 401);
  const forged = hs256Signer({ issuer, secret: "another secret of thirty-two bytes!" });
  await assert.rejects(createHexward({ baseUrl, key, signUser: forged }).as({ subject: "ada" }).get(), (error) => error.status === 401);
});

await story("what a run changed is undone, and done again", async () => {
  const report = await ada.undo({ run });
  assert.ok(report.complete && report.calls.length === 1, JSON.stringify(report));
  assert.ok((await ada.undo({ run }, { redo: true })).complete);
  const view = await ada.resource("hexmap", "map://view");
  assert.ok(JSON.stringify(view).includes("Aurora"));
});

await story("what can't be undone by a word waits for the person, who is sent to the gateway's own page", async () => {
  const { runId } = await ada.runs.start(conversation, "Delete the tile Aurora", { writes: true });
  let asked = 0;
  for await (const event of ada.runs.events(runId)) {
    if (event.type !== "confirmation") continue;
    asked += 1;
    const [waiting] = await ada.confirmations.list();
    assert.equal(waiting.id, event.confirmation.id);
    assert.match(waiting.summary, /Aurora/);
    const { url } = await ada.confirmations.link(waiting.id, { returnTo: `${origin}/back` });
    assert.match(url, /\/confirm\/[^/]+$/);
    assert.notEqual(new URL(url).origin, new URL(baseUrl).origin, "people answer at people's listener");
    await assert.rejects(ada.confirmations.link(waiting.id, { returnTo: "https://elsewhere.example/" }), (error) => error.status >= 400 && error.status < 500);
    await refused(eve.confirmations.link(waiting.id), "not_found");
    await ada.runs.stop(runId);
  }
  assert.equal(asked, 1);
  assert.equal((await ada.runs.get(runId)).outcome, "stopped");
});

await story("a person's own hand goes the same way", async () => {
  const owner = (await ada.resource("hexmap", "map://current-user")).id;
  const answer = await ada.callTool("hexmap", "addItem", { coords: { userId: owner, groupId: 0, path: [6] }, title: "By hand" });
  assert.ok(answer.ok, JSON.stringify(answer));
});

await story("a conversation is forgotten", async () => {
  const { id } = await ada.conversations.create({ app: "hexmap" });
  await refused(eve.conversations.delete(id), "not_found");
  await ada.conversations.delete(id);
  await refused(ada.conversations.get(id), "not_found");
});

await story("a user is handed out, and erased", async () => {
  const held = await ada.export();
  assert.deepEqual([held.format, held.user.subject, held.apps_elsewhere], ["hexward.user", "ada", []]);
  assert.ok(held.conversations.some(({ id }) => id === conversation) && held.apps.hexmap.length > 0);
  const erasure = await ada.erase();
  assert.ok(erasure.erased.conversations >= 1 && erasure.apps.hexmap >= 1, JSON.stringify(erasure));
  await refused(ada.conversations.get(conversation), "not_found");
  assert.deepEqual((await ada.export()).conversations, []);
});

console.log(JSON.stringify({ done, failed }));

import assert from "node:assert/strict";
import { createHmac, createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import test from "node:test";
import { CODES, es256Signer, hs256Signer, publicJwk, reduce, textOf, verifyWebhook, viewOf } from "../dist/index.js";

const part = (text) => JSON.parse(Buffer.from(text, "base64url").toString());
const SECRET = "0123456789abcdef0123456789abcdef";
const now = () => 1_790_000_000_500;

test("an assertion with a shared secret says what it must, and is another one each time", async () => {
  const sign = hs256Signer({ issuer: "https://shop.example", secret: SECRET, now });
  const [one, other] = [await sign({ subject: "ada" }), await sign({ subject: "ada", tier: "premium" })];
  const [header, claims, signature] = one.split(".");
  assert.deepEqual(part(header), { alg: "HS256", typ: "JWT" });
  const { jti, ...rest } = part(claims);
  assert.deepEqual(rest, { iss: "https://shop.example", aud: "hexward", sub: "ada", iat: 1_790_000_000, exp: 1_790_000_060 });
  assert.match(jti, /^[0-9a-f-]{36}$/);
  assert.equal(signature, createHmac("sha256", SECRET).update(`${header}.${claims}`).digest("base64url"));
  assert.notEqual(part(other.split(".")[1]).jti, jti);
  assert.equal(part(other.split(".")[1]).tier, "premium");
});

test("an assertion with a key of one's own can be checked with its public half", async () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwk = privateKey.export({ format: "jwk" });
  const sign = es256Signer({ issuer: "https://shop.example", audience: "a", privateKey: jwk, kid: "k1", tierClaim: "plan", now });
  const [header, claims, signature] = (await sign({ subject: "ada", tier: "t" })).split(".");
  assert.deepEqual(part(header), { alg: "ES256", typ: "JWT", kid: "k1" });
  assert.equal(part(claims).plan, "t");
  const open = publicJwk(jwk, "k1");
  assert.equal(open.d, undefined, "the private half stays");
  const key = createPublicKey({ key: open, format: "jwk" });
  const good = (data) => verify("sha256", Buffer.from(data), { key, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"));
  assert.ok(good(`${header}.${claims}`));
  assert.ok(!good(`${header}.${claims}x`));
});

test("what can't be an assertion is refused here", async () => {
  assert.throws(() => hs256Signer({ issuer: "i", secret: "short" }), /at least 32/);
  assert.throws(() => hs256Signer({ issuer: "i", secret: SECRET, lifeSecs: 301 }), /300 seconds/);
  const sign = hs256Signer({ issuer: "i", secret: SECRET });
  await assert.rejects(sign({ subject: "" }), /1 to 200/);
  await assert.rejects(sign({ subject: "x".repeat(201) }), /1 to 200/);
});

test("a webhook is taken with its signature, in its time, unchanged", async () => {
  const body = '{"id":"w1","type":"run.finished","created_at_ms":1,"host":"shop","user":{"subject":"ada"},"data":{"run_id":"r"}}';
  const at = "1790000000";
  const signed = (secret, id = "w1", time = at, text = body) => `v1,${createHmac("sha256", secret).update(`${id}.${time}.${text}`).digest("base64")}`;
  const headers = (signature, time = at, id = "w1") => ({ "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signature });
  const options = { secret: SECRET, now };
  const event = await verifyWebhook(headers(signed(SECRET)), body, options);
  assert.equal(event.data.run_id, "r");
  assert.equal((await verifyWebhook(new Headers(headers(`v2,AAAA v1,AAAA v1,% ${signed("other")} ${signed(SECRET)}`)), body, options)).id, "w1");
  assert.equal((await verifyWebhook(headers(signed("old-one")), body, { ...options, secret: [SECRET, "old-one"] })).id, "w1", "while a secret is replaced both are taken");
  for (const [what, given, text] of [
    ["another secret", headers(signed("other")), body],
    ["another body", headers(signed(SECRET)), body.replace("ada", "eve")],
    ["another id", headers(signed(SECRET, "w1"), at, "w2"), body],
    ["an id that is not the body's", headers(signed(SECRET, "w2"), at, "w2"), body],
    ["an old one", headers(signed(SECRET, "w1", "1789999000"), "1789999000"), body],
    ["a time that is none", headers(signed(SECRET, "w1", "soon"), "soon"), body],
    ["no signature", { "webhook-id": "w1", "webhook-timestamp": at }, body],
    ["no JSON", headers(signed(SECRET, "w1", at, "x")), "x"],
  ]) {
    await assert.rejects(verifyWebhook(given, text, options), { name: "WebhookError" }, what);
  }
  await assert.rejects(verifyWebhook(headers(signed("")), body, { ...options, secret: "" }), TypeError);
});

test("what is shown of a run follows from its events, told once or twice", () => {
  const confirmation = { id: "q", state: "asked", app: "tiles", tool: "deleteItem", arguments: {}, summary: "Deletes.", class: "write destructive", asked_by: null, run_id: "r", conversation_id: "c", expires_at_ms: 1 };
  const events = [
    { seq: 1, type: "run_started", run_id: "r", conversation_id: "c" },
    { seq: 2, type: "queued", position: 2 },
    { seq: 3, type: "state", state: "thinking" },
    { seq: 4, type: "text_delta", text: "I will " },
    { seq: 5, type: "text_delta", text: "look." },
    { seq: 6, type: "tool_call_started", call_id: "t", tool: "deleteItem" },
    { seq: 7, type: "tool_call", call_id: "t", tool: "deleteItem", arguments: { a: 1 }, inside: false },
    { seq: 8, type: "confirmation", call_id: "t", confirmation },
    { seq: 9, type: "model_call", model: "m", input_tokens: 1, output_tokens: 1, cost_microusd: 40 },
  ];
  const asked = viewOf(events);
  assert.deepEqual(asked, viewOf(events.flatMap((event) => [event, event])));
  assert.equal(textOf(asked), "I will look.");
  assert.deepEqual(asked.parts.map(({ kind, state }) => [kind, state]), [["text", undefined], ["tool", "waiting"]]);
  assert.deepEqual(asked.confirmations, [confirmation]);
  const undo = { call: "u", run: "r", state: "possible" };
  const ended = [
    { seq: 10, type: "confirmation_ended", id: "q", call_id: "t", state: "done", result: null },
    { seq: 11, type: "tool_result", call_id: "t", tool: "deleteItem", ok: true, result: "{}", denial: null, undo, waits: false },
    { seq: 12, type: "text_delta", text: " Done." },
    { seq: 13, type: "run_ended", outcome: "stopped", code: "run.turns", message: "Ask for less.", cost_microusd: 55, turns: 2, duration_ms: 1 },
  ].reduce(reduce, asked);
  assert.deepEqual([ended.state, ended.outcome, ended.denial, ended.costMicrousd, ended.confirmations], ["ended", "stopped", { code: "run.turns", message: "Ask for less." }, 55, []]);
  assert.deepEqual(ended.parts.map((shown) => shown.text ?? shown.undo), ["I will look.", undo, " Done."]);
  assert.equal(reduce(ended, { seq: 14, type: "text_delta", text: "late" }), ended);
});

test("the codes are there", () => {
  for (const code of ["budget.day", "run.active", "tool.not_emitted", "not_found"]) assert.ok(CODES.includes(code), code);
  assert.equal(new Set(CODES).size, CODES.length);
});

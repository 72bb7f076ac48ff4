// The tools of this application and what vouches for a call, without a browser and without Hexward.
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after } from "node:test";
import ts from "typescript";

const work = mkdtempSync(join(tmpdir(), "tiles-"));
after(() => rmSync(work, { recursive: true, force: true }));
const from = new URL("../src/server/", import.meta.url);
mkdirSync(join(work, "server"));
writeFileSync(join(work, "server/package.json"), '{"type":"commonjs"}');
for (const name of readdirSync(from)) {
  const { outputText } = ts.transpileModule(readFileSync(new URL(name, from), "utf8"), { compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 } });
  writeFileSync(join(work, "server", name.replace(/\.ts$/, ".js")), outputText);
}
process.env.DATA_DIR = join(work, "data");
process.env.HEXWARD_ASSERTION_KEYS = join(work, "keys.json");
const load = createRequire(join(work, "server/x.js"));
const { callTool } = load("./tools.js");
const { canonical, whoseCall } = load("./hexward-word.js");
const users = load("./users.js");
const { tilesOf } = load("./tiles.js");

let made = 0;
const person = () => ({ id: `u${(made += 1)}`, name: "Ada" });
const coords = (user, ...path) => ({ userId: user.id, groupId: 0, path });
const titles = (user) => tilesOf(user.id).map(({ title }) => title);
let calls = 0;
/** A call with the journal's id of it, as Hexward sends it; `id` is what undoes it. */
function call(user, tool, given, meta = {}) {
  const id = `call-${(calls += 1)}`;
  const result = callTool(user, tool, given, { "hexward/call": id, ...meta });
  return { id, text: result.content[0].text, isError: result.isError === true, meta: result._meta ?? {} };
}
const undo = (user, { meta }) => call(user, meta["hexward/undo"].tool, meta["hexward/undo"].arguments);

test("what was changed is put back exactly, in reverse, and done again", () => {
  const ada = person();
  const before = tilesOf(ada.id);
  const added = call(ada, "addItem", { coords: coords(ada, 3), title: "Aurora" });
  const below = call(ada, "addItem", { coords: coords(ada, 3, 1), title: "Below" });
  const renamed = call(ada, "updateItem", { coords: coords(ada, 3), updates: { title: "Borealis", content: "Light" } });
  const moved = call(ada, "moveItem", { oldCoords: coords(ada, 3), newCoords: coords(ada, 6) });
  const all = tilesOf(ada.id);
  assert.deepEqual(titles(ada), ["My tiles", "Borealis", "Below"]);
  const undone = [moved, renamed, below, added].map((one) => undo(ada, one));
  assert.ok(undone.every(({ isError }) => !isError), JSON.stringify(undone));
  assert.deepEqual(tilesOf(ada.id), before);
  const redone = [...undone].reverse().map((one) => undo(ada, one));
  assert.ok(redone.every(({ isError }) => !isError), JSON.stringify(redone));
  assert.deepEqual(tilesOf(ada.id), all);
});

test("an undo refuses where something was changed since, and changes nothing then", () => {
  const ada = person();
  const added = call(ada, "addItem", { coords: coords(ada, 1), title: "Aurora" });
  const renamed = call(ada, "updateItem", { coords: coords(ada, 1), updates: { title: "By hand" } });
  const back = call(ada, "updateItem", { coords: coords(ada, 1), updates: { title: "Aurora" } });
  const now = tilesOf(ada.id);
  for (const [one, title] of [[added, "Aurora"], [renamed, "By hand"]]) {
    const refused = undo(ada, one);
    assert.ok(refused.isError);
    assert.deepEqual(refused.meta["hexward/conflicts"], [`“${title}” was changed since.`], "also if it looks as it did");
  }
  assert.deepEqual(tilesOf(ada.id), now);
  assert.ok(!undo(ada, back).isError);
  assert.ok(undo(ada, back).isError, "nothing is undone twice");
});

test("an undo takes nothing along, and hangs nothing into the air", () => {
  const ada = person();
  const parent = call(ada, "addItem", { coords: coords(ada, 2), title: "Parent" });
  const child = call(ada, "addItem", { coords: coords(ada, 2, 2), title: "Child" });
  assert.deepEqual(undo(ada, parent).meta["hexward/conflicts"], ["“Child” lies below “Parent” now."]);
  const gone = call(ada, "deleteItem", { coords: coords(ada, 2, 2) });
  call(ada, "deleteItem", { coords: coords(ada, 2) });
  assert.deepEqual(undo(ada, gone).meta["hexward/conflicts"], ["What “Child” lay under is gone."]);
  assert.ok(undo(ada, child).isError);
  assert.deepEqual(titles(ada), ["My tiles"]);
});

test("a dry run changes nothing, and what it said binds", () => {
  const ada = person();
  call(ada, "addItem", { coords: coords(ada, 4), title: "Aurora" });
  call(ada, "addItem", { coords: coords(ada, 4, 1), title: "Below" });
  const given = { coords: coords(ada, 4) };
  const shown = call(ada, "deleteItem", given, { "hexward/dryRun": true }).meta["hexward/effect"];
  assert.equal(shown.summary, "Deletes “Aurora” and the tile below it.");
  assert.equal(titles(ada).length, 3);
  call(ada, "addItem", { coords: coords(ada, 4, 2), title: "Came later" });
  const late = call(ada, "deleteItem", given, { "hexward/expected": shown.digest });
  assert.ok(late.isError && /not what it was/.test(late.text), late.text);
  assert.equal(titles(ada).length, 4);
  const fresh = call(ada, "deleteItem", given, { "hexward/dryRun": true }).meta["hexward/effect"];
  assert.ok(!call(ada, "deleteItem", given, { "hexward/expected": fresh.digest }).isError);
  assert.deepEqual(titles(ada), ["My tiles"]);
});

test("whatever a call says, it is about the tiles of whom it is for", () => {
  const [ada, eve] = [person(), person()];
  call(ada, "addItem", { coords: coords(ada, 1), title: "Hers" });
  for (const tool of ["addItem", "deleteItem", "updateItem"]) {
    const refused = call(eve, tool, { coords: coords(ada, 1), title: "x", updates: { title: "x" } });
    assert.ok(refused.isError && /nobody's coordinates/.test(refused.text), refused.text);
  }
  const change = call(ada, "updateItem", { coords: coords(ada, 1), updates: { title: "Still hers" } });
  assert.ok(undo(eve, change).isError);
  for (const given of [{}, { coords: null }, { coords: coords(ada, 7), title: "x" }, { coords: coords(ada, 1, 2, 3, 4, 5, 6), title: "x" }, { coords: coords(ada, 2), title: "" }, { coords: coords(ada, 2), title: 7 }, { coords: coords(ada), title: "x" }, { coords: coords(ada, 5, 5), title: "x" }]) {
    assert.ok(call(ada, "addItem", given).isError, JSON.stringify(given));
  }
  assert.deepEqual(titles(ada), ["My tiles", "Still hers"]);
});

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
writeFileSync(process.env.HEXWARD_ASSERTION_KEYS, JSON.stringify({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k1" }] }));
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const NOW = 1_790_000_000;
let tokens = 0;
const asked = { method: "tools/call", params: { name: "addItem", arguments: { b: [1, "ü"], a: { y: null, x: 1.5 } } } };
function word(changes = {}, header = {}, key = privateKey) {
  const args = createHash("sha256").update('{"a":{"x":1.5,"y":null},"b":[1,"ü"]}').digest("hex");
  const claims = { iss: "hexward", aud: "tiles", sub: "hex-ada", iat: NOW, exp: NOW + 60, jti: `t${(tokens += 1)}`, method: "tools/call", tool: "addItem", args_sha256: args, ...changes };
  const said = `${part({ alg: "EdDSA", kid: "k1", ...header })}.${part(claims)}`;
  return `${said}.${sign(null, Buffer.from(said), key).toString("base64url")}`;
}

test("a call is believed with Hexward's word for exactly this call, once", () => {
  const good = word();
  assert.equal(whoseCall(good, asked, NOW), "hex-ada");
  const stranger = generateKeyPairSync("ed25519").privateKey;
  const other = { ...asked, params: { ...asked.params, arguments: { ...asked.params.arguments, b: [2, "ü"] } } };
  for (const [why, token, request, now] of [
    ["used before", good, asked, NOW],
    ["missing", null, asked, NOW],
    ["missing", "a.b", asked, NOW],
    ["can't be read", "a.b.c", asked, NOW],
    ["signature is wrong", word({}, {}, stranger), asked, NOW],
    ["not signed as agreed", word({}, { alg: "none" }), asked, NOW],
    ["not signed as agreed", word({}, { alg: "HS256" }), asked, NOW],
    ["key is not known", word({}, { kid: "k2" }), asked, NOW],
    ["for somebody else", word({ aud: "others" }), asked, NOW],
    ["for somebody else", word({ iss: "stranger" }), asked, NOW],
    ["not of now", word(), asked, NOW + 71],
    ["not of now", word(), asked, NOW - 11],
    ["not of now", word({ exp: NOW + 9999 }), asked, NOW],
    ["another method", word({ method: "tools/list" }), asked, NOW],
    ["another call", word({ tool: "deleteItem" }), asked, NOW],
    ["another call", word(), other, NOW],
  ]) {
    assert.throws(() => whoseCall(token, request, now), (error) => error.message.includes(why), why);
  }
  assert.equal(whoseCall(word({ method: "tools/list" }), { method: "tools/list" }, NOW), "hex-ada");
});

test("arguments are written as RFC 8785 says", () => {
  assert.equal(canonical({ z: 1e21, "\u20ac": "\u0007", a: [true, null, 0.1], "\u{1F600}": -0 }), '{"a":[true,null,0.1],"z":1e+21,"\u20ac":"\\u0007","\u{1F600}":0}');
});

test("passwords are checked, slowly, and a name belongs to one", async () => {
  const ada = await users.signUp("ada", "correct horse");
  assert.ok(!JSON.stringify(ada).includes("correct horse"));
  assert.equal((await users.signIn("ADA", "correct horse")).id, ada.id);
  await assert.rejects(users.signIn("ada", "correct horsf"), users.Told);
  await assert.rejects(users.signIn("nobody", "correct horse"), users.Told);
  await assert.rejects(users.signUp("Ada", "another one"), /taken/);
  await assert.rejects(users.signUp("a b", "another one"), /A name has/);
  await assert.rejects(users.signUp("bob", "short"), /8 to 200/);
  for (let tries = 0; tries < 10; tries += 1) await users.signIn("guessed", "not it at all").catch(() => {});
  await assert.rejects(users.signIn("guessed", "not it at all"), /Too many/);
});

import assert from "node:assert/strict";
import { createServer } from "node:http";
import test from "node:test";
import { createHexward, HexwardError, hs256Signer } from "../dist/index.js";
import { events, subscribe } from "../dist/browser.js";

/** A server on loopback; `answer(request, response, number)` for each request, counted from 1. */
async function serve(context, answer) {
  const seen = [];
  const server = createServer((request, response) => {
    seen.push({ url: request.url, method: request.method, headers: request.headers });
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      seen.at(-1).body ??= Buffer.concat(pieces).toString();
      answer(request, response, seen.length);
    });
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, seen };
}

const stream = (response) => response.writeHead(200, { "content-type": "text/event-stream" });
const tell = (response, from, to) => {
  for (let seq = from; seq <= to; seq += 1) response.write(`id: ${seq}\ndata: ${JSON.stringify({ seq, type: "text_delta", text: `<${seq}>` })}\n\n`);
};
const end = (response, seq, outcome = "finished") =>
  response.end(`id: ${seq}\ndata: ${JSON.stringify({ seq, type: "run_ended", outcome, code: null, message: null, cost_microusd: 3, turns: 1, duration_ms: 9 })}\n\n`);
const refuse = (response, status, code, headers = {}) => {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ error: { code, message: "No." }, request_id: "r-1" }));
};
const ticket = (url) => ({ ticket: "hxt_one", eventsUrl: `${url}/v1/runs/r/events`, expiresAtMs: 0 });
const collect = async (source) => {
  const seen = [];
  for await (const event of source) seen.push(event.type === "run_ended" ? "end" : event.seq);
  return seen;
};

test("what breaks at every event is taken up again without loss or doubling", async (context) => {
  for (let cut = 0; cut <= 6; cut += 1) {
    const { url, seen } = await serve(context, (request, response, number) => {
      stream(response);
      const after = Number(request.headers["last-event-id"] ?? 0);
      if (number > 1) {
        tell(response, after + 1, 6);
        return end(response, 7);
      }
      tell(response, 1, cut);
      // Half an event, then the connection breaks.
      response.write(`id: ${cut + 1}\ndata: {"seq":${cut + 1},"ty`, () => setTimeout(() => response.destroy(), 5));
    });
    assert.deepEqual(await collect(events(ticket(url))), [1, 2, 3, 4, 5, 6, "end"], `cut after ${cut}`);
    assert.equal(seen.length, 2);
    assert.equal(seen[1].headers["last-event-id"], cut === 0 ? undefined : String(cut));
    assert.equal(seen[1].headers.authorization, "Bearer hxt_one");
    assert.equal(seen[0].headers.cookie, undefined);
    assert.ok(!seen[0].url.includes("hxt_one"), "a ticket stands in no address");
  }
});

test("a server that begins at the beginning again tells nothing twice, and one that skips is asked again", async (context) => {
  const { url, seen } = await serve(context, (_, response, number) => {
    stream(response);
    if (number === 1) {
      tell(response, 1, 3);
      return response.end();
    }
    if (number === 2) {
      tell(response, 5, 6);
      return end(response, 7);
    }
    tell(response, 1, 6);
    return end(response, 7);
  });
  const breaks = [];
  assert.deepEqual(await collect(events(ticket(url), { onBreak: (error) => breaks.push(error.message) })), [1, 2, 3, 4, 5, 6, "end"]);
  assert.equal(seen[1].headers["last-event-id"], "3");
  assert.match(breaks[1], /Event 5 came after event 3/);
});

test("only the end is known any more: it is told, whatever its number", async (context) => {
  const { url } = await serve(context, (_, response, number) => {
    stream(response);
    if (number === 1) {
      tell(response, 1, 4);
      return response.end();
    }
    return end(response, 1, "stopped");
  });
  assert.deepEqual(await collect(events(ticket(url))), [1, 2, 3, 4, "end"]);
});

test("events of a later version and comments are passed over", async (context) => {
  const { url } = await serve(context, (_, response) => {
    stream(response);
    response.write(`: still here\n\ndata: {"seq":1,"type":"of_tomorrow","x":[1]}\n\n`);
    tell(response, 2, 2);
    end(response, 3);
  });
  assert.deepEqual(await collect(events(ticket(url))), [2, "end"]);
});

test("a ticket in use and a gateway in trouble are waited for", async (context) => {
  const { url, seen } = await serve(context, (_, response, number) => {
    if (number === 1) return refuse(response, 409, "ticket.in_use");
    if (number === 2) return refuse(response, 503, "store.unavailable");
    stream(response);
    return end(response, 1);
  });
  assert.deepEqual(await collect(events(ticket(url))), ["end"]);
  assert.equal(seen.length, 3);
});

test("what is refused for good is not asked for again", async (context) => {
  for (const [status, code] of [[401, "ticket.unknown"], [403, "service.action"], [404, "not_found"]]) {
    const { url, seen } = await serve(context, (_, response) => refuse(response, status, code));
    await assert.rejects(collect(events(ticket(url))), (error) => error instanceof HexwardError && error.code === code && error.status === status && error.requestId === "r-1");
    assert.equal(seen.length, 1);
  }
});

test("a ticket that is over is renewed once for each connection", async (context) => {
  const { url, seen } = await serve(context, (request, response, number) => {
    if (request.headers.authorization === "Bearer hxt_one" && number > 1) return refuse(response, 401, "ticket.unknown");
    stream(response);
    if (number === 1) {
      tell(response, 1, 2);
      return response.end();
    }
    tell(response, 3, 3);
    return end(response, 4);
  });
  const renew = async () => ({ ...ticket(url), ticket: "hxt_two" });
  assert.deepEqual(await collect(events(ticket(url), { renew })), [1, 2, 3, "end"]);
  assert.deepEqual(seen.map(({ headers }) => headers.authorization), ["Bearer hxt_one", "Bearer hxt_one", "Bearer hxt_two"]);
  assert.equal(seen[2].headers["last-event-id"], "2");
});

test("silence is a break", async (context) => {
  const { url } = await serve(context, (_, response, number) => {
    stream(response);
    if (number === 1) return tell(response, 1, 1);
    return end(response, 2);
  });
  const breaks = [];
  assert.deepEqual(await collect(events(ticket(url), { silenceMs: 60, onBreak: ({ code }) => breaks.push(code) })), [1, "end"]);
  assert.deepEqual(breaks, ["client.timeout"]);
});

test("it gives up in the end, and says why", async (context) => {
  const { url, seen } = await serve(context, (_, response) => {
    stream(response);
    response.end();
  });
  await assert.rejects(collect(events(ticket(url), { attemptsMax: 2 })), (error) => error.is("client.stream") && /2 attempts/.test(error.message));
  assert.equal(seen.length, 2);
});

test("who stops listening closes the connection", async (context) => {
  let closed;
  const gone = new Promise((resolve) => (closed = resolve));
  const { url } = await serve(context, (request, response) => {
    stream(response);
    tell(response, 1, 2);
    request.on("close", closed);
  });
  for await (const event of events(ticket(url))) {
    if (event.seq === 2) break;
  }
  await gone;
});

test("subscribe tells events, then the end, and nothing after it was ended", async (context) => {
  const { url } = await serve(context, (_, response) => {
    stream(response);
    tell(response, 1, 2);
    setTimeout(() => end(response, 3), 30);
  });
  const told = [];
  await new Promise((resolve) => subscribe(ticket(url), { onEvent: ({ seq }) => told.push(seq), onEnd: resolve }));
  assert.deepEqual(told, [1, 2, 3]);
  const early = [];
  await new Promise((resolve) => {
    const leave = subscribe(ticket(url), { onEvent: ({ seq }) => (early.push(seq), leave(), setTimeout(resolve, 80)), onEnd: () => early.push("end"), onError: () => early.push("error") });
  });
  assert.deepEqual(early, [1]);
});

const SECRET = "0123456789abcdef0123456789abcdef";
const host = (baseUrl, more = {}) => createHexward({ baseUrl, key: "hxw_key", signUser: hs256Signer({ issuer: "https://shop.example", secret: SECRET }), ...more });

test("a start that breaks off is repeated with the same key and another assertion", async (context) => {
  const { url, seen } = await serve(context, (_, response, number) => {
    if (number === 1) return response.destroy();
    if (number === 2) return refuse(response, 503, "store.unavailable");
    response.writeHead(202, { "content-type": "application/json", "idempotent-replayed": "true" });
    return response.end('{"run_id":"r-7"}');
  });
  const started = await host(url).as({ subject: "ada" }).runs.start("c-1", "Hello", { writes: true });
  assert.deepEqual(started, { runId: "r-7", replayed: true });
  assert.equal(seen.length, 3);
  assert.equal(new Set(seen.map(({ headers }) => headers["idempotency-key"])).size, 1);
  assert.equal(new Set(seen.map(({ headers }) => headers["x-hexward-user"])).size, 3);
  for (const { headers, body, url: path } of seen) {
    assert.equal(headers.authorization, "Bearer hxw_key");
    assert.equal(path, "/v1/conversations/c-1/runs");
    assert.deepEqual(JSON.parse(body), { text: "Hello", writes: true });
  }
});

test("what may not be repeated is asked once", async (context) => {
  const { url, seen } = await serve(context, (_, response) => refuse(response, 503, "store.unavailable"));
  await assert.rejects(host(url).as({ subject: "ada" }).undo({ run: "r" }), (error) => error.is("store.unavailable"));
  assert.equal(seen.length, 1);
  assert.deepEqual(JSON.parse(seen[0].body), { run: "r" });
});

test("ids can't lead elsewhere, and every route has its method", async (context) => {
  const { url, seen } = await serve(context, (request, response) => {
    if (request.method === "DELETE") return response.writeHead(204).end();
    response.writeHead(200, { "content-type": "application/json" });
    return response.end('{"ticket":"hxt_x","expires_at_ms":5,"events_url":"/v1/runs/r/events"}');
  });
  const ada = host(`${url}/`).as({ subject: "ada" });
  await ada.conversations.get("../../user");
  await ada.conversations.delete("c");
  await ada.resource("tiles", "map://a?b=c&d");
  await ada.confirmations.link("q", { returnTo: "https://shop.example/" });
  await ada.undo({ app: "tiles", sinceMs: 9 }, { redo: true });
  const made = await ada.runs.ticket("r");
  assert.deepEqual(made, { ticket: "hxt_x", expiresAtMs: 5, eventsUrl: `${url}/v1/runs/r/events` });
  assert.deepEqual(seen.map(({ method, url: path, body }) => [method, path, body]), [
    ["GET", "/v1/conversations/..%2F..%2Fuser", ""],
    ["DELETE", "/v1/conversations/c", ""],
    ["GET", "/v1/apps/tiles/resource?uri=map%3A%2F%2Fa%3Fb%3Dc%26d", ""],
    ["POST", "/v1/confirmations/q/links", '{"return_to":"https://shop.example/"}'],
    ["POST", "/v1/undo", '{"app":"tiles","since_ms":9,"redo":true}'],
    ["POST", "/v1/runs/r/tickets", "{}"],
  ]);
});

test("the key does not travel in the clear, nor where an answer sends it", async (context) => {
  assert.throws(() => host("http://hexward.example"), /in the clear/);
  assert.throws(() => host("https://hexward.example/?x"), /no query/);
  assert.throws(() => host("https://hexward.example", { key: "" }), /no service key/);
  const elsewhere = await serve(context, (_, response) => response.end("{}"));
  const { url } = await serve(context, (_, response) => response.writeHead(307, { location: elsewhere.url }).end());
  await assert.rejects(host(url, { triesMax: 1 }).as({ subject: "ada" }).get(), HexwardError);
  assert.equal(elsewhere.seen.length, 0);
});

test("what is not a gateway's answer is said to be none", async (context) => {
  const { url } = await serve(context, (_, response) => response.writeHead(404, { "content-type": "text/html" }).end("<h1>nginx</h1>"));
  await assert.rejects(host(url).as({ subject: "ada" }).get(), (error) => error.is("client.protocol") && error.status === 404);
  const silent = await serve(context, () => {});
  await assert.rejects(host(silent.url, { timeoutMs: 40, triesMax: 1 }).as({ subject: "ada" }).get(), (error) => error.is("client.timeout"));
});

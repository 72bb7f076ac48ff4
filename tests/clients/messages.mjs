// The official TypeScript SDK, unmodified: what it saw, as JSON. node messages.mjs SDK_MODULE BASE_URL KEY
import { pathToFileURL } from "node:url";

const [sdk, baseURL, apiKey] = process.argv.slice(2);
const { default: Anthropic } = await import(pathToFileURL(sdk));
const client = new Anthropic({ baseURL, apiKey });
const model = "claude-sonnet-5-5";
const tool = { name: "getCurrentUser", description: "Who is there", input_schema: { type: "object", properties: {} } };
const ask = (text, more = {}) => ({ model, max_tokens: 300, messages: [{ role: "user", content: text }], ...more });
const withoutIds = (name, value) => (["id", "tool_use_id"].includes(name) ? "ID" : value);
const seen = {};
const error = async (name, call) => {
  seen[name] = await call().then(
    () => "no error",
    (problem) => [problem.constructor.name, problem.status, problem.error?.error, Boolean(problem.requestID)],
  );
};

seen.whole = await client.messages.create(ask("Hello"));
seen.events = [];
for await (const event of await client.messages.create(ask("Hello", { stream: true }))) seen.events.push(event);
seen.thinking = await client.messages.create(
  ask("[[scenario:thinking]]", { thinking: { type: "enabled", budget_tokens: 1024 } }),
);
const cached = [{ type: "text", text: "You are brief. ".repeat(300), cache_control: { type: "ephemeral" } }];
seen.cached = await client.messages.create(ask("Hello", { system: cached }));
const asked = ask("[[scenario:hijacked]]", { tools: [tool, { ...tool, name: "deleteItem" }] });
const called = await client.messages.stream(asked).finalMessage();
seen.tool = called;
asked.messages.push(
  { role: "assistant", content: called.content },
  { role: "user", content: [{ type: "tool_result", tool_use_id: called.content.at(-1).id, content: '{"id": "u7"}' }] },
);
seen.afterTheTool = await client.messages.create(asked);
seen.count = await client.messages.countTokens({ model, messages: [{ role: "user", content: "Hello" }] });
seen.models = [];
for await (const one of client.models.list({ limit: 4 })) seen.models.push({ ...one, kept: one.id });
seen.model = await client.models.retrieve(model);
seen.retried = await client.messages.create(ask("[[scenario:overloaded-once]] Hello"));
await error("invalid", () => client.messages.create(ask("[[scenario:invalid]]")));
await error("notFound", () => client.models.retrieve("claude-unheard-of"));
await error("overloaded", () => client.messages.create(ask("[[scenario:overloaded]]")));
console.log(JSON.stringify(seen, withoutIds));

// The TypeScript Agent SDK, unmodified, over the executable it is given: what it saw, as JSON.
// node agent.mjs SDK_MODULE CLAUDE FOLDER [MESSAGE]
import { pathToFileURL } from "node:url";

const [sdk, pathToClaudeCodeExecutable, cwd, only] = process.argv.slice(2);
const { query, tool, createSdkMcpServer } = await import(pathToFileURL(sdk));
const told = ["subtype", "is_error", "num_turns", "stop_reason", "terminal_reason", "result", "errors", "usage", "total_cost_usd", "api_error_status"];
// What differs from one session to the next: names of things, and how long it took.
const isOwn = (name) =>
  ["id", "tool_use_id", "uuid", "session_id", "timestamp", "request_id"].includes(name) || /(_ms|_uuid|_uuids)$/.test(name);
const withoutOwn = (name, value) => (isOwn(name) ? "OWN" : value);
const seen = {};

const options = (more = {}) => {
  const answer = async () => ({ content: [{ type: "text", text: "Ada, as far as the script knows" }] });
  const tools = [tool("whoIsThere", "Who is there", {}, answer)];
  return {
    pathToClaudeCodeExecutable,
    cwd,
    model: "claude-sonnet-5-5",
    systemPrompt: "You are brief.",
    tools: ["Read"],
    allowedTools: ["Read", "mcp__local__whoIsThere"],
    permissionMode: "dontAsk",
    mcpServers: { local: createSdkMcpServer({ name: "local", tools }) },
    settingSources: [],
    includePartialMessages: true,
    ...more,
  };
};

const shown = (message) => {
  if (message.type === "stream_event") return message.event;
  if (message.type === "assistant") return { assistant: message.message.content, model: message.message.model, error: message.error };
  if (message.type === "user") return { user: message.message.content };
  if (message.type === "result") return Object.fromEntries(told.map((name) => [name, message[name]]));
  return undefined;
};

// Reads one turn of a session to its end, and says which session it was.
const turn = async (name, messages, interrupt) => {
  seen[name] = [];
  for (;;) {
    const { value: message, done } = await messages.next();
    if (done) throw new Error(`${name}: it ended before the turn did`);
    const one = shown(message);
    if (one) seen[name].push(one);
    if (interrupt && message.event?.type === "content_block_delta") {
      await interrupt();
      interrupt = undefined;
    }
    if (message.type === "result") return message.session_id;
  }
};

const refused = async (text) => {
  const messages = query({ prompt: text, options: options() });
  await turn("refused", messages);
  await messages.next().catch((problem) => seen.refused.push(String(problem)));
};

let say;
async function* spoken() {
  for (;;) {
    const text = await new Promise((resolve) => (say = resolve));
    if (text === undefined) return;
    yield { type: "user", message: { role: "user", content: text }, parent_tool_use_id: null };
  }
}

const everything = async () => {
  const session = query({ prompt: spoken(), options: options() });
  const ask = async (name, text, interrupt) => {
    while (!say) await new Promise((resolve) => setImmediate(resolve));
    const speak = say;
    say = undefined;
    speak(text);
    return turn(name, session, interrupt);
  };
  await ask("plain", "Hello");
  await ask("own tool", "[[scenario:own-tool]] Who is there?");
  await ask("file tool", "[[scenario:reads]] What does the note say?");
  seen.context = await session.getContextUsage();
  await ask("thinking", "[[scenario:thinking]] Think");
  await ask("overloaded once", "[[scenario:overloaded-once]] Hello");
  await ask("interrupted", "[[scenario:falls-silent]] Take your time", () => session.interrupt());
  const id = await ask("after the interruption", "Are you still there?");
  say(undefined);
  await session.next();
  await turn("resumed", query({ prompt: "And once more", options: options({ resume: id }) }));
  await refused("[[scenario:invalid]] Hello");
};

await (only ? refused(only) : everything());
console.log(JSON.stringify(seen, withoutOwn));

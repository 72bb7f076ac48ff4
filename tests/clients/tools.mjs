// The TypeScript Agent SDK, unmodified, with a tool server that it is told of: what the tool and the agent said, as JSON.
// node tools.mjs SDK_MODULE CLAUDE FOLDER {"url", "token", "message"}
import { pathToFileURL } from "node:url";

const [sdk, pathToClaudeCodeExecutable, cwd, told] = process.argv.slice(2);
const { query } = await import(pathToFileURL(sdk));
const { url, token, message } = JSON.parse(told);
const options = {
  pathToClaudeCodeExecutable,
  cwd,
  model: "claude-sonnet-5-5",
  systemPrompt: "You are brief.",
  tools: [],
  allowedTools: ["mcp__map__getCurrentUser", "mcp__map__addItem"],
  permissionMode: "dontAsk",
  mcpServers: { map: { type: "http", url, headers: { Authorization: `Bearer ${token}` } } },
  settingSources: [],
};
const seen = { servers: [], tools: [], results: [], said: "" };
for await (const one of query({ prompt: message, options })) {
  if (one.type === "system" && one.subtype === "init") Object.assign(seen, { servers: one.mcp_servers, tools: one.tools });
  if (one.type === "user") seen.results.push(...one.message.content);
  if (one.type === "result") seen.said = one.result;
}
console.log(JSON.stringify(seen));

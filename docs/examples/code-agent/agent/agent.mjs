// The agent: the Agent SDK's query() with a shell. A line on standard input is a message, a line on standard output is one of the
// SDK's own; the one of type "result" ends a turn.
import { createInterface } from "node:readline";
import { query } from "@anthropic-ai/claude-agent-sdk";

async function* messages() {
  for await (const line of createInterface({ input: process.stdin })) yield JSON.parse(line);
}

const turns = query({
  prompt: messages(),
  options: {
    systemPrompt: process.env.HEXWARD_SYSTEM_PROMPT,
    tools: ["Bash", "Read", "Write", "Edit"],
    allowedTools: ["Bash", "Read", "Write", "Edit", ...JSON.parse(process.env.HEXWARD_ALLOWED_TOOLS)],
    permissionMode: "dontAsk",
    mcpServers: JSON.parse(process.env.HEXWARD_MCP_SERVERS),
    settingSources: [],
    resume: process.env.HEXWARD_RESUME,
    persistSession: false,
  },
});
for await (const message of turns) process.stdout.write(`${JSON.stringify(message)}\n`);

/** This application's tools, for Hexward alone. Agents never come here: they ask Hexward, which decides, asks the person and keeps the journal. */
import { createHash, timingSafeEqual } from "node:crypto";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { WebStandardStreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js";
import { CallToolRequestSchema, ListResourcesRequestSchema, ListResourceTemplatesRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { readText } from "@/server/body";
import { type Asked, NotHexward, whoseCall } from "@/server/hexward-word";
import { settings } from "@/server/settings";
import { callTool, TOOLS } from "@/server/tools";
import { userOfHexward } from "@/server/users";

export const dynamic = "force-dynamic";

const digest = (text: string) => createHash("sha256").update(text).digest();
const refuse = (status: number, message: string) => Response.json({ jsonrpc: "2.0", id: null, error: { code: -32600, message } }, { status });

export async function POST(request: Request): Promise<Response> {
  const shown = request.headers.get("authorization") ?? "";
  if (!timingSafeEqual(digest(shown), digest(`Bearer ${settings.toolsToken}`))) return refuse(401, "no credential of Hexward's");
  if (request.headers.has("origin")) return refuse(403, "web pages have no business here");
  const text = await readText(request);
  if (text === null) return refuse(413, "too long");
  let asked: Asked;
  let subject: string;
  try {
    asked = JSON.parse(text) as Asked;
    if (typeof asked?.method !== "string") return refuse(400, "not a request");
    subject = whoseCall(request.headers.get("x-hexward-assertion"), asked);
  } catch (error) {
    if (error instanceof SyntaxError) return refuse(400, "not JSON");
    if (error instanceof NotHexward) return refuse(401, error.message);
    throw error;
  }
  const server = new Server({ name: "tiles", version: "0.1.0" }, { capabilities: { tools: {}, resources: {} } });
  server.setRequestHandler(ListResourcesRequestSchema, () => ({ resources: [] }));
  server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: [] }));
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: TOOLS }));
  server.setRequestHandler(CallToolRequestSchema, ({ params }) => {
    const user = userOfHexward(subject);
    if (!user) return { isError: true, content: [{ type: "text", text: "This application does not know that user." }] };
    return callTool(user, params.name, params.arguments ?? {}, params._meta);
  });
  // Without sessions: each request says everything, so any process can answer it.
  const transport = new WebStandardStreamableHTTPServerTransport({ enableJsonResponse: true });
  await server.connect(transport);
  try {
    return await transport.handleRequest(new Request(request.url, { method: "POST", headers: request.headers, body: text }));
  } finally {
    await server.close();
  }
}

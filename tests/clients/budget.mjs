// How often the TypeScript SDK asks when the gateway's own budget is used up. node budget.mjs SDK_MODULE BASE_URL KEY
import { pathToFileURL } from "node:url";

const [sdk, baseURL, apiKey] = process.argv.slice(2);
const { default: Anthropic } = await import(pathToFileURL(sdk));
let requests = 0;
const counted = (...args) => {
  requests += 1;
  return fetch(...args);
};
const client = new Anthropic({ baseURL, apiKey, fetch: counted });
try {
  await client.messages.create({ model: "claude-sonnet-5-5", max_tokens: 300, messages: [{ role: "user", content: "Hello" }] });
} catch (problem) {
  console.log(JSON.stringify({ status: problem.status, error: problem.error?.error, requests }));
}

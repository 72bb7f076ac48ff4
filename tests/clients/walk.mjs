// Runs the `sh` blocks of a page of the documents, one after the other in one shell, and compares what each prints with the `text` block behind
// it, but for what is another each time (ids, tokens, times, money). Prints what differs as JSON.
//
//   node walk.mjs PAGE [--write]      with --write: writes what was printed into the page
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const [page, write] = process.argv.slice(2);
const END = "\u001e";
const text = readFileSync(page, "utf8");
const blocks = [...text.matchAll(/^```sh\n([\s\S]*?)^```\n(?:\n```text\n([\s\S]*?)^```\n)?/gm)].map(([whole, commands, expected]) => ({ whole, commands, expected }));
const script = blocks.map(({ commands }) => `${commands}\nprintf '\\n${END}\\n'\n`).join("");
const ran = spawnSync("bash", ["-euo", "pipefail", "-c", script], { encoding: "utf8", timeout: 80_000, env: process.env });
const printed = ran.stdout.split(`\n${END}\n`).slice(0, -1);

const same = (output) =>
  output
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "ID")
    .replace(/hx[tw]_[A-Za-z0-9_-]+/g, "TOKEN")
    .replace(/toolu_[A-Za-z0-9]+/g, "CALL")
    .replace(/\/confirm\/[A-Za-z0-9_-]+/g, "/confirm/CODE")
    .replace(/127\.0\.0\.1:\d+/g, "ADDRESS")
    .replace(/\d{4,}/g, "N")
    .trim();
const differences = blocks.flatMap(({ commands, expected }, at) =>
  printed[at] === undefined || (expected !== undefined && same(printed[at]) !== same(expected)) || (expected === undefined && printed[at].trim() !== "")
    ? [{ commands, expected: expected ?? "", printed: printed[at] ?? null }]
    : [],
);
if (write) {
  let next = text;
  blocks.forEach(({ whole, commands, expected }, at) => {
    if (expected === undefined && (printed[at] ?? "").trim() === "") return;
    next = next.replace(whole, () => `\`\`\`sh\n${commands}\`\`\`\n\n\`\`\`text\n${(printed[at] ?? "").trim()}\n\`\`\`\n`);
  });
  writeFileSync(page, next);
}
console.log(JSON.stringify({ blocks: blocks.length, differences, status: ran.status, errors: ran.stderr }));

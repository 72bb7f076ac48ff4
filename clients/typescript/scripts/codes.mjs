// Writes src/codes.ts from the gateway's own lists, docs/denials.md and docs/api.md; with --check it only compares.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const root = new URL("../../../", import.meta.url);
const target = fileURLToPath(new URL("../src/codes.ts", import.meta.url));
const read = (path) => readFile(new URL(path, root), "utf8");

const CODE = /`([a-z_0-9]+(?:\.[a-z_0-9]+)*)`/g;

/** The codes in one column of the tables whose head is as given. */
function column(text, head, at) {
  const found = [];
  let inside = false;
  for (const line of text.split("\n")) {
    const cells = line.startsWith("|") ? line.split("|").slice(1, -1).map((cell) => cell.trim()) : [];
    if (cells.length === 0) inside = false;
    else if (head.every((name, index) => cells[index] === name)) inside = true;
    else if (inside) found.push(...[...(cells[at] ?? "").matchAll(CODE)].map(([, code]) => code));
  }
  return found;
}

const [denialsPage, apiPage] = await Promise.all([read("docs/denials.md"), read("docs/api.md")]);
const denials = column(denialsPage, ["code", "whose move"], 0);
const listed = [...column(apiPage, ["status", "code", "when"], 1), ...column(apiPage, ["code", "meaning"], 0)];
if (denials.length < 20 || listed.length < 30) throw new Error(`the tables of docs/denials.md (${denials.length}) and docs/api.md (${listed.length}) are not where they were`);
const api = [...new Set(listed)].filter((code) => !denials.includes(code)).sort();
const union = (name, about, codes) => `/** ${about} */\nexport type ${name} =\n${codes.map((code) => `  | "${code}"`).join("\n")};\n`;
const list = (codes) => codes.map((code) => `  "${code}",`).join("\n");
const text = `// Written by scripts/codes.mjs from docs/denials.md and docs/api.md; do not edit.

${union("DenialCode", "What a run or a call was refused for: docs/denials.md.", denials)}
${union("ApiCode", "What else a request is answered with: docs/api.md.", api)}
export type KnownCode = DenialCode | ApiCode;

/** Every code that this version's gateway has. */
export const CODES: readonly KnownCode[] = [
${list(denials)}
${list(api)}
];
`;
if (process.argv.includes("--check")) {
  const have = await readFile(target, "utf8").catch(() => "");
  if (have !== text) {
    console.error("clients/typescript/src/codes.ts is not what docs/denials.md and docs/api.md say: run `npm run codes` there");
    process.exit(1);
  }
} else {
  await writeFile(target, text);
}

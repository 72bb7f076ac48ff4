import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";

/** What a file holds; `otherwise` where there is none. */
export function readJson<T>(path: string, otherwise: T): T {
  if (!existsSync(path)) return otherwise;
  return JSON.parse(readFileSync(path, "utf8")) as T;
}

/** The old or the new, never half of it. */
export function writeJson(path: string, value: unknown): void {
  const beside = `${path}.new`;
  const file = openSync(beside, "w", 0o600);
  try {
    writeSync(file, JSON.stringify(value));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(beside, path);
}

import type { ExportPage } from "../api/types";

/** As the server takes it; a larger file is refused before it is sent. */
export const DOCUMENT_BYTES_MAX = 24 * 1024 * 1024;

export type ReadFile = { text: string; tiles: number; title: string } | { problem: string };

/**
 * What a chosen file is, as far as a page can tell before it is sent: the server checks it as a whole. Bytes that are not
 * UTF-8 are refused here, because once they are text nobody can tell any more.
 */
export function readDocument(bytes: Uint8Array): ReadFile {
  if (bytes.length === 0) return { problem: "The file is empty." };
  if (bytes.length > DOCUMENT_BYTES_MAX) return { problem: "The file is larger than 24 MiB, which is more than can be imported." };
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return { problem: "The file is not UTF-8 text. Save it as UTF-8, or export it again." };
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: "The file is no JSON, or its end is missing. Export it again." };
  }
  const { format, tiles } = (value ?? {}) as { format?: unknown; tiles?: unknown };
  if (format !== "hexward.map" || !Array.isArray(tiles)) return { problem: "The file is no map that was exported here." };
  const root = tiles.find((tile: { path?: unknown }) => Array.isArray(tile?.path) && tile.path.length === 0) as
    | { title?: unknown }
    | undefined;
  return { text, tiles: tiles.length, title: typeof root?.title === "string" ? root.title : "Untitled" };
}

/** Reads a map page by page into one document. It begins anew when the map changes meanwhile, at most three times. */
export async function writeDocument(page: (after: string | null) => Promise<ExportPage>): Promise<string> {
  for (let attempt = 0; attempt < 3; attempt++) {
    const pages: ExportPage[] = [];
    let after: string | null = null;
    do {
      const next: ExportPage = await page(after);
      pages.push(next);
      after = next.next;
    } while (after !== null && pages.at(-1)?.revision === pages[0]?.revision);
    const [first] = pages;
    if (first && pages.every(({ revision }) => revision === first.revision)) {
      const lines = pages.flatMap(({ tiles }) => tiles.map((tile) => JSON.stringify(tile)));
      return `{"format":${JSON.stringify(first.format)},"version":${first.version},"tiles":[\n${lines.join(",\n")}\n]}\n`;
    }
  }
  throw new Error("The map changes too often to be exported right now. Try again in a moment.");
}

/** A name for the file that any system takes. */
export function fileNameOf(title: string): string {
  const plain = title
    .normalize("NFKD")
    .replace(/\p{M}+/gu, "")
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 60)
    .toLowerCase();
  return `${plain || "map"}.hexmap.json`;
}

/** People's hexagonal tiles, and what can be taken back of their changes. */
import { createHash, randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { join } from "node:path";
import { readJson, writeJson } from "./files";
import { settings, single } from "./settings";

export interface Tile {
  id: string;
  /** Directions from the centre: 1 north-west, then with the clock to 6 west. */
  path: number[];
  title: string;
  content: string;
  /** Another one with each change, so that a tile that was changed and changed back is not what it was. */
  stamp: string;
}

interface Touched {
  key: string;
  before: Tile | null;
  after: Tile | null;
}

interface Held {
  tiles: Record<string, Tile>;
  changes: { id: string; touched: Touched[] }[];
}

/** Why nothing was done, for the model or the person. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly conflicts: string[] = [],
  ) {
    super(message);
  }
}

const TILES_MAX = 400;
const CHANGES_MAX = 500;
const DEPTH_MAX = 5;
const TITLE_CHARS_MAX = 100;
const CONTENT_CHARS_MAX = 4000;

const key = (path: number[]) => path.join(",");
const isBelow = (path: number[], top: number[]) => path.length > top.length && top.every((step, at) => path[at] === step);
const copy = <T>(value: T): T => structuredClone(value);
const stamp = () => randomUUID();
const held = () => single("tiles", () => new Map<string, Held>());
const told = () => single("told", () => new EventEmitter().setMaxListeners(1000));
const file = (user: string) => join(settings.dataDir, `tiles-${user}.json`);

function of(user: string): Held {
  let own = held().get(user);
  if (!own) {
    const centre: Tile = { id: randomUUID(), path: [], title: "My tiles", content: "", stamp: stamp() };
    own = readJson<Held>(file(user), { tiles: { "": centre }, changes: [] });
    held().set(user, own);
  }
  return own;
}

/** Tells of each change of this user's tiles; what it returns ends that. */
export function watch(user: string, tell: () => void): () => void {
  told().on(user, tell);
  return () => told().off(user, tell);
}

/** All tiles, each behind the one above it. */
export function tilesOf(user: string): Tile[] {
  return Object.values(of(user).tiles).sort((one, other) => one.path.length - other.path.length || (key(one.path) < key(other.path) ? -1 : 1));
}

/** What a change is to be recorded as, and what it may find. */
export interface Terms {
  call: string;
  /** Only say what would happen. */
  dryRun: boolean;
  /** What has to be touched, as a dry run said it. */
  expected: string | undefined;
}

export interface Effect {
  digest: string;
  summary: string;
}

/**
 * One change: computed on a copy, then kept in one write together with what it touched, before and after. Nothing waits in between,
 * so nothing else happens meanwhile.
 */
function change<T>(user: string, terms: Terms, summary: string, work: (tiles: Record<string, Tile>) => T): { result: T } | { effect: Effect } {
  const own = of(user);
  const tiles = copy(own.tiles);
  const result = work(tiles);
  const keys = new Set([...Object.keys(own.tiles), ...Object.keys(tiles)]);
  const touched: Touched[] = [];
  for (const at of keys) {
    const [before, after] = [own.tiles[at] ?? null, tiles[at] ?? null];
    if (before?.stamp !== after?.stamp) touched.push({ key: at, before, after });
  }
  const digest = createHash("sha256").update(JSON.stringify(touched.map(({ key: at, before }) => [at, before?.id, before?.stamp]))).digest("hex");
  if (terms.dryRun) return { effect: { digest, summary } };
  if (terms.expected !== undefined && terms.expected !== digest) throw new Refused("What this would touch is not what it was when it was shown. Nothing was changed; look again.");
  const next: Held = { tiles, changes: [...own.changes.slice(1 - CHANGES_MAX), { id: terms.call, touched }] };
  writeJson(file(user), next);
  held().set(user, next);
  told().emit(user);
  return { result };
}

function at(tiles: Record<string, Tile>, path: number[]): Tile {
  const tile = tiles[key(path)];
  if (!tile) throw new Refused("There is no tile at that place. List the tiles to see what is where.");
  return tile;
}

function checked(title: string | undefined, content: string | undefined): void {
  if (title !== undefined && (title.trim() === "" || title.length > TITLE_CHARS_MAX)) throw new Refused(`A title has 1 to ${TITLE_CHARS_MAX} characters.`);
  if (content !== undefined && content.length > CONTENT_CHARS_MAX) throw new Refused(`A tile's text has at most ${CONTENT_CHARS_MAX} characters.`);
}

export function add(user: string, terms: Terms, path: number[], title: string, content = "") {
  checked(title, content);
  return change(user, terms, `Creates “${title}”.`, (tiles) => {
    if (path.length === 0 || tiles[key(path)]) throw new Refused("There is a tile at that place already. Choose a free one.");
    if (path.length > DEPTH_MAX) throw new Refused(`Tiles lie at most ${DEPTH_MAX} deep.`);
    if (!tiles[key(path.slice(0, -1))]) throw new Refused("There is no tile to hang it under. Create that one first.");
    if (Object.keys(tiles).length >= TILES_MAX) throw new Refused(`There are ${TILES_MAX} tiles, which is as many as may be.`);
    const tile: Tile = { id: randomUUID(), path, title, content, stamp: stamp() };
    tiles[key(path)] = tile;
    return tile;
  });
}

export function update(user: string, terms: Terms, path: number[], updates: { title?: string; content?: string }) {
  checked(updates.title, updates.content);
  return change(user, terms, "Changes a tile.", (tiles) => {
    const tile: Tile = { ...at(tiles, path), ...updates, stamp: stamp() };
    tiles[key(path)] = tile;
    return tile;
  });
}

export function remove(user: string, terms: Terms, path: number[]) {
  const tile = at(of(user).tiles, path);
  if (path.length === 0) throw new Refused("The centre can't be deleted.");
  const below = tilesOf(user).filter((other) => isBelow(other.path, path)).length;
  const along = below === 0 ? "" : ` and ${below === 1 ? "the tile" : `${below} tiles`} below it`;
  return change(user, terms, `Deletes “${tile.title}”${along}.`, (tiles) => {
    for (const [where, other] of Object.entries(tiles)) if (where === key(path) || isBelow(other.path, path)) delete tiles[where];
    return { success: true, deleted: below + 1 };
  });
}

export function move(user: string, terms: Terms, from: number[], to: number[]) {
  return change(user, terms, "Moves a tile with everything below it.", (tiles) => {
    at(tiles, from);
    if (from.length === 0 || to.length === 0) throw new Refused("The centre stays where it is.");
    if (tiles[key(to)]) throw new Refused("There is a tile at that place already. Choose a free one.");
    if (isBelow(to, from) || !tiles[key(to.slice(0, -1))]) throw new Refused("A tile can only be moved below another one, and not below itself.");
    const moved = Object.values(tiles).filter((tile) => key(tile.path) === key(from) || isBelow(tile.path, from));
    if (moved.some((tile) => tile.path.length - from.length + to.length > DEPTH_MAX)) throw new Refused(`Tiles lie at most ${DEPTH_MAX} deep.`);
    for (const tile of moved) delete tiles[key(tile.path)];
    for (const tile of moved) {
      const path = [...to, ...tile.path.slice(from.length)];
      tiles[key(path)] = { ...tile, path, stamp: stamp() };
    }
    return { moved: moved.length };
  });
}

/** Puts back exactly what a change touched, or does nothing. Being a change itself, it can be taken back the same way. */
export function undo(user: string, terms: Terms, id: string) {
  const found = of(user).changes.find((made) => made.id === id);
  if (!found) throw new Refused("This change is not known any more.");
  return change(user, terms, "Takes a change back.", (tiles) => {
    const conflicts = found.touched
      .filter(({ key: where, after }) => tiles[where]?.stamp !== after?.stamp)
      .map(({ before, after }) => `“${(after ?? before)?.title}” was changed since.`);
    for (const { before, after } of found.touched) {
      if (before || !after) continue;
      const below = Object.values(tiles).find((tile) => isBelow(tile.path, after.path) && !found.touched.some(({ key: where }) => where === key(tile.path)));
      if (below) conflicts.push(`“${below.title}” lies below “${after.title}” now.`);
    }
    for (const { before } of found.touched) {
      const above = before && before.path.length > 0 ? key(before.path.slice(0, -1)) : undefined;
      const returns = found.touched.some(({ key: where, before: old }) => where === above && old);
      if (above !== undefined && !tiles[above] && !returns) conflicts.push(`What “${before?.title}” lay under is gone.`);
    }
    if (conflicts.length > 0) throw new Refused("Something was changed since, so nothing was taken back.", [...new Set(conflicts)]);
    for (const { key: where, before } of found.touched) {
      if (before) tiles[where] = before;
      else delete tiles[where];
    }
    return { undone: true, tiles: found.touched.length };
  });
}

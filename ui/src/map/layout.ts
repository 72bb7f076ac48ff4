import type { MapItem } from "../api/types";
import { DIRECTIONS, type Direction, isDirection, lastStep, parseCoordinates, unitVector } from "./coordinates";

/**
 * From the tree to places on the plane.
 *
 * A child touches its parent in its direction, at two thirds of the parent's size. Where a whole subtree would overlap
 * what is already placed, it slides outwards along its direction until it doesn't: small subtrees stay close, large ones
 * move away, and nothing ever overlaps, however deep or lopsided the map is.
 */
export interface PlacedTile {
  item: MapItem;
  x: number;
  y: number;
  /** Distance from the centre to a corner. */
  radius: number;
  depth: number;
  /** The direction in which this branch leaves the root: it gives the tile its colour. Null for the root. */
  branch: Direction | null;
  direction: Direction | null;
  /** Index of the parent in the layout; the root is first and its own parent is null. */
  parent: number | null;
}

/** An empty place beside a tile, where a new one could go. */
export interface Slot {
  x: number;
  y: number;
  radius: number;
  direction: Direction;
}

export interface Bounds {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

const ROOT_RADIUS = 100;
const CHILD_SCALE = 0.72;
/** Space between a tile and its child, and between tiles of different families, as parts of the smaller radius. */
const FAMILY_GAP = 0.1;
const STRANGER_GAP = 0.3;

interface Spot {
  x: number;
  y: number;
  radius: number;
}

interface Branch {
  tile: PlacedTile;
  below: Branch[];
}

export function layOut(root: MapItem): PlacedTile[] {
  return flatten(place(root, 0, branchOf(root)), null, []);
}

/** Free places around a tile, leaving out those that other tiles of the map reach into. */
export function freeSlots(tiles: readonly PlacedTile[], tile: PlacedTile): Slot[] {
  return allSlots(tile).filter((slot) => !isCovered(tiles, tile, slot));
}

/** Whether another tile than the one it belongs to reaches into a place. */
export function isCovered(tiles: readonly PlacedTile[], tile: PlacedTile, slot: Slot): boolean {
  return tiles.some((other) => other !== tile && overlaps(slot, other, FAMILY_GAP / 2));
}

/** Every free place around a tile, also where the drawing has no room for it yet. */
export function allSlots(tile: PlacedTile): Slot[] {
  const taken = new Set(tile.item.children.map((child) => lastStep(child.coordinates)));
  const radius = tile.radius * CHILD_SCALE;
  return DIRECTIONS.filter((direction) => !taken.has(direction)).map((direction) => {
    const unit = unitVector(direction);
    const distance = touching(tile.radius, radius, FAMILY_GAP);
    return { x: tile.x + unit.x * distance, y: tile.y + unit.y * distance, radius, direction };
  });
}

/** The rectangle that holds all tiles, never smaller than the root with its ring: a lone tile shouldn't fill the pane. */
export function boundsOf(tiles: readonly PlacedTile[]): Bounds {
  const ring = ROOT_RADIUS * 2.75;
  const bounds = { left: -ring, top: -ring, right: ring, bottom: ring };
  for (const { x, y, radius } of tiles) {
    bounds.left = Math.min(bounds.left, x - radius);
    bounds.right = Math.max(bounds.right, x + radius);
    bounds.top = Math.min(bounds.top, y - radius);
    bounds.bottom = Math.max(bounds.bottom, y + radius);
  }
  return bounds;
}

/** Corners of a hexagon that stands on a corner, as SVG points. */
export function hexagon(radius: number): string {
  return [-90, -30, 30, 90, 150, 210]
    .map((degrees) => {
      const radians = (degrees * Math.PI) / 180;
      return `${round(radius * Math.cos(radians))},${round(radius * Math.sin(radians))}`;
    })
    .join(" ");
}

/** Whether two hexagons, each grown by half the gap, share any ground. */
export function overlaps(a: Spot, b: Spot, gap: number): boolean {
  return hexNorm(a.x - b.x, a.y - b.y) < touching(a.radius, b.radius, gap) - 1e-6;
}

/** Whether a child stands right beside its parent. */
export function touches(child: Spot, parent: Spot): boolean {
  return hexNorm(child.x - parent.x, child.y - parent.y) < touching(child.radius, parent.radius, FAMILY_GAP) + 1;
}

/** The direction in which a tile's branch leaves the root of its map. */
function branchOf(item: MapItem): Direction | null {
  const first = parseCoordinates(item.coordinates)?.path[0] ?? null;
  return isDirection(first) ? first : null;
}

/** A subtree around its own top tile, which is at the origin. */
function place(item: MapItem, depth: number, branch: Direction | null): Branch {
  const direction = isDirection(lastStep(item.coordinates)) ? (lastStep(item.coordinates) as Direction) : null;
  const tile: PlacedTile = {
    item,
    x: 0,
    y: 0,
    radius: ROOT_RADIUS * CHILD_SCALE ** depth,
    depth,
    branch,
    direction: depth === 0 ? null : direction,
    parent: null,
  };
  const subtrees = item.children
    .map((child) => ({ child, step: lastStep(child.coordinates) }))
    .filter((entry): entry is { child: MapItem; step: Direction } => isDirection(entry.step))
    .map(({ child, step }) => ({ step, branch: place(child, depth + 1, branch ?? step) }))
    .sort((a, b) => size(a.branch) - size(b.branch) || a.step - b.step);
  const placed: PlacedTile[] = [tile];
  for (const subtree of subtrees) {
    slideOut(subtree.branch, subtree.step, tile, placed);
    placed.push(...tilesOf(subtree.branch));
  }
  return { tile, below: subtrees.map((subtree) => subtree.branch) };
}

/** Moves a subtree along its direction to the nearest distance at which it overlaps nothing that is placed. */
function slideOut(branch: Branch, direction: Direction, parent: PlacedTile, placed: readonly PlacedTile[]): void {
  const unit = unitVector(direction);
  const moving = tilesOf(branch);
  let distance = touching(parent.radius, branch.tile.radius, FAMILY_GAP);
  for (let settled = false; !settled; ) {
    settled = true;
    for (const tile of moving) {
      for (const fixed of placed) {
        const gap = tile === branch.tile ? FAMILY_GAP : STRANGER_GAP;
        const free = clearAt(tile, unit, distance, fixed, touching(tile.radius, fixed.radius, gap));
        if (free > distance) {
          distance = free;
          settled = false;
        }
      }
    }
  }
  for (const tile of moving) {
    tile.x += unit.x * distance;
    tile.y += unit.y * distance;
  }
}

/**
 * The distance at or beyond `distance` where `tile` has left `fixed`. Along a line, two hexagons overlap for one interval
 * (they are convex), so jumping to its end never jumps over a free place.
 */
function clearAt(tile: Spot, unit: { x: number; y: number }, distance: number, fixed: Spot, reach: number): number {
  const x = tile.x - fixed.x;
  const y = tile.y - fixed.y;
  if (hexNorm(x + unit.x * distance, y + unit.y * distance) >= reach - 1e-6) return distance;
  const exits = NORMALS.map((normal) => {
    const speed = unit.x * normal.x + unit.y * normal.y;
    if (Math.abs(speed) < 1e-9) return Infinity;
    return (Math.sign(speed) * reach - (x * normal.x + y * normal.y)) / speed;
  });
  return Math.min(...exits);
}

const NORMALS = [0, 60, 120].map((degrees) => {
  const radians = (degrees * Math.PI) / 180;
  return { x: Math.cos(radians), y: Math.sin(radians) };
});

/** Distance in the norm whose unit circle is the hexagon: two hexagons touch when it equals the sum of their apothems. */
function hexNorm(x: number, y: number): number {
  return Math.max(...NORMALS.map((normal) => Math.abs(x * normal.x + y * normal.y)));
}

function touching(a: number, b: number, gap: number): number {
  return (Math.sqrt(3) / 2) * (a + b) + gap * Math.min(a, b);
}

function size(branch: Branch): number {
  return branch.below.reduce((sum, child) => sum + size(child), 1);
}

function tilesOf(branch: Branch): PlacedTile[] {
  return [branch.tile, ...branch.below.flatMap(tilesOf)];
}

function flatten(branch: Branch, parent: number | null, into: PlacedTile[]): PlacedTile[] {
  const index = into.push({ ...branch.tile, parent }) - 1;
  for (const child of branch.below) flatten(child, index, into);
  return into;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

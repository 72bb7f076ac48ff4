import { isWithin, placeAbove, placeBelow, stepName } from "./coordinates";
import { allSlots, isCovered, type PlacedTile } from "./layout";

/** A place where a tile could be moved to: a free one, or one whose tile takes its place in return. */
export interface MoveTarget {
  /** Where it would lie then. */
  coordinates: string;
  x: number;
  y: number;
  radius: number;
  /** What lies there now. */
  taken: PlacedTile | null;
  /** The tile that it would hang under, and how it is called from there. */
  parent: PlacedTile;
  step: number;
}

/** Every place in the view where a tile with all that lies below it could go. */
export function moveTargets(tiles: readonly PlacedTile[], moved: PlacedTile): MoveTarget[] {
  const own = moved.item.coordinates;
  const others = tiles.filter((tile) => !isWithin(tile.item.coordinates, own));
  const free = others.flatMap((parent) =>
    allSlots(parent).map((slot) => ({
      coordinates: placeBelow(parent.item.coordinates, slot.direction),
      x: slot.x,
      y: slot.y,
      // A place that others reach into is there all the same: the drawing makes room once the tile lies there.
      radius: isCovered(tiles, parent, slot) ? slot.radius / 2 : slot.radius,
      taken: null,
      parent,
      step: slot.direction,
    })),
  );
  const taken = others.flatMap((tile) => {
    const parent = tile.parent === null ? undefined : tiles[tile.parent];
    // A tile can't change places with one above it, and the tile that is looked from stays where it is.
    if (!parent || tile.direction === null || isWithin(own, tile.item.coordinates)) return [];
    const { x, y, radius } = tile;
    return [{ coordinates: tile.item.coordinates, x, y, radius, taken: tile, parent, step: tile.direction }];
  });
  return [...free, ...taken];
}

/** The target under a point of the plane; null where there is none. */
export function targetAt(targets: readonly MoveTarget[], x: number, y: number): MoveTarget | null {
  let best: MoveTarget | null = null;
  let bestDistance = Infinity;
  for (const target of targets) {
    const distance = Math.hypot(target.x - x, target.y - y);
    if (distance < target.radius && distance < bestDistance) [best, bestDistance] = [target, distance];
  }
  return best;
}

/** Whether a tile may be moved at all: roots stay, and so does the tile that is looked from. */
export function isMovable(tile: PlacedTile): boolean {
  return tile.depth > 0 && placeAbove(tile.item.coordinates) !== null;
}

/** A tile on its way elsewhere: by the pointer, which is at a point of the plane, or by arrow keys. */
export interface Moving {
  tile: PlacedTile;
  targets: readonly MoveTarget[];
  target: MoveTarget | null;
  at: { x: number; y: number } | null;
}

function titleOf(tile: PlacedTile): string {
  return tile.item.title || "Untitled";
}

/** What would happen if the tile were put there. */
export function wordsBefore(tile: PlacedTile, target: MoveTarget | null): string {
  const name = titleOf(tile);
  if (!target) return `Moving ${name}. Choose a place with the arrow keys, Enter puts it there, Escape leaves it.`;
  if (target.taken) return `${name} and ${titleOf(target.taken)} would change places.`;
  return `${name} would lie ${stepName(target.step)} of ${titleOf(target.parent)}.`;
}

/** What happened. */
export function wordsAfter(tile: PlacedTile, target: MoveTarget): string {
  if (target.taken) return `${titleOf(tile)} and ${titleOf(target.taken)} changed places.`;
  return `${titleOf(tile)} now lies ${stepName(target.step)} of ${titleOf(target.parent)}.`;
}

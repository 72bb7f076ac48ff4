/** Where a tile is: `"{userId},{groupId}"` for a root, `"{userId},{groupId}:{d1,d2,...}"` below it. */
export interface Coordinates {
  userId: string;
  groupId: number;
  path: readonly number[];
}

/** The six neighbours of a tile, clockwise from the north-west. 0 and negative steps lead inside the tile instead. */
export const DIRECTIONS = [1, 2, 3, 4, 5, 6] as const;
export type Direction = (typeof DIRECTIONS)[number];

const NAMES: Record<Direction, string> = {
  1: "north-west",
  2: "north-east",
  3: "east",
  4: "south-east",
  5: "south-west",
  6: "west",
};

const SHAPE = /^([a-zA-Z0-9_-]+),([0-9]+)(?::(-?[0-9](?:,-?[0-9])*)?)?$/;

export function parseCoordinates(id: string): Coordinates | null {
  const match = SHAPE.exec(id);
  if (!match) return null;
  const path = match[3] ? match[3].split(",").map(Number) : [];
  if (path.some((step) => step < -6 || step > 6)) return null;
  return { userId: match[1] ?? "", groupId: Number(match[2]), path };
}

/** The last step of a tile's path: how its parent reaches it. Null for a root and for what can't be read. */
export function lastStep(id: string): number | null {
  return parseCoordinates(id)?.path.at(-1) ?? null;
}

export function isDirection(step: number | null): step is Direction {
  return step !== null && step >= 1 && step <= 6;
}

export function directionName(direction: Direction): string {
  return NAMES[direction];
}

/** What a step inside a tile is called: its plan, or the position of a piece of context. */
export function insideName(step: number): string {
  if (step === 0) return "plan";
  const direction = -step;
  return isDirection(direction) ? `context, ${directionName(direction)}` : "inside";
}

/** Unit steps on the plane, y growing downwards, for hexagons that stand on a corner. */
export function unitVector(direction: Direction): { x: number; y: number } {
  const angles: Record<Direction, number> = { 1: 240, 2: 300, 3: 0, 4: 60, 5: 120, 6: 180 };
  const radians = (angles[direction] * Math.PI) / 180;
  return { x: Math.cos(radians), y: Math.sin(radians) };
}

/** The place one step below a tile. */
export function placeBelow(coordinates: string, step: number): string {
  return coordinates.includes(":") ? `${coordinates},${step}` : `${coordinates}:${step}`;
}

/** The place one step above; null for a root. */
export function placeAbove(coordinates: string): string | null {
  const at = parseCoordinates(coordinates);
  if (!at || at.path.length === 0) return null;
  const path = at.path.slice(0, -1).join(",");
  return `${at.userId},${at.groupId}${path && ":"}${path}`;
}

/** Whether a place lies at or below another. `u,0:1` is not above `u,0:11`. */
export function isWithin(coordinates: string, top: string): boolean {
  return coordinates === top || coordinates.startsWith(top + (top.includes(":") ? "," : ":"));
}

/** What a step is called, whether it leads outwards or inside. */
export function stepName(step: number): string {
  return isDirection(step) ? directionName(step) : insideName(step);
}

import type { Bounds } from "./layout";

/** How the plane is shown: a point of the plane in the middle of the pane, and pixels per unit. */
export interface Camera {
  x: number;
  y: number;
  scale: number;
}

interface Point {
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

const SCALE_MIN = 0.05;
const SCALE_MAX = 6;
/** A map of one tile shouldn't fill the pane with it. */
const FIT_SCALE_MAX = 1.15;
const FIT_MARGIN_PX = 28;

export function fit(bounds: Bounds, pane: Size): Camera {
  const width = bounds.right - bounds.left;
  const height = bounds.bottom - bounds.top;
  const scale = Math.min((pane.width - 2 * FIT_MARGIN_PX) / width, (pane.height - 2 * FIT_MARGIN_PX) / height);
  return {
    x: (bounds.left + bounds.right) / 2,
    y: (bounds.top + bounds.bottom) / 2,
    scale: Math.min(FIT_SCALE_MAX, Math.max(SCALE_MIN, scale)),
  };
}

/** Moves aside only as far as it takes to bring a tile out from under what covers the right side of the pane. */
export function uncover(camera: Camera, tile: { x: number; radius: number }, pane: Size, coveredPx: number): Camera {
  const rightEdgePx = pane.width / 2 + (tile.x + tile.radius - camera.x) * camera.scale;
  const hiddenPx = rightEdgePx - (pane.width - coveredPx - FIT_MARGIN_PX);
  return hiddenPx > 0 ? pan(camera, -hiddenPx, 0) : camera;
}

/** Zooms around a point of the pane, given in pixels from its middle, so that what lies under it stays there. */
export function zoom(camera: Camera, factor: number, aroundX = 0, aroundY = 0): Camera {
  const scale = Math.min(SCALE_MAX, Math.max(SCALE_MIN, camera.scale * factor));
  const shift = 1 / camera.scale - 1 / scale;
  return { x: camera.x + aroundX * shift, y: camera.y + aroundY * shift, scale };
}

export function pan(camera: Camera, dxPx: number, dyPx: number): Camera {
  return { ...camera, x: camera.x - dxPx / camera.scale, y: camera.y - dyPx / camera.scale };
}

/** Two fingers moved: what lies under each stays under it, as far as it can without turning. */
export function pinch(camera: Camera, before: readonly [Point, Point], after: readonly [Point, Point]): Camera {
  const [wasAt, isAt] = [middle(before), middle(after)];
  const spread = Math.max(1, distance(before));
  return zoom(pan(camera, isAt.x - wasAt.x, isAt.y - wasAt.y), distance(after) / spread, isAt.x, isAt.y);
}

function middle([a, b]: readonly [Point, Point]): Point {
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
}

function distance([a, b]: readonly [Point, Point]): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

/** The point of the plane under a point of the pane, which is given in pixels from its middle. */
export function toPlane(camera: Camera, at: Point): Point {
  return { x: camera.x + at.x / camera.scale, y: camera.y + at.y / camera.scale };
}

/** Below this many pixels a tile is a speck that nobody sees. */
const SPECK_PX = 1.5;

/** Whether anything of a tile is to be seen. */
export function inView(camera: Camera, tile: Point & { radius: number }, pane: Size): boolean {
  const radius = tile.radius * camera.scale;
  if (radius < SPECK_PX) return false;
  const x = (tile.x - camera.x) * camera.scale;
  const y = (tile.y - camera.y) * camera.scale;
  return Math.abs(x) < pane.width / 2 + 2 * radius && Math.abs(y) < pane.height / 2 + 2 * radius;
}

/** The nearest camera that shows a tile as a whole; the same one if it already does. */
export function reveal(camera: Camera, tile: Point & { radius: number }, pane: Size): Camera {
  const radius = tile.radius * camera.scale;
  const shift = (place: number, room: number): number => {
    const edge = Math.max(0, room / 2 - radius - FIT_MARGIN_PX);
    return place - Math.min(edge, Math.max(-edge, place));
  };
  const dx = shift((tile.x - camera.x) * camera.scale, pane.width);
  const dy = shift((tile.y - camera.y) * camera.scale, pane.height);
  return dx === 0 && dy === 0 ? camera : pan(camera, -dx, -dy);
}

export function transformOf(camera: Camera, pane: Size): string {
  const x = pane.width / 2 - camera.x * camera.scale;
  const y = pane.height / 2 - camera.y * camera.scale;
  return `translate(${x}px, ${y}px) scale(${camera.scale})`;
}


/** The nearest of the points that lies towards an arrow key, within 60 degrees of it; -1 when there is none. */
export function nearestTowards(from: Point, towards: Point, points: readonly Point[]): number {
  let best = -1;
  let bestCost = Infinity;
  points.forEach((point, index) => {
    const dx = point.x - from.x;
    const dy = point.y - from.y;
    const along = dx * towards.x + dy * towards.y;
    const distance = Math.hypot(dx, dy);
    if (distance === 0 || along / distance < 0.5 - 1e-9) return;
    // A tile straight ahead is preferred to a slightly nearer one off to the side.
    const cost = distance * (2 - along / distance);
    if (cost < bestCost) [best, bestCost] = [index, cost];
  });
  return best;
}

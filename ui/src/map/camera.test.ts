import { expect, it } from "vitest";
import { fit, inView, nearestTowards, pan, pinch, reveal, toPlane, uncover, zoom } from "./camera";

const PANE = { width: 800, height: 600 };

it("fits what there is into the pane, but doesn't blow up a single tile", () => {
  const camera = fit({ left: -1_000, right: 3_000, top: -500, bottom: 500 }, PANE);
  expect(camera.x).toBe(1_000);
  expect(camera.scale * 4_000).toBeLessThanOrEqual(800);
  expect(fit({ left: -10, right: 10, top: -10, bottom: 10 }, PANE).scale).toBeLessThan(2);
  expect(fit({ left: -10, right: 10, top: -10, bottom: 10 }, { width: 0, height: 0 }).scale).toBeGreaterThan(0);
});

it("zooms around a point that stays where it is, within limits", () => {
  const camera = { x: 10, y: 20, scale: 1 };
  const nearer = zoom(camera, 2, 100, -50);
  expect(nearer.x + 100 / nearer.scale).toBeCloseTo(camera.x + 100);
  expect(nearer.y - 50 / nearer.scale).toBeCloseTo(camera.y - 50);
  expect(zoom(camera, 1e9).scale).toBe(6);
  expect(zoom(camera, 1e-9).scale).toBe(0.05);
});

it("moves by pixels", () => {
  expect(pan({ x: 0, y: 0, scale: 2 }, 10, -20)).toEqual({ x: -5, y: 10, scale: 2 });
});

it("moves aside only for a tile that is covered", () => {
  const camera = { x: 0, y: 0, scale: 1 };
  expect(uncover(camera, { x: -100, radius: 50 }, PANE, 300)).toBe(camera);
  const moved = uncover(camera, { x: 300, radius: 50 }, PANE, 300);
  expect(400 + (350 - moved.x) * moved.scale).toBeLessThanOrEqual(500);
});

it("walks to the nearest point in the direction of the key", () => {
  const points = [
    { x: 0, y: 0 },
    { x: 100, y: 0 },
    { x: 60, y: -80 },
    { x: -50, y: 10 },
  ];
  const from = { x: 0, y: 0 };
  expect(nearestTowards(from, { x: 1, y: 0 }, points)).toBe(1);
  expect(nearestTowards(from, { x: -1, y: 0 }, points)).toBe(3);
  expect(nearestTowards(from, { x: 0, y: -1 }, points)).toBe(2);
  expect(nearestTowards(from, { x: 0, y: 1 }, points)).toBe(-1);
});

it("keeps what lies under two fingers under them", () => {
  const camera = { x: 10, y: -20, scale: 0.8 };
  const before = [{ x: -100, y: 40 }, { x: 60, y: 40 }] as const;
  const after = [{ x: -150, y: 0 }, { x: 170, y: 0 }] as const;
  const pinched = pinch(camera, before, after);
  expect(pinched.scale).toBeCloseTo(1.6);
  for (const finger of [0, 1] as const) {
    const [was, is] = [toPlane(camera, before[finger]), toPlane(pinched, after[finger])];
    expect(is.x).toBeCloseTo(was.x);
    expect(is.y).toBeCloseTo(was.y);
  }
  expect(pinch(camera, [before[0], before[0]], [after[0], after[0]]).scale).toBeGreaterThan(0);
});

it("draws what can be seen and nothing else", () => {
  const camera = { x: 0, y: 0, scale: 1 };
  expect(inView(camera, { x: 0, y: 0, radius: 50 }, PANE)).toBe(true);
  expect(inView(camera, { x: 420, y: 0, radius: 50 }, PANE)).toBe(true);
  expect(inView(camera, { x: 600, y: 0, radius: 50 }, PANE)).toBe(false);
  expect(inView(camera, { x: 0, y: -500, radius: 50 }, PANE)).toBe(false);
  expect(inView({ ...camera, scale: 0.05 }, { x: 0, y: 0, radius: 20 }, PANE)).toBe(false);
});

it("brings a tile into view by the shortest way, and leaves one alone that is there", () => {
  const camera = { x: 0, y: 0, scale: 2 };
  expect(reveal(camera, { x: 20, y: 20, radius: 30 }, PANE)).toBe(camera);
  const shown = reveal(camera, { x: 500, y: -10, radius: 30 }, PANE);
  expect(shown.y).toBe(0);
  expect((500 - shown.x) * 2 + 60).toBeLessThanOrEqual(400);
  const huge = reveal(camera, { x: 500, y: 0, radius: 900 }, PANE);
  expect(huge.x).toBe(500);
});

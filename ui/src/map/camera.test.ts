import { expect, it } from "vitest";
import { fit, nearestTowards, pan, uncover, zoom } from "./camera";

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

import { expect, it } from "vitest";
import { directionName, DIRECTIONS, insideName, isWithin, lastStep, parseCoordinates, placeAbove, placeBelow, stepName, unitVector } from "./coordinates";

it("reads roots, tiles and what is composed inside them", () => {
  expect(parseCoordinates("abc-1_2,0")).toEqual({ userId: "abc-1_2", groupId: 0, path: [] });
  expect(parseCoordinates("u,3:1,-3,2")).toEqual({ userId: "u", groupId: 3, path: [1, -3, 2] });
  expect(parseCoordinates("u,0:1,0")?.path).toEqual([1, 0]);
});

it("refuses what isn't a coordinate", () => {
  for (const id of ["", "u", "u,", "u,x", "u,0:7", "u,0:-7", "u,0:1,,2", "u,0:1,", "u 1,0", "u,0:12", "u,-1:1", "<b>,0"]) {
    expect(parseCoordinates(id), id).toBeNull();
  }
});

it("tells the last step, and that a root has none", () => {
  expect([lastStep("u,0"), lastStep("u,0:4"), lastStep("u,0:4,0"), lastStep("u,0:4,-2"), lastStep("?")]).toEqual([
    null, 4, 0, -2, null,
  ]);
});

it("points opposite directions away from each other, east to the right and north up", () => {
  for (const direction of DIRECTIONS) {
    const opposite = DIRECTIONS[(direction + 2) % 6];
    if (!opposite) throw new Error("six directions");
    expect(unitVector(direction).x).toBeCloseTo(-unitVector(opposite).x);
    expect(unitVector(direction).y).toBeCloseTo(-unitVector(opposite).y);
  }
  expect(unitVector(3)).toEqual({ x: 1, y: 0 });
  for (const direction of DIRECTIONS) {
    const { x, y } = unitVector(direction);
    const name = directionName(direction);
    expect(name.includes("west") ? x < 0 : x > 0, name).toBe(true);
    if (name.includes("north")) expect(y).toBeLessThan(0);
    if (name.includes("south")) expect(y).toBeGreaterThan(0);
  }
});

it("names what is inside a tile", () => {
  expect([insideName(0), insideName(-1), insideName(-4)]).toEqual(["plan", "context, north-west", "context, south-east"]);
});

it("goes a step down and a step up", () => {
  expect(placeBelow("u,0", 3)).toBe("u,0:3");
  expect(placeBelow("u,0:3", -1)).toBe("u,0:3,-1");
  expect(placeAbove("u,0:3,-1")).toBe("u,0:3");
  expect(placeAbove("u,2:3")).toBe("u,2");
  expect(placeAbove("u,2")).toBeNull();
  expect(placeAbove("nonsense")).toBeNull();
});

it("knows what lies below a tile from what only begins alike", () => {
  expect(isWithin("u,0:1,2", "u,0:1")).toBe(true);
  expect(isWithin("u,0:1", "u,0:1")).toBe(true);
  expect(isWithin("u,0:11", "u,0:1")).toBe(false);
  expect(isWithin("u,0:1", "u,0")).toBe(true);
  expect(isWithin("u,01", "u,0")).toBe(false);
  expect(isWithin("u,0", "u,0:1")).toBe(false);
});

it("names every step", () => {
  expect([1, 0, -2].map(stepName)).toEqual(["north-west", "plan", "context, north-east"]);
});

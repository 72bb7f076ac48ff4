import { describe, expect, it } from "vitest";
import type { MapItem } from "../api/types";
import { DIRECTIONS, unitVector } from "./coordinates";
import { boundsOf, freeSlots, hexagon, layOut, overlaps, type PlacedTile, touches } from "./layout";

function tile(path: number[], children: MapItem[] = []): MapItem {
  const suffix = path.length > 0 ? `:${path.join(",")}` : "";
  return {
    id: suffix || "root",
    coordinates: `u,0${suffix}`,
    depth: path.length,
    title: suffix || "root",
    preview: null,
    link: null,
    itemType: "context",
    visibility: "private",
    version: 1,
    unseen: false,
    hidden: 0,
    children,
  };
}

/** A tree in which a tile exists where `wanted` says so. */
function grow(depth: number, wanted: (path: number[]) => boolean, path: number[] = []): MapItem {
  const steps = depth === 0 ? [] : DIRECTIONS.filter((step) => wanted([...path, step]));
  return tile(
    path,
    steps.map((step) => grow(depth - 1, wanted, [...path, step])),
  );
}

/** The same pseudo-random numbers every time: a failure can be looked at again. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function expectNoOverlap(tiles: PlacedTile[]): void {
  tiles.forEach((a, index) => {
    for (const b of tiles.slice(index + 1)) {
      if (overlaps(a, b, 0)) throw new Error(`${a.item.title} overlaps ${b.item.title}`);
    }
  });
}

function expectRightDirections(tiles: PlacedTile[]): void {
  for (const placed of tiles) {
    const parent = placed.parent === null ? null : tiles[placed.parent];
    if (!parent || !placed.direction) continue;
    const unit = unitVector(placed.direction);
    const distance = Math.hypot(placed.x - parent.x, placed.y - parent.y);
    expect(placed.x - parent.x).toBeCloseTo(unit.x * distance, 6);
    expect(placed.y - parent.y).toBeCloseTo(unit.y * distance, 6);
  }
}

describe("layOut", () => {
  it("puts the root in the middle and its children around it, touching", () => {
    const tiles = layOut(grow(1, () => true));
    expect(tiles).toHaveLength(7);
    expect(tiles[0]).toMatchObject({ x: 0, y: 0, depth: 0, branch: null, direction: null, parent: null });
    for (const child of tiles.slice(1)) {
      expect(child.branch).toBe(child.direction);
      expect(tiles[0] && touches(child, tiles[0])).toBe(true);
    }
    expectNoOverlap(tiles);
    expectRightDirections(tiles);
  });

  it("never overlaps, even where every place down to depth three is taken", () => {
    const tiles = layOut(grow(3, () => true));
    expect(tiles).toHaveLength(1 + 6 + 36 + 216);
    expectNoOverlap(tiles);
    expectRightDirections(tiles);
  });

  it("never overlaps in lopsided maps either", () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      const roll = dice(seed);
      const tiles = layOut(grow(5, (path) => roll() < [0.8, 0.5, 0.4, 0.3, 0.3][path.length - 1]!));
      expectNoOverlap(tiles);
      expectRightDirections(tiles);
    }
  });

  it("keeps small branches close when a large one moves away", () => {
    const tiles = layOut(grow(3, (path) => path.length === 1 || path[0] === 2));
    const root = tiles[0];
    if (!root) throw new Error("the root is first");
    for (const child of tiles.filter(({ depth, direction }) => depth === 1 && direction !== 2)) {
      expect(touches(child, root), `${child.direction}`).toBe(true);
    }
    expectNoOverlap(tiles);
  });

  it("gives a branch one colour, and keeps what is inside a tile off the plane", () => {
    const root = tile([], [tile([5], [tile([5, 2]), tile([5, 0]), tile([5, -3])])]);
    const tiles = layOut(root);
    expect(tiles.map((placed) => [placed.item.title, placed.branch])).toEqual([
      ["root", null],
      [":5", 5],
      [":5,2", 5],
    ]);
  });

  it("is the same whatever order the children come in", () => {
    const root = grow(2, (path) => path.length === 1 || path[0] === 3);
    const shuffled = { ...root, children: [...root.children].reverse() };
    const places = (tiles: PlacedTile[]) => new Map(tiles.map(({ item, x, y }) => [item.id, [x, y]]));
    expect(places(layOut(shuffled))).toEqual(places(layOut(root)));
  });

});

describe("freeSlots", () => {
  it("offers the free directions, where nothing else stands", () => {
    const tiles = layOut(grow(2, (path) => path.length === 1 ? path[0] !== 2 : path[0] === 3));
    for (const placed of tiles) {
      for (const slot of freeSlots(tiles, placed)) {
        expect(placed.item.children?.some((child) => child.coordinates.endsWith(`${slot.direction}`))).toBe(false);
        expect(tiles.some((other) => overlaps(slot, other, 0))).toBe(false);
      }
    }
    const root = layOut(tile([]));
    expect(root[0] && freeSlots(root, root[0]).map(({ direction }) => direction)).toEqual([1, 2, 3, 4, 5, 6]);
  });
});

it("bounds every tile", () => {
  const tiles = layOut(grow(3, (path) => path[0] === 6));
  const { left, right, top, bottom } = boundsOf(tiles);
  for (const { x, y, radius } of tiles) {
    expect(x - radius >= left && x + radius <= right && y - radius >= top && y + radius <= bottom).toBe(true);
  }
  expect(left).toBeLessThan(-275);
});

it("draws a hexagon that stands on a corner", () => {
  expect(hexagon(10).split(" ")).toHaveLength(6);
  expect(hexagon(10).startsWith("0,-10 8.66,-5 ")).toBe(true);
});

it("keeps the colour of a branch when it is looked at by itself", () => {
  const below = layOut(tile([2, 3], [tile([2, 3, 1])]));
  expect(below.map(({ branch }) => branch)).toEqual([2, 2]);
  expect(layOut(tile([]))[0]?.branch).toBeNull();
  expect(layOut(tile([0]))[0]?.branch).toBeNull();
});

it("lays out as many tiles as a view has without a wait", () => {
  const full = grow(3, () => true);
  const begun = performance.now();
  expect(layOut(full)).toHaveLength(259);
  expect(performance.now() - begun).toBeLessThan(1_000);
});

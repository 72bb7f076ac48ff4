import { describe, expect, it } from "vitest";
import type { MapItem } from "../api/types";
import { layOut } from "./layout";
import { isMovable, moveTargets, targetAt } from "./move";

function tile(path: number[], children: MapItem[] = []): MapItem {
  const suffix = path.length > 0 ? `:${path.join(",")}` : "";
  return {
    id: suffix || "root",
    coordinates: `u,0${suffix}`,
    depth: path.length,
    title: suffix,
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

const tiles = layOut(tile([], [tile([1], [tile([1, 2])]), tile([3], [tile([3, 1])])]));
const at = (coordinates: string) => {
  const found = tiles.find((candidate) => candidate.item.coordinates === coordinates);
  if (!found) throw new Error(coordinates);
  return found;
};

describe("moveTargets", () => {
  const targets = moveTargets(tiles, at("u,0:1"));
  const places = targets.map(({ coordinates }) => coordinates);

  it("offers free places and those of tiles that would go the other way", () => {
    expect(places).toContain("u,0:2");
    expect(places).toContain("u,0:3");
    expect(targets.find(({ coordinates }) => coordinates === "u,0:3")?.taken?.item.id).toBe(":3");
    expect(targets.find(({ coordinates }) => coordinates === "u,0:2")?.taken).toBeNull();
    expect(new Set(places).size).toBe(places.length);
  });

  it("offers no place in the tile itself, its own subtree, or above it", () => {
    expect(places.filter((place) => place === "u,0:1" || place.startsWith("u,0:1,"))).toEqual([]);
    expect(places).not.toContain("u,0");
    expect(moveTargets(tiles, at("u,0:3,1")).map(({ coordinates }) => coordinates)).not.toContain("u,0:3");
  });

  it("finds the place under a point", () => {
    const east = at("u,0:3");
    expect(targetAt(targets, east.x + 3, east.y)?.coordinates).toBe("u,0:3");
    expect(targetAt(targets, 1e6, 0)).toBeNull();
  });
});

it("leaves roots, and the tile that is looked from, where they are", () => {
  expect(isMovable(at("u,0"))).toBe(false);
  expect(isMovable(at("u,0:1"))).toBe(true);
  const [top] = layOut(tile([4, 4]));
  expect(top && isMovable(top)).toBe(false);
});

"use client";

import { useEffect, useState } from "react";

interface Tile { id: string; path: number[]; title: string; content: string }

const SIZE = 64;
const WIDTH = Math.sqrt(3) * SIZE;
/** Steps to the six neighbours, north-west first and then with the clock, of hexagons with a point on top. */
const STEPS = [[-0.5, -1.5], [0.5, -1.5], [1, 0], [0.5, 1.5], [-0.5, 1.5], [-1, 0]] as const;

/** Each level is drawn at a third of the one above it, around it. */
function place(path: number[]): { x: number; y: number; scale: number } {
  let [x, y, scale] = [0, 0, 1];
  for (const direction of path) {
    const [right, down] = STEPS[direction - 1] ?? [0, 0];
    x += right * WIDTH * scale;
    y += down * SIZE * scale;
    scale *= path.length > 1 ? 0.42 : 1;
  }
  return { x, y, scale: path.length > 1 ? 0.4 ** (path.length - 1) : 1 };
}

const corners = (scale: number) =>
  [0, 1, 2, 3, 4, 5]
    .map((corner) => {
      const angle = (Math.PI / 180) * (60 * corner - 90);
      return `${(Math.cos(angle) * SIZE * scale * 0.96).toFixed(2)},${(Math.sin(angle) * SIZE * scale * 0.96).toFixed(2)}`;
    })
    .join(" ");

/** The application's own tiles, as its own server tells them; whoever changes them, they change here. */
export function TilesMap() {
  const [tiles, setTiles] = useState<Tile[] | undefined>();

  useEffect(() => {
    const stream = new EventSource("/api/tiles/events");
    stream.onmessage = ({ data }) => setTiles(JSON.parse(data as string) as Tile[]);
    return () => stream.close();
  }, []);

  if (!tiles) return <p>Loading your tiles …</p>;
  return (
    <svg viewBox="-230 -220 460 440" role="list" aria-label="Your tiles" data-testid="tiles">
      {tiles.map((tile) => {
        const { x, y, scale } = place(tile.path);
        return (
          <g key={tile.id} transform={`translate(${x.toFixed(2)} ${y.toFixed(2)})`} role="listitem" aria-label={tile.title} data-testid="tile" data-title={tile.title}>
            <polygon points={corners(scale)} className={`level-${tile.path.length % 3}`} />
            <text textAnchor="middle" dominantBaseline="middle" fontSize={14 * scale}>
              {tile.title.length > 14 ? `${tile.title.slice(0, 13)}…` : tile.title}
            </text>
            <title>{tile.content === "" ? tile.title : `${tile.title}: ${tile.content}`}</title>
          </g>
        );
      })}
    </svg>
  );
}

import { api, type ApiError, asApiError } from "../api/client";
import { isChangeOf, undoneIn } from "../api/events";
import { openStream, retryDelayMs } from "../api/stream";
import type { MapItem } from "../api/types";
import { layOut, type PlacedTile } from "./layout";

/** How long a tile stays marked as new. The tile's animations end before that. */
const FRESH_MS = 2_600;

/** The person's own map, kept up to date with whatever changes it: this conversation, another tab, another device. */
export class HexMapModel {
  tiles = $state.raw<readonly PlacedTile[]>([]);
  error = $state.raw<ApiError | null>(null);
  loaded = $state(false);
  selectedId = $state<string | null>(null);
  fresh = $state.raw<ReadonlySet<string>>(new Set());

  readonly selected = $derived(this.tiles.find((tile) => tile.item.id === this.selectedId) ?? null);
  readonly root = $derived(this.tiles[0] ?? null);

  #loading = false;
  #stale = false;
  #closeStream: (() => void) | null = null;
  #timers = new Set<ReturnType<typeof setTimeout>>();
  #attempts = 0;

  /** `onUndo` is told of conversations whose changes were undone: they come on the same stream. */
  constructor(private readonly onUndo: (conversation: string) => void = () => {}) {}

  start(): void {
    void this.refresh();
    this.#listen();
    document.addEventListener("visibilitychange", this.#followVisibility);
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.#followVisibility);
    this.#silence();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Fetches the map. Calls that come while one is under way are answered together by one more fetch. */
  async refresh(): Promise<void> {
    if (this.#loading) {
      this.#stale = true;
      return;
    }
    this.#loading = true;
    try {
      do {
        this.#stale = false;
        this.#show(await api.mapItems());
      } while (this.#stale);
    } catch (thrown) {
      this.error = asApiError(thrown);
    } finally {
      this.#loading = false;
    }
  }

  select(id: string | null): void {
    this.selectedId = id;
  }

  #show(root: MapItem): void {
    const known = new Set(this.tiles.map((tile) => tile.item.id));
    this.tiles = layOut(root);
    this.error = null;
    if (this.loaded) this.#markFresh(this.tiles.map((tile) => tile.item.id).filter((id) => !known.has(id)));
    this.loaded = true;
    if (this.selectedId && !this.tiles.some((tile) => tile.item.id === this.selectedId)) this.selectedId = null;
  }

  #markFresh(ids: readonly string[]): void {
    if (ids.length === 0) return;
    this.fresh = new Set([...this.fresh, ...ids]);
    this.#later(FRESH_MS, () => {
      this.fresh = new Set([...this.fresh].filter((id) => !ids.includes(id)));
    });
  }

  /** A tab that nobody sees doesn't listen: over HTTP/1.1 a browser has six connections for all its tabs together. */
  #followVisibility = (): void => {
    this.#silence();
    if (document.hidden) return;
    void this.refresh();
    this.#listen();
  };

  #silence(): void {
    this.#closeStream?.();
    this.#closeStream = null;
  }

  #listen(): void {
    this.#silence();
    let interrupted = false;
    this.#closeStream = openStream(api.changesUrl, {
      onData: (data) => {
        if (isChangeOf("hexmap", data)) void this.refresh();
        const conversation = undoneIn(data);
        if (conversation) this.onUndo(conversation);
      },
      onConnection: (connection) => {
        if (connection === "retrying") interrupted = true;
        if (connection !== "open") return;
        // Changes that happened while nobody listened are not told again.
        if (interrupted || this.#attempts > 0) void this.refresh();
        interrupted = false;
        this.#attempts = 0;
      },
      onClosed: () => {
        this.#silence();
        this.#later(retryDelayMs(this.#attempts++), () => {
          if (!document.hidden) this.#listen();
        });
      },
    });
  }

  #later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, ms);
    this.#timers.add(timer);
  }
}

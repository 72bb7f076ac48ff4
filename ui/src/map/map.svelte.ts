import { api, type ApiError, asApiError } from "../api/client";
import { isChangeOf, isChangeOfConfirmations, undoneIn } from "../api/events";
import { openStream, retryDelayMs } from "../api/stream";
import type { MapTile, MapView, WayBack } from "../api/types";
import { isDirection, lastStep, placeAbove } from "./coordinates";
import { layOut, type PlacedTile } from "./layout";

/** How long a tile stays marked as new. The tile's animations end before that. */
const FRESH_MS = 2_600;
const NOTICE_MS = 12_000;

/** A word on what was just done, and the way back where there is one. */
export interface Notice {
  text: string;
  bad: boolean;
  undo: { label: string; run: () => void } | null;
}

/**
 * The person's own map, kept up to date with whatever changes it: this conversation, another tab, another device. It holds
 * what is looked at, never the whole map: a tile and as many levels below it as the server puts into a view.
 */
export class HexMapModel {
  view = $state.raw<MapView | null>(null);
  tiles = $state.raw<readonly PlacedTile[]>([]);
  error = $state.raw<ApiError | null>(null);
  notice = $state.raw<Notice | null>(null);
  selectedId = $state<string | null>(null);
  /** The selected tile as it is, once it was fetched. */
  tile = $state.raw<MapTile | null>(null);
  fresh = $state.raw<ReadonlySet<string>>(new Set());
  /** A change of the person's own is under way. */
  busy = $state(false);

  readonly loaded = $derived(this.view !== null);
  readonly selected = $derived(this.tiles.find((tile) => tile.item.id === this.selectedId) ?? null);
  readonly root = $derived(this.tiles[0] ?? null);

  /** The tile that is looked from; null is the root of the first map. */
  #topId: string | null = null;
  #loading: Promise<void> | null = null;
  #stale = false;
  #closeStream: (() => void) | null = null;
  #timers = new Set<ReturnType<typeof setTimeout>>();
  #attempts = 0;

  /**
   * `onUndo` is told of conversations whose changes were undone, `onQuestions` when other questions than before wait for the person:
   * both come on the same stream.
   */
  constructor(
    private readonly onUndo: (conversation: string) => void = () => {},
    private readonly onQuestions: () => void = () => {},
  ) {}

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

  /** Fetches the view. Calls that come while one is under way are answered together by one more fetch. */
  refresh(): Promise<void> {
    this.#stale = true;
    this.#loading ??= this.#load().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #load(): Promise<void> {
    try {
      do {
        this.#stale = false;
        const topId = this.#topId;
        try {
          const view = await api.mapView(topId);
          if (topId === this.#topId) this.#show(view);
          else this.#stale = true;
        } catch (thrown) {
          // The tile that was looked from is gone: back to where everything is.
          if (topId === null || asApiError(thrown).status !== 404) throw thrown;
          this.#topId = null;
          this.#stale = true;
        }
      } while (this.#stale);
    } catch (thrown) {
      this.error = asApiError(thrown);
    }
  }

  /** Looks at what lies below another tile. */
  async lookFrom(id: string, select: string | null = null): Promise<void> {
    this.#topId = id;
    this.selectedId = null;
    this.tile = null;
    await this.refresh();
    if (select !== null) this.select(select);
  }

  select(id: string | null): void {
    this.selectedId = id;
    if (this.tile?.id !== id) this.tile = null;
    if (id !== null) void this.#open(id);
  }

  /** Goes to the next tile that an agent changed. */
  async showUnseen(): Promise<void> {
    const next = this.view?.unseen.first.find(({ id }) => id !== this.selectedId) ?? this.view?.unseen.first[0];
    if (!next) return;
    if (this.tiles.some((tile) => tile.item.id === next.id)) {
      this.select(next.id);
      return;
    }
    // What lies inside a tile has no place around it: it is looked at by itself.
    const above = isDirection(lastStep(next.coordinates)) ? placeAbove(next.coordinates) : null;
    const place = this.tiles.find((tile) => tile.item.coordinates === above);
    await this.lookFrom(place?.item.id ?? next.id, next.id);
  }

  markAllSeen(): Promise<boolean> {
    return this.change(() => api.markSeen(null), null);
  }

  async move(from: string, to: string, text: string): Promise<boolean> {
    const back = { label: "Move back", run: () => void this.change(() => api.moveTile(to, from), "Moved back.") };
    return this.change(() => api.moveTile(from, to), text, () => back);
  }

  /** Does something to the map; says what came of it, and offers the way back. */
  async undoable(act: () => Promise<WayBack | null>, done: string): Promise<boolean> {
    let back: WayBack | null = null;
    const run = (): void => {
      if (back) void this.change(() => api.goBack(back as WayBack), "Undone.");
    };
    const noting = async (): Promise<void> => {
      back = await act();
    };
    return this.change(noting, done, () => (back ? { label: "Undo", run } : null));
  }

  /** The same without a way back, or with one that is known. */
  async change(
    act: () => Promise<unknown>,
    done: string | null,
    undo: () => Notice["undo"] = () => null,
  ): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    try {
      await act();
      if (done !== null) this.tell({ text: done, bad: false, undo: undo() });
      return true;
    } catch (thrown) {
      this.tell({ text: asApiError(thrown).message, bad: true, undo: null });
      return false;
    } finally {
      this.busy = false;
      await this.refresh();
    }
  }

  tell(notice: Notice | null): void {
    this.notice = notice;
    if (notice && !notice.bad) {
      this.#later(NOTICE_MS, () => {
        if (this.notice === notice) this.notice = null;
      });
    }
  }

  async #open(id: string): Promise<void> {
    const unseen = this.tiles.find((tile) => tile.item.id === id)?.item.unseen === true;
    try {
      const tile = await api.mapTile(id);
      if (this.selectedId === id) this.tile = tile;
      if (unseen) {
        await api.markSeen(id);
        await this.refresh();
      }
    } catch (thrown) {
      // One that is gone is told by the next view.
      if (asApiError(thrown).status !== 404) this.tell({ text: asApiError(thrown).message, bad: true, undo: null });
    }
  }

  #show(view: MapView): void {
    const known = new Map(this.tiles.map((tile) => [tile.item.id, tile.item.version]));
    const sameTop = this.view?.tile.id === view.tile.id;
    this.view = view;
    this.tiles = layOut(view.tile);
    this.error = null;
    if (sameTop) {
      this.#markFresh(this.tiles.map((tile) => tile.item.id).filter((id) => !known.has(id)));
    }
    if (this.selectedId === null) return;
    const selected = this.tiles.find((tile) => tile.item.id === this.selectedId);
    if (!selected) this.select(null);
    else if (selected.item.version !== this.tile?.version) void this.#open(selected.item.id);
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
        if (isChangeOfConfirmations(data)) this.onQuestions();
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

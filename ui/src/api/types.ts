/** The shapes that travel between the browser and the gateway. `client.ts` and `events.ts` are the only places that make them. */

/** What a person reads of an app. */
export interface AppInfo {
  id: string;
  title: string;
  greeting: string;
  suggestions: string[];
  skills: Skill[];
}

export interface Session {
  user: { id: string; kind: string };
  /** The app of the page. */
  app: AppInfo;
  /** Every app of the gateway that has something for people themselves. */
  apps: AppInfo[];
  mode: { sandboxed: boolean; warning: string | null; model: "scripted" | "real" };
  limits: { message_chars_max: number };
  writes_default: boolean;
}

/** A way of working with fewer tools, chosen for a whole conversation. */
export interface Skill {
  id: string;
  title: string;
}

export interface ConversationSummary {
  id: string;
  title: string;
  updated_at_ms: number;
}

export interface Denial {
  code: string;
  message: string;
}

/** How a change stands: it can be undone, done again, or nobody can say. */
export type UndoState = "possible" | "undone" | "final" | "pending" | "uncertain" | "no_way_back";

/** The way back from what a tool did. */
export interface Undo {
  /** The journal's entry of the call. */
  call: string;
  run: string;
  state: UndoState;
}

/** What came of a request to undo, call by call. */
export interface UndoReport {
  calls: UndoneCall[];
  complete: boolean;
  more: boolean;
}

export interface UndoneCall {
  call: string;
  tool: string;
  outcome: string;
  message: string | null;
  /** What stands in the way, sentence by sentence. */
  conflicts: string[];
}

export type StoredMessage =
  | { role: "user"; text: string }
  | { role: "assistant"; text: string }
  | {
      role: "tool";
      call_id: string;
      tool: string;
      arguments: unknown;
      ok: boolean;
      result: string;
      denial: Denial | null;
      undo?: Undo;
      /** Nothing was done yet: it waits, or waited, for the person's own yes. */
      waits?: true;
    }
  /** A call that the agent carried out in its sandbox: what came of it did not pass the gateway. */
  | { role: "tool"; call_id: string; tool: string; arguments: unknown; inside: true };

/** A call that is made only if the person says yes: everything they need to know for that. */
export interface Confirmation {
  id: string;
  tool: string;
  arguments: unknown;
  /** What it does, as the application told the gateway; null if it can't say. */
  summary: string | null;
  /** `write destructive open` and the like. */
  class: string;
  /** The name of a client elsewhere; null for the agent of a run. */
  asked_by: string | null;
  conversation_id: string | null;
  expires_at_ms: number;
}

export interface Conversation {
  id: string;
  skill: string | null;
  messages: StoredMessage[];
  active_run: string | null;
}

/** `queued` is this page's own: the gateway tells a position instead. */
export type RunState = "queued" | "starting" | "thinking" | "answering" | "calling_tool";
export type RunOutcome = "finished" | "failed" | "stopped";

export type RunEvent = { seq: number } & (
  | { type: "run_started"; run_id: string; conversation_id: string }
  | { type: "queued"; position: number }
  | { type: "state"; state: RunState }
  | { type: "text_delta"; text: string }
  | { type: "tool_call_started"; call_id: string; tool: string }
  | { type: "tool_call"; call_id: string; tool: string; arguments: unknown; inside: boolean }
  | {
      type: "tool_result";
      call_id: string;
      tool: string;
      ok: boolean;
      result: string;
      denial: Denial | null;
      undo: Undo | null;
      waits: boolean;
    }
  | { type: "confirmation"; call_id: string }
  | { type: "confirmation_ended"; call_id: string; state: string; result: string }
  | { type: "model_call"; model: string; input_tokens: number; output_tokens: number; cost_microusd: number }
  | { type: "challenge"; challenge_id: string; bits: number }
  | { type: "challenge_ended"; challenge_id: string; goes_on: boolean }
  | { type: "denied"; code: string; message: string; wanted: string }
  | {
      type: "run_ended";
      outcome: RunOutcome;
      code: string | null;
      message: string | null;
      cost_microusd: number;
      turns: number;
      duration_ms: number;
    }
);

/** One tile as a view of the map answers it: without its content, with everything below it that is in the view. */
export interface MapItem {
  id: string;
  /** `user,group:1,2`, or `user,group` for a root. */
  coordinates: string;
  depth: number;
  title: string;
  preview: string | null;
  link: string | null;
  itemType: string;
  visibility: string;
  /** One more after each change of the tile or of its place. */
  version: number;
  /** An agent changed it, and nobody has looked at it since. */
  unseen: boolean;
  /** Tiles directly below it that are not in the view. */
  hidden: number;
  children: MapItem[];
}

/** Enough of a tile to name it and to go there. */
export interface MapPlace {
  id: string;
  title: string;
  coordinates: string;
}

export interface MapLine {
  groupId: number;
  rootItemId: string;
  title: string;
  tiles: number;
  bytes: number;
}

/** As much of a map as a page draws. */
export interface MapView {
  /** The tiles above, the root first. */
  above: MapPlace[];
  tile: MapItem;
  unseen: { count: number; first: MapPlace[] };
  atlas: {
    maps: MapLine[];
    used: { tiles: number; bytes: number; maps: number };
    limits: { tiles: number; bytes: number; maps: number };
  };
}

/** One tile as it is, with its content. */
export interface MapTile {
  id: string;
  coordinates: string;
  title: string;
  content: string;
  preview: string | null;
  link: string | null;
  itemType: string;
  visibility: string;
  version: number;
}

/** What a tile held until something else took its place. */
export interface TileVersion {
  number: number;
  title: string;
  content: string;
  preview: string | null;
  link: string | null;
  itemType: string;
  visibility: string;
  writtenBy: string;
  replacedAtMs: number;
}

/** One page of a map that is written out. */
export interface ExportPage {
  format: string;
  version: number;
  revision: number;
  tiles: unknown[];
  next: string | null;
}

/** What undoes something that was done by hand. */
export interface WayBack {
  tool: string;
  arguments: object;
}

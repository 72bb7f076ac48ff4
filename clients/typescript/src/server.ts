/** The back end's part: everything of `/v1`, for one of the application's users at a time. Holds the service key; never goes to a page. */
import type { HostUser, SignUser } from "./assertion.js";
import type { RunTicket } from "./browser.js";
import { errorOf, HexwardError, isPassing } from "./errors.js";
import type { Confirmation, Denial, Outcome, RunEvent, UndoHandle } from "./events.js";
import { type FollowOptions, follow, pause } from "./follow.js";

export interface HexwardOptions {
  /** Where Hexward's callers' listener answers, like `https://callers.example`; without `/v1`. */
  baseUrl: string;
  /** The service key (`hexward key create NAME --purpose service --host HOST`). */
  key: string;
  /** Signs whose request it is: `hs256Signer` or `es256Signer`. */
  signUser: SignUser;
  fetch?: typeof fetch;
  /** How long an answer may take; events have no such bound. */
  timeoutMs?: number;
  /** Tries of a request that may be repeated: those that only read, and the start of a run, which has a key of its own. */
  triesMax?: number;
}

export interface ConversationLine { id: string; title: string; updated_at_ms: number }
export type StoredMessage =
  | { role: "user" | "assistant"; text: string }
  | {
      role: "tool";
      call_id: string;
      tool: string;
      arguments: unknown;
      ok?: boolean;
      result?: string;
      denial?: Denial | null;
      inside?: true;
      waits?: boolean;
      undo?: UndoHandle;
      confirmation?: { id: string; state: string; call_id: string; summary: string | null };
    };
export interface Conversation { id: string; skill: string | null; messages: StoredMessage[]; active_run: string | null }
export interface RunStartedAnswer { runId: string; /** Whether this was the repetition of a request that had begun the run already. */ replayed: boolean }
export interface RunState { run_id: string; conversation_id: string; app: string; state: "active" | "ended"; outcome: Outcome | null; code: string | null; message: string | null; cost_microusd: number; [more: string]: unknown }
export interface ConfirmationLink { url: string; expires_at_ms: number }
export interface UndoneCall {
  call: string;
  run: string;
  call_id: string;
  tool: string;
  outcome: "done" | "already" | "conflict" | "failed" | "uncertain" | "no_way_back" | "busy" | "active" | "left" | (string & {});
  message: string | null;
  conflicts: string[];
}
export interface UndoAnswer { calls: UndoneCall[]; complete: boolean; more: boolean }
export type UndoScope = { call: string } | { run: string } | { app: string; sinceMs: number };
export interface UserAnswer {
  /** Your own id of them. */
  user: string;
  /** Hexward's: what its tool servers are told. */
  id: string;
  tier: string;
  quota: { window: string; limit: number; used: number; resets_at_ms: number }[];
  cost: { day_microusd: number; day_limit_microusd: number | null; total_microusd: number };
}
/** Everything that Hexward keeps of a user. The lists have what their rows have; see the API's document. */
export interface UserExport {
  format: "hexward.user";
  version: number;
  exported_at_ms: number;
  user: { id: string; issuer: string; subject: string; tier: string; created_at_ms: number };
  usage: unknown;
  conversations: Record<string, unknown>[];
  runs: Record<string, unknown>[];
  /** What the apps that come with Hexward keep, by app. */
  apps: Record<string, unknown[]>;
  /** Apps whose servers are elsewhere: ask them. */
  apps_elsewhere: string[];
  [list: string]: unknown;
}
/** What was erased, in rows of each kind. */
export interface UserErasure {
  erased: Record<string, number>;
  apps: Record<string, number>;
  apps_elsewhere: string[];
  kept: string[];
}
export type PersonToolAnswer = { ok: true; result: unknown; undo: { tool: string; arguments: unknown } | null } | { ok: false; message: string };

export interface StartOptions {
  /** Whether the agent may change things, in answer to this message. */
  writes?: boolean;
  /** Of your own making, one for each message that a person sends: with it the same message is never answered twice. Made anew if left out. */
  idempotencyKey?: string;
}

/** Hexward for a host application. `as(user)` is what everything begins with. */
export interface Hexward {
  as(user: HostUser): HexwardUser;
}

export function createHexward(options: HexwardOptions): Hexward {
  const base = baseOf(options.baseUrl);
  if (!options.key) throw new TypeError("no service key was given: hexward key create NAME --purpose service --host HOST");
  const wire = new Wire(base, options);
  return { as: (user) => new HexwardUser(wire, user) };
}

function baseOf(text: string): string {
  const url = new URL(text);
  const loopback = /^(127(\.\d+){3}|localhost|\[::1\])$/.test(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && loopback)) throw new TypeError(`the service key would travel in the clear to ${url.host}: use https, or http on loopback`);
  if (url.search || url.hash || url.username || url.password) throw new TypeError("the base URL of Hexward has no query, fragment or name and password");
  return url.href.replace(/\/+$/, "");
}

type Method = "GET" | "POST" | "DELETE";
interface Asked { body?: unknown; headers?: Record<string, string>; repeatable?: boolean; signal?: AbortSignal | undefined }

class Wire {
  readonly base: string;
  readonly #options: HexwardOptions;
  readonly #fetch: typeof fetch;

  constructor(base: string, options: HexwardOptions) {
    this.base = base;
    this.#options = options;
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /** Whose request it is, said for one request alone. */
  async sign(user: HostUser): Promise<string> {
    return this.#options.signUser(user);
  }

  async send(assertion: string, method: Method, path: string, { body, headers = {}, signal }: Asked): Promise<Response> {
    const all: Record<string, string> = { authorization: `Bearer ${this.#options.key}`, "x-hexward-user": assertion, ...headers };
    const init: RequestInit = { method, headers: all, redirect: "error", cache: "no-store" };
    if (signal) init.signal = signal;
    if (method !== "GET" && body !== undefined) {
      all["content-type"] = "application/json";
      init.body = JSON.stringify(body);
    }
    return this.#fetch(`${this.base}${path}`, init);
  }

  /** The answer, tried again where that can do no harm. */
  async ask(user: HostUser, method: Method, path: string, asked: Asked = {}): Promise<Response> {
    const tries = asked.repeatable ?? method === "GET" ? (this.#options.triesMax ?? 3) : 1;
    for (let round = 1; ; round += 1) {
      try {
        return await this.#once(user, method, path, asked);
      } catch (error) {
        if (round >= tries || !isPassing(error)) throw error;
        await pause(Math.min(error.retryAfterMs ?? 200 * 2 ** round, 5_000), asked.signal);
      }
    }
  }

  async json<T>(user: HostUser, method: Method, path: string, asked: Asked = {}): Promise<T> {
    const response = await this.ask(user, method, path, asked);
    try {
      return (await response.json()) as T;
    } catch (cause) {
      throw new HexwardError(response.status, "client.protocol", "The answer is no JSON. Check the base URL and what stands in between.", { cause });
    }
  }

  async #once(user: HostUser, method: Method, path: string, asked: Asked): Promise<Response> {
    const assertion = await this.sign(user);
    const abort = new AbortController();
    const timeoutMs = this.#options.timeoutMs ?? 60_000;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      abort.abort();
    }, timeoutMs);
    const onAbort = () => abort.abort();
    asked.signal?.throwIfAborted();
    asked.signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const response = await this.send(assertion, method, path, { ...asked, signal: abort.signal });
      if (!response.ok) throw await errorOf(response);
      // The body too, within the time.
      return new Response(response.status === 204 ? null : await response.arrayBuffer(), { status: response.status, headers: response.headers });
    } catch (cause) {
      asked.signal?.throwIfAborted();
      if (cause instanceof HexwardError) throw cause;
      if (late) throw new HexwardError(0, "client.timeout", `No answer within ${timeoutMs} ms.`, { cause });
      throw new HexwardError(0, "client.unreachable", `${this.base} could not be reached, or hung up. Is the gateway running, and its callers' listener on?`, { cause });
    } finally {
      clearTimeout(timer);
      asked.signal?.removeEventListener("abort", onAbort);
    }
  }
}

const id = encodeURIComponent;

/** Not a secret: it only has to be another one each time. */
function uniqueKey(): string {
  return globalThis.crypto?.randomUUID?.() ?? `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}`;
}

/** Everything for one user of the application. */
export class HexwardUser {
  readonly #wire: Wire;
  readonly #user: HostUser;

  constructor(wire: Wire, user: HostUser) {
    this.#wire = wire;
    this.#user = user;
  }

  readonly conversations = {
    create: (conversation: { app: string; skill?: string }): Promise<{ id: string }> => this.#json("POST", "/v1/conversations", conversation),
    list: (app: string): Promise<ConversationLine[]> => this.#json("GET", `/v1/conversations?app=${id(app)}`),
    get: (conversation: string): Promise<Conversation> => this.#json("GET", `/v1/conversations/${id(conversation)}`),
    delete: (conversation: string): Promise<void> => this.#nothing("DELETE", `/v1/conversations/${id(conversation)}`),
  };

  readonly runs = {
    /** Sends a message. A connection that breaks is tried again with the same key, so the message is answered once. */
    start: async (conversation: string, text: string, { writes = false, idempotencyKey = uniqueKey() }: StartOptions = {}): Promise<RunStartedAnswer> => {
      const headers = { "idempotency-key": idempotencyKey };
      const response = await this.#wire.ask(this.#user, "POST", `/v1/conversations/${id(conversation)}/runs`, { body: { text, writes }, headers, repeatable: true });
      const { run_id: runId } = (await response.json()) as { run_id: string };
      return { runId, replayed: response.headers.get("idempotent-replayed") === "true" };
    },
    get: (run: string): Promise<RunState> => this.#json("GET", `/v1/runs/${id(run)}`),
    /** The events of a run, each once and in order, until it has ended. */
    events: (run: string, options: FollowOptions = {}): AsyncGenerator<RunEvent, void, undefined> =>
      follow(async (after, signal) => {
        const headers: Record<string, string> = { accept: "text/event-stream" };
        if (after > 0) headers["last-event-id"] = String(after);
        return this.#wire.send(await this.#wire.sign(this.#user), "GET", `/v1/runs/${id(run)}/events`, { headers, signal });
      }, options),
    stop: (run: string): Promise<void> => this.#nothing("POST", `/v1/runs/${id(run)}/stop`, {}),
    /** What a page needs to follow this run and nothing else. */
    ticket: async (run: string): Promise<RunTicket> => {
      const made = await this.#json<{ ticket: string; expires_at_ms: number; events_url: string }>("POST", `/v1/runs/${id(run)}/tickets`, {});
      return { ticket: made.ticket, expiresAtMs: made.expires_at_ms, eventsUrl: new URL(made.events_url, `${this.#wire.base}/`).href };
    },
    challenge: (run: string, answer: { challengeId: string; nonce?: string; goesOn: boolean }): Promise<void> =>
      this.#nothing("POST", `/v1/runs/${id(run)}/challenge`, { challenge_id: answer.challengeId, nonce: answer.nonce ?? "", goes_on: answer.goesOn }),
  };

  readonly confirmations = {
    list: (): Promise<Confirmation[]> => this.#json("GET", "/v1/confirmations"),
    /** Where the person answers: on Hexward's own origin, opened as a page of its own. Good once. */
    link: (confirmation: string, options: { returnTo?: string } = {}): Promise<ConfirmationLink> =>
      this.#json("POST", `/v1/confirmations/${id(confirmation)}/links`, options.returnTo === undefined ? {} : { return_to: options.returnTo }),
  };

  undo(scope: UndoScope, options: { redo?: boolean } = {}): Promise<UndoAnswer> {
    const what = "app" in scope ? { app: scope.app, since_ms: scope.sinceMs } : scope;
    return this.#json("POST", "/v1/undo", options.redo ? { ...what, redo: true } : what);
  }

  resource<T = unknown>(app: string, uri: string): Promise<T> {
    return this.#json("GET", `/v1/apps/${id(app)}/resource?uri=${id(uri)}`);
  }

  /** A tool that the app's manifest lists for people, called for this person. */
  callTool(app: string, tool: string, given: Record<string, unknown>): Promise<PersonToolAnswer> {
    return this.#json("POST", `/v1/apps/${id(app)}/tools/${id(tool)}`, { arguments: given });
  }

  /** Who this user is to Hexward, and how much they have left. */
  get(): Promise<UserAnswer> {
    return this.#json("GET", "/v1/user");
  }

  /** Everything that Hexward keeps of this user. The key must be for `users`. */
  export(): Promise<UserExport> {
    return this.#json("GET", "/v1/user/export");
  }

  /** Ends what runs for this user, and erases what Hexward keeps of them. The key must be for `users`. */
  erase(): Promise<UserErasure> {
    return this.#json("DELETE", "/v1/user");
  }

  #json<T>(method: Method, path: string, body?: unknown): Promise<T> {
    return this.#wire.json<T>(this.#user, method, path, body === undefined ? {} : { body });
  }

  async #nothing(method: Method, path: string, body?: unknown): Promise<void> {
    await this.#wire.ask(this.#user, method, path, body === undefined ? {} : { body });
  }
}

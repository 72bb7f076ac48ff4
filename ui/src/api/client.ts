import type {
  Confirmation,
  Conversation,
  ConversationSummary,
  ExportPage,
  MapTile,
  MapView,
  Session,
  TileVersion,
  UndoReport,
  WayBack,
} from "./types";

/** How long any answer may take before the page gives up on it. Streams are not bounded by this. */
const ANSWER_TIMEOUT_MS = 30_000;

/** A refusal or a failure in words that can be shown to the person. */
export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null,
  ) {
    super(message);
  }
}

/** One change, or everything that a run changed. */
export type UndoTarget = { call: string } | { run: string };

export const api = {
  session: () => read<Session>("/api/session"),
  conversations: () => read<ConversationSummary[]>("/api/conversations"),
  conversation: (id: string) => read<Conversation>(`/api/conversations/${encodeURIComponent(id)}`),
  /** With the app of the page where none is named. */
  createConversation: (app: string | null, skill: string | null) =>
    send<{ id: string }>("/api/conversations", { ...(app !== null && { app }), ...(skill !== null && { skill }) }),
  sendMessage: (conversationId: string, text: string, writes: boolean) =>
    send<{ run_id: string }>(`/api/conversations/${encodeURIComponent(conversationId)}/messages`, { text, writes }),
  deleteConversation: (id: string) => request<unknown>(`/api/conversations/${encodeURIComponent(id)}`, { method: "DELETE" }),
  stopRun: (runId: string) => send<unknown>(`/api/runs/${encodeURIComponent(runId)}/stop`, {}),
  callTool,
  mapView: (id: string | null) => resource<MapView>(id === null ? "map://view" : `map://view/${id}`),
  mapTile: (id: string) => resource<MapTile>(`map://item/${id}`),
  addTile: (fields: object) => byHand<MapTile>("addItem", fields),
  updateTile: (coords: string, updates: object) => undoable("updateItem", { coords, updates }),
  moveTile: (oldCoords: string, newCoords: string) =>
    byHand<{ affectedCount: number }>("moveItem", { oldCoords, newCoords }),
  deleteTile: (coords: string) => undoable("deleteItem", { coords }),
  goBack: ({ tool, arguments: args }: WayBack) => byHand<unknown>(tool, args),
  tileVersions: (coords: string) => byHand<{ versions: TileVersion[] }>("listVersions", { coords }),
  restoreVersion: (coords: string, number: number) => byHand<MapTile>("restoreVersion", { coords, number }),
  markSeen: (itemId: string | null) => byHand<unknown>("markSeen", itemId === null ? {} : { itemId }),
  exportPage: (coords: string, after: string | null) =>
    byHand<ExportPage>("exportMap", after === null ? { coords } : { coords, after }),
  importMap: async (coords: string, document: string) => {
    const { result, undo } = await answered<{ tiles: number }>("hexmap", "importMap", { coords, document });
    return { tiles: result.tiles, back: undo ?? null };
  },
  createMap: (title: string) => byHand<MapTile>("createMap", { title }),
  deleteMap: (groupId: number) => undoable("deleteMap", { groupId }),
  answerChallenge: (runId: string, challengeId: string, nonce: string, goesOn: boolean) =>
    send<unknown>(`/api/runs/${encodeURIComponent(runId)}/challenge`, {
      challenge_id: challengeId,
      nonce,
      goes_on: goesOn,
    }),
  undo: (what: UndoTarget, redo: boolean) => send<UndoReport>("/api/undo", { ...what, redo }),
  confirmations: () => read<Confirmation[]>("/api/confirmations"),
  answerConfirmation: (id: string, approve: boolean) =>
    send<{ state: string; result: string | null }>(`/api/confirmations/${encodeURIComponent(id)}`, { approve }),
  runEventsUrl: (runId: string) => `/api/runs/${encodeURIComponent(runId)}/events`,
  changesUrl: "/api/changes",
};

function resource<T>(uri: string): Promise<T> {
  return read<T>(`/api/apps/hexmap/resource?uri=${encodeURIComponent(uri)}`);
}

/** What the person does with their own hand. */
async function byHand<T>(tool: string, args: object): Promise<T> {
  return callTool("hexmap", tool, args);
}

/** The same, for who wants to offer the way back from it. */
async function undoable(tool: string, args: object): Promise<WayBack | null> {
  return (await answered<unknown>("hexmap", tool, args)).undo ?? null;
}

/** Calls an app's tool as the person. */
async function callTool<T>(app: string, tool: string, args: object): Promise<T> {
  return (await answered<T>(app, tool, args)).result;
}

/** A refusal is the app's own sentence, and nothing was changed. */
async function answered<T>(app: string, tool: string, args: object): Promise<{ result: T; undo?: WayBack | null }> {
  const path = `/api/apps/${encodeURIComponent(app)}/tools/${encodeURIComponent(tool)}`;
  const answer = await send<{ ok: boolean; result: T; undo?: WayBack | null; message?: string }>(path, { arguments: args });
  if (answer.ok) return answer;
  throw new ApiError(200, "app.refused", answer.message ?? "The app refused that.", null);
}

function read<T>(path: string): Promise<T> {
  return request<T>(path, { method: "GET" });
}

/** Every request that changes something carries a JSON content type: a foreign page can't send that without asking first. */
function send<T>(path: string, body: unknown): Promise<T> {
  return request<T>(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function request<T>(path: string, init: RequestInit): Promise<T> {
  const response = await fetch(path, {
    ...init,
    credentials: "same-origin",
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  }).catch((cause: unknown) => {
    throw unreachable(cause);
  });
  const body = await bodyOf(response);
  if (!response.ok) throw refusal(response.status, body);
  return body as T;
}

/** The JSON of an answer, or undefined where there is none: a gateway in front of ours may answer HTML. */
async function bodyOf(response: Response): Promise<unknown> {
  const text = await response.text();
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    if (response.ok) throw new ApiError(response.status, "answer.unreadable", "The server's answer can't be read.", null);
    return undefined;
  }
}

function refusal(status: number, body: unknown): ApiError {
  const { error, request_id } = (body ?? {}) as {
    error?: { code?: unknown; message?: unknown };
    request_id?: unknown;
  };
  return new ApiError(
    status,
    typeof error?.code === "string" ? error.code : "answer.unexpected",
    typeof error?.message === "string" ? error.message : `The server answered with status ${status}.`,
    typeof request_id === "string" ? request_id : null,
  );
}

function unreachable(cause: unknown): ApiError {
  const late = cause instanceof DOMException && cause.name === "TimeoutError";
  return late
    ? new ApiError(0, "network.timeout", "The server took too long to answer. Please try again.", null)
    : new ApiError(0, "network.unreachable", "The server can't be reached. Check your connection and try again.", null);
}

/** What to tell the person about anything that was thrown. */
export function asApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  return new ApiError(0, "page.fault", "Something went wrong in this page. Reload it and try again.", null);
}

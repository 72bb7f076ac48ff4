import { api, ApiError, asApiError, type UndoTarget } from "../api/client";
import { parseRunEvent } from "../api/events";
import { type Connection, openStream, retryDelayMs } from "../api/stream";
import type { RunEvent, UndoneCall } from "../api/types";
import { solve } from "./challenge";
import {
  addUserMessage,
  beginRun,
  emptyTranscript,
  fromStored,
  reduce,
  type Transcript,
  withoutLastUserMessage,
  withStandings,
} from "./transcript";

/** After this many refused reconnections in a row (about two minutes) the page stops trying and says so. */
const REATTACH_ATTEMPTS_MAX = 7;

/** The conversation on the screen: what was said, the run that is going on, and what went wrong with either. */
export class Chat {
  transcript = $state.raw<Transcript>(emptyTranscript);
  conversationId = $state<string | null>(null);
  /** How this conversation is worked on; chosen before its first message. */
  skill = $state<string | null>(null);
  /** The app that a conversation was begun with here; null for that of the page, and where nobody knows. */
  app = $state<string | null>(null);
  connection = $state<Connection>("open");
  error = $state.raw<ApiError | null>(null);
  /** Between pressing send and the gateway's answer that a run exists. */
  sending = $state(false);
  stopping = $state(false);
  loading = $state(false);

  /** Something is being undone or done again. */
  undoing = $state(false);
  /** What the last undo could not do, by the journal's entry of the call. */
  hindrances = $state.raw<ReadonlyMap<string, UndoneCall>>(new Map());

  readonly busy = $derived(this.sending || this.transcript.run !== null);

  #closeStream: (() => void) | null = null;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #reattachAttempts = 0;
  /** Counts what was shown so far: an answer that comes after the person went elsewhere must not appear there. */
  #shown = 0;

  /**
   * `onToolDone` is told of every successful tool result: what it changed is shown elsewhere on the page. `onQuestions` is told
   * when other questions than before may wait for the person.
   */
  constructor(
    private readonly onToolDone: () => void,
    private readonly onQuestions: () => void,
  ) {}

  /** Shows a stored conversation and joins its run if one is going on. */
  async open(id: string): Promise<void> {
    this.#reset();
    this.conversationId = id;
    this.app = null;
    this.loading = true;
    try {
      await this.#restore(id);
    } catch (thrown) {
      if (this.conversationId !== id) return;
      const error = asApiError(thrown);
      // A conversation that isn't there (any more) is no reason to block the page: the next message begins a new one.
      if (error.status === 404) this.conversationId = null;
      this.error = error;
    } finally {
      if (this.conversationId === id || this.conversationId === null) this.loading = false;
    }
  }

  startNew(app: string | null = null): void {
    this.#reset();
    this.conversationId = null;
    this.app = app;
  }

  /** Sends a message; false when it wasn't taken, so that the composer keeps the text. */
  async send(text: string, writes: boolean): Promise<boolean> {
    if (this.busy) return false;
    this.error = null;
    this.sending = true;
    this.transcript = addUserMessage(this.transcript, text);
    const shown = this.#shown;
    try {
      const id = this.conversationId ?? (await api.createConversation(this.app, this.skill)).id;
      if (this.#shown === shown) this.conversationId = id;
      const { run_id } = await api.sendMessage(id, text, writes);
      if (this.#shown === shown) this.#attach(run_id);
      return true;
    } catch (thrown) {
      if (this.#shown !== shown) return true;
      this.transcript = withoutLastUserMessage(this.transcript);
      this.error = asApiError(thrown);
      if (this.error.code === "run.active") await this.#joinActiveRun();
      return false;
    } finally {
      if (this.#shown === shown) this.sending = false;
    }
  }

  async stop(): Promise<void> {
    const run = this.transcript.run;
    if (!run || this.stopping) return;
    this.stopping = true;
    try {
      await api.stopRun(run.id);
    } catch (thrown) {
      this.error = asApiError(thrown);
      this.stopping = false;
    }
  }

  /** Says whether a run whose agent does unusually much shall go on. The gateway's event takes the question away. */
  async answerChallenge(goesOn: boolean): Promise<void> {
    const run = this.transcript.run;
    if (!run?.challenge) return;
    const { id, bits } = run.challenge;
    try {
      await api.answerChallenge(run.id, id, goesOn ? await solve(id, bits) : "", goesOn);
    } catch (thrown) {
      this.error = asApiError(thrown);
    }
  }

  /** Takes back what the agent changed, or does it again; what stands in the way is shown where it stands. */
  async undo(what: UndoTarget, redo: boolean): Promise<void> {
    if (this.busy || this.undoing) return;
    const shown = this.#shown;
    this.undoing = true;
    this.error = null;
    this.hindrances = new Map();
    try {
      const { calls, more } = await api.undo(what, redo);
      this.onToolDone();
      if (this.#shown !== shown) return;
      this.hindrances = new Map(calls.filter(({ message }) => message !== null).map((call) => [call.call, call]));
      if (more) this.error = new ApiError(0, "undo.more", "There is more of it than goes at once. Press the button again.", null);
    } catch (thrown) {
      if (this.#shown === shown) this.error = asApiError(thrown);
    } finally {
      if (this.#shown === shown) {
        await this.#readStandings();
        this.undoing = false;
      }
    }
  }

  /** Something of this conversation was undone elsewhere, in another tab or by the operator. */
  async followUndo(conversation: string): Promise<void> {
    if (conversation === this.conversationId && !this.busy && !this.undoing) await this.#readStandings();
  }

  async #readStandings(): Promise<void> {
    const id = this.conversationId;
    if (!id) return;
    try {
      const { messages } = await api.conversation(id);
      if (this.conversationId === id) this.transcript = withStandings(this.transcript, messages);
    } catch (thrown) {
      if (this.conversationId === id) this.error ??= asApiError(thrown);
    }
  }

  /** Something was done after its run: a stored conversation has it, a run that goes on tells it. */
  async catchUp(): Promise<void> {
    const id = this.conversationId;
    if (!id || this.busy) return;
    await this.#restore(id).catch((thrown: unknown) => {
      if (this.conversationId === id) this.error = asApiError(thrown);
    });
  }

  dismissError(): void {
    this.error = null;
  }

  close(): void {
    this.#detach();
  }

  async #restore(id: string): Promise<void> {
    const conversation = await api.conversation(id);
    if (this.conversationId !== id) return;
    this.skill = conversation.skill;
    this.transcript = fromStored(conversation.messages);
    if (conversation.active_run) this.#attach(conversation.active_run);
  }

  /** Another tab is waiting for an answer in this conversation: show that instead of only refusing. */
  async #joinActiveRun(): Promise<void> {
    if (!this.conversationId) return;
    await this.#restore(this.conversationId).catch((thrown: unknown) => {
      this.error = asApiError(thrown);
    });
  }

  #attach(runId: string): void {
    if (this.transcript.run?.id !== runId) this.transcript = beginRun(this.transcript, runId);
    this.#detach();
    this.#closeStream = openStream(api.runEventsUrl(runId), {
      onData: (data) => {
        const event = parseRunEvent(data);
        if (event) this.#take(event);
      },
      onConnection: (connection) => {
        this.connection = connection;
      },
      onClosed: () => this.#reattachLater(runId),
    });
  }

  #take(event: RunEvent): void {
    this.#reattachAttempts = 0;
    const before = this.transcript;
    this.transcript = reduce(before, event);
    if (this.transcript === before) return;
    if (event.type === "tool_result" && event.ok) this.onToolDone();
    if (event.type === "confirmation" || event.type === "confirmation_ended") this.onQuestions();
    if (event.type === "run_ended") {
      this.stopping = false;
      this.#detach();
    }
  }

  /** The gateway refused the stream: it is restarting, or the run is over and forgotten. The conversation knows which. */
  #reattachLater(runId: string): void {
    this.connection = "retrying";
    const attempt = this.#reattachAttempts++;
    this.#closeStream?.();
    this.#closeStream = null;
    if (attempt >= REATTACH_ATTEMPTS_MAX) {
      this.#giveUp();
      return;
    }
    this.#retryTimer = setTimeout(() => void this.#reattach(runId), retryDelayMs(attempt));
  }

  async #reattach(runId: string): Promise<void> {
    const id = this.conversationId;
    if (!id) return;
    try {
      const conversation = await api.conversation(id);
      if (this.conversationId !== id || this.transcript.run?.id !== runId) return;
      if (conversation.active_run === runId) {
        this.#attach(runId);
      } else {
        this.#detach();
        this.stopping = false;
        this.transcript = fromStored(conversation.messages);
        if (conversation.active_run) this.#attach(conversation.active_run);
      }
    } catch {
      if (this.conversationId === id) this.#reattachLater(runId);
    }
  }

  #giveUp(): void {
    this.#detach();
    this.stopping = false;
    this.transcript = { ...this.transcript, run: null };
    this.error = new ApiError(
      0,
      "network.lost",
      "The connection to the running answer was lost. Reload the page to see how it ended.",
      null,
    );
  }

  #detach(): void {
    clearTimeout(this.#retryTimer);
    this.#closeStream?.();
    this.#closeStream = null;
    this.connection = "open";
  }

  #reset(): void {
    this.#detach();
    this.#shown += 1;
    this.sending = false;
    this.#reattachAttempts = 0;
    this.transcript = emptyTranscript;
    this.skill = null;
    this.error = null;
    this.stopping = false;
    this.loading = false;
    this.undoing = false;
    this.hindrances = new Map();
  }
}

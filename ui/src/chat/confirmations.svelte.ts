import { api, type ApiError, asApiError } from "../api/client";
import type { Confirmation } from "../api/types";

/** What waits for this person's yes or no, in whatever conversation it was asked. */
export class Confirmations {
  pending = $state.raw<readonly Confirmation[]>([]);
  /** Which one is being answered. */
  answering = $state<string | null>(null);
  error = $state.raw<ApiError | null>(null);

  #loading = false;
  #stale = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `onAnswered` is told when an answer was taken, and what it led to was done. */
  constructor(private readonly onAnswered: () => void) {}

  start(): void {
    void this.refresh();
    document.addEventListener("visibilitychange", this.#followVisibility);
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.#followVisibility);
    clearTimeout(this.#timer);
  }

  /** Asks what waits. Calls that come while one is under way are answered together by one more. */
  async refresh(): Promise<void> {
    if (this.#loading) {
      this.#stale = true;
      return;
    }
    this.#loading = true;
    try {
      do {
        this.#stale = false;
        this.#show(await api.confirmations());
      } while (this.#stale);
    } catch (thrown) {
      this.error = asApiError(thrown);
    } finally {
      this.#loading = false;
    }
  }

  async answer(id: string, approve: boolean): Promise<void> {
    if (this.answering) return;
    this.answering = id;
    this.error = null;
    try {
      await api.answerConfirmation(id, approve);
      this.onAnswered();
    } catch (thrown) {
      this.error = asApiError(thrown);
    } finally {
      this.answering = null;
      await this.refresh();
    }
  }

  #show(pending: readonly Confirmation[]): void {
    const ids = (list: readonly Confirmation[]) => list.map(({ id }) => id).join();
    // The same cards stay the same: whoever is reading them is not disturbed.
    if (ids(pending) !== ids(this.pending)) this.pending = pending;
    clearTimeout(this.#timer);
    const next = Math.min(...pending.map(({ expires_at_ms }) => expires_at_ms));
    if (Number.isFinite(next)) {
      this.#timer = setTimeout(() => void this.refresh(), Math.max(1_000, next - Date.now() + 500));
    }
  }

  #followVisibility = (): void => {
    if (!document.hidden) void this.refresh();
  };
}

import { type ApiError, asApiError } from "../api/client";

/** One question at a time: an answer that comes after another question was asked is not shown. */
export class Lookup<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  loading = $state(false);
  #asked = 0;

  async ask(question: () => Promise<T>): Promise<void> {
    const asked = ++this.#asked;
    this.loading = true;
    this.error = null;
    try {
      const value = await question();
      if (asked === this.#asked) this.value = value;
    } catch (thrown) {
      if (asked !== this.#asked) return;
      this.value = null;
      this.error = asApiError(thrown);
    } finally {
      if (asked === this.#asked) this.loading = false;
    }
  }

  clear(): void {
    this.#asked += 1;
    this.value = null;
    this.error = null;
    this.loading = false;
  }
}

/** This application's own routes, as the page asks them. */
export async function ask<T>(method: "GET" | "POST" | "DELETE", path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "content-type": "application/json" };
  }
  const response = await fetch(path, init);
  const text = await response.text();
  const answer: unknown = text === "" ? undefined : JSON.parse(text);
  if (!response.ok) throw new Error((answer as { error?: { message?: string } } | undefined)?.error?.message ?? "That did not work. Try again.");
  return answer as T;
}

export const sentence = (error: unknown) => (error instanceof Error ? error.message : "That did not work. Try again.");

"use client";

import type { Confirmation, RunPart, RunTicket } from "@hexward/client/browser";
import { useRun } from "@hexward/client/react";
import { type FormEvent, useCallback, useEffect, useState } from "react";
import { ask, sentence } from "./ask";
import { TilesMap } from "./tiles-map";

type Run = RunTicket & { run: string };
interface Stored { role: "user" | "assistant" | "tool"; text?: string }
interface Held { messages: Stored[]; run: Run | null; confirmations: Confirmation[] }

export function Studio({ name }: { name: string }) {
  const [said, setSaid] = useState<Stored[]>([]);
  const [run, setRun] = useState<Run | null>(null);
  const [left, setLeft] = useState<Confirmation[]>([]);
  const [problem, setProblem] = useState("");

  const load = useCallback(async () => {
    try {
      const held = await ask<Held>("GET", "/api/agent");
      // The run that goes on tells its part itself, from its beginning.
      const lastQuestion = held.messages.findLastIndex(({ role }) => role === "user");
      setSaid(held.run && lastQuestion >= 0 ? held.messages.slice(0, lastQuestion + 1) : held.messages);
      setLeft(held.confirmations);
      setRun(held.run);
    } catch (error) {
      setProblem(sentence(error));
    }
  }, []);
  useEffect(() => void load(), [load]);

  const renew = useCallback(() => ask<RunTicket>("POST", `/api/agent/${run?.run ?? ""}/ticket`, {}), [run]);
  const { view, error } = useRun(run, { renew });
  const isBusy = run !== null && !view.outcome && !error;

  async function send(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const given = new FormData(form);
    const [text, writes] = [String(given.get("text") ?? "").trim(), given.get("writes") !== null];
    if (text === "" || isBusy) return;
    setProblem("");
    // What the last run told belongs to what was said before.
    const before = run ? [...said, ...view.parts.flatMap((part) => (part.kind === "text" ? [{ role: "assistant" as const, text: part.text }] : []))] : said;
    setSaid([...before, { role: "user", text }]);
    setRun(null);
    (form.elements.namedItem("text") as HTMLInputElement).value = "";
    try {
      setRun(await ask<Run>("POST", "/api/agent", { text, writes, message: crypto.randomUUID() }));
    } catch (problem) {
      setProblem(sentence(problem));
    }
  }

  async function signOut() {
    await ask("DELETE", "/api/session", {});
    window.location.assign("/");
  }

  // A run tells of its questions as long as it goes on; what is answered later, or was asked before, is asked for.
  const isOver = run === null || view.outcome !== undefined;
  const waiting = isOver ? left : view.confirmations;
  const look = useCallback(() => {
    if (document.visibilityState === "visible") ask<Confirmation[]>("GET", "/api/confirmations").then(setLeft, () => {});
  }, []);
  useEffect(() => {
    if (!isOver) return undefined;
    look();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, [isOver, look]);
  const wasAsked = view.confirmations.some(({ id }) => !waiting.some((still) => still.id === id));
  return (
    <div className="studio">
      <header>
        <h1>Tiles</h1>
        <span data-testid="who">{name}</span>
        <button className="quiet" onClick={() => void signOut()}>Sign out</button>
      </header>
      <section aria-label="Conversation">
        <div className="said" role="log" aria-live="polite" tabIndex={0} aria-label="What was said">
          {said.map((message, at) => message.text && <p key={at} className={message.role}>{message.text}</p>)}
          {view.parts.map((part, at) => <Part key={at} part={part} />)}
          {isBusy && <p className="state" data-testid="state">{view.state === "queued" ? `Waiting, place ${view.position}` : "Working …"}</p>}
          {waiting.map((confirmation) => <Question key={confirmation.id} confirmation={confirmation} />)}
          {run && view.outcome && (
            <RunEnd run={run.run} outcome={view.outcome} reason={view.denial?.message} canUndo={wasAsked || view.parts.some((part) => part.kind === "tool" && part.undo)} />
          )}
          {(problem || error) && <p role="alert" className="problem" data-testid="problem">{problem || error?.message}</p>}
        </div>
        <form onSubmit={(event) => void send(event)} className="composer">
          <label className="wide">
            <span className="hidden">Message</span>
            <input name="text" placeholder="Create a tile called Aurora to the east" autoComplete="off" maxLength={2000} data-testid="composer" />
          </label>
          <label>
            <input type="checkbox" name="writes" defaultChecked data-testid="writes" /> may change things
          </label>
          {isBusy ? (
            <button type="button" className="quiet" onClick={() => void ask("POST", `/api/agent/${run.run}/stop`, {}).catch((problem) => setProblem(sentence(problem)))}>Stop</button>
          ) : (
            <button data-testid="send">Send</button>
          )}
        </form>
      </section>
      <section aria-label="Tiles">
        <TilesMap />
      </section>
    </div>
  );
}

/** What the model said is text, whatever it looks like. */
function Part({ part }: { part: RunPart }) {
  if (part.kind === "text") return <p className="assistant" data-testid="answer">{part.text}</p>;
  const states = { calling: "…", ok: "done", failed: part.denial?.message ?? "did not work", waiting: "waits for you" };
  return (
    <p className="tool" data-testid="tool" data-state={part.state}>
      {part.tool}: {states[part.state]}
    </p>
  );
}

/** The answer is given on Hexward's own page: this one only leads there, by the person's own click. */
function Question({ confirmation }: { confirmation: Confirmation }) {
  return (
    <form method="post" action={`/api/confirmations/${confirmation.id}`} target="_blank" rel="noopener" className="question" data-testid="question">
      <p>{confirmation.summary ?? `${confirmation.tool} waits for your answer.`}</p>
      <button data-testid="decide">Look and decide</button>
    </form>
  );
}

function RunEnd({ run, outcome, reason, canUndo }: { run: string; outcome: string; reason: string | undefined; canUndo: boolean }) {
  const [undone, setUndone] = useState(false);
  const [told, setTold] = useState("");
  const [busy, setBusy] = useState(false);

  async function turn() {
    setBusy(true);
    try {
      const { complete, calls } = await ask<{ complete: boolean; calls: { message: string | null; conflicts: string[] }[] }>("POST", "/api/undo", { run, redo: undone });
      if (complete) setUndone(!undone);
      setTold(complete ? "" : calls.flatMap(({ message, conflicts }) => [message ?? "", ...conflicts]).filter(Boolean).join(" "));
    } catch (error) {
      setTold(sentence(error));
    }
    setBusy(false);
  }

  return (
    <div className="end" data-testid="run-end" data-outcome={outcome} data-undone={undone}>
      {outcome !== "finished" && <p>{reason ?? "It was stopped."}</p>}
      {canUndo && <button className="quiet" disabled={busy} onClick={() => void turn()} data-testid="undo">{undone ? "Do it again" : "Undo this"}</button>}
      {told && <p className="problem">{told}</p>}
    </div>
  );
}

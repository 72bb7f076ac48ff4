"use client";

import { type FormEvent, useState } from "react";
import { ask, sentence } from "./ask";

export function SignIn() {
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const create = (event.nativeEvent as SubmitEvent).submitter?.id === "create";
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setProblem("");
    try {
      await ask("POST", "/api/session", { name: form.get("name"), password: form.get("password"), create });
      window.location.assign("/");
    } catch (error) {
      setProblem(sentence(error));
      setBusy(false);
    }
  }

  return (
    <main className="narrow">
      <h1>Tiles</h1>
      <p>An application with users of its own. Its assistant works behind Hexward.</p>
      <form onSubmit={submit} data-testid="sign-in">
        <label>
          Name
          <input name="name" autoComplete="username" required maxLength={40} />
        </label>
        <label>
          Password
          <input name="password" type="password" autoComplete="current-password" required minLength={8} maxLength={200} />
        </label>
        {problem && <p role="alert" className="problem">{problem}</p>}
        <div className="row">
          <button id="enter" disabled={busy}>Sign in</button>
          <button id="create" className="quiet" disabled={busy}>Create an account</button>
        </div>
      </form>
    </main>
  );
}

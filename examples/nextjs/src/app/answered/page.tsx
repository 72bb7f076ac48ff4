import { connection } from "next/server";

/** Where people come back to from Hexward's page. */
export default async function Answered() {
  await connection();
  return (
    <main className="narrow">
      <h1>Your answer was given</h1>
      <p>The page from which you came shows what became of it. You can close this one.</p>
      <p>
        <a href="/">Go to your tiles</a>
      </p>
    </main>
  );
}

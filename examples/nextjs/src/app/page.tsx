import { connection } from "next/server";
import { signedIn } from "@/server/session";
import { SignIn } from "./sign-in";
import { Studio } from "./studio";

export default async function Page() {
  await connection();
  const user = await signedIn();
  return user ? <Studio name={user.name} /> : <SignIn />;
}

/** This application's own users. Hexward knows them by their id alone. */
import { randomBytes, randomUUID, scrypt, timingSafeEqual } from "node:crypto";
import { join } from "node:path";
import { readJson, writeJson } from "./files";
import { settings, single } from "./settings";

export interface User {
  id: string;
  name: string;
  salt: string;
  hash: string;
  /** What Hexward calls them, once it was asked. */
  hexward?: string;
  /** The conversation that the page shows. */
  conversation?: string;
}

const COST = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 * 1024 };
const NAME = /^[\p{L}\p{N}._-]{1,40}$/u;
const PASSWORD_CHARS_MIN = 8;
const PASSWORD_CHARS_MAX = 200;
const USERS_MAX = 1000;

/** A sentence for the person. */
export class Told extends Error {}

const file = () => join(settings.dataDir, "users.json");
const all = () => single("users", () => readJson<User[]>(file(), []));
const save = () => writeJson(file(), all());

function hashed(password: string, salt: string): Promise<Buffer> {
  return new Promise((resolve, reject) => scrypt(password, Buffer.from(salt, "hex"), 32, COST, (error, key) => (error ? reject(error) : resolve(key))));
}

export function userById(id: string): User | undefined {
  return all().find((user) => user.id === id);
}

/** Whom Hexward means by an id of its own. */
export function userOfHexward(hexward: string): User | undefined {
  return all().find((user) => user.hexward === hexward);
}

export function remember(user: User, what: Partial<Pick<User, "hexward" | "conversation">>): void {
  Object.assign(user, what);
  save();
}

export async function signUp(name: string, password: string): Promise<User> {
  if (!NAME.test(name)) throw new Told("A name has 1 to 40 letters, digits, dots, hyphens or underscores.");
  if (password.length < PASSWORD_CHARS_MIN || password.length > PASSWORD_CHARS_MAX) throw new Told(`A password has ${PASSWORD_CHARS_MIN} to ${PASSWORD_CHARS_MAX} characters.`);
  const salt = randomBytes(16).toString("hex");
  const hash = (await hashed(password, salt)).toString("hex");
  if (all().length >= USERS_MAX) throw new Told("This example has as many users as it can.");
  if (all().some((user) => user.name.toLowerCase() === name.toLowerCase())) throw new Told("That name is taken. Sign in, or choose another one.");
  const user: User = { id: randomUUID(), name, salt, hash };
  all().push(user);
  save();
  return user;
}

/** As long for a name that nobody has as for a wrong password. */
export async function signIn(name: string, password: string): Promise<User> {
  throttle(name.toLowerCase());
  const user = all().find((known) => known.name.toLowerCase() === name.toLowerCase());
  const given = await hashed(password.slice(0, PASSWORD_CHARS_MAX), user?.salt ?? "00".repeat(16));
  if (!user || !timingSafeEqual(given, Buffer.from(user.hash, "hex"))) throw new Told("That name and password don't belong together.");
  return user;
}

const TRIES_A_MINUTE = 10;

function throttle(name: string): void {
  const tries = single("tries", () => new Map<string, number[]>());
  const since = Date.now() - 60_000;
  const recent = (tries.get(name) ?? []).filter((at) => at > since);
  if (recent.length >= TRIES_A_MINUTE) throw new Told("Too many tries. Wait a minute.");
  if (tries.size > 10_000) tries.clear();
  tries.set(name, [...recent, Date.now()]);
}

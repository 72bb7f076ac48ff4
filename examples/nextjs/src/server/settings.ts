import { mkdirSync } from "node:fs";

/** What this application is told by its environment. Read when it is first needed: a build has none of it. */
function needed(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; examples/nextjs/run.sh sets it, and README.md says what it is`);
  return value;
}

export const settings = {
  /** Where people open this application. */
  get origin() {
    return new URL(needed("APP_ORIGIN")).origin;
  },
  /** Keys the session cookie. */
  get sessionSecret() {
    return needed("SESSION_SECRET");
  },
  /** Users and their tiles, as files. */
  get dataDir() {
    const folder = needed("DATA_DIR");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return folder;
  },
  /** Hexward's callers' listener. */
  get hexwardUrl() {
    return needed("HEXWARD_URL");
  },
  /** Where Hexward asks people for their yes. */
  get hexwardPublicOrigin() {
    return new URL(needed("HEXWARD_PUBLIC_URL")).origin;
  },
  get hexwardKey() {
    return needed("HEXWARD_KEY");
  },
  get issuer() {
    return needed("HEXWARD_ISSUER");
  },
  get assertionSecret() {
    return needed("HEXWARD_ASSERTION_SECRET");
  },
  /** What Hexward shows this application's tool server. */
  get toolsToken() {
    return needed("TILES_TOOLS_TOKEN");
  },
  /** The public keys with which Hexward's word of whose call it is can be checked. */
  get assertionKeysFile() {
    return needed("HEXWARD_ASSERTION_KEYS");
  },
  get hookSecret() {
    return needed("HEXWARD_HOOK_SECRET");
  },
};

/** One of each in this process, whichever part of the application asks. */
export function single<T>(name: string, make: () => T): T {
  const all = globalThis as unknown as Record<symbol, T | undefined>;
  const key = Symbol.for(`tiles.${name}`);
  return (all[key] ??= make());
}

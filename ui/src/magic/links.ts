import { createContext } from "svelte";

export interface Links {
  /** A look-up page's address beside the conversation on the screen. */
  href: (page: string) => string;
  /** Goes there, as a link would. */
  go: (page: string) => void;
}

export const [useLinks, provideLinks] = createContext<Links>();

// Everything the pages promise beyond the first message, against the fixture: what a gateway can't be told to do on demand.
//
//   node e2e/suite.mjs [part of a story's name]
//
// Pictures go to HEXWARD_SCREENSHOTS (default target/e2e).
import { challengeStories } from "./stories/challenge.mjs";
import { chatStories } from "./stories/chat.mjs";
import { confirmationStories } from "./stories/confirmations.mjs";
import { handStories } from "./stories/hands.mjs";
import { looksStories } from "./stories/looks.mjs";
import { magicStories } from "./stories/magic.mjs";
import { mapStories } from "./stories/map.mjs";
import { undoStories } from "./stories/undo.mjs";
import { tellAll } from "./tell.mjs";

const all = [
  ...chatStories,
  ...challengeStories,
  ...confirmationStories,
  ...mapStories,
  ...handStories,
  ...undoStories,
  ...magicStories,
  ...looksStories,
];
process.exit(await tellAll(all, process.argv[2] ?? ""));

// Cards, rules and decks looked up on a real gateway that has the invented cards, as a new person.
//
//   HEXWARD_URL=http://127.0.0.1:8080 node e2e/lookups.mjs
import { lookupStories } from "./stories/magic.mjs";
import { tellAll } from "./tell.mjs";

if (!process.env.HEXWARD_URL) throw new Error("HEXWARD_URL must name a gateway; without one, e2e/suite.mjs tells these stories too");
// A gateway tells its address with a slash at its end, and the stories begin theirs with one.
process.exit(await tellAll(lookupStories, process.argv[2] ?? "", process.env.HEXWARD_URL.replace(/\/$/, "")));

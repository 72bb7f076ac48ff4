// What a person does on the map with their own hands, against a real gateway: each story as a new person.
//
//   HEXWARD_URL=http://127.0.0.1:8080 node e2e/hands.mjs [part of a story's name]
import { tellAll } from "./tell.mjs";
import { handStories } from "./stories/hands.mjs";

if (!process.env.HEXWARD_URL) throw new Error("HEXWARD_URL must name a gateway; without one, e2e/suite.mjs tells these stories too");
process.exit(await tellAll(handStories, process.argv[2] ?? "", process.env.HEXWARD_URL));

/** The tools that an agent has on these tiles: what each is called, takes, does and answers. The manifest, hexward/app.toml, says what each may. */
import type { CallToolResult, Tool } from "@modelcontextprotocol/sdk/types.js";
import { type Effect, Refused, type Terms, add, move, remove, tilesOf, undo, update } from "./tiles";
import type { User } from "./users";

const UNDO = "undoChange";

const text = (description: string, maxLength: number) => ({ type: "string", description, maxLength });
const coords = (description: string) => ({
  type: "object",
  description,
  required: ["userId", "groupId", "path"],
  additionalProperties: false,
  properties: {
    userId: { type: "string", description: "The user's id, as getCurrentUser tells it" },
    groupId: { type: "integer", minimum: 0, maximum: 0, description: "Always 0" },
    path: {
      type: "array",
      maxItems: 5,
      items: { type: "integer", minimum: 1, maximum: 6 },
      description: "Directions from the centre: 1 north-west, 2 north-east, 3 east, 4 south-east, 5 south-west, 6 west. [] is the centre",
    },
  },
});
const takes = (properties: Record<string, object>, required: string[] = Object.keys(properties)) => ({ type: "object" as const, properties, required, additionalProperties: false });
const reads = { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false };
const writes = { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: false };

/** The same to everybody, always: a tool that changes is held until an operator has looked. */
export const TOOLS: Tool[] = [
  { name: "getCurrentUser", description: "Who you work for: their id, which is the userId of every coordinate.", inputSchema: takes({}), annotations: reads },
  {
    name: "mapItemsList",
    description: "All tiles, each with its coordinates, title and text.",
    inputSchema: takes({ depth: { type: "integer", minimum: 1, maximum: 5, description: "How many steps down to show" } }, []),
    annotations: reads,
  },
  {
    name: "addItem",
    description: "Creates a tile at a free place. The tile above it must exist.",
    inputSchema: takes(
      {
        coords: coords("Where the tile shall lie"),
        title: text("The tile's name", 100),
        content: text("The tile's text", 4000),
        itemType: { type: "string", enum: ["organizational", "context", "system"], description: "Of no meaning here" },
      },
      ["coords", "title"],
    ),
    annotations: writes,
  },
  {
    name: "updateItem",
    description: "Replaces a tile's title or text.",
    inputSchema: takes({ coords: coords("Where the tile lies"), updates: takes({ title: text("The tile's name", 100), content: text("The tile's text", 4000) }, []) }),
    annotations: writes,
  },
  {
    name: "moveItem",
    description: "Moves a tile with everything below it to a free place.",
    inputSchema: takes({ oldCoords: coords("Where the tile lies"), newCoords: coords("Where the tile shall lie") }),
    annotations: writes,
  },
  {
    name: "deleteItem",
    description: "Deletes a tile and everything below it.",
    inputSchema: takes({ coords: coords("Where the tile lies") }),
    annotations: { ...writes, destructiveHint: true },
  },
];

type Given = Record<string, unknown>;
type Meta = Record<string, unknown> | undefined;

/** Carries out one call for a user; what the model should read is a result, never an error of the protocol. */
export function callTool(user: User, name: string, given: Given, meta: Meta): CallToolResult {
  const call = meta?.["hexward/call"];
  const expected = meta?.["hexward/expected"];
  const terms: Terms = {
    call: typeof call === "string" ? call : "",
    dryRun: meta?.["hexward/dryRun"] === true,
    expected: typeof expected === "string" ? expected : undefined,
  };
  try {
    const done = run(user, name, given, terms);
    if ("effect" in done) return effect(done.effect);
    const result: CallToolResult = { content: [{ type: "text", text: JSON.stringify(done.result) }] };
    // How to take back what was done: Hexward keeps it, and neither the agent nor the model sees it.
    if (!READS.has(name) && terms.call) result._meta = { "hexward/undo": { tool: UNDO, arguments: { changeId: terms.call } } };
    return result;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const result: CallToolResult = { isError: true, content: [{ type: "text", text: error.message }] };
    if (error.conflicts.length > 0) result._meta = { "hexward/conflicts": error.conflicts };
    return result;
  }
}

const READS = new Set(["getCurrentUser", "mapItemsList"]);

function effect(told: Effect): CallToolResult {
  return { content: [{ type: "text", text: told.summary }], _meta: { "hexward/effect": told } };
}

function run(user: User, name: string, given: Given, terms: Terms): { result: unknown } | { effect: Effect } {
  switch (name) {
    case "getCurrentUser":
      return { result: { id: user.id, groupId: 0, displayName: user.name } };
    case "mapItemsList":
      return { result: { tiles: tilesOf(user.id).map(({ path, title, content }) => ({ title, content, coordinates: { path } })) } };
    case "addItem":
      return add(user.id, terms, path(user, given, "coords"), words(given, "title") ?? missing("title"), words(given, "content"));
    case "updateItem": {
      const updates = record(given.updates) ?? missing("updates");
      const [title, content] = [words(updates, "title"), words(updates, "content")];
      return update(user.id, terms, path(user, given, "coords"), { ...(title !== undefined && { title }), ...(content !== undefined && { content }) });
    }
    case "moveItem":
      return move(user.id, terms, path(user, given, "oldCoords"), path(user, given, "newCoords"));
    case "deleteItem":
      return remove(user.id, terms, path(user, given, "coords"));
    case UNDO:
      return undo(user.id, terms, words(given, "changeId") ?? missing("changeId"));
    default:
      throw new Refused(`There is no tool called ${name}.`);
  }
}

function missing(name: string): never {
  throw new Refused(`${name} is missing, or is not what the tool's description says.`);
}

function record(value: unknown): Given | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Given) : undefined;
}

function words(given: Given, name: string): string | undefined {
  const value = given[name];
  if (value === undefined) return undefined;
  return typeof value === "string" ? value : missing(name);
}

/** Whatever a call says, it is about the tiles of the user that Hexward vouched for. */
function path(user: User, given: Given, name: string): number[] {
  const place = record(given[name]) ?? missing(name);
  if (place.userId !== user.id || place.groupId !== 0) throw new Refused("These are nobody's coordinates that you may use. Ask getCurrentUser for the user's id.");
  const steps = place.path;
  if (!Array.isArray(steps) || steps.length > 5 || !steps.every((step) => Number.isInteger(step) && step >= 1 && step <= 6)) missing(name);
  return steps as number[];
}

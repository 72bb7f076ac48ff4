//! The tools: what each is called, takes, does and answers.

use crate::arguments::{Arguments, FIELDS, Fields, LISTING_DEPTH_MAX};
use crate::coord::Coord;
use crate::listing;
use crate::map::{Extent, MapError, Maps, own_root};
use crate::people;
use crate::server::Caller;
use crate::tile::Tile;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

const LISTING_DEPTH: usize = 3;
/// The way back from every change, for the gateway alone: it is in no listing, so no agent is offered it.
pub const UNDO: &str = "undoChange";
/// Its only argument.
const CHANGE: &str = "changeId";

/// What a tool does to a map, as its annotations say it.
pub(crate) enum Effect {
    Read,
    /// Adds; calling it again adds again, or fails.
    Add,
    /// Overwrites; the same call again changes nothing more (but the version).
    Overwrite,
    /// Changes places; the same call again changes them back, or fails.
    Relocate,
    Delete,
}

impl Effect {
    fn annotations(&self) -> ToolAnnotations {
        let (read, destructive, idempotent) = match self {
            Self::Read => (true, false, true),
            Self::Add | Self::Relocate => (false, false, false),
            // What was there before is kept, so nothing is lost by it.
            Self::Overwrite => (false, false, true),
            Self::Delete => (false, true, true),
        };
        ToolAnnotations::from_raw(None, Some(read), Some(destructive), Some(idempotent), Some(false))
    }
}

pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    pub(crate) effect: Effect,
    pub(crate) required: &'static [&'static str],
    pub(crate) properties: Value,
}

/// Made once: a call looks at them more often than it does anything.
static DEFINITIONS: LazyLock<Vec<Definition>> =
    LazyLock::new(|| reads().into_iter().chain(writes()).chain(people::definitions()).collect());
static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| DEFINITIONS.iter().map(Definition::to_tool).collect());

fn reads() -> [Definition; 5] {
    let read = |name, title, description, required, properties| Definition {
        name,
        title,
        description,
        effect: Effect::Read,
        required,
        properties,
    };
    [
        read(
            "getCurrentUser",
            "Current user",
            "Who you work for: their id (the userId of every coordinate, also called mappingId), their name, the root of \
             their first map, and all their maps by groupId.",
            &[],
            json!({}),
        ),
        read(
            "getItemsForRootItem",
            "List the map",
            "The user's map as a tree: the root tile with its children, and theirs, down to the given depth.",
            &[],
            json!({"userId": user(), "groupId": group(), "depth": depth(), "fields": fields()}),
        ),
        read(
            "getItemByCoords",
            "Read a tile",
            "One tile with its whole content.",
            &["coords"],
            json!({"coords": coords("Where the tile lies"), "fields": fields()}),
        ),
        read(
            "mapItemsList",
            "List below a tile",
            "A tile, given by its id, with its children, and theirs, down to the given depth. Without an id: the whole map.",
            &[],
            json!({"rootId": id("The id of the tile to start at"), "depth": depth(), "fields": fields()}),
        ),
        read(
            "mapItemHandler",
            "Read a tile by id",
            "One tile, given by its id, with its whole content.",
            &["itemId"],
            json!({"itemId": id("The tile's id"), "fields": fields()}),
        ),
    ]
}

fn writes() -> [Definition; 4] {
    let mut new_tile = written();
    new_tile.insert("coords".to_owned(), coords("Where the tile shall lie"));
    let mut replaced = Value::Object(written());
    nullable(&mut replaced, &[]);
    let updates = json!({
        "type": ["object", "string"], "description": "The fields to replace", "properties": replaced,
        "additionalProperties": false, "minProperties": 1,
    });
    [
        Definition {
            name: "addItem",
            title: "Create a tile",
            description: "Creates a tile at a free place. The tile above it must exist.",
            effect: Effect::Add,
            required: &["coords", "title"],
            properties: Value::Object(new_tile),
        },
        Definition {
            name: "updateItem",
            title: "Change a tile",
            description: "Replaces some of a tile's fields; those not named stay as they are.",
            effect: Effect::Overwrite,
            required: &["coords", "updates"],
            properties: json!({"coords": coords("Where the tile lies"), "updates": updates}),
        },
        Definition {
            name: "moveItem",
            title: "Move a tile",
            description: "Moves a tile with everything below it. If the new place is taken, the two tiles change places, each \
                          with everything below it.",
            effect: Effect::Relocate,
            required: &["oldCoords", "newCoords"],
            properties: json!({"oldCoords": coords("Where the tile lies"), "newCoords": coords("Where the tile shall lie")}),
        },
        Definition {
            name: "deleteItem",
            title: "Delete a tile",
            description: "Deletes a tile and everything below it.",
            effect: Effect::Delete,
            required: &["coords"],
            properties: json!({"coords": coords("Where the tile lies")}),
        },
    ]
}

pub(crate) fn id(what: &str) -> Value {
    json!({"type": "string", "description": what})
}

fn user() -> Value {
    json!({"type": ["string", "integer"], "description": "The user's id, as getCurrentUser tells it"})
}

/// A whole number; models send it as text too, and clients compare what they send with the schema before they send it.
fn whole() -> Map<String, Value> {
    let fields = [("type", json!(["integer", "string"])), ("pattern", json!("^\\s*[+-]?[0-9]+\\s*$"))];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn with(mut schema: Map<String, Value>, more: Value) -> Value {
    schema.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(schema)
}

pub(crate) fn group() -> Value {
    with(whole(), json!({"minimum": 0, "description": "Which of the user's maps; 0 is the first"}))
}

fn depth() -> Value {
    let what = "How many steps down to show";
    with(whole(), json!({"minimum": 1, "maximum": LISTING_DEPTH_MAX, "default": LISTING_DEPTH, "description": what}))
}

fn fields() -> Value {
    json!({"type": ["array", "string"], "items": {"type": "string", "enum": FIELDS},
           "description": "Which fields to show; all by default"})
}

pub(crate) fn coords(what: &str) -> Value {
    let step = with(whole(), json!({"minimum": -6, "maximum": 6}));
    json!({
        "type": ["object", "string"], "description": format!("{what}: an object, or a tile's coordinates as text"),
        "required": ["userId", "groupId", "path"],
        "properties": {
            "userId": user(), "groupId": group(),
            "path": {
                "type": ["array", "string"], "items": step, "maxItems": crate::coord::DEPTH_MAX,
                "description": "Directions from the root: 1 north-west, 2 north-east, 3 east, 4 south-east, 5 south-west, \
                                6 west, 0 centre, -1 to -6 context inside the tile. [] is the root",
            },
        },
    })
}

fn written() -> JsonObject {
    let text = |chars_max: usize, what: &str| json!({"type": "string", "maxLength": chars_max, "description": what});
    let kinds = json!({
        "type": "string", "enum": ["organizational", "context", "system"],
        "description": "organizational groups tiles, context holds knowledge (the default), system is a task",
    });
    let visibility = json!({
        "type": "string", "enum": ["private", "public"],
        "description": "public marks what may be shared one day; until something is shared, only the owner sees any tile",
    });
    let fields = [
        ("title", text(crate::tile::TITLE_CHARS_MAX, "The tile's name")),
        ("content", text(crate::tile::CONTENT_CHARS_MAX, "The tile's text")),
        ("preview", text(crate::tile::PREVIEW_CHARS_MAX, "A short form of the content")),
        ("url", text(crate::tile::LINK_BYTES_MAX, "An http or https address")),
        ("itemType", kinds),
        ("visibility", visibility),
    ];
    fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// What may be left out may be null as well: models write it so.
fn nullable(properties: &mut Value, required: &[&str]) {
    for (_, schema) in properties.as_object_mut().into_iter().flatten().filter(|(name, _)| !required.contains(&name.as_str())) {
        let Some(fields) = schema.as_object_mut() else { continue };
        if let Some(kinds) = fields.get_mut("type") {
            let mut all = kinds.as_array().cloned().unwrap_or_else(|| vec![kinds.clone()]);
            all.push(json!("null"));
            *kinds = Value::Array(all);
        }
        if let Some(Value::Array(allowed)) = fields.get_mut("enum") {
            allowed.push(Value::Null);
        }
    }
}

impl Definition {
    fn to_tool(&self) -> Tool {
        let mut properties = self.properties.clone();
        nullable(&mut properties, self.required);
        let mut schema = JsonObject::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), properties);
        schema.insert("required".to_owned(), json!(self.required));
        schema.insert("additionalProperties".to_owned(), json!(false));
        let mut tool = Tool::new(self.name, self.description, schema);
        tool.title = Some(self.title.to_owned());
        tool.annotations = Some(self.effect.annotations());
        tool
    }
}

/// Every tool, always in the same order.
#[must_use]
pub fn list() -> &'static [Tool] {
    &TOOLS
}

/// Runs a tool for a user; none when there is no such tool.
///
/// # Errors
/// [`MapError`]: a sentence for the model, saying what happened and what to do.
pub async fn call(maps: &Maps, caller: &Caller, name: &str, arguments: JsonObject) -> Option<Result<Value, MapError>> {
    if name == UNDO {
        return Some(undo(maps, caller, arguments).await);
    }
    let definition = DEFINITIONS.iter().find(|definition| definition.name == name)?;
    let known: Vec<&str> = definition.properties.as_object()?.keys().map(String::as_str).collect();
    Some(match Arguments::new(&caller.user, arguments, &known) {
        Ok(arguments) => run(maps, caller, name, &arguments).await,
        Err(error) => Err(error),
    })
}

/// How the change that a call of this tool made can be undone; none for what changes nothing.
#[must_use]
pub fn way_back(tool: &str, call: &str) -> Option<Value> {
    let writes = ["addItem", "updateItem", "moveItem", "deleteItem"];
    let changes = tool == UNDO || people::UNDONE.contains(&tool) || writes.contains(&tool);
    changes.then(|| json!({"tool": UNDO, "arguments": {CHANGE: call}}))
}

async fn undo(maps: &Maps, caller: &Caller, arguments: JsonObject) -> Result<Value, MapError> {
    let given = Arguments::new(&caller.user, arguments, &[CHANGE])?;
    let missing = || MapError::Invalid(format!("{CHANGE} is missing. Give the id of a change"));
    let change = given.id(CHANGE)?.ok_or_else(missing)?;
    Ok(json!({"undone": true, "tiles": maps.undo(&caller.user, &change).await?}))
}

async fn run(maps: &Maps, caller: &Caller, name: &str, given: &Arguments<'_>) -> Result<Value, MapError> {
    match name {
        "getCurrentUser" => current_user(maps, caller).await,
        "getItemsForRootItem" => listing::tree(maps, &given.root()?, given.depth(LISTING_DEPTH)?, &given.fields()?).await,
        "getItemByCoords" => Ok(item(&maps.tile(&given.coord("coords")?).await?, &given.fields()?)),
        "mapItemsList" => {
            let top = match given.id("rootId")? {
                Some(id) => maps.tile_by_id(&caller.user, &id).await?.coord,
                None => own_root(&caller.user)?,
            };
            listing::tree(maps, &top, given.depth(LISTING_DEPTH)?, &given.fields()?).await
        }
        "mapItemHandler" => {
            let missing = || MapError::Invalid("itemId is missing. Give a tile's id".to_owned());
            let id = given.id("itemId")?.ok_or_else(missing)?;
            Ok(item(&maps.tile_by_id(&caller.user, &id).await?, &given.fields()?))
        }
        "addItem" => {
            let created = maps.create_tile(&given.coord("coords")?, given.new_tile()?).await?;
            Ok(item(&created, &Fields::All))
        }
        "updateItem" => {
            let updated = maps.update_tile(&given.coord("coords")?, given.update()?).await?;
            Ok(item(&updated, &Fields::All))
        }
        "moveItem" => {
            let (from, to) = (given.coord("oldCoords")?, given.coord("newCoords")?);
            let moved = maps.move_tile(&from, &to).await?;
            let without_content = Fields::Some(MOVED_FIELDS.iter().map(|field| (*field).to_owned()).collect());
            let items = moved.tiles.iter().map(|tile| item(tile, &without_content)).collect();
            Ok(listing::moved(items, &moved.tile_id, moved.count))
        }
        "deleteItem" => {
            maps.delete_tile(&given.coord("coords")?).await?;
            Ok(json!({"success": true}))
        }
        other => people::run(maps, caller, other, given).await,
    }
}

/// A move changes no contents, so it shows none.
const MOVED_FIELDS: [&str; 8] = ["id", "coordinates", "depth", "title", "parentId", "itemType", "ownerId", "version"];

/// The user a map belongs to. What the tools are for needs neither an address nor anything else about a person.
///
/// # Errors
/// As every tool.
pub async fn current_user(maps: &Maps, caller: &Caller) -> Result<Value, MapError> {
    let root = maps.tile(&own_root(&caller.user)?).await?;
    let (lines, _) = maps.maps(&caller.user).await?;
    Ok(json!({
        "id": caller.user, "mappingId": caller.user, "name": caller.name,
        "displayName": caller.name.as_deref().unwrap_or("User"), "groupId": root.coord.group,
        "rootItemId": root.id, "rootCoordinates": root.coord.to_string(),
        "maps": lines.iter().map(|line| json!({"groupId": line.group, "title": line.title, "tiles": line.tiles})).collect::<Vec<_>>(),
    }))
}

/// One tile as the tools show it.
#[must_use]
pub fn item(tile: &Tile, fields: &Fields) -> Value {
    Value::Object(tile.to_json(|field| fields.holds(field)))
}

/// A tile with what lies below it, children within `children`.
///
/// # Errors
/// As every tool.
pub async fn subtree(maps: &Maps, top: &Coord, depth: usize, fields: &Fields) -> Result<Value, MapError> {
    let tiles = maps.subtree(top, Extent { texts: fields.texts(), ..Extent::down_to(depth) }).await?;
    let Some((first, below)) = tiles.split_first() else { return Err(MapError::NotFound(top.to_string())) };
    Ok(nest(first, &mut below.iter().peekable(), fields))
}

/// Invariant: tiles come ordered by path, so that each tile is followed by all those below it.
pub(crate) fn nest<'a>(tile: &Tile, rest: &mut std::iter::Peekable<impl Iterator<Item = &'a Tile>>, fields: &Fields) -> Value {
    let mut shown: Map<String, Value> = tile.to_json(|field| fields.holds(field));
    let mut children = Vec::new();
    while let Some(child) = rest.next_if(|next| next.coord.path.is_below(&tile.coord.path)) {
        children.push(nest(child, rest, fields));
    }
    shown.insert("children".to_owned(), Value::Array(children));
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_can_change_has_a_way_back() {
        for definition in reads() {
            assert_eq!(way_back(definition.name, "c"), None, "{}", definition.name);
        }
        for definition in writes() {
            assert!(way_back(definition.name, "c").is_some(), "{}", definition.name);
        }
    }
}

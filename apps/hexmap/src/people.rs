//! The tools for people alone: the page calls them for the person in front of it. No agent is offered them, and should a manifest
//! offer one all the same, it refuses an agent's hand.

use crate::arguments::{Arguments, Fields};
use crate::coord::{Coord, Path};
use crate::map::{Actor, Document, MapError, MapLine, Maps, Usage, Version, own_root};
use crate::server::Caller;
use crate::tile::Tile;
use crate::tools::{Definition, Effect, coords, group, id, item};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

const IMPORT: &str = "importMap";
const CREATE_MAP: &str = "createMap";
const DELETE_MAP: &str = "deleteMap";
/// Those of them that can be undone like an agent's changes.
pub(crate) const UNDONE: [&str; 3] = [IMPORT, CREATE_MAP, DELETE_MAP];

fn tool(
    (name, title): (&'static str, &'static str),
    description: &'static str,
    effect: Effect,
    required: &'static [&'static str],
    properties: Value,
) -> Definition {
    Definition { name, title, description, effect, required, properties }
}

fn text(what: &str) -> Value {
    json!({"type": "string", "description": what})
}

pub(crate) fn definitions() -> impl Iterator<Item = Definition> {
    of_tiles().into_iter().chain(of_maps())
}

fn of_tiles() -> [Definition; 3] {
    [
        tool(
            ("listVersions", "Earlier versions of a tile"),
            "What a tile held before, the newest first; twenty are kept.",
            Effect::Read,
            &["coords"],
            json!({"coords": coords("Where the tile lies")}),
        ),
        tool(
            ("restoreVersion", "Restore a version"),
            "Gives a tile what it held before; what it holds now becomes a version.",
            Effect::Overwrite,
            &["coords", "number"],
            json!({"coords": coords("Where the tile lies"), "number": {"type": "integer", "minimum": 1}}),
        ),
        tool(
            ("markSeen", "Mark as seen"),
            "Takes the mark of an agent's change off a tile, or off all tiles.",
            Effect::Overwrite,
            &[],
            json!({"itemId": id("The tile's id; without it, all tiles")}),
        ),
    ]
}

fn of_maps() -> [Definition; 5] {
    let top = "Where the tile lies; without it, the root of the first map";
    let target = "A root, whose map is replaced, or a free place; without it, the root of the first map";
    [
        tool(
            ("exportMap", "Export"),
            "What lies at and below a tile, page by page; pages of one revision belong together.",
            Effect::Read,
            &[],
            json!({"coords": coords(top), "after": text("What the page before called next")}),
        ),
        tool(
            (IMPORT, "Import"),
            "Reads a document that was exported: in place of all tiles of a map, or as a new tile at a free place. All of it or \
             nothing.",
            Effect::Delete,
            &["document"],
            json!({"document": text("The document, as JSON text"), "coords": coords(target)}),
        ),
        tool(
            ("listMaps", "List maps"),
            "The maps of the user, what they hold, and how much there may be.",
            Effect::Read,
            &[],
            json!({}),
        ),
        tool(
            (CREATE_MAP, "Create a map"),
            "Another map with nothing but its root.",
            Effect::Add,
            &["title"],
            json!({"title": text("The root's title")}),
        ),
        tool(
            (DELETE_MAP, "Delete a map"),
            "Deletes a map with all its tiles, which can be undone. The first map stays.",
            Effect::Delete,
            &["groupId"],
            json!({"groupId": group()}),
        ),
    ]
}

/// Runs one of these tools.
///
/// # Errors
/// [`MapError`]: a sentence for the person.
pub(crate) async fn run(maps: &Maps, caller: &Caller, name: &str, given: &Arguments<'_>) -> Result<Value, MapError> {
    if caller.actor != Actor::Person {
        return Err(MapError::Invalid("This tool is for people alone: it is used from the map's page".to_owned()));
    }
    let top = |coord: Option<Coord>| coord.map_or_else(|| own_root(&caller.user), Ok);
    match name {
        "listVersions" => {
            let versions = maps.versions(&given.coord("coords")?).await?;
            Ok(json!({"versions": versions.iter().map(version).collect::<Vec<_>>()}))
        }
        "restoreVersion" => {
            let restored = maps.restore_version(&given.coord("coords")?, given.number("number")?).await?;
            Ok(item(&restored, &Fields::All))
        }
        "markSeen" => {
            let count = maps.mark_seen(&caller.user, given.id("itemId")?.as_deref()).await?;
            Ok(json!({"count": count}))
        }
        "exportMap" => {
            let page = maps.export_page(&top(given.optional_coord("coords")?)?, given.optional_text("after")?.as_deref()).await?;
            serde_json::to_value(page).map_err(|_| MapError::Invalid("The map can't be written out".to_owned()))
        }
        IMPORT => {
            let target = top(given.optional_coord("coords")?)?;
            let document = Document::read(&given.text("document")?)?;
            Ok(json!({"tiles": maps.import(&target, document).await?}))
        }
        "listMaps" => {
            let (lines, usage) = maps.maps(&caller.user).await?;
            Ok(atlas(&lines, &usage, maps))
        }
        CREATE_MAP => Ok(item(&maps.create_map(&caller.user, &given.text("title")?).await?, &Fields::All)),
        DELETE_MAP => {
            let group = u32::try_from(given.number("groupId")?);
            let group = group.map_err(|_| MapError::Invalid("groupId must be the number of a map".to_owned()))?;
            Ok(json!({"count": maps.delete_map(&caller.user, group).await?}))
        }
        _ => Err(MapError::Invalid(format!("There is no tool {name}"))),
    }
}

fn version(version: &Version) -> Value {
    json!({
        "number": version.number, "title": version.title, "content": version.content, "preview": version.preview,
        "link": version.link, "itemType": version.item_type.word(), "visibility": version.visibility.word(),
        "writtenBy": version.written_by, "replacedAtMs": version.replaced_at_us / 1_000,
    })
}

fn atlas(lines: &[MapLine], usage: &Usage, maps: &Maps) -> Value {
    let limits = maps.limits();
    let line = |line: &MapLine| json!({"groupId": line.group, "rootItemId": line.root_id, "title": line.title, "tiles": line.tiles, "bytes": line.bytes});
    json!({
        "maps": lines.iter().map(line).collect::<Vec<_>>(),
        "used": {"tiles": usage.tiles, "bytes": usage.bytes, "maps": usage.maps},
        "limits": {"tiles": limits.tiles_max, "bytes": limits.bytes_max, "maps": limits.maps_max},
    })
}

/// A part of a map as its page draws it.
///
/// # Errors
/// As every tool.
pub(crate) async fn view(maps: &Maps, top: &Coord) -> Result<Value, MapError> {
    let view = maps.view(top).await?;
    let short = |tile: &Tile| json!({"id": tile.id, "title": tile.title, "coordinates": tile.coord.to_string()});
    let Some((first, below)) = view.tiles.split_first() else { return Err(MapError::NotFound(top.to_string())) };
    Ok(json!({
        "above": view.above.iter().map(short).collect::<Vec<_>>(),
        "tile": nest(first, &mut below.iter().peekable(), &view.hidden),
        "unseen": {"count": view.unseen_count, "first": view.unseen.iter().map(short).collect::<Vec<_>>()},
        "atlas": atlas(&view.maps, &view.usage, maps),
    }))
}

/// Invariant: as in a listing, each tile is followed by all those below it.
fn nest<'a>(tile: &Tile, rest: &mut std::iter::Peekable<impl Iterator<Item = &'a Tile>>, hidden: &HashMap<Path, i64>) -> Value {
    let mut shown: Map<String, Value> = tile.to_json(|field| !matches!(field, "content" | "ownerId" | "originId" | "parentId"));
    shown.insert("unseen".to_owned(), json!(tile.unseen));
    shown.insert("hidden".to_owned(), json!(hidden.get(&tile.coord.path).copied().unwrap_or(0)));
    let mut children = Vec::new();
    while let Some(child) = rest.next_if(|next| next.coord.path.is_below(&tile.coord.path)) {
        children.push(nest(child, rest, hidden));
    }
    shown.insert("children".to_owned(), Value::Array(children));
    Value::Object(shown)
}

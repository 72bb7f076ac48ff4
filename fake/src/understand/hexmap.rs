//! The hex map's assistant: who is it, what is on the map, what is to be done, what came of it.

use serde_json::{Value, json};

use super::{
    direction::Direction,
    intent::{Intent, NewTile},
    sentence::Place,
    tiles::{Tile, find, free_below, side, step, summary, tiles, user_id},
};
use crate::{
    history::{Call, History},
    request::MessagesRequest,
    turn::Block,
};

/// Said once, however many tiles follow.
const CREATED: &str = "created the tile ";
const WRITES: [&str; 4] = ["addItem", "updateItem", "moveItem", "deleteItem"];
/// Tools that show the map, the better one first.
const OVERVIEWS: [&str; 2] = ["getItemsForRootItem", "mapItemsList"];

/// Whether the request offers a map at all.
pub fn offered(request: &MessagesRequest) -> bool {
    OVERVIEWS.iter().chain(&WRITES).any(|tool| request.tool(tool).is_some())
}

/// One thing to do on the map, and how to speak of it.
struct Deed {
    tool: &'static str,
    input: Value,
    /// "created the tile Aurora to the north-east"
    done: String,
    /// "create the tile Aurora"
    wish: String,
}

/// The next turn towards what the person wants.
pub fn plan(request: &MessagesRequest, history: &History<'_>, intent: &Intent) -> Vec<Block> {
    let map = Map { request, history };
    if let Some(tool) = writer(intent).filter(|tool| request.tool(tool).is_none()) {
        return say(&format!(
            "Changes are switched off in this conversation, so I can only look at your map ({tool} is not available to \
             me). Turn on the \u{201c}Allow changes\u{201d} switch and ask me again."
        ));
    }
    if *intent == Intent::CreateUntitled {
        return say("What should the new tile be called? For example: create a tile called \u{201c}Aurora\u{201d} to the east.");
    }
    if let Some(failed) = history.calls.iter().find(|call| call.is_error && !WRITES.contains(&call.name)) {
        return say(&format!("I am sorry, I could not look at your map. The answer was: \u{201c}{}\u{201d}", failed.text.trim()));
    }
    map.next(intent).unwrap_or_else(|| say("I am sorry, I cannot see a map in this conversation."))
}

struct Map<'a> {
    request: &'a MessagesRequest,
    history: &'a History<'a>,
}

impl Map<'_> {
    fn next(&self, intent: &Intent) -> Option<Vec<Block>> {
        let Some(user) = self.history.result("getCurrentUser") else {
            let first = Block::Text(opening(intent).to_owned());
            return Some(vec![first, self.call("getCurrentUser", json!({}))?]);
        };
        let Some(user) = user_id(user.text) else {
            return Some(say("I am sorry, I could not find out whose map this is."));
        };
        let shown = OVERVIEWS.iter().find_map(|tool| self.history.result(tool));
        if shown.is_none() && needs_map(intent) {
            let overview = OVERVIEWS.iter().find(|tool| self.request.tool(tool).is_some())?;
            return Some(vec![self.call(overview, overview_input(overview, &user))?]);
        }
        let tiles = shown.map(|call| tiles(call.text)).unwrap_or_default();
        match intent {
            Intent::List => Some(say(&summary(&tiles))),
            Intent::Read { title } => Some(self.read(&user, &tiles, title)),
            Intent::CreateUntitled
            | Intent::Create { .. }
            | Intent::Rename { .. }
            | Intent::Describe { .. }
            | Intent::Move { .. }
            | Intent::Delete { .. } => Some(self.write(intent, &user, &tiles)),
        }
    }

    fn call(&self, tool: &str, input: Value) -> Option<Block> {
        Some(Block::ToolUse { name: self.request.tool(tool)?.to_owned(), input })
    }

    fn read(&self, user: &str, tiles: &[Tile], title: &str) -> Vec<Block> {
        let Some(tile) = find(tiles, title) else { return say(&unknown(title)) };
        let call = self.call("getItemByCoords", json!({"coords": coords(user, &tile.path)}));
        let asked = self.history.result("getItemByCoords");
        let content = match (asked, call) {
            (Some(call), _) => super::tiles::tiles(call.text).first().map(|tile| tile.content.clone()),
            (None, Some(call)) => return vec![call],
            (None, None) => Some(tile.content.clone()),
        };
        match content.filter(|content| !content.is_empty()) {
            Some(content) => say(&format!("{} ({}) says:\n\n{content}", tile.title, side(&tile.path))),
            None => say(&format!("{} ({}) has no text yet.", tile.title, side(&tile.path))),
        }
    }

    /// Writes what is not yet written, then reports.
    fn write(&self, intent: &Intent, user: &str, tiles: &[Tile]) -> Vec<Block> {
        let deeds = match deeds(intent, user, tiles) {
            Ok(deeds) => deeds,
            Err(why) => return say(&why),
        };
        let results: Vec<&Call<'_>> = self.history.calls.iter().filter(|call| WRITES.contains(&call.name)).collect();
        let at_once = if matches!(intent, Intent::Create { one_by_one: true, .. }) { 1 } else { deeds.len() };
        let failed = results.iter().any(|call| call.is_error);
        if results.len() < deeds.len() && !failed {
            let due = deeds.iter().skip(results.len()).take(at_once);
            return due.filter_map(|deed| self.call(deed.tool, deed.input.clone())).collect();
        }
        say(&report(&deeds, &results))
    }
}

fn say(text: &str) -> Vec<Block> {
    vec![Block::Text(text.to_owned())]
}

fn writer(intent: &Intent) -> Option<&'static str> {
    match intent {
        Intent::Create { .. } | Intent::CreateUntitled => Some("addItem"),
        Intent::Rename { .. } | Intent::Describe { .. } => Some("updateItem"),
        Intent::Move { .. } => Some("moveItem"),
        Intent::Delete { .. } => Some("deleteItem"),
        Intent::Read { .. } | Intent::List => None,
    }
}

fn opening(intent: &Intent) -> &'static str {
    match intent {
        Intent::List | Intent::Read { .. } => "Let me look at your map.",
        Intent::Create { tiles, .. } if tiles.len() > 1 => "I will create these tiles. First I look up your map.",
        Intent::Create { .. } | Intent::CreateUntitled => "I will create that tile. First I look up your map.",
        Intent::Rename { .. } | Intent::Describe { .. } | Intent::Move { .. } | Intent::Delete { .. } => {
            "I will do that. First I look up your map."
        }
    }
}

/// A tile beside the centre can be put there blindly; everything else needs to be found first.
fn needs_map(intent: &Intent) -> bool {
    match intent {
        Intent::Create { tiles, .. } => tiles.iter().any(|tile| !matches!(tile.place, Place::Side(_))),
        Intent::CreateUntitled => false,
        Intent::Rename { .. }
        | Intent::Describe { .. }
        | Intent::Move { .. }
        | Intent::Delete { .. }
        | Intent::Read { .. }
        | Intent::List => true,
    }
}

fn overview_input(tool: &str, user: &str) -> Value {
    match tool {
        "getItemsForRootItem" => json!({"userId": user, "groupId": 0, "depth": 5}),
        _ => json!({"depth": 5}),
    }
}

fn coords(user: &str, path: &[i64]) -> Value {
    json!({"userId": user, "groupId": 0, "path": path})
}

fn unknown(title: &str) -> String {
    format!("I could not find a tile called \u{201c}{title}\u{201d} on your map.")
}

/// What is to be done, or the sentence that says why it can't be.
fn deeds(intent: &Intent, user: &str, tiles: &[Tile]) -> Result<Vec<Deed>, String> {
    let known = |title: &str| find(tiles, title).ok_or_else(|| unknown(title));
    match intent {
        Intent::Create { tiles: new, .. } => created(new, user, tiles),
        Intent::Rename { title, to } => {
            let tile = known(title)?;
            Ok(vec![update(user, tile, json!({"title": to}), format!("renamed {} to {to}", tile.title))])
        }
        Intent::Describe { title, text } => {
            let tile = known(title)?;
            Ok(vec![update(user, tile, json!({"content": text}), format!("updated the text of {}", tile.title))])
        }
        Intent::Move { title, to } => Ok(vec![moved(user, tiles, known(title)?, to)?]),
        Intent::Delete { title } => {
            let tile = known(title)?;
            Ok(vec![Deed {
                tool: "deleteItem",
                input: json!({"coords": coords(user, &tile.path)}),
                done: format!("deleted the tile {} and everything below it", tile.title),
                wish: format!("delete the tile {}", tile.title),
            }])
        }
        Intent::CreateUntitled | Intent::Read { .. } | Intent::List => Ok(Vec::new()),
    }
}

fn update(user: &str, tile: &Tile, updates: Value, done: String) -> Deed {
    Deed {
        tool: "updateItem",
        input: json!({"coords": coords(user, &tile.path), "updates": updates}),
        done,
        wish: format!("change the tile {}", tile.title),
    }
}

fn created(new: &[NewTile], user: &str, tiles: &[Tile]) -> Result<Vec<Deed>, String> {
    let mut taken = Vec::new();
    let mut deeds = Vec::with_capacity(new.len());
    for tile in new {
        let path = target(&tile.place, &[], tiles, &taken)?;
        let mut input = json!({"coords": coords(user, &path), "title": tile.title, "itemType": tile.kind});
        if let (Some(content), Some(fields)) = (&tile.content, input.as_object_mut()) {
            fields.insert("content".into(), json!(content));
        }
        let done = format!("{CREATED}{} {}", tile.title, spoken(&tile.place, &path));
        deeds.push(Deed { tool: "addItem", input, done, wish: format!("create the tile {}", tile.title) });
        taken.push(path);
    }
    Ok(deeds)
}

fn moved(user: &str, tiles: &[Tile], tile: &Tile, to: &Place) -> Result<Deed, String> {
    let parent = tile.path.split_last().map(|(_, parent)| parent).ok_or("The centre of the map cannot be moved.")?;
    let path = target(to, parent, tiles, &[])?;
    Ok(Deed {
        tool: "moveItem",
        input: json!({"oldCoords": coords(user, &tile.path), "newCoords": coords(user, &path)}),
        done: format!("moved the tile {} {}", tile.title, spoken(to, &path)),
        wish: format!("move the tile {}", tile.title),
    })
}

/// `parent`: where a direction without an anchor starts.
fn target(place: &Place, parent: &[i64], tiles: &[Tile], taken: &[Vec<i64>]) -> Result<Vec<i64>, String> {
    let full = || "There is no free place left around that tile.".to_owned();
    let known = |title: &str| find(tiles, title).ok_or_else(|| unknown(title));
    match place {
        Place::Side(direction) => Ok(step(parent, *direction)),
        Place::SideOf(direction, title) => Ok(step(&known(title)?.path, *direction)),
        Place::Of(title) => Ok(known(title)?.path.clone()),
        Place::Below(title) => free_below(tiles, &known(title)?.path, taken).ok_or_else(full),
        Place::Free => free_below(tiles, &[], taken).ok_or_else(full),
    }
}

/// Names the side that was really chosen, so that a plain "north" is no surprise.
fn spoken(place: &Place, path: &[i64]) -> String {
    let side = path.last().and_then(|step| Direction::of(*step)).map_or("centre", Direction::name);
    match place {
        Place::Side(_) | Place::Free => format!("to the {side}"),
        Place::SideOf(_, title) | Place::Below(title) => format!("to the {side} of {title}"),
        Place::Of(title) => format!("to the place of {title}"),
    }
}

/// How a result begins that says that the person has to confirm the call first.
const NOT_YET: &str = "This was not done yet.";

fn report(deeds: &[Deed], results: &[&Call<'_>]) -> String {
    let pairs = || deeds.iter().zip(results);
    let is_done = |call: &Call<'_>| !call.is_error && !call.text.starts_with(NOT_YET);
    let done: Vec<&str> = pairs().filter(|(_, call)| is_done(call)).map(|(deed, _)| deed.done.as_str()).collect();
    let mut sentences = Vec::new();
    if let Some((first, others)) = done.split_first() {
        let others = others.iter().map(|done| done.strip_prefix(CREATED).unwrap_or(done));
        let spoken: Vec<&str> = std::iter::once(*first).chain(others).collect();
        sentences.push(format!("I {}.", joined(&spoken)));
    }
    for (deed, call) in pairs().filter(|(_, call)| call.is_error) {
        sentences.push(format!("I am sorry, I could not {}. The answer was: \u{201c}{}\u{201d}", deed.wish, call.text.trim()));
    }
    for (deed, _) in pairs().filter(|(_, call)| !call.is_error && call.text.starts_with(NOT_YET)) {
        sentences.push(format!("It waits for your confirmation that I {}.", deed.wish));
    }
    sentences.join(" ")
}

/// "A", "A and B", "A, B and C".
pub fn joined(items: &[&str]) -> String {
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

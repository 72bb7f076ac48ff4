//! Reads what the map's tools answer, however it is wrapped.

use serde_json::Value;

use super::direction::Direction;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    pub title: String,
    pub content: String,
    pub path: Vec<i64>,
}

/// The first JSON document in a text; a gateway may have put words around it.
pub fn json_in(text: &str) -> Option<Value> {
    let start = text.find(['{', '['])?;
    serde_json::Deserializer::from_str(text.get(start..)?).into_iter().next()?.ok()
}

/// The id the map knows the user by.
pub fn user_id(text: &str) -> Option<String> {
    let user = json_in(text)?;
    let user = user.get("user").unwrap_or(&user);
    let id = user.get("mappingId").filter(|id| !id.is_null()).or_else(|| user.get("id"))?;
    id.as_str().map(str::to_owned).or_else(|| id.as_u64().map(|number| number.to_string()))
}

/// Every tile of a tree or list, parents first.
pub fn tiles(text: &str) -> Vec<Tile> {
    let mut found = Vec::new();
    if let Some(document) = json_in(text) {
        collect(&document, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut Vec<Tile>) {
    if let Some(list) = value.as_array() {
        list.iter().for_each(|item| collect(item, found));
        return;
    }
    let Some(fields) = value.as_object() else { return };
    found.extend(tile(value));
    fields.values().for_each(|field| collect(field, found));
}

fn tile(value: &Value) -> Option<Tile> {
    let title = value.get("title")?.as_str()?.to_owned();
    let content = value.get("content").and_then(Value::as_str).unwrap_or_default().to_owned();
    let path = path(value.get("coordinates").or_else(|| value.get("coords"))?)?;
    Some(Tile { title, content, path })
}

/// From `"user,0:1,2"` or from `{"path":[1,2]}`.
fn path(coordinates: &Value) -> Option<Vec<i64>> {
    if let Some(list) = coordinates.get("path").and_then(Value::as_array) {
        return list.iter().map(Value::as_i64).collect();
    }
    match coordinates.as_str()?.split_once(':') {
        None | Some((_, "")) => Some(Vec::new()),
        Some((_, steps)) => steps.split(',').map(|step| step.trim().parse().ok()).collect(),
    }
}

/// The tile of that title: the same words first, then the only one that contains them.
pub fn find<'t>(tiles: &'t [Tile], title: &str) -> Option<&'t Tile> {
    let wanted = title.to_lowercase();
    if let Some(same) = tiles.iter().find(|tile| tile.title.to_lowercase() == wanted) {
        return Some(same);
    }
    let mut like = tiles.iter().filter(|tile| tile.title.to_lowercase().contains(&wanted));
    like.next().filter(|_| like.next().is_none())
}

/// A neighbour below `parent` that neither the map nor `taken` holds.
pub fn free_below(tiles: &[Tile], parent: &[i64], taken: &[Vec<i64>]) -> Option<Vec<i64>> {
    Direction::ALL
        .iter()
        .map(|direction| step(parent, *direction))
        .find(|path| !taken.contains(path) && !tiles.iter().any(|tile| tile.path == *path))
}

pub fn step(parent: &[i64], direction: Direction) -> Vec<i64> {
    let mut path = parent.to_vec();
    path.push(direction.number());
    path
}

/// The map in words, one line for each tile.
pub fn summary(tiles: &[Tile]) -> String {
    let Some((root, below)) = tiles.split_first() else { return "Your map is empty.".to_owned() };
    if below.is_empty() {
        return format!("Your map \u{201c}{}\u{201d} has no tiles around its centre yet.", root.title);
    }
    let count = below.len();
    let noun = if count == 1 { "tile" } else { "tiles" };
    let mut text = format!("Your map \u{201c}{}\u{201d} has {count} {noun}:\n", root.title);
    for tile in below {
        let indent = "  ".repeat(tile.path.len().saturating_sub(1));
        text.push_str(&format!("\n{indent}- **{}** ({})", tile.title, side(&tile.path)));
    }
    text
}

/// Where a tile lies, seen from its parent.
pub fn side(path: &[i64]) -> &'static str {
    match path.last() {
        None => "centre",
        Some(0) => "plan",
        Some(step) => Direction::of(step.abs()).map_or("inside", Direction::name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_lists_and_wrapped_answers_are_read() {
        let tree = r#"Untrusted: {"title":"Root","coordinates":"u,0","children":[
            {"title":"A","coordinates":"u,0:2","content":"x","children":[{"title":"B","coordinates":{"path":[2,-1]}}]}]} end"#;
        let read: Vec<(String, Vec<i64>)> = tiles(tree).into_iter().map(|tile| (tile.title, tile.path)).collect();
        assert_eq!(read, [("Root".into(), vec![]), ("A".into(), vec![2]), ("B".into(), vec![2, -1])]);
        assert_eq!(user_id(r#"{"id":"abc","mappingId":null}"#).as_deref(), Some("abc"));
        assert_eq!(user_id(r#"{"id":"abc","mappingId":7}"#).as_deref(), Some("7"));
        assert_eq!(user_id("nothing"), None);
    }

    #[test]
    fn a_free_place_is_neither_on_the_map_nor_taken() {
        let tree = tiles(r#"[{"title":"A","coords":{"path":[1]}},{"title":"B","coords":{"path":[3]}}]"#);
        assert_eq!(free_below(&tree, &[], &[vec![2]]), Some(vec![4]));
        assert_eq!(free_below(&tree, &[1], &[]), Some(vec![1, 1]));
    }
}

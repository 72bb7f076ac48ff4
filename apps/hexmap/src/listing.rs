//! Answers that list tiles, no longer than what reaches a model whole: what the gateway would cut in the middle is no JSON any more. An
//! answer that would be longer leaves contents out, then the deepest tiles, and says so, and how to see the rest.

use crate::arguments::{FIELDS, Fields};
use crate::coord::Coord;
use crate::map::{Extent, LISTED_MAX, MapError, Maps};
use crate::tile::Tile;
use crate::tools;
use serde_json::{Value, json};
use std::fmt::{self, Write};

/// Characters of an answer as JavaScript counts them. The gateway passes 44,000 on, its own mark among them.
const ANSWER_UNITS_MAX: i64 = 40_000;
/// What is left of a tile where nothing else fits.
const NAMES: [&str; 3] = ["id", "title", "coordinates"];

/// A tile with what lies below it, as much as fits.
pub(crate) async fn tree(maps: &Maps, top: &Coord, depth: usize, fields: &Fields) -> Result<Value, MapError> {
    let short = without_content(fields);
    // What can't fit however short its texts are is not opened.
    let whole = Extent { depth, texts: fields.texts(), tiles_max: tiles_max(fields) };
    let (tiles, complete) = match maps.subtree(top, whole).await {
        Ok(tiles) => match part(&tiles, depth, fields, None) {
            Some(answer) => return Ok(answer),
            None => (tiles, true),
        },
        Err(MapError::TooLarge) => fewer(maps, top, depth, &short).await?,
        Err(error) => return Err(error),
    };
    let contents = fields.holds("content").then_some("contents");
    let levels = levels_of(&tiles);
    for levels_shown in (1..=levels.max(1)).rev() {
        let all = complete && levels_shown >= levels;
        // Without contents there is nothing else to leave out than steps.
        if all && contents.is_none() {
            continue;
        }
        let more = rest(contents, if all { depth } else { levels_shown }, depth);
        if let Some(answer) = part(&tiles, levels_shown, &short, Some(more)) {
            return Ok(answer);
        }
    }
    let names = Fields::Some(NAMES.map(str::to_owned).to_vec());
    let tiles = maps.subtree(top, Extent { texts: names.texts(), ..Extent::down_to(1) }).await?;
    part(&tiles, 1, &names, Some(rest(Some("all but names"), 1, depth))).ok_or(MapError::TooLarge)
}

/// As many whole levels as may fit and can be read, and whether those are all there are.
async fn fewer(maps: &Maps, top: &Coord, depth: usize, fields: &Fields) -> Result<(Vec<Tile>, bool), MapError> {
    let most = tiles_max(fields);
    let levels = maps.count_levels(top, depth, most).await?;
    let may_fit = |shown: &usize| levels.iter().take(*shown).fold(1_i64, |sum, count| sum.saturating_add(*count)) <= most;
    for shown in (1..=levels.len().max(1)).rev().filter(may_fit) {
        match maps.subtree(top, Extent { depth: shown, texts: fields.texts(), tiles_max: most }).await {
            Ok(tiles) => return Ok((tiles, shown >= levels.len())),
            Err(MapError::TooLarge) => {}
            Err(error) => return Err(error),
        }
    }
    Err(MapError::TooLarge)
}

/// How many levels there are below the first of these.
fn levels_of(tiles: &[Tile]) -> usize {
    let depths = || tiles.iter().map(|tile| tile.coord.path.depth());
    depths().max().unwrap_or(0).saturating_sub(depths().next().unwrap_or(0))
}

/// What is shown of the first of these tiles and so many levels below it, if that fits.
fn part(tiles: &[Tile], levels: usize, fields: &Fields, more: Option<String>) -> Option<Value> {
    let first = tiles.first()?;
    let above = first.coord.path.depth();
    let within = |tile: &&Tile| tile.coord.path.depth() <= above.saturating_add(levels);
    // Counted before anything is made of it: most of what does not fit is far too long.
    let least = tiles.iter().filter(within).map(|tile| least_of(tile, above, fields)).fold(0, i64::saturating_add);
    if least > ANSWER_UNITS_MAX {
        return None;
    }
    let mut answer = tools::nest(first, &mut tiles.iter().skip(1).filter(within).peekable(), fields);
    if let (Some(shown), Some(more)) = (answer.as_object_mut(), more) {
        shown.insert("more".to_owned(), Value::String(more));
    }
    fits(&answer).then_some(answer)
}

/// What a move changed: as many tiles as fit, and how many there are.
pub(crate) fn moved(mut items: Vec<Value>, id: &str, count: u64) -> Value {
    loop {
        let answer = json!({"modifiedItems": items, "movedItemId": id, "affectedCount": count});
        if items.len() <= 1 || fits(&answer) {
            return answer;
        }
        items.truncate(items.len() / 2);
    }
}

fn fits(answer: &Value) -> bool {
    let mut units = Units(0);
    write!(units, "{answer:#}").is_ok() && i64::try_from(units.0).is_ok_and(|units| units <= ANSWER_UNITS_MAX)
}

/// Counts what is written as JavaScript would.
struct Units(usize);

impl Write for Units {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let units = if text.is_ascii() { text.len() } else { text.chars().map(char::len_utf16).sum() };
        self.0 = self.0.saturating_add(units);
        Ok(())
    }
}

/// Characters that a tile has at least with these fields: their names, and what stands around each with the shortest value.
fn least(fields: &Fields) -> i64 {
    const AROUND_FIELD: usize = 10;
    const AROUND_TILE: usize = 19;
    let names = FIELDS.iter().filter(|field| fields.holds(field)).map(|field| field.len() + AROUND_FIELD).sum::<usize>();
    i64::try_from(names + AROUND_TILE).unwrap_or(i64::MAX)
}

/// Tiles of an answer at most, however short their texts are.
fn tiles_max(fields: &Fields) -> i64 {
    (ANSWER_UNITS_MAX / least(fields)).min(LISTED_MAX)
}

/// Characters that this very tile has at least, `above` being the depth of the answer's first: its texts, and four spaces before each
/// of its lines for each step between them.
fn least_of(tile: &Tile, above: usize, fields: &Fields) -> i64 {
    const INDENT: usize = 4;
    const LINES_BESIDE_FIELDS: usize = 3;
    let optional = |text: &Option<String>| text.as_deref().map_or(0, |text| text.chars().count());
    let texts = [
        ("id", tile.id.chars().count()),
        ("title", tile.title.chars().count()),
        ("content", tile.content.chars().count()),
        ("preview", optional(&tile.preview)),
        ("link", optional(&tile.link)),
        ("coordinates", tile.coord.user.len()),
        ("ownerId", tile.coord.user.len()),
    ];
    let shown = texts.iter().filter(|(field, _)| fields.holds(field)).map(|(_, chars)| chars).sum::<usize>();
    let lines = FIELDS.iter().filter(|field| fields.holds(field)).count().saturating_add(LINES_BESIDE_FIELDS);
    let steps = tile.coord.path.depth().saturating_sub(above);
    let chars = shown.saturating_add(steps.saturating_mul(INDENT).saturating_mul(lines));
    least(fields).saturating_add(i64::try_from(chars).unwrap_or(i64::MAX))
}

fn without_content(fields: &Fields) -> Fields {
    let kept = FIELDS.iter().filter(|field| **field != "content" && fields.holds(field));
    Fields::Some(kept.map(|field| (*field).to_owned()).collect())
}

/// What is missing, and how it is to be had.
fn rest(fields: Option<&str>, shown: usize, wanted: usize) -> String {
    let deeper = format!("what lies deeper than {shown} of {wanted} steps");
    let left_out = match fields {
        Some(fields) if shown < wanted => format!("{fields} were left out, and {deeper}"),
        Some(fields) => format!("{fields} were left out"),
        None => format!("{deeper} was left out"),
    };
    format!(
        "This part of the map is too large for one answer, so {left_out}. For a tile's content call \
         getItemByCoords; for what lies below a tile call mapItemsList with its id as rootId."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coord::Path;
    use crate::tile::{ItemType, Visibility};

    fn tile(path: &[i64], text: &str) -> Tile {
        Tile {
            id: text.to_owned(),
            coord: Coord::new("u", 0, Path::new(path).expect("a path")).expect("a place"),
            parent_id: None,
            title: text.to_owned(),
            content: text.to_owned(),
            preview: (!text.is_empty()).then(|| text.to_owned()),
            link: None,
            item_type: ItemType::User,
            visibility: Visibility::default(),
            version: 1,
            unseen: false,
        }
    }

    #[test]
    fn no_tile_is_shorter_than_it_has_to_be() {
        let names = Fields::Some(NAMES.map(str::to_owned).to_vec());
        for fields in [&Fields::All, &without_content(&Fields::All), &names] {
            let mut shown = tile(&[], "").to_json(|field| fields.holds(field));
            shown.insert("children".to_owned(), json!([]));
            let length = format!("{:#}", Value::Object(shown)).chars().count();
            assert!(i64::try_from(length).is_ok_and(|length| length >= least(fields)), "{length} < {}", least(fields));
        }
    }

    #[test]
    fn what_is_counted_beforehand_is_never_more_than_there_is() {
        let names = Fields::Some(NAMES.map(str::to_owned).to_vec());
        for text in ["", "a", "\u{e9}\u{1f600}\"\n"] {
            let paths: [&[i64]; 6] = [&[2], &[2, 1], &[2, 1, -3], &[2, 1, -3, 4], &[2, 5], &[2, 6]];
            let tiles = paths.map(|path| tile(path, text));
            for fields in [&Fields::All, &without_content(&Fields::All), &names, &Fields::Some(vec!["depth".to_owned()])] {
                let answer = part(&tiles, 9, fields, None).expect("it fits");
                let length = i64::try_from(format!("{answer:#}").encode_utf16().count()).expect("a length");
                let least = tiles.iter().map(|tile| least_of(tile, 1, fields)).sum::<i64>();
                assert!(least <= length && least > length / 2, "{least} of {length}: {answer:#}");
            }
        }
    }

    #[test]
    fn what_a_move_changed_is_listed_as_far_as_it_fits() {
        let items = |number: usize| vec![json!({"title": "\u{1f600}".repeat(200)}); number];
        let few = moved(items(3), "a", 3);
        assert_eq!(few.pointer("/modifiedItems").and_then(Value::as_array).map(Vec::len), Some(3));
        let many = moved(items(100), "a", 500);
        let listed = many.pointer("/modifiedItems").and_then(Value::as_array).map(Vec::len);
        assert!(fits(&many) && listed.is_some_and(|listed| (40..100).contains(&listed)), "{listed:?}");
        assert_eq!(many.get("affectedCount"), Some(&json!(500)), "the count tells of the others");
    }
}

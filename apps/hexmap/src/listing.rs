//! Answers that list tiles, no longer than what reaches a model whole: what the gateway would cut in the middle is no JSON any more. An
//! answer that would be longer leaves contents out, then the deepest tiles, and says so, and how to see the rest.

use crate::arguments::{FIELDS, Fields};
use crate::coord::Coord;
use crate::map::{MapError, Maps};
use crate::tools;
use serde_json::{Value, json};

/// Characters of an answer as JavaScript counts them. The gateway passes 44,000 on, its own mark among them.
const ANSWER_UNITS_MAX: i64 = 40_000;
/// What is left of a tile where nothing else fits.
const NAMES: [&str; 3] = ["id", "title", "coordinates"];

/// A tile with what lies below it, as much as fits.
pub(crate) async fn tree(maps: &Maps, top: &Coord, depth: usize, fields: &Fields) -> Result<Value, MapError> {
    let levels = maps.count_levels(top, depth, ANSWER_UNITS_MAX).await?;
    // What can't fit however short its texts are is not read.
    let may_fit = |shown: usize, fields: &Fields| {
        let tiles = levels.iter().take(shown).fold(1_i64, |sum, count| sum.saturating_add(*count));
        tiles.saturating_mul(least(fields)) <= ANSWER_UNITS_MAX
    };
    if may_fit(depth, fields) {
        match tools::subtree(maps, top, depth, fields).await {
            Ok(whole) if fits(&whole) => return Ok(whole),
            Ok(_) | Err(MapError::TooLarge) => {}
            Err(error) => return Err(error),
        }
    }
    let (short, names) = (without_content(fields), Fields::Some(NAMES.map(str::to_owned).to_vec()));
    let shorter = (1..=depth).rev().map(|shown| (shown, &short, "contents")).chain([(1, &names, "all but names")]);
    for (shown, kept, left_out) in shorter.filter(|(shown, kept, _)| may_fit(*shown, kept)) {
        let mut part = match tools::subtree(maps, top, shown, kept).await {
            Ok(part) => part,
            Err(MapError::TooLarge) => continue,
            Err(error) => return Err(error),
        };
        if let Some(fields) = part.as_object_mut() {
            fields.insert("more".to_owned(), Value::String(rest(left_out, shown, depth)));
        }
        if fits(&part) {
            return Ok(part);
        }
    }
    Err(MapError::TooLarge)
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
    let units = format!("{answer:#}").chars().map(char::len_utf16).sum::<usize>();
    i64::try_from(units).is_ok_and(|units| units <= ANSWER_UNITS_MAX)
}

/// Characters that a tile has at least with these fields: their names, and what stands around each with the shortest value.
fn least(fields: &Fields) -> i64 {
    const AROUND_FIELD: usize = 10;
    const AROUND_TILE: usize = 19;
    let names = FIELDS.iter().filter(|field| fields.holds(field)).map(|field| field.len() + AROUND_FIELD).sum::<usize>();
    i64::try_from(names + AROUND_TILE).unwrap_or(i64::MAX)
}

fn without_content(fields: &Fields) -> Fields {
    let kept = FIELDS.iter().filter(|field| **field != "content" && fields.holds(field));
    Fields::Some(kept.map(|field| (*field).to_owned()).collect())
}

/// What is missing, and how it is to be had.
fn rest(left_out: &str, shown: usize, wanted: usize) -> String {
    let deeper = if shown < wanted { format!(", and what lies deeper than {shown} of {wanted} steps") } else { String::new() };
    format!(
        "This part of the map is too large for one answer, so {left_out} were left out{deeper}. For a tile's content call \
         getItemByCoords; for what lies below a tile call mapItemsList with its id as rootId."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coord::Path;
    use crate::tile::{ItemType, Tile, Visibility};

    #[test]
    fn no_tile_is_shorter_than_it_has_to_be() {
        let names = Fields::Some(NAMES.map(str::to_owned).to_vec());
        for fields in [&Fields::All, &without_content(&Fields::All), &names] {
            let tile = Tile {
                id: String::new(),
                coord: Coord::new("u", 0, Path::root()).expect("a place"),
                parent_id: None,
                title: String::new(),
                content: String::new(),
                preview: None,
                link: None,
                item_type: ItemType::User,
                visibility: Visibility::default(),
                version: 1,
                unseen: false,
            };
            let mut shown = tile.to_json();
            fields.keep(&mut shown);
            shown.insert("children".to_owned(), json!([]));
            let length = format!("{:#}", Value::Object(shown)).chars().count();
            assert!(i64::try_from(length).is_ok_and(|length| length >= least(fields)), "{length} < {}", least(fields));
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

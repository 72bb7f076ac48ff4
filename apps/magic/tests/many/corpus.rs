//! The real game's cards, out of a package that `scripts/setup.sh cards` installs and that is never part of this repository, in the
//! form of Scryfall's file. The package knows no mana values, legalities or ids, and of a card with two faces only the front.

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What we read of a card there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    mana_cost: Option<String>,
    #[serde(rename = "type")]
    type_line: String,
    keywords: Option<Vec<String>>,
    power: Option<String>,
    toughness: Option<String>,
    loyalty: Option<String>,
    text: Option<String>,
    layout: String,
    color_identity: Vec<String>,
}

/// Where it is below the repository's root; none where it was not installed.
pub fn installed(root: &Path) -> Option<PathBuf> {
    let path = root.join(".hexward/cards/oracle_corpus.json");
    path.is_file().then_some(path)
}

/// The corpus as Scryfall would write it. `legalities` are added to the cards of these names.
///
/// # Errors
/// If it is not that corpus.
pub fn as_scryfall(corpus: &[u8], legalities: &BTreeMap<&str, Value>) -> serde_json::Result<Vec<u8>> {
    let entries: Vec<Entry> = serde_json::from_slice(corpus)?;
    let cards: Vec<Value> = (0_u32..).zip(&entries).map(|(at, entry)| card(at, entry, legalities)).collect();
    serde_json::to_vec(&cards)
}

fn card(at: u32, entry: &Entry, legalities: &BTreeMap<&str, Value>) -> Value {
    let cost = entry.mana_cost.as_deref().unwrap_or_default();
    let mut card = json!({
        "oracle_id": format!("corpus-{at}"), "lang": "en", "name": entry.name, "layout": entry.layout, "cmc": mana_value(cost),
        "type_line": entry.type_line, "colors": colors(cost), "color_identity": entry.color_identity,
        "keywords": entry.keywords.as_deref().unwrap_or_default(), "legalities": legalities.get(entry.name.as_str()).unwrap_or(&Value::Null),
    });
    let front = json!({
        "mana_cost": cost, "oracle_text": entry.text, "power": entry.power, "toughness": entry.toughness, "loyalty": entry.loyalty,
    });
    let Some(fields) = card.as_object_mut() else { return card };
    let Some((one, other)) = entry.name.split_once(" // ") else {
        fields.extend(front.as_object().cloned().unwrap_or_default());
        return card;
    };
    let mut first = front;
    if let Some(first) = first.as_object_mut() {
        first.extend([("name".to_owned(), json!(one)), ("type_line".to_owned(), json!(entry.type_line))]);
    }
    fields.insert("card_faces".to_owned(), json!([first, {"name": other, "oracle_text": ""}]));
    card
}

fn colors(cost: &str) -> Vec<char> {
    ['W', 'U', 'B', 'R', 'G'].into_iter().filter(|letter| cost.contains(*letter)).collect()
}

/// Of each symbol the dearest way to pay it; what is not known yet (`X`) is 0.
fn mana_value(cost: &str) -> f64 {
    let symbols = cost.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(symbol, _)| symbol);
    let dearest = |symbol: &str| symbol.split('/').map(of_part).fold(0.0, f64::max);
    symbols.map(dearest).sum()
}

fn of_part(part: &str) -> f64 {
    match part {
        "X" | "Y" | "Z" | "P" | "D" | "L" => 0.0,
        "HW" => 0.5,
        other => other.parse().unwrap_or(1.0),
    }
}

//! The tools as they are offered: what each is called, is for and takes.

use crate::{deck, formats};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use std::sync::LazyLock;

pub(crate) const QUERY_CHARS_MAX: usize = 100;
pub(crate) const KEYWORD_CHARS_MAX: usize = 50;
pub(crate) const NAME_CHARS_MAX: usize = 200;
pub(crate) const PAGE_MAX: u32 = 10_000;
pub(crate) const FILTERS: [&str; 9] =
    ["colors", "colorMatch", "identity", "type", "manaValue", "manaValueMin", "manaValueMax", "format", "keyword"];

/// One of them.
pub(crate) struct Definition {
    /// What the model calls.
    pub(crate) name: &'static str,
    title: &'static str,
    description: &'static str,
    required: &'static [&'static str],
    /// Its arguments.
    pub(crate) properties: Value,
}

/// Every tool, always in the same order.
pub(crate) fn all() -> &'static [Definition] {
    static ALL: LazyLock<Vec<Definition>> = LazyLock::new(|| lookups().into_iter().chain(of_decks()).chain([status()]).collect());
    &ALL
}

fn define(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    required: &'static [&'static str],
    properties: Value,
) -> Definition {
    Definition { name, title, description, required, properties }
}

fn lookups() -> [Definition; 3] {
    [
        define(
            "mtg_card_search",
            "Search cards",
            "Cards whose name, type line or rules text holds every word of the query and that pass the filters; ten a page, the best first.",
            &[],
            json!({"query": text(QUERY_CHARS_MAX, "Words of the name, type or rules text; empty with filters alone"), "filters": filters(), "page": page()}),
        ),
        define(
            "mtg_card_details",
            "Read a card",
            "One card with its whole text, both faces, its legality in every format and its rulings.",
            &["name"],
            json!({"name": text(NAME_CHARS_MAX, "The card's name, or that of one of its faces")}),
        ),
        define(
            "mtg_rules_lookup",
            "Look up rules",
            "A rule with all below it by its number, or what the rules and their glossary say about a keyword; five a page.",
            &[],
            json!({
                "ruleNumber": text(12, "Like 702, 702.9 or 702.9a"), "keyword": text(KEYWORD_CHARS_MAX, "Like flying or combat damage"),
                "page": page(),
            }),
        ),
    ]
}

fn of_decks() -> [Definition; 5] {
    let deck = || json!({"deck": deck_text()});
    [
        define(
            "mtg_deck_parse",
            "Read a deck list",
            "What a deck list holds by section, and every line that is not understood.",
            &["deck"],
            deck(),
        ),
        define(
            "mtg_deck_analyze",
            "Analyse a deck",
            "Curve, colours, mana sources, types, lands and the probabilities of opening hands and land drops.",
            &["deck"],
            deck(),
        ),
        define(
            "mtg_deck_legality",
            "Check a deck's legality",
            "Whether a deck may be played in a format, and why not: sizes, copies, banned cards, a commander's colours. Without a format: \
             the verdict in every one.",
            &["deck"],
            json!({"deck": deck_text(), "format": format()}),
        ),
        define(
            "mtg_deck_advice",
            "What advice can build on",
            "What stands out in a deck against rules of thumb, what it has little of, and cards that would do that.",
            &["deck"],
            json!({"deck": deck_text(), "format": format()}),
        ),
        define(
            "mtg_draw_odds",
            "Probability of draws",
            "The probability to draw at least so many of some cards: hypergeometric, without putting back.",
            &["copies"],
            json!({
                "deckSize": whole(1, 1000, "Cards in the deck; 60 by default"), "copies": whole(0, 1000, "How many of the wanted cards it has"),
                "draws": whole(1, 1000, "Cards drawn; 7 by default"), "atLeast": whole(0, 1000, "How many of them are wanted; 1 by default"),
            }),
        ),
    ]
}

fn status() -> Definition {
    define(
        "mtg_data_status",
        "Age of the data",
        "Which cards and rules there are, where they come from, how old they are, and the notices that go with them.",
        &[],
        json!({}),
    )
}

fn text(chars_max: usize, what: &str) -> Value {
    json!({"type": "string", "maxLength": chars_max, "description": what})
}

/// Models send numbers as text too, and clients compare what they send with the schema before they send it.
fn whole(least: u32, most: u32, what: &str) -> Value {
    let pattern = "^\\s*[+]?[0-9]+\\s*$";
    json!({"type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": pattern, "description": what})
}

fn page() -> Value {
    whole(1, PAGE_MAX, "Which page; 1 is the first")
}

fn deck_text() -> Value {
    text(
        deck::CHARS_MAX,
        "One card a line, like `4 Name`; sections like Commander, Deck, Sideboard on lines of their own. Keep the lines as the person wrote them",
    )
}

fn format() -> Value {
    json!({"type": "string", "maxLength": 30, "description": format!("The format's name: {}", formats::names().join(", "))})
}

fn filters() -> Value {
    let letters = || {
        json!({"type": ["array", "string"], "items": {"type": "string"}, "maxItems": 6,
               "description": "Some of W, U, B, R, G and C, which is colourless"})
    };
    let mana = |what: &str| json!({"type": ["number", "string"], "minimum": 0, "description": what});
    let mut properties = json!({
            "colors": letters(),
            "colorMatch": {"type": "string", "enum": ["including", "exactly", "at_most"], "description": "How colors are compared; including by default"},
            "identity": letters(),
            "type": text(60, "Words of the type line, like Legendary Creature"),
            "manaValue": mana("The mana value"), "manaValueMin": mana("The least mana value"), "manaValueMax": mana("The greatest mana value"),
            "format": format(), "keyword": text(40, "A keyword of the card, like Flying"),
    });
    nullable(&mut properties, &[]);
    json!({
        "type": ["object", "string"], "additionalProperties": false, "description": "All of them must hold", "properties": properties,
    })
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
        tool.annotations = Some(ToolAnnotations::from_raw(None, Some(true), Some(false), Some(true), Some(false)));
        tool
    }
}

/// The same as the protocol lists them.
pub(crate) fn list() -> &'static [Tool] {
    static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| all().iter().map(Definition::to_tool).collect());
    &TOOLS
}

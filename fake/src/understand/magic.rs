//! The Magic assistant: card searches and rules questions.

use serde_json::{Map, Value, json};

use super::{
    hexmap::joined,
    tiles::json_in,
    words::{Word, number, words},
};
use crate::{
    history::{Call, History},
    request::MessagesRequest,
    turn::{Block, head},
};

const SEARCHES: [&str; 3] = ["searchCards", "mtg_card_search", "search_cards"];
const RULES: [&str; 3] = ["lookupRules", "mtg_rules_lookup", "lookup_rules"];
/// Bounds of the tools' own contracts.
const QUERY_BYTES_MAX: usize = 100;
const KEYWORD_BYTES_MAX: usize = 50;
const NAMES_MAX: usize = 10;

const COLORS: [(&str, &str); 5] = [("white", "W"), ("blue", "U"), ("black", "B"), ("red", "R"), ("green", "G")];
const TYPES: [&str; 8] = ["Instant", "Sorcery", "Creature", "Enchantment", "Artifact", "Planeswalker", "Land", "Battle"];
/// Words that carry no meaning for a search.
const EMPTY: [&str; 34] = [
    "find", "search", "show", "look", "up", "for", "me", "all", "some", "any", "a", "an", "the", "card", "cards", "that",
    "which", "with", "and", "or", "of", "in", "please", "can", "you", "what", "are", "there", "is", "to", "i", "want", "my",
    "exactly",
];
/// Words that announce a mana value.
const COSTS: [&str; 9] = ["cost", "costs", "costing", "cmc", "mana", "value", "one-drop", "drop", "drops"];

/// The next turn, when the request offers these tools and the text is about cards or rules.
pub fn plan(request: &MessagesRequest, history: &History<'_>, asked: &str) -> Option<Vec<Block>> {
    let words = words(asked);
    let about_rules = words.iter().any(|word| word.is(&["rule", "rules"]));
    let tools: &[&str] = if about_rules { &RULES } else { &SEARCHES };
    let (tool, name) = tools.iter().find_map(|tool| Some((*tool, request.tool(tool)?)))?;
    let text = match history.calls.iter().find(|call| call.name == tool) {
        Some(call) if call.is_error => {
            format!("I am sorry, that did not work. The answer was: \u{201c}{}\u{201d}", call.text.trim())
        }
        Some(call) if about_rules => format!("This is what I found in the rules:\n\n{}", call.text.trim()),
        Some(call) => found(call),
        None => {
            let input = if about_rules { rule(&words) } else { search(&words)? };
            let first = Block::Text("Let me look that up.".into());
            return Some(vec![first, Block::ToolUse { name: name.to_owned(), input }]);
        }
    };
    Some(vec![Block::Text(text)])
}

/// `None`: nothing in the text asks for cards.
fn search(words: &[Word]) -> Option<Value> {
    let colors: Vec<&str> = COLORS.iter().filter(|(name, _)| names(words, name)).map(|(_, letter)| *letter).collect();
    let kind = TYPES.iter().find(|kind| names(words, &kind.to_lowercase()));
    let mana_value = mana_value(words);
    let asks = words.iter().any(|word| word.is(&["find", "search", "card", "cards", "look"]));
    if !asks && kind.is_none() {
        return None;
    }
    let mut filters = Map::new();
    if !colors.is_empty() {
        filters.insert("colors".into(), json!(colors));
    }
    if let Some(kind) = kind {
        filters.insert("type".into(), json!(kind));
    }
    if let Some(value) = mana_value {
        filters.insert("manaValue".into(), json!(value));
    }
    let rest: Vec<&str> = words.iter().filter(|word| carries_meaning(word)).map(|word| word.text.as_str()).collect();
    let fallback = kind.map_or_else(|| "card".to_owned(), |kind| kind.to_lowercase());
    let query = if rest.is_empty() { fallback } else { rest.join(" ") };
    Some(json!({"query": head(&query, QUERY_BYTES_MAX), "filters": filters}))
}

fn names(words: &[Word], singular: &str) -> bool {
    let plural = singular.strip_suffix('y').map_or_else(|| format!("{singular}s"), |stem| format!("{stem}ies"));
    words.iter().any(|word| word.is(&[singular, &plural]))
}

fn carries_meaning(word: &Word) -> bool {
    let one = std::slice::from_ref(word);
    word.quoted
        || !(word.is(&EMPTY)
            || word.is(&COSTS)
            || number(&word.low).is_some()
            || COLORS.iter().any(|(name, _)| names(one, name))
            || TYPES.iter().any(|kind| names(one, &kind.to_lowercase())))
}

/// "cost one", "mana value of 3", "two mana".
fn mana_value(words: &[Word]) -> Option<u64> {
    words.iter().enumerate().find_map(|(at, word)| {
        let value = number(&word.low)?;
        let before = words.get(at.saturating_sub(3)..at).unwrap_or_default();
        let after = words.get(at + 1).is_some_and(|word| word.is(&COSTS));
        (after || before.iter().any(|word| word.is(&COSTS))).then_some(value)
    })
}

fn rule(words: &[Word]) -> Value {
    let number = words.iter().find(|word| word.low.starts_with(|letter: char| letter.is_ascii_digit()));
    if let Some(number) = number {
        return json!({"ruleNumber": number.low});
    }
    const ABOUT: [&str; 8] = ["rule", "rules", "say", "does", "do", "how", "about", "work"];
    let rest: Vec<&str> =
        words.iter().filter(|word| carries_meaning(word) && !word.is(&ABOUT)).map(|word| word.text.as_str()).collect();
    json!({"keyword": head(&rest.join(" "), KEYWORD_BYTES_MAX)})
}

fn found(call: &Call<'_>) -> String {
    let document = json_in(call.text).unwrap_or_default();
    let mut cards = Vec::new();
    collect(&document, &mut cards);
    cards.truncate(NAMES_MAX);
    let total = document.get("total").and_then(Value::as_u64);
    let more = total.filter(|total| u64::try_from(cards.len()).is_ok_and(|shown| *total > shown));
    match (cards.len(), more) {
        (0, _) => "I found no card like that.".to_owned(),
        (1, None) => format!("I found one card: {}.", joined(&cards)),
        (count, None) => format!("I found {count} cards: {}.", joined(&cards)),
        (count, Some(total)) => format!("I found {total} cards. The first {count} are {}.", joined(&cards)),
    }
}

/// The `name` of each object, without the faces of a card.
fn collect<'v>(value: &'v Value, names: &mut Vec<&'v str>) {
    if let Some(name) = value.get("name").and_then(Value::as_str) {
        if !names.contains(&name) {
            names.push(name);
        }
        return;
    }
    value.as_array().into_iter().flatten().for_each(|item| collect(item, names));
    value.as_object().into_iter().flatten().for_each(|(_, field)| collect(field, names));
}

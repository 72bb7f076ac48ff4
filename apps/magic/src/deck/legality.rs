//! Whether a deck may be played in a format, and every reason why not.

use super::{Deck, Section};
use crate::card::{Card, Colors};
use crate::catalog::Catalog;
use crate::formats::{Format, Legality};
use crate::text::clip;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PROBLEMS_MAX: usize = 25;
const NOT_CHECKED: [&str; 3] = ["what a companion asks for", "pairs of commanders", "points and house rules"];
/// What counts for the number of copies.
const PLAYED: [Section; 4] = [Section::Commander, Section::Main, Section::Sideboard, Section::Companion];

/// The judgement, as the tool tells it. `at` is the format's bit.
#[must_use]
pub fn judge(deck: &Deck<'_>, catalog: &Catalog, at: u32, format: Format) -> Value {
    if !catalog.says_of(at) {
        return json!({
            "format": format.name, "verdict": "unknown", "problem_count": 1,
            "problems": [format!("the card data says nothing about {}", format.name)],
        });
    }
    let mut problems = problems_in(deck, at, format);
    let (verdict, problem_count) = (verdict(deck, &problems), problems.len());
    let unknown: Vec<String> = deck.unknown().map(|name| clip(name, 60)).take(PROBLEMS_MAX).collect();
    let untold = problems.len().saturating_sub(PROBLEMS_MAX);
    problems.truncate(PROBLEMS_MAX);
    if untold > 0 {
        problems.push(format!("and {untold} more"));
    }
    json!({
        "format": format.name, "verdict": verdict, "problem_count": problem_count, "problems": problems, "unknown_cards": unknown,
        "not_checked": NOT_CHECKED,
    })
}

/// The verdict in every format that the data says something of, as the tool tells it; the reasons are counted, and the first is told.
#[must_use]
pub fn judge_everywhere(deck: &Deck<'_>, catalog: &Catalog) -> Value {
    let judged = |(at, format): (u32, Format)| {
        let problems = problems_in(deck, at, format);
        let verdict = verdict(deck, &problems);
        json!({"format": format.name, "verdict": verdict, "problem_count": problems.len(), "first_problem": problems.first()})
    };
    let formats: Vec<Value> = catalog.formats().map(judged).collect();
    let unknown: Vec<String> = deck.unknown().map(|name| clip(name, 60)).take(PROBLEMS_MAX).collect();
    json!({"formats": formats, "unknown_cards": unknown, "not_checked": NOT_CHECKED})
}

fn problems_in(deck: &Deck<'_>, at: u32, format: Format) -> Vec<String> {
    let mut problems = sizes(deck, format);
    problems.extend(copies(deck, at, format));
    if format.commander {
        problems.extend(commander(deck, format));
    }
    problems
}

/// A deck with unknown cards is never legal by ignorance.
fn verdict(deck: &Deck<'_>, problems: &[String]) -> &'static str {
    match (problems.is_empty(), deck.unknown().next()) {
        (false, _) => "illegal",
        (true, Some(_)) => "unknown",
        (true, None) => "legal",
    }
}

fn sizes(deck: &Deck<'_>, format: Format) -> Vec<String> {
    let mut problems = Vec::new();
    let cards = deck.count(Section::Main) + if format.commander { deck.count(Section::Commander) } else { 0 };
    if cards < format.cards_min {
        problems.push(format!("{cards} cards; {} asks for at least {}", format.name, format.cards_min));
    }
    if let Some(max) = format.cards_max.filter(|max| cards > *max) {
        problems.push(format!("{cards} cards; {} allows {max}", format.name));
    }
    let sideboard = deck.count(Section::Sideboard) + deck.count(Section::Companion);
    // A companion waits in the sideboard; where there is none, it waits alone.
    let sideboard_max =
        if format.sideboard_max == 0 { u32::from(deck.count(Section::Companion) == 1) } else { format.sideboard_max };
    if sideboard > sideboard_max {
        problems.push(format!("{sideboard} cards in the sideboard; {} allows {}", format.name, format.sideboard_max));
    }
    problems
}

/// As many copies as the card itself says, or the format.
fn copies_max(card: &Card, format: Format, legality: Legality) -> u32 {
    const NUMBERS: [(&str, u32); 9] =
        [("two", 2), ("three", 3), ("four", 4), ("five", 5), ("six", 6), ("seven", 7), ("eight", 8), ("nine", 9), ("ten", 10)];
    let text = card.whole_text().to_lowercase();
    if card.is("Basic") && card.is_land() || text.contains("a deck can have any number of cards named") {
        return u32::MAX;
    }
    let said = text.split_once("a deck can have up to ").and_then(|(_, rest)| rest.split(' ').next());
    if let Some((_, number)) = said.and_then(|word| NUMBERS.iter().find(|(known, _)| *known == word)) {
        return *number;
    }
    if legality == Legality::Restricted { 1 } else { format.copies_max }
}

fn copies(deck: &Deck<'_>, at: u32, format: Format) -> Vec<String> {
    let mut counts: BTreeMap<&str, (u32, &Card)> = BTreeMap::new();
    for (count, card) in deck.known(&PLAYED) {
        counts.entry(&card.name).or_insert((0, card)).0 += count;
    }
    let mut problems = Vec::new();
    for (name, (count, card)) in counts {
        let legality = card.legalities.in_format(at);
        match legality {
            Legality::Banned => problems.push(format!("{name} is banned in {}", format.name)),
            Legality::NotLegal => problems.push(format!("{name} is not legal in {}", format.name)),
            Legality::Legal | Legality::Restricted => {
                let max = copies_max(card, format, legality);
                if count > max {
                    problems.push(format!("{count} of {name}; {} allows {max}", format.name));
                }
            }
        }
    }
    problems
}

fn commander(deck: &Deck<'_>, format: Format) -> Vec<String> {
    let leaders: Vec<&Card> = deck.known(&[Section::Commander]).map(|(_, card)| card).collect();
    let count = deck.count(Section::Commander);
    if count == 0 {
        return vec![format!("no commander; {} asks for one. Put it below a line `Commander`", format.name)];
    }
    let mut problems = Vec::new();
    if count > 2 {
        problems.push(format!("{count} commanders"));
    }
    if format.name == "commander" {
        let may_lead = |card: &&&Card| {
            card.whole_text().contains("can be your commander")
                || card.is("Legendary") && (card.is("Creature") || card.is("Vehicle"))
                || card.is("Background")
        };
        let others = leaders.iter().filter(|card| !may_lead(card));
        problems.extend(others.map(|card| format!("{} can't lead a deck: it is no legendary creature", card.name)));
    }
    let identity = leaders.iter().map(|card| card.identity.colored()).fold(Colors::default(), Colors::with);
    let outside = deck.known(&[Section::Main]).filter(|(_, card)| !identity.holds(card.identity.colored()));
    problems.extend(
        outside.map(|(_, card)| format!("{} is outside the commander's colours ({})", card.name, identity.letters().concat())),
    );
    problems
}

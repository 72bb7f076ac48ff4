//! What somebody who advises should look at: figures against rules of thumb, what a deck has little of, and cards that would do it.
//! It advises nothing itself.

use super::analysis::Figures;
use super::{Deck, Section};
use crate::card::{Card, Colors, LETTERS};
use crate::catalog::{Catalog, Filters};
use crate::text::fold;
use serde_json::{Value, json};

const CANDIDATES: usize = 5;
const PLAYED: [Section; 2] = [Section::Main, Section::Commander];

/// What a card is there for, by what its text says; a card may have several.
struct Role {
    name: &'static str,
    /// One of these stands in its text.
    words: &'static [&'static str],
    /// None of these does.
    not: &'static [&'static str],
    /// So many of a hundred cards are usual.
    usual_percent: u32,
    /// What to search for.
    query: &'static str,
}

const ROLES: [Role; 5] = [
    Role {
        name: "card draw",
        words: &["draw a card", "draw two", "draw three", "draws a card", "draw cards"],
        not: &[],
        usual_percent: 10,
        query: "draw card",
    },
    Role {
        name: "removal",
        words: &["destroy target", "exile target", "damage to target", "damage to any target", "gets -", "return target"],
        not: &["from your graveyard"],
        usual_percent: 10,
        query: "destroy target",
    },
    Role {
        name: "removal of many",
        words: &["destroy all", "exile all", "damage to each creature", "all creatures get -"],
        not: &[],
        usual_percent: 3,
        query: "destroy all",
    },
    Role {
        name: "mana beside lands",
        words: &["add {", "search your library for a basic land", "mana of any"],
        not: &[],
        usual_percent: 8,
        query: "add mana",
    },
    Role { name: "counters of spells", words: &["counter target"], not: &[], usual_percent: 0, query: "counter target spell" },
];

impl Role {
    fn is_of(&self, card: &Card) -> bool {
        let text = fold(&card.whole_text());
        !card.is_land() && self.words.iter().any(|word| text.contains(word)) && !self.not.iter().any(|word| text.contains(word))
    }
}

/// Lands that a deck with this curve usually plays: a rule of thumb, 17 of 40 and 24 of 60 at a mean of 2.7.
fn lands_usual(figures: &Figures) -> f64 {
    let share = (18.0 + 2.3 * figures.mana_value_mean).clamp(16.0, 28.0) / 60.0;
    (share * f64::from(figures.cards)).round()
}

/// The figures and findings, as the tool tells them. `format` bounds the candidates.
#[must_use]
pub fn inputs(deck: &Deck<'_>, catalog: &Catalog, format: Option<u32>) -> Value {
    let figures = Figures::of(deck);
    let identity = deck.known(&PLAYED).map(|(_, card)| card.identity.colored()).fold(Colors::default(), Colors::with);
    let mut findings = Vec::new();
    let usual = lands_usual(&figures);
    let lands = f64::from(figures.lands);
    if (lands - usual).abs() >= 2.0 {
        let how = if lands < usual { "few" } else { "many" };
        findings.push(format!(
            "{} lands are {how} for a mean mana value of {:.2}: about {usual} are usual",
            figures.lands, figures.mana_value_mean
        ));
    }
    findings.extend(colors(&figures));
    let early: u32 = figures.curve.range(..=2).map(|(_, count)| count).sum();
    let late: u32 = figures.curve.range(6..).map(|(_, count)| count).sum();
    let spells: u32 = figures.curve.values().sum();
    if spells > 0 && early * 4 < spells {
        findings.push(format!("only {early} of {spells} spells cost 2 or less"));
    }
    if late * 5 > spells {
        findings.push(format!("{late} of {spells} spells cost 6 or more"));
    }
    let roles: Vec<Value> = ROLES.iter().map(|role| of_role(role, deck, &figures, catalog, identity, format)).collect();
    json!({
        "lands": {"has": figures.lands, "usual": usual}, "mana_value_mean": (figures.mana_value_mean * 100.0).round() / 100.0,
        "colors": identity.letters(), "findings": findings, "roles": roles, "problems_of_the_list": deck.problems,
        "how_far_to_trust_this": "Rules of thumb, and roles guessed from the words of the cards. Say so.",
    })
}

fn of_role(role: &Role, deck: &Deck<'_>, figures: &Figures, catalog: &Catalog, identity: Colors, format: Option<u32>) -> Value {
    let has: u32 = deck.known(&PLAYED).filter(|(_, card)| role.is_of(card)).map(|(count, _)| count).sum();
    let usual = figures.cards * role.usual_percent / 100;
    let mut told = json!({"role": role.name, "has": has, "usual": usual});
    if has < usual {
        let filters = Filters { identity: Some(identity), format, ..Filters::default() };
        let found = catalog.search(role.query, &filters, 0, CANDIDATES * 4);
        let is_new = |card: &&Card| !deck.entries.iter().any(|entry| entry.card.is_some_and(|own| own.id == card.id));
        let names: Vec<&str> = found
            .cards
            .into_iter()
            .filter(is_new)
            .filter(|card| role.is_of(card))
            .map(|card| card.name.as_str())
            .take(CANDIDATES)
            .collect();
        if let Some(told) = told.as_object_mut() {
            told.insert("candidates".to_owned(), json!(names));
        }
    }
    told
}

/// A colour that is asked for more often than it can be paid.
fn colors(figures: &Figures) -> Vec<String> {
    let (pips, sources): (u32, u32) = (figures.pips.values().sum(), figures.sources.values().sum());
    if pips == 0 || sources == 0 {
        return Vec::new();
    }
    let of = |counts: &std::collections::BTreeMap<char, u32>, letter: char| counts.get(&letter).copied().unwrap_or_default();
    LETTERS
        .iter()
        .map(|(letter, name)| (name, of(&figures.pips, *letter), of(&figures.sources, *letter)))
        .filter_map(|(name, asked, made)| match (asked, made) {
            (0, 0) => None,
            (0, made) => Some(format!("{made} cards make {name} mana, which no cost asks for")),
            (asked, 0) => Some(format!("{asked} {name} symbols in costs, and nothing that makes {name} mana")),
            // Three quarters of its share are still fine.
            (asked, made) if made * pips * 4 < asked * sources * 3 => {
                Some(format!("{name} has {asked} of {pips} symbols in costs, but {made} of {sources} sources"))
            }
            (_, _) => None,
        })
        .collect()
}

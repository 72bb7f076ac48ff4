//! What a deck is made of and what it draws.

use super::odds::{at_least, exactly, percent};
use super::{Deck, Section};
use crate::card::{Card, Colors, LETTERS, symbols};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is drawn from is the deck; a commander is cast, but never drawn.
const CAST: [Section; 2] = [Section::Main, Section::Commander];
const DRAWN: [Section; 1] = [Section::Main];
/// Everything dearer stands together.
const CURVE_LAST: u32 = 7;
const TYPES: [&str; 8] = ["Creature", "Land", "Instant", "Sorcery", "Artifact", "Enchantment", "Planeswalker", "Battle"];
const HAND: u32 = 7;

/// Figures of a deck that others build on.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Cards to draw from, known or not.
    pub cards: u32,
    /// Lands among them.
    pub lands: u32,
    /// Mana value of what is no land, on average.
    pub mana_value_mean: f64,
    /// Cards that are no lands, by mana value.
    pub curve: BTreeMap<u32, u32>,
    /// Coloured symbols in costs.
    pub pips: BTreeMap<char, u32>,
    /// Cards that make mana of a colour.
    pub sources: BTreeMap<char, u32>,
}

impl Figures {
    /// Counts.
    #[must_use]
    pub fn of(deck: &Deck<'_>) -> Self {
        let mut figures = Self { cards: deck.count(Section::Main), ..Self::default() };
        figures.curve = (0..=CURVE_LAST).map(|value| (value, 0)).collect();
        let (mut sum, mut spells) = (0.0, 0_u32);
        for (count, card) in deck.known(&CAST) {
            if !card.is_land() {
                sum += card.mana_value * f64::from(count);
                spells += count;
                *figures.curve.entry(column(card.mana_value)).or_default() += count;
            }
            for (letter, pips) in pips(card) {
                *figures.pips.entry(letter).or_default() += pips * count;
            }
        }
        for (count, card) in deck.known(&DRAWN) {
            figures.lands += if card.is_land() { count } else { 0 };
            let makes = card.makes();
            for letter in five(makes) {
                *figures.sources.entry(letter).or_default() += count;
            }
        }
        figures.mana_value_mean = if spells == 0 { 0.0 } else { sum / f64::from(spells) };
        figures
    }
}

fn five(colors: Colors) -> impl Iterator<Item = char> {
    LETTERS
        .iter()
        .map(|(letter, _)| *letter)
        .filter(move |letter| Colors::of_letter(*letter).is_some_and(|one| colors.holds(one)))
}

/// Half a mana counts as none.
fn column(mana_value: f64) -> u32 {
    (0..CURVE_LAST).find(|value| mana_value < f64::from(value + 1)).unwrap_or(CURVE_LAST)
}

/// Coloured symbols of a card's costs; half of a hybrid one is one of each.
fn pips(card: &Card) -> BTreeMap<char, u32> {
    let cost = card.whole_cost();
    let letters = symbols(&cost).flat_map(str::chars).filter(|c| LETTERS.iter().any(|(letter, _)| letter == c));
    letters.fold(BTreeMap::new(), |mut pips, letter| {
        *pips.entry(letter).or_default() += 1;
        pips
    })
}

fn lettered(counts: &BTreeMap<char, u32>) -> Map<String, Value> {
    counts.iter().map(|(letter, count)| (letter.to_string(), json!(count))).collect()
}

/// All figures, as the tool tells them.
#[must_use]
pub fn analyze(deck: &Deck<'_>) -> Value {
    let figures = Figures::of(deck);
    let types: Map<String, Value> = TYPES
        .iter()
        .map(|kind| (*kind, deck.known(&CAST).filter(|(_, card)| card.is(kind)).map(|(count, _)| count).sum::<u32>()))
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| (kind.to_owned(), json!(count)))
        .collect();
    let multicolored: u32 = deck.known(&CAST).filter(|(_, card)| card.colors.letters().len() > 1).map(|(count, _)| count).sum();
    let colorless = |(_, card): &(u32, &Card)| card.colors.is_colorless() && !card.is_land();
    let colorless: u32 = deck.known(&CAST).filter(colorless).map(|(count, _)| count).sum();
    let curve: Map<String, Value> = figures
        .curve
        .iter()
        .map(|(value, count)| (if *value == CURVE_LAST { format!("{value}+") } else { value.to_string() }, json!(count)))
        .collect();
    json!({
        "cards": {
            "deck": figures.cards, "commander": deck.count(Section::Commander), "sideboard": deck.count(Section::Sideboard),
            "unknown": deck.unknown().count(),
        },
        "curve": curve,
        "mana_value_mean": (figures.mana_value_mean * 100.0).round() / 100.0,
        "types": types,
        "colors": {
            "cost_symbols": lettered(&figures.pips), "mana_sources": lettered(&figures.sources),
            "multicolored_cards": multicolored, "colorless_cards": colorless,
        },
        "lands": {"count": figures.lands, "percent_of_deck": share(figures.lands, figures.cards)},
        "draws": draws(&figures),
    })
}

fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { percent(f64::from(part) / f64::from(whole)) }
}

/// On the play one card is drawn from the second turn on: seven and `turn - 1` by a turn.
fn draws(figures: &Figures) -> Value {
    let (cards, lands) = (figures.cards, figures.lands);
    if cards < HAND {
        return json!("too few cards to draw a hand from");
    }
    let by_turn = |turn: u32, lands_min: u32| percent(at_least(cards, lands, HAND + turn - 1, lands_min));
    let opening: Map<String, Value> =
        (0..=HAND).map(|hits| (hits.to_string(), json!(percent(exactly(cards, lands, HAND, hits))))).collect();
    let good: f64 = (2..=4).map(|hits| exactly(cards, lands, HAND, hits)).sum();
    json!({
        "lands_in_opening_hand_percent": opening,
        "opening_hand_with_2_to_4_lands_percent": percent(good),
        "on_the_play_percent": {
            "2_lands_by_turn_2": by_turn(2, 2), "3_lands_by_turn_3": by_turn(3, 3), "4_lands_by_turn_4": by_turn(4, 4),
        },
        "any_one_of_4_copies_in_opening_hand_percent": percent(at_least(cards, 4, HAND, 1)),
    })
}

//! All cards, ready to be searched. It is built once and never changed; a new import makes a new one.

use crate::card::{Card, Colors, Ruling};
use crate::formats::{self, Format, Legalities};
use crate::index::{Bits, Index};
use crate::near::Near;
use crate::text::{fold_name, words};
use std::collections::HashMap;

/// What a search may ask for beside words.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// The colours and how a card's are compared with them.
    pub colors: Option<(Colors, ColorMatch)>,
    /// The colours of a commander: what it may lead.
    pub identity: Option<Colors>,
    /// Words of the type line.
    pub types: Vec<String>,
    /// The least mana value.
    pub mana_value_min: Option<f64>,
    /// The greatest.
    pub mana_value_max: Option<f64>,
    /// The bit of a format in which it may be played.
    pub format: Option<u32>,
    /// A keyword.
    pub keyword: Option<String>,
}

/// How colours are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorMatch {
    /// All of these, and maybe others.
    #[default]
    Including,
    /// These and no others.
    Exactly,
    /// None but these.
    AtMost,
}

/// What was found.
#[derive(Debug)]
pub struct Found<'c> {
    /// How many there are.
    pub total: usize,
    /// Those that were asked for, the best first.
    pub cards: Vec<&'c Card>,
}

/// All cards.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Ordered by folded name.
    cards: Vec<Card>,
    folded: Vec<String>,
    by_name: HashMap<String, u32>,
    names: Index,
    types: Index,
    everything: Index,
    near: Near,
    /// What is said of any card.
    said: Legalities,
}

impl Catalog {
    /// Cards, and what a file of rulings says of each by its id.
    #[must_use]
    pub fn new(cards: Vec<Card>, mut rulings: HashMap<String, Vec<Ruling>>) -> Self {
        let mut named: Vec<(String, Card)> = cards.into_iter().map(|card| (fold_name(&card.name), card)).collect();
        named.sort_by(|(one, a), (other, b)| (one, &a.id).cmp(&(other, &b.id)));
        let mut catalog = Self::default();
        for (entry, (folded, mut card)) in (0_u32..).zip(named) {
            if let Some(said) = rulings.remove(&card.id) {
                card.rulings = said;
            }
            catalog.put(entry, folded, card);
        }
        for (entry, card) in (0_u32..).zip(&catalog.cards) {
            // A whole name goes before a face's: there may be a card that is called like another's half.
            for face in &card.faces {
                catalog.by_name.entry(fold_name(&face.name)).or_insert(entry);
            }
        }
        catalog
    }

    fn put(&mut self, entry: u32, folded: String, card: Card) {
        let name = words(&card.name);
        let types = words(&card.type_line);
        let faces = card.faces.iter().flat_map(|face| words(&face.type_line)).collect::<Vec<_>>();
        self.everything.add(entry, name.iter().chain(&types).chain(&faces));
        self.everything.add(entry, words(&card.whole_text()));
        self.types.add(entry, types.iter().chain(&faces));
        self.names.add(entry, name);
        self.near.add(&folded);
        self.said = self.said.with(card.legalities);
        self.by_name.entry(folded.clone()).or_insert(entry);
        self.folded.push(folded);
        self.cards.push(card);
    }

    /// How many cards there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.cards.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cards.is_empty()
    }

    /// Every card, by name.
    pub fn cards(&self) -> impl Iterator<Item = &Card> {
        self.cards.iter()
    }

    /// Whether the data says of any card what it may do in the format with this bit.
    #[must_use]
    pub const fn says_of(&self, at: u32) -> bool {
        self.said.says_of(at)
    }

    /// The formats that the data says something of, with their bits.
    pub fn formats(&self) -> impl Iterator<Item = (u32, Format)> {
        (0_u32..).zip(formats::FORMATS).filter(|(at, _)| self.says_of(*at))
    }

    fn card(&self, entry: u32) -> Option<&Card> {
        self.cards.get(usize::try_from(entry).ok()?)
    }

    /// The card of this name, or with a face of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Card> {
        self.card(*self.by_name.get(&fold_name(name))?)
    }

    /// Names like this one, the nearest first.
    #[must_use]
    pub fn near(&self, name: &str, wanted: usize) -> Vec<&str> {
        let folded_of = |entry: u32| self.folded.get(usize::try_from(entry).ok()?).map(String::as_str);
        let near = self.near.find(&fold_name(name), wanted, folded_of);
        near.into_iter().filter_map(|entry| self.card(entry)).map(|card| card.name.as_str()).collect()
    }

    /// Cards that hold every word of a query and pass the filters; `skip` of them are passed over.
    #[must_use]
    pub fn search(&self, query: &str, filters: &Filters, skip: usize, wanted: usize) -> Found<'_> {
        let asked = words(query);
        let whole = fold_name(query);
        let in_names = self.names.find_all(&asked);
        let mut keys: Vec<u64> = self
            .candidates(&asked, filters)
            .filter_map(|entry| Some((entry, self.card(entry)?)))
            .filter(|(_, card)| filters.pass(card))
            .map(|(entry, card)| self.key(entry, card, &whole, in_names.as_ref()))
            .collect();
        let total = keys.len();
        let end = skip.saturating_add(wanted);
        if end < keys.len() {
            keys.select_nth_unstable(end);
            keys.truncate(end);
        }
        keys.sort_unstable();
        let entries = keys.into_iter().skip(skip).filter_map(|key| u32::try_from(key & u64::from(u32::MAX)).ok());
        Found { total, cards: entries.filter_map(|entry| self.card(entry)).collect() }
    }

    fn candidates(&self, asked: &[String], filters: &Filters) -> Box<dyn Iterator<Item = u32>> {
        let found = match (self.everything.find_all(asked), self.types.find_all(&filters.types)) {
            (Some(mut found), Some(of_type)) => {
                found.keep(&of_type);
                Some(found)
            }
            (found, of_type) => found.or(of_type),
        };
        match found {
            Some(found) => Box::new(found.entries().collect::<Vec<_>>().into_iter()),
            None => Box::new(0..u32::try_from(self.cards.len()).unwrap_or(u32::MAX)),
        }
    }

    /// The name itself, names that begin so, names that hold the words, and the rest; each by how liked they are, then by name.
    fn key(&self, entry: u32, card: &Card, whole: &str, in_names: Option<&Bits>) -> u64 {
        const UNKNOWN: u32 = (1 << 24) - 1;
        let folded = self.folded.get(usize::try_from(entry).unwrap_or(usize::MAX)).map_or("", String::as_str);
        let group: u64 = match in_names {
            Some(_) if folded == whole => 0,
            Some(_) if folded.starts_with(whole) => 1,
            Some(names) if names.holds(entry) => 2,
            Some(_) | None => 3,
        };
        let popularity = if card.popularity == 0 { UNKNOWN } else { card.popularity.min(UNKNOWN) };
        group << 60 | u64::from(popularity) << 32 | u64::from(entry)
    }
}

impl Filters {
    fn pass(&self, card: &Card) -> bool {
        let colors = self.colors.is_none_or(|(wanted, how)| match how {
            _ if wanted.is_colorless() => card.colors.is_colorless(),
            ColorMatch::Including => card.colors.holds(wanted.colored()),
            ColorMatch::Exactly => card.colors.colored() == wanted.colored(),
            ColorMatch::AtMost => wanted.colored().holds(card.colors.colored()),
        });
        colors
            && self.identity.is_none_or(|leader| leader.colored().holds(card.identity.colored()))
            && self.mana_value_min.is_none_or(|min| card.mana_value >= min)
            && self.mana_value_max.is_none_or(|max| card.mana_value <= max)
            && self.format.is_none_or(|at| card.legalities.is_playable(at))
            && self.keyword.as_ref().is_none_or(|wanted| card.keywords.iter().any(|has| has.eq_ignore_ascii_case(wanted)))
    }
}

//! The parts of a sentence about a map: titles, places, texts. Everything is found by its place among the words.

use super::{
    direction::{Direction, direction_at},
    words::{Word, number},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Any free neighbour of the centre.
    Free,
    /// Next to the centre or, when moving, to where the tile hangs now.
    Side(Direction),
    SideOf(Direction, String),
    /// Any free place below a tile.
    Below(String),
    /// The place of a tile, which then changes places.
    Of(String),
}

pub const NOUNS: &[&str] = &[
    "tile", "tiles", "item", "items", "hexagon", "hexagons", "cell", "cells", "idea", "ideas", "node", "nodes", "subtile",
    "sub-tile", "child", "children",
];
pub const NAMING: &[&str] = &["called", "named", "titled", "labelled"];
const FILLERS: &[&str] = &[
    "a",
    "an",
    "the",
    "another",
    "one",
    "new",
    "my",
    "me",
    "please",
    "context",
    "system",
    "organizational",
    "of",
    "content",
    "description",
    "text",
    "title",
    "name",
];
const BELOW: &[&str] = &["below", "under", "underneath", "beneath", "inside", "within"];
const TOWARDS: &[&str] = &["to", "in", "on", "at", "towards", "toward"];
pub const CENTRE: &[&str] = &["centre", "center", "middle", "root", "map", "hexmap", "it", "me"];

pub struct Sentence {
    pub words: Vec<Word>,
}

impl Sentence {
    pub fn is(&self, at: usize, any: &[&str]) -> bool {
        self.words.get(at).is_some_and(|word| word.is(any))
    }

    pub fn from(&self, at: usize) -> &[Word] {
        self.words.get(at..).unwrap_or_default()
    }

    pub fn has(&self, at: usize, any: &[&str]) -> bool {
        self.from(at).iter().any(|word| word.is(any))
    }

    pub fn skip(&self, mut at: usize, any: &[&str]) -> usize {
        while self.is(at, any) {
            at += 1;
        }
        at
    }

    pub fn rest(&self, at: usize) -> Option<String> {
        let words = self.from(at);
        if let Some(quoted) = words.first().filter(|word| word.quoted) {
            return Some(quoted.text.clone());
        }
        let text = words.iter().map(Word::written).collect::<Vec<_>>().join(" ");
        let text = text.trim_end_matches(['.', ' ']).to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// A title that begins here, and the word after it. The first word always belongs to it.
    pub fn title(&self, at: usize, stops: &[&str]) -> Option<(String, usize)> {
        let first = self.words.get(at)?;
        let mut title = first.text.clone();
        let mut next = at + 1;
        if first.quoted || first.ends.is_some() {
            return Some((title, next));
        }
        while let Some(word) = self.words.get(next) {
            if word.quoted || word.is(stops) || self.place_begins(next) || self.content_begins(next) {
                break;
            }
            title.push(' ');
            title.push_str(&word.text);
            next += 1;
            if word.ends.is_some() {
                break;
            }
        }
        Some((title, next))
    }

    /// A title after "the tile called" and the like.
    pub fn object(&self, at: usize, stops: &[&str]) -> Option<(String, usize)> {
        let mut at = at;
        while self.is(at, FILLERS) || self.is(at, NOUNS) || self.is(at, NAMING) {
            at += 1;
        }
        self.title(at, stops)
    }

    pub fn place_begins(&self, at: usize) -> bool {
        let inside_map = self.is(at, TOWARDS) && self.is(self.skip(at + 1, &["the", "my"]), CENTRE);
        let named = self.is(at, BELOW) || (self.is(at, &["next"]) && self.is(at + 1, &["to"])) || self.is(at, &["beside"]);
        let side = self.is(at, TOWARDS) && direction_at(self.from(self.skip(at + 1, &["the", "my"]))).is_some();
        inside_map || named || side || self.bare_side(at)
    }

    /// "north of Home" without a preposition.
    fn bare_side(&self, at: usize) -> bool {
        direction_at(self.from(at)).is_some_and(|(_, taken)| self.is(at + taken, &["of", "from"]))
    }

    fn content_begins(&self, at: usize) -> bool {
        self.content_start(at).is_some()
    }

    /// Where the text of "with the content ..." begins.
    pub fn content_start(&self, at: usize) -> Option<usize> {
        if self.is(at, &["saying"]) {
            return Some(at + 1);
        }
        if self.is(at, &["that"]) && self.is(at + 1, &["says"]) {
            return Some(at + 2);
        }
        let noun = self.skip(at + 1, &["the", "a", "this"]);
        (self.is(at, &["with"]) && self.is(noun, &["content", "text", "description", "note"])).then_some(noun + 1)
    }

    pub fn place(&self, at: usize) -> Option<(Place, usize)> {
        if !self.place_begins(at) {
            return None;
        }
        if self.is(at, BELOW) || self.is(at, &["beside"]) {
            return self.below(at + 1);
        }
        if self.is(at, &["next"]) {
            return self.below(at + 2);
        }
        let side = if self.bare_side(at) { at } else { self.skip(at + 1, &["the", "my"]) };
        let Some((direction, taken)) = direction_at(self.from(side)) else {
            return Some((Place::Free, side + 1));
        };
        let next = side + taken;
        let ended = self.words.get(next - 1).is_some_and(|word| word.ends.is_some());
        if ended || !self.is(next, &["of", "from"]) {
            let next = if self.is(next, &["side"]) { next + 1 } else { next };
            return Some((Place::Side(direction), next));
        }
        Some(match self.anchor(next + 1)? {
            (None, next) => (Place::Side(direction), next),
            (Some(title), next) => (Place::SideOf(direction, title), next),
        })
    }

    fn below(&self, at: usize) -> Option<(Place, usize)> {
        Some(match self.anchor(at)? {
            (None, next) => (Place::Free, next),
            (Some(title), next) => (Place::Below(title), next),
        })
    }

    /// A tile to start from; no title is the centre of the map.
    fn anchor(&self, at: usize) -> Option<(Option<String>, usize)> {
        let start = self.skip(at, &["the", "my", "tile", "item"]);
        if self.is(start, CENTRE) {
            return Some((None, start + 1));
        }
        let (title, next) = self.title(start, &["and", "with", "please", "called", "named", "titled"])?;
        Some((Some(title), next))
    }

    pub fn number_at(&self, at: usize) -> u64 {
        self.words.get(at).and_then(|word| number(&word.low)).unwrap_or_default()
    }

    pub fn after_fillers(&self, at: usize) -> usize {
        let mut at = at;
        while self.is(at, FILLERS) || self.is(at, NOUNS) || self.number_at(at) > 0 {
            at += 1;
        }
        at
    }
}

impl Word {
    /// As it stood in the sentence, more or less.
    fn written(&self) -> String {
        self.ends.map_or_else(|| self.text.clone(), |mark| format!("{}{mark}", self.text))
    }
}

//! What a person wants done with a map, read from one message.

use super::{
    sentence::{CENTRE, NAMING, NOUNS, Place, Sentence},
    words::{Word, words},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    Create {
        tiles: Vec<NewTile>,
        /// One call after the other instead of all in one turn.
        one_by_one: bool,
    },
    /// A tile is wanted, but nobody said what it is called.
    CreateUntitled,
    Rename {
        title: String,
        to: String,
    },
    Describe {
        title: String,
        text: String,
    },
    Move {
        title: String,
        to: Place,
    },
    Delete {
        title: String,
    },
    Read {
        title: String,
    },
    List,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTile {
    pub title: String,
    pub place: Place,
    pub content: Option<String>,
    pub kind: &'static str,
}

const CREATE: &[&str] = &["create", "add", "make", "put", "insert", "place", "build", "new"];
const RENAME: &[&str] = &["rename", "retitle"];
const DESCRIBE: &[&str] = &["describe", "set", "update", "change", "fill"];
const MOVE: &[&str] = &["move", "shift", "swap"];
const DELETE: &[&str] = &["delete", "remove", "erase"];
const READ: &[&str] = &["read", "open"];
const LIST: &[&str] =
    &["list", "show", "what", "what's", "whats", "which", "summarise", "summarize", "overview", "display", "how"];
const PLURALS: &[&str] = &["tiles", "items", "hexagons", "cells", "ideas", "nodes", "children"];

/// `None`: this is not about a map.
pub fn intent(text: &str) -> Option<Intent> {
    let sentence = Sentence { words: words(text) };
    let (at, verb) = sentence.verb()?;
    let after = at + 1;
    match verb {
        Verb::Create => sentence.create(after),
        Verb::Rename => sentence.rename(after),
        Verb::Describe => sentence.describe(after),
        Verb::Move => sentence.moved(after),
        Verb::Delete => Some(Intent::Delete { title: sentence.object(after, &["from", "and", "please"])?.0 }),
        Verb::Read => Some(Intent::Read { title: sentence.object(after, &["please", "and"])?.0 }),
        Verb::List => sentence.list(after),
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Create,
    Rename,
    Describe,
    Move,
    Delete,
    Read,
    List,
}

impl Sentence {
    /// The first word that asks for something.
    fn verb(&self) -> Option<(usize, Verb)> {
        let verbs = [
            (CREATE, Verb::Create),
            (RENAME, Verb::Rename),
            (DESCRIBE, Verb::Describe),
            (MOVE, Verb::Move),
            (DELETE, Verb::Delete),
            (READ, Verb::Read),
            (LIST, Verb::List),
        ];
        self.words.iter().enumerate().find_map(|(at, word)| {
            let (_, verb) = verbs.iter().find(|(list, _)| word.is(list))?;
            Some((at, *verb))
        })
    }

    fn create(&self, at: usize) -> Option<Intent> {
        let named = (at..self.words.len()).find(|at| self.is(*at, NAMING)).map(|at| at + 1);
        let quoted = (at..self.words.len()).find(|at| self.words.get(*at).is_some_and(|word| word.quoted));
        let noun = (at..self.words.len()).find(|at| self.is(*at, NOUNS)).map(|at| at + 1);
        let about_tiles = noun.is_some() || (at..self.words.len()).any(|at| self.place_begins(at));
        if named.is_none() && !about_tiles {
            return None;
        }
        let said = named.or(quoted);
        let start = said.unwrap_or_else(|| self.after_fillers(at));
        if said.is_none() && self.place_begins(start) {
            return Some(Intent::CreateUntitled);
        }
        let before = (at..start).find_map(|at| self.place(at)).map(|(place, _)| place);
        let plural = (at..start).any(|at| self.is(at, PLURALS) || self.number_at(at) > 1);
        let kind = self.kind(at, start);
        let tiles = self.new_tiles(start, plural, before.unwrap_or(Place::Free), kind);
        if tiles.is_empty() {
            return Some(Intent::CreateUntitled);
        }
        Some(Intent::Create { tiles, one_by_one: self.one_by_one() })
    }

    fn kind(&self, from: usize, to: usize) -> &'static str {
        let has = |word| (from..to).any(|at| self.is(at, &[word]));
        if has("context") {
            "context"
        } else if has("system") {
            "system"
        } else {
            "organizational"
        }
    }

    fn one_by_one(&self) -> bool {
        (0..self.words.len()).any(|at| {
            self.is(at, &["one"])
                && (self.is(at + 1, &["by", "after"]) || (self.is(at + 1, &["at"]) && self.is(at + 3, &["time"])))
        })
    }

    fn new_tiles(&self, start: usize, plural: bool, fallback: Place, kind: &'static str) -> Vec<NewTile> {
        let stops: &[&str] = if plural { &["and", "one", "please"] } else { &["please"] };
        let mut tiles: Vec<NewTile> = Vec::new();
        let mut at = start;
        // What follows "called" is a title, whatever it looks like; after an "and" it may be something else.
        while at == start || !(self.place_begins(at) || self.begins_other_request(at)) {
            let Some((title, next)) = self.title(at, stops) else { break };
            let closed = self.words.get(next - 1).and_then(|word| word.ends);
            let place = if closed.is_some() { None } else { self.place(next) };
            let (place, mut next) = place.map_or((None, next), |(place, next)| (Some(place), next));
            let start_of_content = if closed == Some(':') { Some(next) } else { self.content_start(next) };
            let content = start_of_content.and_then(|at| self.rest(at));
            let done = content.is_some() || self.words.get(next - 1).is_some_and(Word::closes);
            let more = plural || place.is_some() || self.words.get(at).is_some_and(|word| word.quoted);
            tiles.push(NewTile { title, place: place.unwrap_or_else(|| fallback.clone()), content, kind });
            let joined = self.is(next, &["and"]) || self.words.get(next - 1).is_some_and(|word| word.ends == Some(','));
            if done || !more || !joined {
                break;
            }
            next = self.skip(next, &["and"]);
            at = self.skip(self.after_fillers(next), NAMING);
        }
        shared_place(tiles)
    }

    fn begins_other_request(&self, at: usize) -> bool {
        [RENAME, DESCRIBE, MOVE, DELETE, READ, LIST].iter().any(|verbs| self.is(at, verbs)) || self.is(at, &["then", "one"])
    }

    fn rename(&self, at: usize) -> Option<Intent> {
        let (title, next) = self.object(at, &["to", "into", "as"])?;
        let to = self.rest(self.skip(next, &["to", "into", "as"]))?;
        Some(Intent::Rename { title, to })
    }

    fn describe(&self, at: usize) -> Option<Intent> {
        let retitled = self.is(self.skip(at, &["the"]), &["title", "name"]);
        let (title, next) = self.object(at, &["as", "to", "with", "saying"])?;
        if self.is(next - 1, CENTRE) {
            return Some(Intent::List);
        }
        let start = self.content_start(next).unwrap_or_else(|| self.skip(next, &["as", "to", "with"]));
        match self.rest(start) {
            Some(to) if retitled => Some(Intent::Rename { title, to }),
            Some(text) => Some(Intent::Describe { title, text }),
            None => Some(Intent::Read { title }),
        }
    }

    fn moved(&self, at: usize) -> Option<Intent> {
        let (title, next) = self.object(at, &["to", "onto", "with", "and"])?;
        if let Some((to, _)) = self.place(next) {
            return Some(Intent::Move { title, to });
        }
        let (other, _) = self.object(self.skip(next, &["to", "onto", "with", "and"]), &["please"])?;
        Some(Intent::Move { title, to: Place::Of(other) })
    }

    /// Questions about the map, or about one tile ("what does Aurora say").
    fn list(&self, at: usize) -> Option<Intent> {
        if self.is(at, &["does", "is"]) && self.has(at, &["say", "about"]) {
            let (title, _) = self.object(at + 1, &["say", "about"])?;
            return Some(Intent::Read { title });
        }
        (self.has(at, CENTRE) || self.has(at, NOUNS)).then_some(Intent::List)
    }
}

/// "A, B and C below Home": a place said once, at the end, without a direction, is meant for all.
fn shared_place(mut tiles: Vec<NewTile>) -> Vec<NewTile> {
    let Some(place @ Place::Below(_)) = tiles.last().map(|tile| tile.place.clone()) else { return tiles };
    for tile in tiles.iter_mut().filter(|tile| tile.place == Place::Free) {
        tile.place = place.clone();
    }
    tiles
}

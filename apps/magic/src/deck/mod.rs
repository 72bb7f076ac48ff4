//! Deck lists as people paste them: plain, from Arena, with sections. Every line is read or named as a problem; none is lost.

pub mod advice;
pub mod analysis;
pub mod legality;
pub mod odds;

use crate::card::Card;
use crate::catalog::Catalog;
use crate::text::{clip, fold, fold_name};

/// Characters of a list.
pub const CHARS_MAX: usize = 40_000;
/// Its lines.
pub const LINES_MAX: usize = 1_000;
/// Different cards of it.
pub const ENTRIES_MAX: usize = 400;
/// Cards on one line.
pub const COUNT_MAX: u32 = 999;
/// Problems that are told one by one.
const PROBLEMS_MAX: usize = 20;
/// Unknown names for which near ones are looked for.
const SUGGESTED_MAX: usize = 10;
const NEAR: usize = 3;
/// A second block of this size at most is a sideboard, if the first one is a deck.
const SIDEBOARD_CARDS_MAX: u32 = 15;
const DECK_CARDS_MIN: u32 = 40;

/// Which part of a deck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// What leads the deck.
    Commander,
    /// What is drawn from.
    Main,
    /// What waits beside it.
    Sideboard,
    /// Beside the deck from the beginning.
    Companion,
    /// What is being thought about: no part of the deck.
    Maybe,
}

impl Section {
    /// As the tools say it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Commander => "commander",
            Self::Main => "deck",
            Self::Sideboard => "sideboard",
            Self::Companion => "companion",
            Self::Maybe => "maybeboard",
        }
    }
}

/// So many of a card.
#[derive(Clone, Debug)]
pub struct Entry<'c> {
    /// Where.
    pub section: Section,
    /// How many.
    pub count: u32,
    /// The name as it was written.
    pub name: String,
    /// The card, if there is one of that name.
    pub card: Option<&'c Card>,
}

/// A list that was read.
#[derive(Clone, Debug, Default)]
pub struct Deck<'c> {
    /// What the list calls it.
    pub name: Option<String>,
    /// In the order of sections, then as they came.
    pub entries: Vec<Entry<'c>>,
    /// What could not be read or is not known, at most [`PROBLEMS_MAX`] and a count.
    pub problems: Vec<String>,
    /// What was assumed.
    pub notes: Vec<String>,
}

/// A list that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DeckError(String);

impl<'c> Deck<'c> {
    /// Reads a list.
    ///
    /// # Errors
    /// [`DeckError`] where it is absurdly long, or nothing in it is a card.
    pub fn parse(text: &str, catalog: &'c Catalog) -> Result<Self, DeckError> {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            return Err(DeckError(format!(
                "A deck list may have {LINES_MAX} lines; this one has {lines}. Leave out what is no card of the deck"
            )));
        }
        if text.chars().count() > CHARS_MAX {
            return Err(DeckError(format!("A deck list may have {CHARS_MAX} characters. Leave out what is no card of the deck")));
        }
        let mut reading = Reading {
            section: Section::Main,
            sectioned: false,
            about: false,
            block: 0,
            blank: true,
            deck: Deck::default(),
            blocks: Vec::new(),
            faults: 0,
        };
        for (number, line) in (1..).zip(text.lines()) {
            reading.line(number, line.trim().trim_start_matches('\u{feff}'), catalog)?;
        }
        reading.finish(catalog)
    }

    /// The entries of some sections whose cards are known.
    pub fn known<'d>(&'d self, sections: &'d [Section]) -> impl Iterator<Item = (u32, &'c Card)> + 'd {
        self.entries.iter().filter(|entry| sections.contains(&entry.section)).filter_map(|entry| Some((entry.count, entry.card?)))
    }

    /// How many cards a section has, known or not.
    #[must_use]
    pub fn count(&self, section: Section) -> u32 {
        self.entries.iter().filter(|entry| entry.section == section).map(|entry| entry.count).sum()
    }

    /// Names that no card has.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|entry| entry.card.is_none()).map(|entry| entry.name.as_str())
    }
}

struct Reading<'c> {
    section: Section,
    /// Whether any section was named: if not, an empty line may be the border of the sideboard.
    sectioned: bool,
    /// Below Arena's `About`.
    about: bool,
    block: usize,
    blank: bool,
    deck: Deck<'c>,
    /// The block of each entry.
    blocks: Vec<usize>,
    faults: usize,
}

impl<'c> Reading<'c> {
    fn line(&mut self, number: usize, line: &str, catalog: &'c Catalog) -> Result<(), DeckError> {
        if line.is_empty() {
            self.blank = true;
            return Ok(());
        }
        let heading = line.trim_start_matches(['/', '#', '=', '-', '[']).trim().trim_end_matches([']', '=', '-', ':']).trim();
        if let Some(section) = heading_of(heading) {
            (self.about, self.sectioned) = (section == Heading::About, true);
            match section {
                Heading::Section(section) => self.section = section,
                Heading::About | Heading::Group => {}
            }
            return Ok(());
        }
        if self.about {
            self.deck.name = line.strip_prefix("Name ").map(|name| clip(name, 80)).or_else(|| self.deck.name.take());
            return Ok(());
        }
        if line.starts_with("//") || line.starts_with('#') {
            return Ok(());
        }
        if std::mem::take(&mut self.blank) {
            self.block += 1;
        }
        match entry(line) {
            Ok((count, name, own)) => self.put(own.unwrap_or(self.section), count, name, catalog),
            Err(why) => {
                self.fault(format!("line {number}: {why}: {:?}", clip(line, 60)));
                Ok(())
            }
        }
    }

    fn put(&mut self, section: Section, count: u32, name: String, catalog: &'c Catalog) -> Result<(), DeckError> {
        let folded = fold_name(&name);
        let block = self.block;
        let same = self.deck.entries.iter_mut().zip(&self.blocks).find(|(entry, of)| {
            entry.section == section && (self.sectioned || **of == block) && fold_name(&entry.name) == folded
        });
        if let Some((entry, _)) = same {
            entry.count = entry.count.saturating_add(count);
            return Ok(());
        }
        if self.deck.entries.len() >= ENTRIES_MAX {
            return Err(DeckError(format!(
                "A deck list may name {ENTRIES_MAX} different cards. Leave out what is no card of the deck"
            )));
        }
        let card = catalog.find(&name);
        self.deck.entries.push(Entry { section, count, name, card });
        self.blocks.push(block);
        Ok(())
    }

    fn fault(&mut self, what: String) {
        self.faults += 1;
        if self.deck.problems.len() < PROBLEMS_MAX {
            self.deck.problems.push(what);
        }
    }

    fn finish(mut self, catalog: &Catalog) -> Result<Deck<'c>, DeckError> {
        self.part_sideboard();
        let unknown: Vec<String> = self.deck.unknown().map(str::to_owned).collect();
        for (at, name) in unknown.iter().enumerate() {
            let near = if at < SUGGESTED_MAX { catalog.near(name, NEAR) } else { Vec::new() };
            let meant = if near.is_empty() { String::new() } else { format!(". Did they mean {}?", near.join(" or ")) };
            self.fault(format!("no card is called {:?}{meant}", clip(name, 60)));
        }
        let untold = self.faults.saturating_sub(self.deck.problems.len());
        if untold > 0 {
            self.deck.problems.push(format!("and {untold} more"));
        }
        if self.deck.entries.is_empty() {
            let first = self.deck.problems.first().map(|problem| format!(" ({problem})")).unwrap_or_default();
            return Err(DeckError(format!("There is no card in this list{first}. Write one card a line, like `4 Name`")));
        }
        self.deck.entries.sort_by_key(|entry| entry.section);
        Ok(self.deck)
    }

    /// Without any heading, a small second block is the sideboard, as in the lists of tournaments.
    fn part_sideboard(&mut self) {
        let Some(last) = self.blocks.last().copied().filter(|last| *last == 2 && !self.sectioned) else { return };
        let in_block = |wanted: usize| -> u32 {
            self.deck.entries.iter().zip(&self.blocks).filter(|(_, block)| **block == wanted).map(|(entry, _)| entry.count).sum()
        };
        if in_block(1) < DECK_CARDS_MIN || in_block(2) > SIDEBOARD_CARDS_MAX {
            return;
        }
        for (entry, _) in self.deck.entries.iter_mut().zip(&self.blocks).filter(|(_, block)| **block == last) {
            entry.section = Section::Sideboard;
        }
        self.deck.notes.push("What follows the empty line was taken for the sideboard".to_owned());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heading {
    Section(Section),
    /// Arena's, with the deck's name.
    About,
    /// Creatures, lands: parts of the section that they stand in.
    Group,
}

/// `Sideboard`, `Creatures (24)`, `MAIN DECK:`.
fn heading_of(line: &str) -> Option<Heading> {
    let plain = line.split('(').next().unwrap_or_default();
    let plain = fold(plain.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_whitespace() || c == ':'));
    let word = plain.replace([' ', '-'], "");
    Some(match word.as_str() {
        "deck" | "main" | "maindeck" | "mainboard" | "decklist" => Heading::Section(Section::Main),
        "sideboard" | "side" | "sb" => Heading::Section(Section::Sideboard),
        "commander" | "commanders" | "oathbreaker" | "signaturespell" => Heading::Section(Section::Commander),
        "companion" => Heading::Section(Section::Companion),
        "maybeboard" | "maybe" | "considering" => Heading::Section(Section::Maybe),
        "about" => Heading::About,
        "creature" | "creatures" | "land" | "lands" | "instant" | "instants" | "sorcery" | "sorceries" | "artifact"
        | "artifacts" | "enchantment" | "enchantments" | "planeswalker" | "planeswalkers" | "battle" | "battles" | "spells"
        | "other" => Heading::Group,
        _ => return None,
    })
}

/// A count, a name and the section that the line itself names.
fn entry(line: &str) -> Result<(u32, String, Option<Section>), &'static str> {
    let (line, mut own) = match line.get(..3) {
        Some(start) if start.eq_ignore_ascii_case("sb:") => (line.get(3..).unwrap_or_default().trim(), Some(Section::Sideboard)),
        Some(_) | None => (line, None),
    };
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = line.split_at_checked(digits).unwrap_or(("", line));
    let rest_after_x = rest.strip_prefix(['x', 'X', '×']).filter(|rest| rest.starts_with(' ')).unwrap_or(rest);
    // A name may begin with a digit: then no blank follows it.
    let is_count = !number.is_empty() && rest_after_x.starts_with(' ');
    let (count, name) = if is_count { (number.parse::<u32>().unwrap_or(u32::MAX), rest_after_x.trim()) } else { (1, line) };
    if count == 0 || count > COUNT_MAX {
        return Err("a count must be between 1 and 999");
    }
    if name.contains("*CMDR*") {
        own = Some(Section::Commander);
    }
    let name = without_printing(name);
    if name.is_empty() || !name.chars().any(char::is_alphanumeric) {
        return Err("there is no name");
    }
    if name.chars().count() > 150 {
        return Err("the name is too long");
    }
    Ok((count, name.to_owned(), own))
}

/// The name alone: without ` (SET) 123`, ` [SET]`, ` *F*`, ` #tag`.
fn without_printing(name: &str) -> &str {
    let name = name.split(" #").next().unwrap_or_default();
    let name = name.split(" *").next().unwrap_or_default().trim();
    let name = name.split(" ^").next().unwrap_or_default().trim();
    for (open, close) in [(" (", ')'), (" [", ']')] {
        let Some((before, set)) = name.rsplit_once(open) else { continue };
        let Some((code, number)) = set.split_once(close) else { continue };
        let is_code =
            (2..=6).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let is_low = (2..=6).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_number = !number.trim().contains(' ') && number.chars().count() < 12;
        if is_number && (is_code || (is_low && (close == ']' || !number.is_empty()))) {
            return before.trim();
        }
    }
    name
}

#[cfg(test)]
mod tests;

//! A card as it is kept: what deck work needs, whichever file it came from.

use crate::formats::Legalities;
use serde::{Deserialize, Serialize};

/// A set of the five colours and of colourless mana.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colors(u8);

/// In their usual order.
pub const LETTERS: [(char, &str); 5] = [('W', "white"), ('U', "blue"), ('B', "black"), ('R', "red"), ('G', "green")];
const COLORLESS: u8 = 1 << 5;

impl Colors {
    /// One, by its letter; none for anything but W, U, B, R, G and C.
    #[must_use]
    pub fn of_letter(letter: char) -> Option<Self> {
        let letter = letter.to_ascii_uppercase();
        if letter == 'C' {
            return Some(Self(COLORLESS));
        }
        let at = LETTERS.iter().position(|(known, _)| *known == letter)?;
        Some(Self(1 << at))
    }

    /// By a letter, a colour's name or several letters together: `R`, `red`, `WU`.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        let low = word.trim().to_ascii_lowercase();
        if low == "colorless" || low == "colourless" {
            return Some(Self(COLORLESS));
        }
        if let Some((letter, _)) = LETTERS.iter().find(|(_, name)| *name == low) {
            return Self::of_letter(*letter);
        }
        if low.is_empty() || low.len() > 6 {
            return None;
        }
        low.chars().map(Self::of_letter).try_fold(Self::default(), |all, one| Some(all.with(one?)))
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of the other's are among these.
    #[must_use]
    pub const fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none of the five.
    #[must_use]
    pub const fn is_colorless(self) -> bool {
        self.0 & !COLORLESS == 0
    }

    /// Without colourless mana: what a card's colours are compared with.
    #[must_use]
    pub const fn colored(self) -> Self {
        Self(self.0 & !COLORLESS)
    }

    /// `WUBRG`, colourless mana last.
    #[must_use]
    pub fn letters(self) -> Vec<String> {
        let five = LETTERS.iter().map(|(letter, _)| *letter).chain(['C']);
        five.filter(|letter| Self::of_letter(*letter).is_some_and(|one| self.holds(one))).map(String::from).collect()
    }
}

/// One side of a card with two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// Its own name.
    pub name: String,
    /// `{1}{R}`
    pub mana_cost: String,
    /// `Creature — Fox`
    pub type_line: String,
    /// Rules text.
    pub text: String,
    /// `2/3`, a loyalty or a defence; empty where there is none.
    pub stats: String,
}

/// What the makers said about a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// `2026-09-01`
    pub date: String,
    /// The sentence.
    pub text: String,
}

/// A card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The same for all printings; rulings are found by it.
    pub id: String,
    /// The whole name: `A // B` with two faces.
    pub name: String,
    /// `normal`, `split`, `transform`...
    pub layout: String,
    /// `{1}{R}`; empty where there is none, which is not `{0}`.
    pub mana_cost: String,
    /// May be half a mana.
    pub mana_value: f64,
    /// Its colours.
    pub colors: Colors,
    /// The colours that a commander must have for it.
    pub identity: Colors,
    /// Mana that it can make, where the data says so.
    pub produces: Colors,
    /// `Legendary Creature — Fox`
    pub type_line: String,
    /// Rules text; with two faces it is theirs.
    pub text: String,
    /// `2/3`, `1+*/4`, a loyalty or a defence; empty where there is none.
    pub stats: String,
    /// `Flying`
    pub keywords: Vec<String>,
    /// Where it may be played.
    pub legalities: Legalities,
    /// How liked it is: 1 is the most. 0 where nobody says.
    pub popularity: u32,
    /// Its sides, if there are two.
    pub faces: Vec<Face>,
    /// What was said about it; from a file of rulings otherwise.
    pub rulings: Vec<Ruling>,
}

impl Card {
    /// Whether the type line, or that of its front, holds a type.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        let front = self.type_line.split("//").next().unwrap_or_default();
        front.split(|c: char| !c.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case(kind))
    }

    /// What counts as a land in a deck: its front is one.
    #[must_use]
    pub fn is_land(&self) -> bool {
        self.is("Land")
    }

    /// The rules text of all sides.
    #[must_use]
    pub fn whole_text(&self) -> String {
        let faces = self.faces.iter().map(|face| face.text.as_str());
        let texts: Vec<&str> = std::iter::once(self.text.as_str()).chain(faces).filter(|text| !text.is_empty()).collect();
        texts.join("\n")
    }

    /// The costs of all sides; a card's own where it has one.
    #[must_use]
    pub fn whole_cost(&self) -> String {
        if self.mana_cost.is_empty() {
            self.faces.iter().map(|face| face.mana_cost.as_str()).collect()
        } else {
            self.mana_cost.clone()
        }
    }

    /// Mana that it can make: what the data says, or else its text and its land types.
    #[must_use]
    pub fn makes(&self) -> Colors {
        if self.produces != Colors::default() {
            return self.produces;
        }
        const LAND_TYPES: [(&str, char); 5] =
            [("Plains", 'W'), ("Island", 'U'), ("Swamp", 'B'), ("Mountain", 'R'), ("Forest", 'G')];
        let land_types = LAND_TYPES.iter().filter(|(kind, _)| self.is(kind)).map(|(_, letter)| *letter);
        let text = self.whole_text();
        let said = text.split(['.', '\n']).filter_map(|sentence| sentence.split_once("Add "));
        let in_text =
            said.flat_map(|(_, what)| symbols(what).flat_map(|symbol| symbol.chars().collect::<Vec<_>>()).collect::<Vec<_>>());
        let mut all = land_types.chain(in_text).filter_map(Colors::of_letter).fold(Colors::default(), Colors::with);
        if text.contains("mana of any color") || text.contains("mana of any one color") {
            all = LETTERS.iter().filter_map(|(letter, _)| Colors::of_letter(*letter)).fold(all, Colors::with);
        }
        all
    }
}

/// What stands in braces, one after the other: `{2}{R/G}` is `2`, `R/G`.
pub fn symbols(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(symbol, _)| symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_in_every_way_people_write_them() {
        let red = Colors::of_letter('R').unwrap_or_default();
        for word in ["R", "r", "red", " Red "] {
            assert_eq!(Colors::of_word(word), Some(red));
        }
        assert_eq!(Colors::of_word("wu").map(Colors::letters), Some(vec!["W".to_owned(), "U".to_owned()]));
        assert_eq!(Colors::of_word("C").map(Colors::is_colorless), Some(true));
        assert_eq!((Colors::of_word("purple"), Colors::of_word("")), (None, None));
        assert!(!red.is_colorless() && red.with(red).holds(red) && !red.holds(Colors::of_letter('G').unwrap_or_default()));
    }

    #[test]
    fn what_a_card_makes_is_read_from_its_text() {
        let of = |type_line: &str, text: &str| {
            Card { type_line: type_line.into(), text: text.into(), ..Card::default() }.makes().letters()
        };
        assert_eq!(of("Basic Land — Forest", ""), ["G"]);
        assert_eq!(of("Land", "{T}: Add {W} or {U}. You lose {R}."), ["W", "U"]);
        assert_eq!(of("Artifact", "{T}: Add {C}{C}."), ["C"]);
        assert_eq!(of("Land", "{T}: Add one mana of any color.").len(), 5);
        assert_eq!(of("Creature — Fox", "Deals 2 damage."), Vec::<String>::new());
        assert_eq!(symbols("{2}{R/G}{x").collect::<Vec<_>>(), ["2", "R/G"]);
    }
}

//! The formats that cards are legal in, and how a deck for each is built.

/// How a deck is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// As Scryfall and MTGJSON call it.
    pub name: &'static str,
    /// Cards without the sideboard, with the commander.
    pub cards_min: u32,
    /// The same, where there is a bound.
    pub cards_max: Option<u32>,
    /// Cards of one name.
    pub copies_max: u32,
    /// Cards in the sideboard.
    pub sideboard_max: u32,
    /// Whether a commander leads the deck and bounds its colours.
    pub commander: bool,
}

const fn sixty(name: &'static str) -> Format {
    Format { name, cards_min: 60, cards_max: None, copies_max: 4, sideboard_max: 15, commander: false }
}

const fn singleton(name: &'static str, cards: u32, commander: bool) -> Format {
    Format { name, cards_min: cards, cards_max: Some(cards), copies_max: 1, sideboard_max: 0, commander }
}

/// Invariant: only ever appended to. The place in this list is a bit in [`Legalities`], and those are in databases.
pub const FORMATS: [Format; 22] = [
    sixty("standard"),
    sixty("future"),
    sixty("historic"),
    sixty("timeless"),
    singleton("gladiator", 100, false),
    sixty("pioneer"),
    sixty("modern"),
    sixty("legacy"),
    sixty("pauper"),
    sixty("vintage"),
    sixty("penny"),
    singleton("commander", 100, true),
    singleton("oathbreaker", 60, true),
    singleton("standardbrawl", 60, true),
    singleton("brawl", 100, true),
    sixty("alchemy"),
    singleton("paupercommander", 100, true),
    singleton("duel", 100, true),
    sixty("oldschool"),
    sixty("premodern"),
    singleton("predh", 100, true),
    sixty("explorer"),
];

/// A format and its bit.
#[must_use]
pub fn find(name: &str) -> Option<(u32, Format)> {
    let wanted: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let wanted = if wanted == "edh" { "commander".to_owned() } else { wanted };
    (0_u32..).zip(FORMATS).find(|(_, format)| format.name == wanted)
}

/// The formats' names.
#[must_use]
pub fn names() -> Vec<&'static str> {
    FORMATS.iter().map(|format| format.name).collect()
}

/// What a card may do in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legality {
    /// As often as any card.
    Legal,
    /// Once.
    Restricted,
    /// Forbidden by name.
    Banned,
    /// Not part of the format.
    NotLegal,
}

impl Legality {
    /// As the tools say it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Legal => "legal",
            Self::Restricted => "restricted",
            Self::Banned => "banned",
            Self::NotLegal => "not_legal",
        }
    }
}

/// A card's legality in every format, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Legalities {
    legal: u32,
    restricted: u32,
    banned: u32,
}

impl Legalities {
    /// Notes one; false for a word that nobody knows. A format that we don't know is passed over.
    pub fn note(&mut self, format: &str, word: &str) -> bool {
        let bit = find(format).map_or(0, |(at, _)| 1 << at);
        match word.to_ascii_lowercase().as_str() {
            "legal" => self.legal |= bit,
            "restricted" => self.restricted |= bit,
            "banned" => self.banned |= bit,
            "not_legal" => {}
            _ => return false,
        }
        true
    }

    /// What either of the two says.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self {
            legal: self.legal | other.legal,
            restricted: self.restricted | other.restricted,
            banned: self.banned | other.banned,
        }
    }

    /// In the format with this bit.
    #[must_use]
    pub const fn in_format(self, at: u32) -> Legality {
        let bit = 1_u32 << at;
        if self.banned & bit != 0 {
            Legality::Banned
        } else if self.restricted & bit != 0 {
            Legality::Restricted
        } else if self.legal & bit != 0 {
            Legality::Legal
        } else {
            Legality::NotLegal
        }
    }

    /// Whether it may be played at all there.
    #[must_use]
    pub const fn is_playable(self, at: u32) -> bool {
        matches!(self.in_format(at), Legality::Legal | Legality::Restricted)
    }

    /// Whether anything is said of the format: where nothing is said of any card, the data does not know it.
    #[must_use]
    pub const fn says_of(self, at: u32) -> bool {
        (self.legal | self.restricted | self.banned) & (1 << at) != 0
    }
}

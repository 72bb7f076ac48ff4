//! Scryfall's `oracle_cards` and `default_cards`: one array of card objects. Only the fields that we keep are named here.

use super::bounded::Meter;
use super::rulings::RawRuling;
use super::{Counts, ImportError, Outcome, Sink, unknown};
use crate::card::{Card, Colors, Face};
use crate::formats::Legalities;
use crate::library::Kind;
use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// No cards of a deck.
const NOT_FOR_DECKS: [&str; 8] =
    ["token", "double_faced_token", "emblem", "art_series", "planar", "scheme", "vanguard", "augment_token"];
const NAME_CHARS_MAX: usize = 200;
const TEXT_CHARS_MAX: usize = 8_000;
const ID_BYTES_MAX: usize = 1024;

/// What tells cards from rulings, and both from something else.
#[derive(Deserialize)]
struct Probe {
    name: Option<IgnoredAny>,
    comment: Option<IgnoredAny>,
    download_uri: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawCard {
    oracle_id: Option<String>,
    name: String,
    lang: Option<String>,
    #[serde(default)]
    layout: String,
    mana_cost: Option<String>,
    cmc: Option<f64>,
    #[serde(default)]
    type_line: String,
    oracle_text: Option<String>,
    power: Option<String>,
    toughness: Option<String>,
    loyalty: Option<String>,
    defense: Option<String>,
    colors: Option<Vec<String>>,
    color_identity: Option<Vec<String>>,
    produced_mana: Option<Vec<String>>,
    keywords: Option<Vec<String>>,
    legalities: Option<BTreeMap<String, String>>,
    edhrec_rank: Option<u32>,
    card_faces: Option<Vec<RawFace>>,
}

#[derive(Deserialize)]
struct RawFace {
    oracle_id: Option<String>,
    cmc: Option<f64>,
    #[serde(default)]
    name: String,
    mana_cost: Option<String>,
    type_line: Option<String>,
    oracle_text: Option<String>,
    power: Option<String>,
    toughness: Option<String>,
    loyalty: Option<String>,
    defense: Option<String>,
    colors: Option<Vec<String>>,
}

/// The elements of the array, one after the other.
pub(super) struct Elements<'s> {
    pub(super) sink: &'s mut Sink,
    /// Known from the first one on.
    pub(super) kind: Option<Kind>,
    pub(super) counts: Counts,
    pub(super) meter: Meter,
    /// What ended the walk, where it was not the JSON.
    pub(super) failed: Option<ImportError>,
}

impl<'de> Visitor<'de> for &mut Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of cards or of rulings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<Box<RawValue>>()? {
            self.meter.next();
            if let Err(error) = self.take(element.get()) {
                self.failed = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

impl Elements<'_> {
    pub(super) fn finish(self, walked: Result<(), serde_json::Error>) -> Result<Outcome, ImportError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        walked?;
        let kind = self.kind.ok_or_else(|| unknown("it is an empty array"))?;
        let format = if kind == Kind::Cards { "scryfall" } else { "scryfall-rulings" };
        Ok(Outcome { kind, format, as_of: None, counts: self.counts })
    }

    fn take(&mut self, element: &str) -> Result<(), ImportError> {
        let kind = match self.kind {
            Some(kind) => kind,
            None => *self.kind.insert(kind_of(element)?),
        };
        let place = self.counts.all() + 1;
        match kind {
            Kind::Cards => match serde_json::from_str::<RawCard>(element) {
                Ok(raw) => self.card(place, raw)?,
                Err(error) => self.counts.unusable(place, &error.to_string()),
            },
            Kind::Rulings | Kind::Rules => match serde_json::from_str::<RawRuling>(element) {
                Ok(raw) => {
                    self.counts.taken += 1;
                    self.sink.put(Kind::Rulings, &raw.kept())?;
                }
                Err(error) => self.counts.unusable(place, &error.to_string()),
            },
        }
        Ok(())
    }

    fn card(&mut self, place: u64, raw: RawCard) -> Result<(), ImportError> {
        if raw.lang.as_deref().is_some_and(|lang| lang != "en") {
            self.counts.foreign += 1;
            return Ok(());
        }
        if NOT_FOR_DECKS.contains(&raw.layout.as_str()) {
            self.counts.not_for_decks += 1;
            return Ok(());
        }
        match raw.kept() {
            Ok(card) if self.sink.is_new(&card.id) => {
                self.counts.taken += 1;
                self.sink.put(Kind::Cards, &card)?;
            }
            Ok(_) => self.counts.again += 1,
            Err(why) => self.counts.unusable(place, &why),
        }
        Ok(())
    }
}

fn kind_of(element: &str) -> Result<Kind, ImportError> {
    let strange = || unknown("it is an array, but neither of Scryfall's cards nor of its rulings");
    let probe: Probe = serde_json::from_str(element).map_err(|_| strange())?;
    match probe {
        Probe { download_uri: Some(_), .. } => {
            Err(unknown("it is the list of bulk files: download what `download_uri` leads to"))
        }
        Probe { comment: Some(_), name: None, .. } => Ok(Kind::Rulings),
        Probe { name: Some(_), .. } => Ok(Kind::Cards),
        Probe { .. } => Err(strange()),
    }
}

/// Letters to a set; an unknown one is a mistake of the file.
pub(super) fn colors(letters: Option<&Vec<String>>) -> Result<Colors, String> {
    letters.into_iter().flatten().try_fold(Colors::default(), |all, letter| {
        let mut chars = letter.chars();
        let one = chars.next().filter(|_| chars.next().is_none()).and_then(Colors::of_letter);
        // Some joke cards make mana that is neither.
        match one {
            Some(one) => Ok(all.with(one)),
            None if letter.chars().all(|c| c.is_ascii_alphanumeric()) => Ok(all),
            None => Err(format!("{letter:?} is not a colour")),
        }
    })
}

pub(super) fn stats(power: Option<&String>, toughness: Option<&String>, other: Option<&String>) -> String {
    match (power, toughness) {
        (Some(power), Some(toughness)) => format!("{power}/{toughness}"),
        (_, _) => other.cloned().unwrap_or_default(),
    }
}

/// What holds for every card, whichever file it is from.
pub(super) fn checked(card: Card) -> Result<Card, String> {
    let too_long = |text: &str| text.chars().count() > TEXT_CHARS_MAX;
    if crate::text::fold_name(&card.name).is_empty() || card.name.chars().count() > NAME_CHARS_MAX {
        return Err("its name is empty or too long".to_owned());
    }
    if card.id.is_empty() || card.id.len() > ID_BYTES_MAX {
        return Err(format!("{} has no id", card.name));
    }
    if !(card.mana_value.is_finite() && (0.0..=1_000_000.0).contains(&card.mana_value)) {
        return Err(format!("{} has a mana value of {}", card.name, card.mana_value));
    }
    if too_long(&card.text) || card.faces.len() > 8 || card.faces.iter().any(|face| too_long(&face.text)) {
        return Err(format!("{} has too much text", card.name));
    }
    Ok(card)
}

impl RawCard {
    fn kept(self) -> Result<Card, String> {
        let faces = self.card_faces.unwrap_or_default();
        let first = faces.first();
        let id = self.oracle_id.or_else(|| first.and_then(|face| face.oracle_id.clone()));
        let mut legalities = Legalities::default();
        for (format, word) in self.legalities.into_iter().flatten() {
            if !legalities.note(&format, &word) {
                return Err(format!("{} is {word:?} in {format}", self.name));
            }
        }
        let own = colors(self.colors.as_ref())?;
        let of_faces = faces.iter().map(|face| colors(face.colors.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let type_line = if self.type_line.is_empty() {
            faces.iter().filter_map(|face| face.type_line.clone()).collect::<Vec<_>>().join(" // ")
        } else {
            self.type_line
        };
        let other = self.loyalty.as_ref().or(self.defense.as_ref());
        checked(Card {
            id: id.unwrap_or_default(),
            layout: self.layout,
            mana_cost: self.mana_cost.unwrap_or_default(),
            mana_value: self.cmc.or_else(|| first.and_then(|face| face.cmc)).unwrap_or_default(),
            colors: if self.colors.is_some() { own } else { of_faces.into_iter().fold(own, Colors::with) },
            identity: colors(self.color_identity.as_ref())?,
            produces: colors(self.produced_mana.as_ref())?,
            type_line,
            text: self.oracle_text.unwrap_or_default(),
            stats: stats(self.power.as_ref(), self.toughness.as_ref(), other),
            keywords: self.keywords.unwrap_or_default(),
            legalities,
            popularity: self.edhrec_rank.unwrap_or_default(),
            faces: faces.into_iter().map(RawFace::kept).collect(),
            rulings: Vec::new(),
            name: self.name,
        })
    }
}

impl RawFace {
    fn kept(self) -> Face {
        let other = self.loyalty.as_ref().or(self.defense.as_ref());
        Face {
            stats: stats(self.power.as_ref(), self.toughness.as_ref(), other),
            name: self.name,
            mana_cost: self.mana_cost.unwrap_or_default(),
            type_line: self.type_line.unwrap_or_default(),
            text: self.oracle_text.unwrap_or_default(),
        }
    }
}

/// One card of our own file.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn card(json: &serde_json::Value) -> Result<Card, String> {
    RawCard::deserialize(json).map_err(|error| error.to_string())?.kept()
}

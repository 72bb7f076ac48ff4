//! MTGJSON's AtomicCards: `{"meta": {...}, "data": {"Name": [{...}, ...]}}`, a card's sides beside each other.

use super::bounded::{Bounded, Meter};
use super::scryfall::{checked, colors, stats};
use super::{Counts, ImportError, Outcome, Sink, unknown};
use crate::card::{Card, Colors, Face, Ruling};
use crate::formats::Legalities;
use crate::library::Kind;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{BufReader, Read};

#[derive(Deserialize)]
struct Meta {
    date: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSide {
    name: String,
    face_name: Option<String>,
    #[serde(default)]
    layout: String,
    mana_cost: Option<String>,
    #[serde(default)]
    mana_value: f64,
    #[serde(default, rename = "type")]
    type_line: String,
    text: Option<String>,
    power: Option<String>,
    toughness: Option<String>,
    loyalty: Option<String>,
    defense: Option<String>,
    colors: Option<Vec<String>>,
    color_identity: Option<Vec<String>>,
    produced_mana: Option<Vec<String>>,
    keywords: Option<Vec<String>>,
    #[serde(default)]
    legalities: BTreeMap<String, String>,
    edhrec_rank: Option<u32>,
    #[serde(default)]
    rulings: Vec<Ruling>,
    #[serde(default)]
    identifiers: Identifiers,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identifiers {
    scryfall_oracle_id: Option<String>,
}

/// No cards of a deck.
const NOT_FOR_DECKS: [&str; 7] = ["token", "emblem", "art_series", "planar", "scheme", "vanguard", "double_faced_token"];

struct Top<'s> {
    sink: &'s mut Sink,
    counts: Counts,
    meter: Meter,
    as_of: Option<String>,
    has_data: bool,
    failed: Option<ImportError>,
}

/// Reads a file whose first character is a brace.
pub(super) fn read<R: Read>(file: BufReader<Bounded<R>>, sink: &mut Sink) -> Result<Outcome, ImportError> {
    let meter = file.get_ref().meter();
    let mut top = Top { sink, counts: Counts::default(), meter, as_of: None, has_data: false, failed: None };
    let mut json = serde_json::Deserializer::from_reader(file);
    let walked = serde::Deserializer::deserialize_map(&mut json, &mut top).and_then(|()| json.end());
    if let Some(error) = top.failed {
        return Err(error);
    }
    walked?;
    if !top.has_data {
        return Err(unknown("it is a JSON object, but not MTGJSON's AtomicCards: it has no `data`"));
    }
    Ok(Outcome { kind: Kind::Cards, format: "mtgjson", as_of: top.as_of, counts: top.counts })
}

impl<'de> Visitor<'de> for &mut Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MTGJSON's AtomicCards")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.meter.next();
            match key.as_str() {
                "meta" => self.as_of = Some(map.next_value::<Meta>()?.date),
                "data" if self.has_data => return Err(A::Error::custom("`data` stands in it twice")),
                "data" => {
                    self.has_data = true;
                    map.next_value_seed(Names(self))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// What `data` holds.
struct Names<'t, 's>(&'t mut Top<'s>);

impl<'de> DeserializeSeed<'de> for Names<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MTGJSON's cards by name (AtomicCards, not AllPrintings)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let sides = map.next_value::<Box<RawValue>>()?;
            self.0.meter.next();
            if let Err(error) = self.0.take(&name, sides.get()) {
                self.0.failed = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

impl Top<'_> {
    fn take(&mut self, name: &str, sides: &str) -> Result<(), ImportError> {
        let place = self.counts.all() + 1;
        let kept = serde_json::from_str::<Vec<RawSide>>(sides).map_err(|error| format!("{name}: {error}")).and_then(|sides| {
            let skipped = sides.first().is_some_and(|side| NOT_FOR_DECKS.contains(&side.layout.as_str()));
            if skipped { Ok(None) } else { kept(name, sides).map(Some) }
        });
        match kept {
            Ok(None) => self.counts.not_for_decks += 1,
            Ok(Some(card)) if self.sink.is_new(&card.id) => {
                self.counts.taken += 1;
                self.sink.put(Kind::Cards, &card)?;
            }
            Ok(Some(_)) => self.counts.again += 1,
            Err(why) => self.counts.unusable(place, &why),
        }
        Ok(())
    }
}

/// One card of its sides. Several cards of one name that are no sides of each other are variants: the first one stands for them.
fn kept(name: &str, sides: Vec<RawSide>) -> Result<Card, String> {
    let mut all = sides.into_iter();
    let front = all.next().ok_or_else(|| format!("{name} has no sides"))?;
    let others: Vec<RawSide> =
        if front.face_name.is_some() { all.filter(|side| side.face_name.is_some()).collect() } else { Vec::new() };
    let mut legalities = Legalities::default();
    for (format, word) in &front.legalities {
        if !legalities.note(format, word) {
            return Err(format!("{name} is {word:?} in {format}"));
        }
    }
    let sides = || std::iter::once(&front).chain(&others);
    let together = |of: fn(&RawSide) -> Option<&Vec<String>>| {
        sides().map(|side| colors(of(side))).try_fold(Colors::default(), |all, one| Ok::<_, String>(all.with(one?)))
    };
    let is_single = others.is_empty();
    let types: Vec<&str> = sides().map(|side| side.type_line.as_str()).collect();
    checked(Card {
        id: front.identifiers.scryfall_oracle_id.clone().unwrap_or_else(|| format!("name:{name}")),
        layout: front.layout.clone(),
        mana_value: front.mana_value,
        colors: together(|side| side.colors.as_ref())?,
        identity: together(|side| side.color_identity.as_ref())?,
        produces: together(|side| side.produced_mana.as_ref())?,
        type_line: types.join(" // "),
        mana_cost: if is_single { front.mana_cost.clone().unwrap_or_default() } else { String::new() },
        text: if is_single { front.text.clone().unwrap_or_default() } else { String::new() },
        stats: if is_single { front.stats() } else { String::new() },
        keywords: sides().filter_map(|side| side.keywords.clone()).flatten().collect(),
        legalities,
        popularity: front.edhrec_rank.unwrap_or_default(),
        faces: if is_single { Vec::new() } else { sides().map(RawSide::face).collect() },
        rulings: front.rulings.clone(),
        name: front.name.clone(),
    })
}

impl RawSide {
    fn stats(&self) -> String {
        stats(self.power.as_ref(), self.toughness.as_ref(), self.loyalty.as_ref().or(self.defense.as_ref()))
    }

    fn face(&self) -> Face {
        Face {
            name: self.face_name.clone().unwrap_or_else(|| self.name.clone()),
            mana_cost: self.mana_cost.clone().unwrap_or_default(),
            type_line: self.type_line.clone(),
            text: self.text.clone().unwrap_or_default(),
            stats: self.stats(),
        }
    }
}

//! The file with the place of each of its keys, so that every fault can be found, and every value traced to its line.

use super::trace::{self, Kind, Known, Part};
use super::{Environment, Fault, Faults, File};
use crate::trust::Trust;
use serde::Deserialize;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// A key that stands in the file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// From the file's root, lists counted from 1: `egress[1].host`.
    pub(super) place: String,
    path: Vec<Step>,
    /// Line and column, both from 1.
    pub(super) at: (usize, usize),
    /// As it is written; empty for a table or a list of tables.
    pub(super) value: String,
    kind: Found,
}

impl Entry {
    fn fits(&self, kind: Kind) -> bool {
        let is_choice = |choices: &[&str]| choices.contains(&self.value.trim_matches(['"', '\'']));
        self.kind.fits(kind)
            && match kind {
                Kind::Choice(choices) => is_choice(choices),
                Kind::Flag | Kind::Integer | Kind::Number | Kind::Text | Kind::Any => true,
            }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Item(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Flag,
    Integer,
    Float,
    Text,
    Date,
    List,
    Table,
}

impl Found {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Integer => "a whole number",
            Self::Float => "a number",
            Self::Text => "a text",
            Self::Date => "a date",
            Self::List => "a list",
            Self::Table => "a table",
        }
    }

    const fn fits(self, kind: Kind) -> bool {
        match kind {
            Kind::Flag => matches!(self, Self::Flag),
            Kind::Integer => matches!(self, Self::Integer),
            Kind::Number => matches!(self, Self::Integer | Self::Float),
            Kind::Text | Kind::Choice(_) => matches!(self, Self::Text),
            Kind::Any => matches!(self, Self::Text | Self::Integer | Self::Float),
        }
    }
}

/// What was read, and what could not be.
#[derive(Default)]
pub(super) struct Source {
    /// Without what is in `faults`.
    pub(super) file: File,
    /// Its name, for people.
    pub(super) name: String,
    pub(super) entries: Vec<Entry>,
    /// Unknown keys, and values of another type.
    pub(super) faults: Faults,
}

impl Source {
    /// Reads a file; none is an empty one.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, Faults> {
        let Some(path) = path else { return Ok(Self::default()) };
        let believed = Trust::of_root().and_then(|trust| trust.map_or(Ok(()), |trust| trust.file(path)));
        believed.map_err(|error| Faults::one("--config", format!("{error:#}")))?;
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Faults::one(&name, error.to_string()))?;
        Self::parse(&text, &name)
    }

    /// Reads a file's text. What is unknown or of the wrong type is left out and noted, so that the rest is checked too.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self, Faults> {
        let table = DeTable::parse(text).map_err(|error| refused(text, name, &[], &error))?;
        let mut entries = Vec::new();
        walk(table.get_ref(), text, &[], &mut entries);
        entries.sort_by_key(|entry| entry.at);
        let name = name.to_owned();
        let error = match toml::from_str(text) {
            Ok(file) => return Ok(Self { file, name, entries, faults: Faults::default() }),
            Err(error) => error,
        };
        let (faults, bad) = unfit(&entries, &trace::keys_of::<File>());
        if bad.is_empty() {
            return Err(refused(text, &name, &entries, &error));
        }
        let mut table = table;
        // From the end, so that places in lists still hold.
        bad.iter().rev().for_each(|path| remove_from(table.get_mut(), path));
        let source = Self { file: File::default(), name, entries, faults };
        match File::deserialize(toml::de::Deserializer::from(table)) {
            Ok(file) => Ok(Self { file, ..source }),
            Err(error) => Err(source.located(refused(text, &source.name, &source.entries, &error), None)),
        }
    }

    /// The faults of the file and those that were found later, each with its place.
    pub(super) fn located(&self, more: Faults, environment: Option<&Environment>) -> Faults {
        let all = self.faults.iter().chain(more.iter()).cloned();
        all.map(|fault| Fault { at: fault.at.clone().or_else(|| self.at(&fault.place, environment)), ..fault }).collect()
    }

    fn at(&self, place: &str, environment: Option<&Environment>) -> Option<String> {
        if let Some(origin) = environment.and_then(|environment| environment.origin(place)) {
            return Some(origin.to_string());
        }
        let mut place = place;
        loop {
            if let Some(entry) = self.entries.iter().find(|entry| entry.place == place) {
                return Some(self.name_of(entry.at));
            }
            place = place.get(..place.rfind(['.', '['])?)?;
        }
    }

    /// `hexward.toml, line 3, column 1`
    pub(super) fn name_of(&self, (line, column): (usize, usize)) -> String {
        at_text(&self.name, (line, column))
    }
}

fn at_text(name: &str, (line, column): (usize, usize)) -> String {
    format!("{name}, line {line}, column {column}")
}

/// What the reader itself says: of a text that is not TOML, a key that is missing, a number that does not fit.
fn refused(text: &str, name: &str, entries: &[Entry], error: &toml::de::Error) -> Faults {
    let at = error.span().map(|span| position(text, span.start));
    let place = entries.iter().rfind(|entry| at.is_some_and(|at| entry.at <= at)).map(|entry| entry.place.clone());
    let at = at.map_or_else(|| name.to_owned(), |at| at_text(name, at));
    let text = error.message().trim_end().replace('\n', "; ");
    [Fault { place: place.unwrap_or_default(), text, at: Some(at) }].into_iter().collect()
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

fn place_of(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Item(number) => text.push_str(&format!("[{number}]")),
            Step::Name(name) if text.is_empty() => text.push_str(name),
            Step::Name(name) => {
                text.push('.');
                text.push_str(name);
            }
        }
    }
    text
}

fn walk(table: &DeTable<'_>, text: &str, path: &[Step], entries: &mut Vec<Entry>) {
    for (key, value) in table {
        let path = [path, &[Step::Name(key.get_ref().to_string())]].concat();
        note(value.get_ref(), (key.span().start, value.span()), text, path, entries);
    }
}

fn note(
    value: &DeValue<'_>,
    (start, span): (usize, std::ops::Range<usize>),
    text: &str,
    path: Vec<Step>,
    entries: &mut Vec<Entry>,
) {
    let is_plain = |list: &toml::de::DeArray<'_>| !list.iter().any(|one| matches!(one.get_ref(), DeValue::Table(_)));
    let (kind, shown) = match value {
        DeValue::String(_) => (Found::Text, true),
        DeValue::Integer(_) => (Found::Integer, true),
        DeValue::Float(_) => (Found::Float, true),
        DeValue::Boolean(_) => (Found::Flag, true),
        DeValue::Datetime(_) => (Found::Date, true),
        DeValue::Array(list) => (Found::List, is_plain(list)),
        DeValue::Table(_) => (Found::Table, false),
    };
    let written = if shown { text.get(span).unwrap_or_default().to_owned() } else { String::new() };
    // The first `[[list]]` begins before its name does.
    let first = match value {
        DeValue::Array(list) => list.iter().next().map_or(start, |one| one.span().start.min(start)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => start,
    };
    entries.push(Entry { place: place_of(&path), path: path.clone(), at: position(text, first), value: written, kind });
    match value {
        DeValue::Table(table) => walk(table, text, &path, entries),
        DeValue::Array(list) => {
            for (at, one) in list.iter().enumerate() {
                let path = [path.as_slice(), &[Step::Item(at + 1)]].concat();
                note(one.get_ref(), (one.span().start, one.span()), text, path, entries);
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// What of the file no key takes: unknown ones, and values of another type.
fn unfit(entries: &[Entry], known: &[Known]) -> (Faults, Vec<Vec<Step>>) {
    let (mut faults, mut bad) = (Faults::default(), Vec::<Vec<Step>>::new());
    for entry in entries {
        if bad.iter().any(|path| entry.path.starts_with(path)) {
            continue;
        }
        let below: Vec<_> = known.iter().filter(|known| leads(&entry.path, &known.path)).collect();
        let exact = below.iter().find(|known| known.path.len() == entry.path.len());
        let wanted = match (below.first().and_then(|known| known.path.get(entry.path.len())), exact) {
            (_, Some(exact)) if entry.fits(exact.kind) => continue,
            (_, Some(exact)) => exact.kind.to_string(),
            (None, None) => {
                faults.add(&entry.place, &format!("is no key that this version knows{}", near(entry, known)));
                bad.push(entry.path.clone());
                continue;
            }
            (Some(Part::Item), None) if entry.kind == Found::List => continue,
            (Some(Part::Name(_) | Part::AnyName), None) if entry.kind == Found::Table => continue,
            (Some(Part::Item), None) => "a list".to_owned(),
            (Some(Part::Name(_) | Part::AnyName), None) => "a table".to_owned(),
        };
        let is = if entry.kind == Found::Text { &entry.value } else { entry.kind.as_str() };
        faults.add(&entry.place, &format!("is {is} and must be {wanted}"));
        bad.push(entry.path.clone());
    }
    (faults, bad)
}

/// Whether a path of the file is the beginning of a key's.
fn leads(path: &[Step], key: &[Part]) -> bool {
    path.len() <= key.len()
        && path.iter().zip(key).all(|(step, part)| match (step, part) {
            (Step::Name(name), Part::Name(known)) => name == known,
            (Step::Name(_), Part::AnyName) | (Step::Item(_), Part::Item) => true,
            (Step::Name(_), Part::Item) | (Step::Item(_), Part::Name(_) | Part::AnyName) => false,
        })
}

/// The keys that could stand there.
fn near(entry: &Entry, known: &[Known]) -> String {
    let Some((_, above)) = entry.path.split_last() else { return String::new() };
    let mut names: Vec<&str> = known
        .iter()
        .filter(|known| leads(above, &known.path))
        .filter_map(|known| match known.path.get(above.len()) {
            Some(Part::Name(name)) => Some(name.as_str()),
            Some(Part::AnyName | Part::Item) | None => None,
        })
        .collect();
    names.dedup();
    if names.is_empty() { String::new() } else { format!("; here are: {}", names.join(", ")) }
}

fn remove_from(table: &mut DeTable<'_>, path: &[Step]) {
    let Some((Step::Name(name), rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.remove(name.as_str());
    } else if let Some(below) = table.get_mut(name.as_str()) {
        remove(below.get_mut(), rest);
    }
}

/// An entry of a list becomes a text that stands for nothing, so that the others keep their places.
fn remove(value: &mut DeValue<'_>, path: &[Step]) {
    match (value, path.split_first()) {
        (DeValue::Table(table), _) => remove_from(table, path),
        (DeValue::Array(list), Some((Step::Item(number), rest))) => {
            if let Some(entry) = number.checked_sub(1).and_then(|at| list.get_mut(at)) {
                match rest.is_empty() {
                    true => *entry.get_mut() = DeValue::String("".into()),
                    false => remove(entry.get_mut(), rest),
                }
            }
        }
        _ => {}
    }
}

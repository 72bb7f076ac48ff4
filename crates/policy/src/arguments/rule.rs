//! The rules as an operator writes them, and how values of each kind are compared.

use super::links::{Address, host_of, links_in};
use super::words::{email, emails_in};
use crate::HostName;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use std::fmt;

/// Entries of one list at most.
const LISTED_MAX: usize = 1_000;

/// What an argument may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgumentRule {
    /// Whatever the model says.
    Any,
    /// What comes from somewhere.
    From(ArgumentSource),
}

/// Where a value has to come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgumentSource {
    /// How values are compared.
    #[serde(default)]
    pub kind: ArgumentKind,
    /// Any of these.
    #[serde(default)]
    pub from: Vec<Origin>,
    /// Or one of these: a value, `*@example.com` for an e-mail address, `*.example.com` for a host.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// How values are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArgumentKind {
    /// Letter by letter, as a whole.
    #[default]
    Text,
    /// An e-mail address and nothing beside it.
    Email,
    /// An address of the web: only its host is compared.
    Host,
    /// An address of the web, with all that is in it.
    Url,
    /// Free text; the host of each address of the web in it is compared.
    Links,
}

/// Somebody whose word about a value counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// What the person wrote in this conversation.
    User,
    /// What a tool of the app returned in it.
    Result(ResultField),
}

/// A part of a tool's results.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultField {
    /// The tool.
    pub tool: String,
    /// Only fields of this name, at any depth; without it everything that is returned.
    pub field: Option<String>,
    /// Whether the value may stand somewhere in it. Otherwise it has to be the whole of it.
    #[serde(default)]
    pub within: bool,
    /// Only of objects that the person named: the field beside it in which the name is.
    pub named: Option<String>,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentFault {
    /// It would allow nothing.
    #[error("an argument's rule needs `from` or `allow`; write \"any\" if it may have every value")]
    Empty,
    /// An entry of its list that is none of its kind.
    #[error(
        "an entry of `allow` is not of the argument's kind: write a value, *@example.com for e-mail, *.example.com for hosts"
    )]
    Allow,
    /// Too long a list.
    #[error("`allow` has more than 1000 entries")]
    TooMany,
    /// A tool that the app does not have.
    #[error("`from` names a tool that the manifest does not list")]
    Tool,
    /// A name beside no field.
    #[error("`named` needs `field`")]
    Named,
}

impl ArgumentRule {
    /// What is wrong with it, in an app that has these tools.
    pub(crate) fn fault(&self, has_tool: impl Fn(&str) -> bool) -> Option<ArgumentFault> {
        let Self::From(source) = self else { return None };
        if source.from.is_empty() && source.allow.is_empty() {
            return Some(ArgumentFault::Empty);
        }
        if source.allow.len() > LISTED_MAX {
            return Some(ArgumentFault::TooMany);
        }
        if !source.allow.iter().all(|entry| source.kind.can_list(entry)) {
            return Some(ArgumentFault::Allow);
        }
        source.from.iter().find_map(|origin| match origin {
            Origin::Result(field) if !has_tool(&field.tool) => Some(ArgumentFault::Tool),
            Origin::Result(field) if field.named.is_some() && field.field.is_none() => Some(ArgumentFault::Named),
            Origin::User | Origin::Result(_) => None,
        })
    }

    /// Whether what this tool returns has to be known.
    pub(crate) fn needs(&self, tool: &str) -> bool {
        match self {
            Self::Any => false,
            Self::From(source) => source.from.iter().any(|origin| matches!(origin, Origin::Result(field) if field.tool == tool)),
        }
    }
}

impl ArgumentSource {
    /// Whether the operator's list has this value.
    pub(super) fn lists(&self, value: &str) -> bool {
        if self.kind == ArgumentKind::Text {
            return self.allow.iter().any(|entry| entry == value);
        }
        let Some(value) = self.kind.name_of(value) else { return false };
        self.allow.iter().any(|entry| {
            let entry = entry.to_ascii_lowercase();
            entry.strip_prefix('*').map_or(entry == value, |end| value.strip_suffix(end).is_some_and(|before| !before.is_empty()))
        })
    }
}

impl ArgumentKind {
    /// The one form in which a value of this kind is compared; none for what is not plainly one.
    pub(super) fn canonical(self, value: &str) -> Option<String> {
        match self {
            Self::Text => Some(value.to_owned()),
            Self::Email => email(value),
            Self::Host | Self::Links => host_of(value),
            Self::Url => Address::parse(value).map(|address| address.to_string()),
        }
    }

    /// What a list is compared with: of an address its host alone.
    fn name_of(self, value: &str) -> Option<String> {
        match self {
            Self::Text => Some(value.to_owned()),
            Self::Email => email(value),
            Self::Host | Self::Links | Self::Url => Address::parse(value).and_then(Address::host_on_its_usual_port),
        }
    }

    /// All values of this kind that stand in a text; none for the kind whose values can't be told from words.
    pub(super) fn all_in(self, text: &str) -> Vec<String> {
        match self {
            Self::Text => Vec::new(),
            Self::Email => emails_in(text),
            Self::Host | Self::Url | Self::Links => links_in(text).iter().filter_map(|link| self.canonical(link)).collect(),
        }
    }

    fn can_list(self, entry: &str) -> bool {
        let host =
            |name: &str| name.contains('.') && HostName::parse(name).is_ok_and(|parsed| parsed.as_str().len() == name.len());
        match self {
            Self::Text => !entry.trim().is_empty(),
            Self::Email => entry.strip_prefix("*@").map_or_else(|| email(entry).is_some(), host),
            Self::Host | Self::Url | Self::Links => host(entry.strip_prefix("*.").unwrap_or(entry)),
        }
    }
}

impl<'de> Deserialize<'de> for ArgumentRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either { word: "any", meaning: Self::Any, table: Self::From })
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either { word: "user", meaning: Self::User, table: Self::Result })
    }
}

/// One word, or a table.
struct Either<T, R> {
    word: &'static str,
    meaning: R,
    table: fn(T) -> R,
}

impl<'de, T: Deserialize<'de>, R> Visitor<'de> for Either<T, R> {
    type Value = R;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" or a table", self.word)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<R, E> {
        if word == self.word { Ok(self.meaning) } else { Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<R, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(self.table)
    }
}

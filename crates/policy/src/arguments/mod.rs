//! Where the value of a tool's argument has to come from: the person's own words, the operator's list, or what the app itself said
//! was the person's.
//!
//! A model that was talked into something says it in an honest conversation, so nothing is wrong with the call but where its values
//! come from. A rule names that, per argument. A tool with rules takes no argument that they do not name: what an upstream adds one
//! day (`bcc`) is refused until the operator has read about it.
//!
//! Everything here is compared as it stands. What can be read in two ways matches nothing, and what has no form that is known is
//! refused: a rule errs on the side of the person who is asked once more.

mod known;
mod links;
mod rule;
#[cfg(test)]
mod tests;
mod words;

pub use known::Known;
pub use rule::{ArgumentFault, ArgumentKind, ArgumentRule, ArgumentSource, Origin, ResultField};

use crate::ToolRule;
use serde_json::{Map, Value};

/// Values that one argument may have.
const VALUES_MAX: usize = 100;
/// Bytes of one value. Free text may be longer.
const VALUE_BYTES_MAX: usize = 2_048;

/// The first argument whose value comes from where its rule does not say, or that has no rule where others have.
pub(crate) fn strange<'a>(rule: &ToolRule, arguments: &'a Map<String, Value>, known: &Known) -> Option<&'a str> {
    let rules = rule.arguments.as_ref()?;
    let allowed = |name: &String, value: &Value| match rules.get(name) {
        Some(ArgumentRule::Any) => true,
        Some(ArgumentRule::From(source)) => source.allows(value, known),
        None => false,
    };
    arguments.iter().find(|(name, value)| !allowed(name, value)).map(|(name, _)| name.as_str())
}

impl ArgumentSource {
    /// Whether every value in it comes from where it should.
    fn allows(&self, value: &Value, known: &Known) -> bool {
        let Some(given) = scalars(value) else { return false };
        let values = match self.kind {
            ArgumentKind::Links => given.iter().flat_map(|text| links::links_in(text)).collect(),
            ArgumentKind::Text | ArgumentKind::Email | ArgumentKind::Host | ArgumentKind::Url => given,
        };
        if values.len() > VALUES_MAX || values.iter().any(|value| value.len() > VALUE_BYTES_MAX) {
            return false;
        }
        let origins = Origins::of(self, known);
        values.iter().all(|value| self.lists(value) || origins.have(value))
    }
}

/// What a value may come from, gathered once for all values of an argument.
struct Origins<'a> {
    kind: ArgumentKind,
    /// Texts in which a value may stand.
    texts: Vec<&'a str>,
    /// Values as they are.
    values: Vec<String>,
    /// Both in canonical form, for the kinds that have one.
    canonical: std::collections::HashSet<String>,
}

impl<'a> Origins<'a> {
    fn of(source: &ArgumentSource, known: &'a Known) -> Self {
        let (mut texts, mut values) = (Vec::new(), Vec::new());
        for origin in &source.from {
            match origin {
                Origin::User => texts.extend(known.texts()),
                Origin::Result(field) => {
                    for leaf in known.leaves(field) {
                        if let (Value::String(text), true) = (leaf, field.within) {
                            texts.push(text.as_str());
                        } else {
                            values.extend(scalar(leaf));
                        }
                    }
                }
            }
        }
        let found = texts.iter().flat_map(|text| source.kind.all_in(text));
        let canonical = found.chain(values.iter().filter_map(|value| source.kind.canonical(value))).collect();
        Self { kind: source.kind, texts, values, canonical }
    }

    fn have(&self, value: &str) -> bool {
        match self.kind {
            ArgumentKind::Text => {
                self.values.iter().any(|known| known == value) || self.texts.iter().any(|text| words::stands(value, text))
            }
            ArgumentKind::Email | ArgumentKind::Host | ArgumentKind::Url | ArgumentKind::Links => {
                self.kind.canonical(value).is_some_and(|value| self.canonical.contains(&value))
            }
        }
    }
}

/// Every value in a list, however deep; none where there is an object, which says more than its values.
fn scalars(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                all.extend(scalars(item)?);
            }
            Some(all)
        }
        Value::Object(_) => None,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => scalar(value).map(|one| vec![one]),
    }
}

/// A value as it would be written down.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

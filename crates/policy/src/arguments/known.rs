//! What the gateway itself knows was said: by the person, and by those tools that a rule names.

use super::rule::ResultField;
use super::{scalar, words};
use serde_json::Value;
use std::collections::VecDeque;

/// Of each of the two, what is kept of one conversation. What is older than that is not known any more.
const BYTES_MAX: usize = 256 << 10;

/// The words and results of one conversation. Nothing in it was said by an agent.
#[derive(Clone, Debug, Default)]
pub struct Known {
    texts: Kept<String>,
    results: Kept<(String, Value)>,
}

#[derive(Clone, Debug)]
struct Kept<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Kept<T> {
    fn add(&mut self, bytes: usize, item: T) {
        if bytes > BYTES_MAX {
            return;
        }
        self.items.push_back((bytes, item));
        self.bytes += bytes;
        while self.bytes > BYTES_MAX {
            let Some((bytes, _)) = self.items.pop_front() else { break };
            self.bytes -= bytes;
        }
    }
}

impl Known {
    /// A person wrote this.
    pub fn said(&mut self, text: &str) {
        self.texts.add(text.len(), text.to_owned());
    }

    /// A tool returned this, in the form of the protocol. What it says of a failure is nobody's data.
    pub fn returned(&mut self, tool: &str, result: &Value) {
        if result.get("isError").and_then(Value::as_bool).unwrap_or(false) {
            return;
        }
        let data = result.get("structuredContent").cloned().unwrap_or_else(|| texts_of(result));
        self.results.add(data.to_string().len(), (tool.to_owned(), data));
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.items.iter().map(|(_, text)| text.as_str())
    }

    /// The values of a field in all results of its tool.
    pub(super) fn leaves(&self, field: &ResultField) -> Vec<&Value> {
        let mut found = Vec::new();
        for (_, (tool, data)) in &self.results.items {
            if *tool != field.tool {
                continue;
            }
            match &field.field {
                None => leaves(data, &mut found),
                Some(name) => {
                    for object in objects(data) {
                        let named = field.named.as_ref().is_none_or(|by| object.get(by).is_some_and(|name| self.names(name)));
                        if let Some(value) = object.get(name).filter(|_| named) {
                            leaves(value, &mut found);
                        }
                    }
                }
            }
        }
        found
    }

    /// Whether the person wrote this name. Names are written in small letters or not.
    fn names(&self, name: &Value) -> bool {
        let Some(name) = scalar(name).map(|name| name.to_lowercase()) else { return false };
        self.texts().any(|text| words::stands(&name, &text.to_lowercase()))
    }
}

/// Servers without structured results put JSON, or plain words, into texts.
fn texts_of(result: &Value) -> Value {
    let blocks = result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let texts = blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str));
    texts.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))).collect()
}

fn leaves<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(value),
    }
}

fn objects(value: &Value) -> Vec<&serde_json::Map<String, Value>> {
    match value {
        Value::Array(items) => items.iter().flat_map(objects).collect(),
        Value::Object(fields) => std::iter::once(fields).chain(fields.values().flat_map(objects)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

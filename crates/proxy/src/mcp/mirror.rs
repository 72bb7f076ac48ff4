//! Arguments that a server wants repeated in headers (`x-mcp-header`, streamable HTTP 2026-07-28). That is between us and the
//! server: the agent is shown definitions without these marks, and what it asks for is mirrored here.

use super::sentinel;
use http::HeaderName;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::HashMap;

const MARK: &str = "x-mcp-header";
const NESTING_MAX: usize = 16;
const TOOLS_MAX: usize = 4096;

/// One marked argument: where it is and the header it goes to.
#[derive(Clone, Debug, PartialEq)]
struct Marked {
    path: Vec<String>,
    header: String,
}

/// The marks of every tool seen so far.
#[derive(Default)]
pub(crate) struct Mirror(Mutex<HashMap<String, Vec<Marked>>>);

impl Mirror {
    /// Takes the marks out of a tool's definition and remembers them. False when a mark is not where marks may be: such a tool
    /// must not be used.
    pub(crate) fn learn(&self, tool: &mut Map<String, Value>) -> bool {
        let Some(name) = tool.get("name").and_then(Value::as_str).map(str::to_owned) else { return false };
        let mut marks = Vec::new();
        let schema = tool.get_mut("inputSchema");
        let sound = schema.is_none_or(|schema| take(schema, &mut Vec::new(), &mut marks) && !holds_mark(schema, NESTING_MAX));
        let unique = marks.iter().enumerate().all(|(index, mark)| !marks.iter().take(index).any(|other| same(mark, other)));
        let mut known = self.0.lock();
        if known.len() < TOOLS_MAX || known.contains_key(&name) {
            known.insert(name, marks);
        }
        sound && unique
    }

    /// The headers that go with a call.
    pub(crate) fn headers(&self, tool: &str, arguments: &Map<String, Value>) -> Vec<(String, String)> {
        let known = self.0.lock();
        let marks = known.get(tool).map(Vec::as_slice).unwrap_or_default();
        marks.iter().filter_map(|mark| Some((mark.header.clone(), text(at(arguments, &mark.path)?)?))).collect()
    }
}

fn same(one: &Marked, other: &Marked) -> bool {
    one.header.eq_ignore_ascii_case(&other.header)
}

/// Follows `properties` only: marks anywhere else are not allowed.
fn take(schema: &mut Value, path: &mut Vec<String>, marks: &mut Vec<Marked>) -> bool {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return true };
    if path.len() >= NESTING_MAX {
        return true;
    }
    properties.iter_mut().all(|(name, property)| {
        path.push(name.clone());
        let mark = property.as_object_mut().and_then(|property| property.remove(MARK));
        let sound = mark.is_none_or(|mark| {
            let primitive = property.get("type").and_then(Value::as_str);
            let header = mark.as_str().filter(|mark| !mark.is_empty()).map(|mark| format!("Mcp-Param-{mark}"));
            let header = header.filter(|header| HeaderName::try_from(header.as_str()).is_ok());
            let allowed = matches!(primitive, Some("string" | "integer" | "boolean"));
            header.is_some_and(|header| {
                marks.push(Marked { path: path.clone(), header });
                allowed
            })
        });
        let sound = sound && take(property, path, marks);
        path.pop();
        sound
    })
}

/// Whether a mark is left anywhere. Nesting beyond the limit counts as one.
fn holds_mark(value: &Value, nesting: usize) -> bool {
    let Some(deeper) = nesting.checked_sub(1) else { return true };
    match value {
        Value::Object(object) => object.iter().any(|(key, value)| key == MARK || holds_mark(value, deeper)),
        Value::Array(items) => items.iter().any(|item| holds_mark(item, deeper)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn at<'a>(arguments: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(arguments.get(first)?, |value, key| value.get(key))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(sentinel::encode(text)),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

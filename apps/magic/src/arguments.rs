//! Reading what a model wrote as arguments. Numbers may come as text, lists as one word and objects as JSON text; all of that is
//! understood, and nothing else.

use crate::tools::ToolError;
use serde_json::{Map, Value};

/// The arguments of one call, or a group of them.
pub struct Arguments {
    object: Map<String, Value>,
}

fn invalid<T>(why: impl Into<String>) -> Result<T, ToolError> {
    Err(ToolError::Invalid(why.into()))
}

impl Arguments {
    /// Refuses arguments the tool doesn't have: a misspelt one would be silently ignored otherwise.
    pub fn new(object: Map<String, Value>, known: &[&str]) -> Result<Self, ToolError> {
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                invalid(format!("There is no argument {:?}. This tool takes: {}", crate::text::clip(key, 60), known.join(", ")))
            }
            None => Ok(Self { object }),
        }
    }

    fn given(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A text of at most so many characters.
    pub fn text(&self, name: &str, chars_max: usize) -> Result<Option<&str>, ToolError> {
        match self.given(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() > chars_max => {
                invalid(format!("{name} may have {chars_max} characters; shorten it"))
            }
            Some(Value::String(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some(_) => invalid(format!("{name} must be text")),
        }
    }

    /// The same where it must be there.
    pub fn needed(&self, name: &str, chars_max: usize) -> Result<&str, ToolError> {
        self.text(name, chars_max)?.map_or_else(|| invalid(format!("{name} is missing")), Ok)
    }

    /// A whole number between two bounds.
    pub fn whole(&self, name: &str, least: u32, most: u32) -> Result<Option<u32>, ToolError> {
        let Some(value) = self.given(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => invalid(format!("{name} must be a whole number from {least} to {most}")),
        }
    }

    /// A mana value; there are halves.
    pub fn mana(&self, name: &str) -> Result<Option<f64>, ToolError> {
        let Some(value) = self.given(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        match number.filter(|number| (0.0..=1_000_000.0).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => invalid(format!("{name} must be a number that is not below 0")),
        }
    }

    /// Words, as a list or as one text.
    pub fn words(&self, name: &str, most: usize) -> Result<Vec<String>, ToolError> {
        let wrong = || ToolError::Invalid(format!("{name} must be a list of at most {most} words"));
        let words: Vec<String> = match self.given(name) {
            None => Vec::new(),
            Some(Value::String(text)) => match serde_json::from_str::<Vec<String>>(text) {
                Ok(words) => words,
                Err(_) => text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            },
            Some(Value::Array(words)) => {
                words.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>().ok_or_else(wrong)?
            }
            Some(Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::Null) => return Err(wrong()),
        };
        if words.len() > most || words.iter().any(|word| word.len() > 100) { Err(wrong()) } else { Ok(words) }
    }

    /// A group of arguments; it may come as JSON text.
    pub fn group(&self, name: &str, known: &[&str]) -> Result<Self, ToolError> {
        match self.given(name) {
            None => Ok(Self { object: Map::new() }),
            Some(Value::Object(object)) => Self::new(object.clone(), known),
            Some(Value::String(text)) => match serde_json::from_str(text) {
                Ok(object) => Self::new(object, known),
                Err(_) => invalid(format!("{name} must be an object with any of: {}", known.join(", "))),
            },
            Some(_) => invalid(format!("{name} must be an object with any of: {}", known.join(", "))),
        }
    }
}

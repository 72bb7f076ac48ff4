//! Whether the arguments of a tool call fit what the tool's server says of them: JSON Schema, draft 2020-12, and what earlier drafts
//! write otherwise.
//!
//! Schemas are strangers' words, so everything about them is bounded: bytes and depth when they are read, steps and depth when they are
//! used. Nothing is looked up: a reference leads to a place in the schema itself. A schema that can't be read whole is not used at all.
//!
//! It is our own because of those bounds. The library that there is (`jsonschema` 0.61, another 25 crates) takes two to the sixtieth
//! steps for sixty definitions of which each names the next one twice, and has no bound on that.

mod check;
mod faults;
mod pattern;
mod place;
mod read;
#[cfg(test)]
mod tests;
mod values;

use pattern::Pattern;
use serde_json::Value;
use std::collections::HashMap;

/// Bytes of one schema.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// A schema that was read, ready for use.
pub struct ArgumentSchema {
    root: Value,
    /// Where each reference leads, as a JSON pointer.
    targets: HashMap<String, String>,
    patterns: HashMap<String, Pattern>,
    /// Whether anything in it asks what other parts of it looked at.
    marks: bool,
}

/// Why a schema can't be used: where in it, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {place}: {what}")]
pub struct SchemaFault {
    /// A JSON pointer into the schema.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// What does not fit; in words for whoever can correct it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Some of the faults: the place in the arguments, and what was expected there.
    pub faults: Vec<String>,
    /// How many there are.
    pub count: usize,
}

impl Misfit {
    /// One text for the model.
    #[must_use]
    pub fn text(&self, tool: &str) -> String {
        let mut text = format!("The arguments do not fit {tool}, so it was not called. Correct them and call it again:");
        for fault in &self.faults {
            text.push_str("\n- ");
            text.push_str(fault);
        }
        let more = self.count.saturating_sub(self.faults.len());
        if more > 0 {
            text.push_str(&format!("\n- and {more} more"));
        }
        text
    }
}

impl ArgumentSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`SchemaFault`] where it is larger or deeper than allowed, is not what the draft says, or leads out of itself.
    pub fn read(schema: &Value) -> Result<Self, SchemaFault> {
        read::read(schema)
    }

    /// Whether arguments fit.
    ///
    /// # Errors
    /// [`Misfit`]: what does not. Also where finding out takes more steps than allowed.
    pub fn check(&self, arguments: &Value) -> Result<(), Misfit> {
        check::check(self, arguments)
    }
}

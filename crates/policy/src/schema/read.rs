//! Reads a schema: every part of it that counts is of the kind that the draft says, and every reference leads somewhere in it.

use super::pattern::Pattern;
use super::{ArgumentSchema, SCHEMA_BYTES_MAX, SchemaFault};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// Schemas inside of schemas.
const DEPTH_MAX: usize = 48;
pub(super) const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
/// What a schema may say that it is written in; a part of the address, because the drafts differ in the rest.
const DRAFTS: [&str; 4] = ["draft/2020-12/schema", "draft/2019-09/schema", "draft-07/schema", "draft-06/schema"];

/// What has been seen of it.
#[derive(Default)]
struct Reader {
    /// Every place at which a schema stands.
    places: HashSet<String>,
    references: Vec<(String, String)>,
    anchors: HashMap<String, String>,
    patterns: HashMap<String, Pattern>,
    marks: bool,
}

pub(super) fn read(schema: &Value) -> Result<ArgumentSchema, SchemaFault> {
    let bytes = schema.to_string().len();
    if bytes > SCHEMA_BYTES_MAX {
        return fault("", &format!("it has {bytes} bytes; at most {SCHEMA_BYTES_MAX} are used"));
    }
    let mut reader = Reader::default();
    reader.schema(schema, "", 0)?;
    let Reader { places, references, anchors, patterns, marks } = reader;
    let mut targets = HashMap::new();
    for (at, reference) in references {
        let leads = reference.strip_prefix('#').and_then(|inside| match inside {
            "" => Some(String::new()),
            pointer if pointer.starts_with('/') => Some(pointer.to_owned()),
            anchor => anchors.get(anchor).cloned(),
        });
        match leads.filter(|target| places.contains(target)) {
            Some(target) => targets.insert(reference, target),
            None => return fault(&at, "the reference does not lead to a schema inside of this one"),
        };
    }
    Ok(ArgumentSchema { root: schema.clone(), targets, patterns, marks })
}

fn fault<T>(place: &str, what: &str) -> Result<T, SchemaFault> {
    let place = if place.is_empty() { "its top".to_owned() } else { place.chars().take(200).collect() };
    Err(SchemaFault { place, what: what.to_owned() })
}

/// A step of a JSON pointer.
fn step(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

impl Reader {
    fn schema(&mut self, schema: &Value, at: &str, depth: usize) -> Result<(), SchemaFault> {
        if depth > DEPTH_MAX {
            return fault(at, "it is nested too deeply");
        }
        self.places.insert(at.to_owned());
        match schema {
            Value::Bool(_) => Ok(()),
            Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
                let here = step(at, key);
                if !self.nested(key, value, &here, depth)? && !self.core(key, value, at, &here)? {
                    plain(key, value, &here)?;
                }
                Ok(())
            }),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                fault(at, "a schema is an object, true or false")
            }
        }
    }

    /// Keywords that hold schemas; false for any other.
    fn nested(&mut self, key: &str, value: &Value, at: &str, depth: usize) -> Result<bool, SchemaFault> {
        let depth = depth.saturating_add(1);
        match key {
            "unevaluatedProperties" | "unevaluatedItems" => {
                self.marks = true;
                self.schema(value, at, depth)?;
            }
            "items" if value.is_array() => self.each(value, at, depth)?,
            "additionalProperties"
            | "propertyNames"
            | "items"
            | "additionalItems"
            | "contains"
            | "not"
            | "if"
            | "then"
            | "else" => self.schema(value, at, depth)?,
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                if value.as_array().is_none_or(Vec::is_empty) {
                    return fault(at, "it must be a list with something in it");
                }
                self.each(value, at, depth)?;
            }
            "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions" => {
                for (name, schema) in object(value, at)? {
                    if key == "patternProperties" {
                        self.pattern(name, &step(at, name))?;
                    }
                    self.schema(schema, &step(at, name), depth)?;
                }
            }
            "dependencies" => {
                for (name, schema) in object(value, at)? {
                    if schema.is_array() {
                        texts(schema, &step(at, name))?;
                    } else {
                        self.schema(schema, &step(at, name), depth)?;
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn each(&mut self, list: &Value, at: &str, depth: usize) -> Result<(), SchemaFault> {
        let schemas = list.as_array().into_iter().flatten().enumerate();
        schemas.into_iter().try_for_each(|(index, schema)| self.schema(schema, &format!("{at}/{index}"), depth))
    }

    /// Keywords about the schema itself, and patterns; false for any other.
    fn core(&mut self, key: &str, value: &Value, at: &str, here: &str) -> Result<bool, SchemaFault> {
        let text = || value.as_str().map_or_else(|| fault(here, "it must be text"), Ok);
        match key {
            "$ref" | "$dynamicRef" | "$recursiveRef" => self.references.push((here.to_owned(), text()?.to_owned())),
            "$anchor" | "$dynamicAnchor" => {
                // One anchor may be both; two places of one name are no place.
                if self.anchors.insert(text()?.to_owned(), at.to_owned()).is_some_and(|before| before != at) {
                    return fault(here, "there is another anchor of this name");
                }
            }
            "$id" if !at.is_empty() => return fault(here, "a schema with an address of its own inside of another is not used"),
            "$schema" if at.is_empty() => {
                let draft = text()?.trim_end_matches('#');
                if !DRAFTS.iter().any(|known| draft.ends_with(known)) {
                    return fault(here, "it is not written in draft 2020-12, 2019-09, 7 or 6 of JSON Schema");
                }
            }
            "pattern" => self.pattern(text()?, here)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn pattern(&mut self, text: &str, at: &str) -> Result<(), SchemaFault> {
        if !self.patterns.contains_key(text) {
            let pattern = Pattern::read(text).or_else(|why| fault(at, why))?;
            self.patterns.insert(text.to_owned(), pattern);
        }
        Ok(())
    }
}

/// Keywords that hold values; what is not known is a remark.
fn plain(key: &str, value: &Value, at: &str) -> Result<(), SchemaFault> {
    match key {
        "type" => {
            let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
            let good = known(value) || value.as_array().is_some_and(|names| !names.is_empty() && names.iter().all(known));
            if good { Ok(()) } else { fault(at, "it must name types of JSON") }
        }
        "enum" if !value.is_array() => fault(at, "it must be a list"),
        "required" => texts(value, at),
        "dependentRequired" => object(value, at)?.iter().try_for_each(|(name, list)| texts(list, &step(at, name))),
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minContains"
        | "maxContains" => count(value).map(|_| ()).map_or_else(|| fault(at, "it must be a count"), Ok),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if !value.is_number() => fault(at, "it must be a number"),
        "multipleOf" if value.as_f64().is_none_or(|number| number <= 0.0) => fault(at, "it must be a number above 0"),
        "uniqueItems" if !value.is_boolean() => fault(at, "it must be true or false"),
        _ => Ok(()),
    }
}

/// A whole number that is not below 0, also where it is written with a point.
pub(super) fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number))?;
        format!("{number:.0}").parse().ok()
    })
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, SchemaFault> {
    value.as_object().map_or_else(|| fault(at, "it must be an object"), Ok)
}

fn texts(value: &Value, at: &str) -> Result<(), SchemaFault> {
    let good = value.as_array().is_some_and(|texts| texts.iter().all(Value::is_string));
    if good { Ok(()) } else { fault(at, "it must be a list of texts") }
}

//! Prompts and the completion of their arguments, as they are asked for.

use super::host::PromptCall;
use super::parse::{Era, NAME_BYTES_MAX, Rejection, back, no_lookalikes, short};
use serde_json::{Map, Value};

/// Bytes of one argument.
const ARGUMENT_BYTES_MAX: usize = 64 * 1024;
const ARGUMENTS_MAX: usize = 64;

/// `prompts/get`.
pub(super) fn get(params: &Map<String, Value>, era: Era) -> Result<PromptCall, Rejection> {
    no_lookalikes(params, &["name", "arguments", "inputResponses", "requestState"])?;
    let back = back(params, era)?;
    let arguments = match params.get("arguments") {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(_) => return Err(Rejection::params("arguments must be an object")),
    };
    let is_text = |value: &Value| value.as_str().is_some_and(|text| text.len() <= ARGUMENT_BYTES_MAX);
    if arguments.len() > ARGUMENTS_MAX || !arguments.values().all(is_text) {
        return Err(Rejection::params("arguments of a prompt must be texts, at most 64 of at most 64 KiB"));
    }
    Ok(PromptCall { name: short(params, "name", NAME_BYTES_MAX)?, arguments, back })
}

/// `completion/complete`: what of it is passed on.
pub(super) fn complete(params: &Map<String, Value>) -> Result<Map<String, Value>, Rejection> {
    no_lookalikes(params, &["ref", "argument", "context"])?;
    let object = |key: &str| match params.get(key) {
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) | None => Err(Rejection::params(&format!("{key} must be an object"))),
    };
    let (reference, argument) = (object("ref")?, object("argument")?);
    no_lookalikes(reference, &["type", "name", "uri"])?;
    no_lookalikes(argument, &["name", "value"])?;
    let names = match reference.get("type").and_then(Value::as_str) {
        Some("ref/prompt") => "name",
        Some("ref/resource") => "uri",
        Some(_) | None => return Err(Rejection::params("ref must be a prompt or a resource")),
    };
    let named = short(reference, names, NAME_BYTES_MAX)?;
    let name = short(argument, "name", NAME_BYTES_MAX)?;
    let Some(value) = argument.get("value").and_then(Value::as_str).filter(|value| value.len() <= NAME_BYTES_MAX) else {
        return Err(Rejection::params("the argument's value must be a short text"));
    };
    let kind = reference.get("type").cloned().unwrap_or_default();
    let mut passed = Map::from_iter([
        ("ref".to_owned(), Map::from_iter([("type".to_owned(), kind), (names.to_owned(), named.into())]).into()),
        ("argument".to_owned(), Map::from_iter([("name".to_owned(), name.into()), ("value".to_owned(), value.into())]).into()),
    ]);
    let filled = params.get("context").and_then(|context| context.get("arguments")).and_then(Value::as_object);
    if let Some(filled) = filled.filter(|filled| filled.len() <= ARGUMENTS_MAX && filled.values().all(Value::is_string)) {
        passed.insert("context".to_owned(), Map::from_iter([("arguments".to_owned(), Value::Object(filled.clone()))]).into());
    }
    Ok(passed)
}

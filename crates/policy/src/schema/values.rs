//! What a single value is: of which kind, how large, how long.

use super::faults::Faults;
use super::place::Place;
use super::read::count;
use serde_json::{Map, Number, Value};
use std::cmp::Ordering;

type Fields = Map<String, Value>;

pub(super) fn is_of(value: &Value, kind: &str) -> bool {
    match (kind, value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::String(_))
        | ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => false,
    }
}

pub(super) fn named(kind: &str) -> &str {
    match kind {
        "boolean" => "true or false",
        "object" => "an object",
        "array" => "a list",
        "number" => "a number",
        "string" => "text",
        "integer" => "a whole number",
        other => other,
    }
}

pub(super) fn bounds(fields: &Fields, keys: (&str, &str), is: usize, what: &str, place: Place<'_>, faults: &mut Faults) {
    let is = u64::try_from(is).unwrap_or(u64::MAX);
    if let Some(least) = fields.get(keys.0).and_then(count).filter(|least| is < *least) {
        faults.add(place, &format!("must have at least {least} {what}; it has {is}"));
    }
    if let Some(most) = fields.get(keys.1).and_then(count).filter(|most| is > *most) {
        faults.add(place, &format!("may have at most {most} {what}; it has {is}"));
    }
}

pub(super) fn numbers(fields: &Fields, number: &Number, place: Place<'_>, faults: &mut Faults) {
    for (key, allowed, word) in [
        ("minimum", [Ordering::Greater, Ordering::Equal], "must be at least"),
        ("maximum", [Ordering::Less, Ordering::Equal], "may be at most"),
        ("exclusiveMinimum", [Ordering::Greater; 2], "must be more than"),
        ("exclusiveMaximum", [Ordering::Less; 2], "must be less than"),
    ] {
        if let Some(Value::Number(bound)) = fields.get(key)
            && !compare(number, bound).is_some_and(|ordering| allowed.contains(&ordering))
        {
            faults.add(place, &format!("{word} {bound}"));
        }
    }
    if let Some(Value::Number(unit)) = fields.get("multipleOf")
        && !is_multiple(number, unit)
    {
        faults.add(place, &format!("must be a multiple of {unit}"));
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

pub(super) fn compare(one: &Number, other: &Number) -> Option<Ordering> {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

fn is_multiple(number: &Number, unit: &Number) -> bool {
    if let (Some(number), Some(unit)) = (whole(number), whole(unit)) {
        return unit != 0 && number % unit == 0;
    }
    let (Some(number), Some(unit)) = (number.as_f64(), unit.as_f64()) else { return false };
    let times = number / unit;
    times.is_finite() && (times - times.round()).abs() <= 1e-9 * times.abs().max(1.0)
}

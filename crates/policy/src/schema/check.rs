//! Compares arguments with a schema, part by part, and counts the steps of that.

use super::faults::{FAULTS_MAX, Faults, Marks};
use super::place::{Place, shown};
use super::read::count;
use super::values::{bounds, compare, is_of, named, numbers};
use super::{ArgumentSchema, Misfit};
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::HashSet;

/// Steps of one check.
const STEPS_MAX: usize = 200_000;
/// Schemas within schemas at once, references included.
const DEPTH_MAX: usize = 128;
/// Forms of which it is told why none fits.
const FORMS_TOLD_MAX: usize = 3;

pub(super) fn check(schema: &ArgumentSchema, arguments: &Value) -> Result<(), Misfit> {
    let mut faults = Faults::default();
    let mut check = Check { schema, steps: 0, depth: 0 };
    if check.at(&schema.root, arguments, Place::TOP, &mut faults).is_err() {
        let text = "it takes too long to find out whether they fit; give fewer or simpler ones";
        faults = Faults { texts: vec![format!("arguments: {text}")], count: 1 };
    }
    let Faults { texts, count } = faults;
    if count == 0 { Ok(()) } else { Err(Misfit { faults: texts, count }) }
}

/// It would take too many steps.
struct TooMuch;

type Checked<T = ()> = Result<T, TooMuch>;

struct Check<'s> {
    schema: &'s ArgumentSchema,
    steps: usize,
    depth: usize,
}

type Fields = Map<String, Value>;

impl<'s> Check<'s> {
    fn spend(&mut self, steps: usize) -> Checked {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > STEPS_MAX { Err(TooMuch) } else { Ok(()) }
    }

    /// Whether a value fits a schema; what does not is added to the faults.
    fn at(&mut self, schema: &'s Value, value: &Value, place: Place<'_>, faults: &mut Faults) -> Checked<Marks> {
        self.spend(1)?;
        let Value::Object(fields) = schema else {
            if *schema == Value::Bool(false) {
                faults.add(place, "nothing is allowed here");
            }
            return Ok(Marks::default());
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(TooMuch);
        }
        let (before, mut marks) = (faults.count, Marks::default());
        self.kind(fields, value, place, faults)?;
        self.combined(fields, value, place, faults, &mut marks)?;
        match value {
            Value::Number(number) => numbers(fields, number, place, faults),
            Value::String(text) => self.text(fields, text, place, faults)?,
            Value::Array(items) => self.list(fields, items, place, faults, &mut marks)?,
            Value::Object(object) => {
                self.dependent(fields, (value, object), place, faults, &mut marks)?;
                self.object(fields, object, place, faults, &mut marks)?;
            }
            Value::Null | Value::Bool(_) => {}
        }
        self.depth -= 1;
        Ok(if faults.count == before { marks } else { Marks::default() })
    }

    /// `type`, `enum` and `const`.
    fn kind(&mut self, fields: &'s Fields, value: &Value, place: Place<'_>, faults: &mut Faults) -> Checked {
        match fields.get("type") {
            Some(Value::String(kind)) if !is_of(value, kind) => faults.add(place, &format!("must be {}", named(kind))),
            Some(Value::Array(kinds)) if !kinds.iter().filter_map(Value::as_str).any(|kind| is_of(value, kind)) => {
                let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).map(named).collect();
                faults.add(place, &format!("must be {}", kinds.join(" or ")));
            }
            _ => {}
        }
        if let Some(Value::Array(allowed)) = fields.get("enum") {
            let mut found = false;
            for one in allowed {
                found = found || self.same(one, value)?;
            }
            if !found {
                let names: Vec<String> = allowed.iter().take(40).map(Value::to_string).collect();
                faults.add(place, &format!("must be one of {}", names.join(", ")));
            }
        }
        if let Some(only) = fields.get("const")
            && !self.same(only, value)?
        {
            faults.add(place, &format!("must be {only}"));
        }
        Ok(())
    }

    /// Whether two values mean the same.
    fn same(&mut self, one: &Value, other: &Value) -> Checked<bool> {
        self.spend(1)?;
        Ok(match (one, other) {
            (Value::Number(one), Value::Number(other)) => compare(one, other) == Some(Ordering::Equal),
            (Value::String(one), Value::String(other)) => {
                self.spend(one.len().min(other.len()) / 64)?;
                one == other
            }
            (Value::Array(one), Value::Array(other)) => {
                let mut same = one.len() == other.len();
                for (one, other) in one.iter().zip(other) {
                    same = same && self.same(one, other)?;
                }
                same
            }
            (Value::Object(one), Value::Object(other)) => {
                let mut same = one.len() == other.len();
                for (name, one) in one {
                    let Some(other) = other.get(name).filter(|_| same) else { return Ok(false) };
                    same = self.same(one, other)?;
                }
                same
            }
            (one, other) => one == other,
        })
    }

    /// References and what is made of several schemas.
    fn combined(
        &mut self,
        fields: &'s Fields,
        value: &Value,
        place: Place<'_>,
        faults: &mut Faults,
        marks: &mut Marks,
    ) -> Checked {
        for key in ["$ref", "$dynamicRef", "$recursiveRef"] {
            let target = fields.get(key).and_then(Value::as_str).and_then(|name| self.schema.targets.get(name));
            if let Some(schema) = target.and_then(|pointer| self.schema.root.pointer(pointer)) {
                marks.merge(self.at(schema, value, place, faults)?);
            }
        }
        for schema in list_in(fields, "allOf") {
            marks.merge(self.at(schema, value, place, faults)?);
        }
        for (key, several) in [("anyOf", true), ("oneOf", false)] {
            if let Some(Value::Array(forms)) = fields.get(key) {
                self.forms(forms, several, value, place, faults, marks)?;
            }
        }
        if let Some(schema) = fields.get("not")
            && self.try_at(schema, value, place)?.is_ok()
        {
            faults.add(place, "has a form that is not allowed");
        }
        if let Some(condition) = fields.get("if") {
            let then = match self.try_at(condition, value, place)? {
                Ok(seen) => {
                    marks.merge(seen);
                    "then"
                }
                Err(_) => "else",
            };
            if let Some(schema) = fields.get(then) {
                marks.merge(self.at(schema, value, place, faults)?);
            }
        }
        Ok(())
    }

    /// One of several forms, or any of them.
    fn forms(
        &mut self,
        forms: &'s [Value],
        several: bool,
        value: &Value,
        place: Place<'_>,
        faults: &mut Faults,
        marks: &mut Marks,
    ) -> Checked {
        let (mut fitting, mut misfits) = (0_usize, Vec::new());
        for form in forms {
            match self.try_at(form, value, place)? {
                Ok(seen) => {
                    fitting += 1;
                    marks.merge(seen);
                    if several && !self.schema.marks {
                        break;
                    }
                }
                Err(faults) => misfits.extend(faults.texts.into_iter().next()),
            }
        }
        if fitting == 0 {
            misfits.dedup();
            misfits.truncate(FORMS_TOLD_MAX);
            match misfits.as_slice() {
                [only] => {
                    faults.count += 1;
                    faults.texts.extend(Some(only.clone()).filter(|_| faults.texts.len() < FAULTS_MAX));
                }
                _ => faults.add(place, &format!("fits none of the {} forms: ({})", forms.len(), misfits.join(") or ("))),
            }
        } else if fitting > 1 && !several {
            faults.add(place, &format!("fits {fitting} of the forms; it must fit one of them alone"));
        }
        Ok(())
    }

    /// The same without telling anybody yet.
    fn try_at(&mut self, schema: &'s Value, value: &Value, place: Place<'_>) -> Checked<Result<Marks, Faults>> {
        let mut faults = Faults::default();
        let marks = self.at(schema, value, place, &mut faults)?;
        Ok(if faults.count == 0 { Ok(marks) } else { Err(faults) })
    }

    fn text(&mut self, fields: &'s Fields, text: &str, place: Place<'_>, faults: &mut Faults) -> Checked {
        if fields.contains_key("minLength") || fields.contains_key("maxLength") {
            self.spend(text.len() / 64)?;
            bounds(fields, ("minLength", "maxLength"), text.chars().count(), "characters", place, faults);
        }
        if let Some(Value::String(pattern)) = fields.get("pattern")
            && !self.matches(pattern, text)?
        {
            faults.add(place, &format!("must match the pattern {}", shown(pattern)));
        }
        Ok(())
    }

    fn matches(&mut self, pattern: &str, text: &str) -> Checked<bool> {
        let Some(pattern) = self.schema.patterns.get(pattern) else { return Ok(false) };
        self.spend(pattern.steps(text))?;
        pattern.is_in(text).ok_or(TooMuch)
    }

    fn list(&mut self, fields: &'s Fields, items: &[Value], place: Place<'_>, faults: &mut Faults, marks: &mut Marks) -> Checked {
        bounds(fields, ("minItems", "maxItems"), items.len(), "items", place, faults);
        // Earlier drafts write the first ones as `items`, and the others as `additionalItems`.
        let (first, others) = match fields.get("items") {
            Some(Value::Array(first)) => (first.as_slice(), fields.get("additionalItems")),
            others => (list_in(fields, "prefixItems"), others),
        };
        for (index, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(index).or(others) {
                self.at(schema, item, place.index(index), faults)?;
                self.mark_item(marks, index);
            }
        }
        if let Some(schema) = fields.get("contains") {
            let mut found = 0;
            for (index, item) in items.iter().enumerate() {
                if self.try_at(schema, item, place.index(index))?.is_ok() {
                    found += 1;
                    self.mark_item(marks, index);
                }
            }
            let least = fields.get("minContains").and_then(count).unwrap_or(1);
            let most = fields.get("maxContains").and_then(count).unwrap_or(u64::MAX);
            if !(least..=most).contains(&found) {
                faults.add(place, &format!("holds {found} items of a kind of which it must hold {least} or more, within bounds"));
            }
        }
        if fields.get("uniqueItems") == Some(&Value::Bool(true)) && !self.are_different(items)? {
            faults.add(place, "holds the same item twice");
        }
        if let Some(schema) = fields.get("unevaluatedItems").filter(|_| !marks.all) {
            for (index, item) in items.iter().enumerate().filter(|(index, _)| !marks.items.contains(index)) {
                self.at(schema, item, place.index(index), faults)?;
            }
            marks.all = true;
        }
        Ok(())
    }

    fn mark_item(&self, marks: &mut Marks, index: usize) {
        if self.schema.marks {
            marks.items.insert(index);
        }
    }

    fn are_different(&mut self, items: &[Value]) -> Checked<bool> {
        let mut seen = HashSet::with_capacity(items.len().min(1_000));
        for item in items {
            // What has no canonical form is a number that JavaScript can't hold; it is compared as it is written.
            let form = serde_json_canonicalizer::to_string(item).unwrap_or_else(|_| item.to_string());
            self.spend(1 + form.len() / 64)?;
            if !seen.insert(form) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn object(
        &mut self,
        fields: &'s Fields,
        object: &Map<String, Value>,
        place: Place<'_>,
        faults: &mut Faults,
        marks: &mut Marks,
    ) -> Checked {
        bounds(fields, ("minProperties", "maxProperties"), object.len(), "fields", place, faults);
        for name in list_in(fields, "required").iter().filter_map(Value::as_str).filter(|name| !object.contains_key(*name)) {
            faults.add(place.name(name), "is missing");
        }
        let (properties, patterns) = (object_in(fields, "properties"), object_in(fields, "patternProperties"));
        for (name, value) in object {
            let place = place.name(name);
            if let Some(schema) = fields.get("propertyNames") {
                self.at(schema, &Value::String(name.clone()), place, faults)?;
            }
            let mut known = false;
            if let Some(schema) = properties.and_then(|properties| properties.get(name)) {
                known = true;
                self.at(schema, value, place, faults)?;
            }
            for (pattern, schema) in patterns.into_iter().flatten() {
                if self.matches(pattern, name)? {
                    known = true;
                    self.at(schema, value, place, faults)?;
                }
            }
            match fields.get("additionalProperties") {
                Some(Value::Bool(false)) if !known => {
                    let names: Vec<String> =
                        properties.into_iter().flat_map(Map::keys).take(40).map(|name| shown(name)).collect();
                    faults.add(place, &format!("there is no such field; there are: {}", names.join(", ")));
                }
                Some(schema) if !known => {
                    known = true;
                    self.at(schema, value, place, faults)?;
                }
                _ => {}
            }
            if known && self.schema.marks {
                marks.names.insert(name.clone());
            }
        }
        if let Some(schema) = fields.get("unevaluatedProperties").filter(|_| !marks.all) {
            for (name, value) in object.iter().filter(|(name, _)| !marks.names.contains(*name)) {
                self.at(schema, value, place.name(name), faults)?;
            }
            marks.all = true;
        }
        Ok(())
    }

    /// What has to be there because something else is.
    fn dependent(
        &mut self,
        fields: &'s Fields,
        (value, object): (&Value, &Map<String, Value>),
        place: Place<'_>,
        faults: &mut Faults,
        marks: &mut Marks,
    ) -> Checked {
        for key in ["dependentRequired", "dependentSchemas", "dependencies"] {
            let given = object_in(fields, key).into_iter().flatten().filter(|(name, _)| object.contains_key(*name));
            for (name, needs) in given {
                if let Value::Array(names) = needs {
                    let names = names.iter().filter_map(Value::as_str);
                    for missing in names.filter(|needed| !object.contains_key(*needed)) {
                        faults.add(place.name(missing), &format!("is missing; it goes with {}", shown(name)));
                    }
                } else {
                    marks.merge(self.at(needs, value, place, faults)?);
                }
            }
        }
        Ok(())
    }
}

fn list_in<'s>(fields: &'s Fields, key: &str) -> &'s [Value] {
    fields.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn object_in<'s>(fields: &'s Fields, key: &str) -> Option<&'s Fields> {
    fields.get(key).and_then(Value::as_object)
}

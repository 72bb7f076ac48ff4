//! Which keys there are, and of which type, asked of the types that read the file: what is said of the keys elsewhere (the
//! reference, the check for unknown ones) can't differ from what is read.

use serde::de::value::{Error, StrDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::fmt;

/// Text that every type which is written as a text takes.
const SAMPLE: &str = "127.0.0.1:1";
/// Stands for a name of the operator's own.
const ANY_NAME: &str = "NAME";

/// One step to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A table's key.
    Name(String),
    /// Any key of a table whose keys are the operator's.
    AnyName,
    /// An entry of a list.
    Item,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Flag,
    Integer,
    Number,
    Text,
    Choice(&'static [&'static str]),
    /// A text or a number.
    Any,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Integer => f.write_str("whole number"),
            Self::Number => f.write_str("number"),
            Self::Text => f.write_str("text"),
            Self::Any => f.write_str("text or number"),
            Self::Choice(choices) => {
                let quoted: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
                f.write_str(&quoted.join(" or "))
            }
        }
    }
}

/// A key that is read.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// From the file's root.
    pub(super) path: Vec<Part>,
    /// What it takes.
    pub(super) kind: Kind,
    /// Whether leaving it out is something else than any value.
    pub(super) optional: bool,
}

/// `egress[].host`, `map.tiers.NAME.maps_max`.
pub(super) fn written(path: &[Part]) -> String {
    let mut text = String::new();
    for part in path {
        match part {
            Part::Item => text.push_str("[]"),
            Part::Name(_) | Part::AnyName if !text.is_empty() => text.push('.'),
            Part::Name(_) | Part::AnyName => {}
        }
        match part {
            Part::Name(name) => text.push_str(name),
            Part::AnyName => text.push_str(ANY_NAME),
            Part::Item => {}
        }
    }
    text
}

/// All keys that `T` reads, in their order.
pub(super) fn keys_of<'de, T: Deserialize<'de>>() -> Vec<Known> {
    let found = RefCell::new(Vec::new());
    let tracer = Tracer { at: Vec::new(), optional: false, found: &found };
    let traced = T::deserialize(tracer).map(|_| ());
    traced.expect("every type of the configuration takes the sample of its kind; a new one that does not is seen by the tests");
    found.into_inner()
}

#[derive(Clone)]
struct Tracer<'a> {
    at: Vec<Part>,
    optional: bool,
    found: &'a RefCell<Vec<Known>>,
}

impl Tracer<'_> {
    fn note(&self, kind: Kind) {
        self.found.borrow_mut().push(Known { path: self.at.clone(), kind, optional: self.optional });
    }

    fn below(&self, part: Part) -> Self {
        let mut at = self.at.clone();
        at.push(part);
        Self { at, optional: false, found: self.found }
    }
}

macro_rules! leaves {
    ($($method:ident $kind:ident $visit:ident $sample:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.note(Kind::$kind);
            visitor.$visit($sample)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    leaves! {
        deserialize_any Any visit_str "1";
        deserialize_bool Flag visit_bool false;
        deserialize_i8 Integer visit_i8 1;
        deserialize_i16 Integer visit_i16 1;
        deserialize_i32 Integer visit_i32 1;
        deserialize_i64 Integer visit_i64 1;
        deserialize_u8 Integer visit_u8 1;
        deserialize_u16 Integer visit_u16 1;
        deserialize_u32 Integer visit_u32 1;
        deserialize_u64 Integer visit_u64 1;
        deserialize_f32 Number visit_f32 1.0;
        deserialize_f64 Number visit_f64 1.0;
        deserialize_char Text visit_char '1';
        deserialize_str Text visit_str SAMPLE;
        deserialize_string Text visit_str SAMPLE;
        deserialize_bytes Text visit_bytes SAMPLE.as_bytes();
        deserialize_byte_buf Text visit_bytes SAMPLE.as_bytes();
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(Self { optional: true, ..self })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Once(Some(self.below(Part::Item))))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let below = self.below(Part::AnyName);
        visitor.visit_map(Fields { names: &[ANY_NAME], value: None, at: |_: &str| below.clone() })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { names, value: None, at: |name: &str| self.below(Part::Name(name.to_owned())) })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        choices: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.note(Kind::Choice(choices));
        let first: StrDeserializer<'_, Error> = choices.first().copied().unwrap_or_default().into_deserializer();
        visitor.visit_enum(first)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(SAMPLE)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

/// A list of one entry.
struct Once<'a>(Option<Tracer<'a>>);

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.0.take().map(|entry| seed.deserialize(entry)).transpose()
    }
}

/// A table with each of its keys once.
struct Fields<F> {
    names: &'static [&'static str],
    value: Option<&'static str>,
    at: F,
}

impl<'a, 'de, F: Fn(&str) -> Tracer<'a>> MapAccess<'de> for Fields<F> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((first, rest)) = self.names.split_first() else { return Ok(None) };
        (self.names, self.value) = (rest, Some(*first));
        let name: StrDeserializer<'_, Error> = (*first).into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize((self.at)(self.value.take().unwrap_or_default()))
    }
}

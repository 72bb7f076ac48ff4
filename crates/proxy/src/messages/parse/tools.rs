//! The tools that the model is told of.

use super::reader::{Reader, next_field, note_cache, once, pass};
use crate::messages::canon::{self, Canon, Digest, Key, boxed};
use crate::messages::shape::Tool;
use policy::digest_bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Tools without a type are the caller's own; these are the provider's designs for tools that the caller runs.
const CLIENT_TOOLS: &[&str] = &["bash_2", "text_editor_2", "computer_2", "memory_2"];

/// A list of tools, or nothing.
pub(super) struct Tools<'a>(pub(super) &'a mut Reader);

impl<'de> DeserializeSeed<'de> for Tools<'_> {
    type Value = Vec<Tool>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tools<'_> {
    type Value = Vec<Tool>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence of tools")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut tools = Vec::new();
        while let Some(tool) = items.next_element_seed(OneTool(&mut *self.0))? {
            tools.extend(tool);
        }
        Ok(tools)
    }
}

struct OneTool<'a>(&'a mut Reader);

#[derive(Clone, Copy)]
enum Field {
    Kind,
    Name,
    Description,
    Schema,
    CacheControl,
}

fn field(key: &str) -> Option<Field> {
    match key {
        "type" => Some(Field::Kind),
        "name" => Some(Field::Name),
        "description" => Some(Field::Description),
        "input_schema" => Some(Field::Schema),
        "cache_control" => Some(Field::CacheControl),
        _ => None,
    }
}

impl<'de> DeserializeSeed<'de> for OneTool<'_> {
    type Value = Option<Tool>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneTool<'_> {
    type Value = Option<Tool>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tool")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let reader = self.0;
        let (mut kind, mut name, mut description, mut schema) = (None::<Option<Box<str>>>, None::<Box<str>>, None, None);
        while let Some(known) = next_field(&mut fields, reader, field)? {
            match known {
                Some(Field::Kind) => once(&mut kind, "type", fields.next_value()?)?,
                Some(Field::CacheControl) => note_cache(&mut fields, reader)?,
                Some(Field::Name) if reader.digests() => once(&mut name, "name", fields.next_value_seed(Key(boxed))?)?,
                Some(Field::Description) if reader.digests() => {
                    let text = fields.next_value_seed(Key(|text: &str| digest_bytes(text.as_bytes())))?;
                    once(&mut description, "description", text)?;
                }
                Some(Field::Schema) if reader.digests() => once(&mut schema, "input_schema", schema_of(&mut fields, reader)?)?,
                Some(Field::Name | Field::Description | Field::Schema) => drop(fields.next_value::<IgnoredAny>()?),
                None => pass(&mut fields, reader)?,
            }
        }
        let kind = kind.flatten();
        let custom = kind.as_deref().is_none_or(|kind| kind == "custom");
        if let Some(kind) = kind.as_deref().filter(|_| !custom)
            && !CLIENT_TOOLS.iter().any(|known| kind.starts_with(known))
        {
            reader.forbid(&format!("tools.{kind}"));
        }
        if !reader.digests() {
            return Ok(None);
        }
        reader.keep::<A::Error>()?;
        let (name, description, schema) = (name.unwrap_or_default(), description.unwrap_or_default(), schema.unwrap_or_default());
        let canon = &mut reader.canon;
        canon.tag(b'|');
        canon.text(&name);
        canon.text(kind.as_deref().filter(|_| !custom).unwrap_or_default());
        canon.digest(&description);
        canon.digest(&schema);
        let (digest, spelling) = (canon.take().0, canon.take_spelling());
        Ok(Some(Tool { digest, spelling }))
    }
}

/// Digest of a schema.
fn schema_of<'de, A: MapAccess<'de>>(fields: &mut A, reader: &mut Reader) -> Result<Digest, A::Error> {
    let mut schema = Canon::default();
    fields.next_value_seed(canon::Into(&mut schema))?;
    reader.canon.spell_as(&mut schema);
    Ok(schema.take().0)
}

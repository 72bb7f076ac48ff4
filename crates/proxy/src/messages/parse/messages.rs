//! Messages and the system prompt: who speaks, and blocks.

use super::block;
use super::reader::{Reader, next_field, once, pass};
use crate::messages::canon::Key;
use crate::messages::shape::{Message, Role};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A list of messages. What they say is returned where it was asked for.
pub(super) struct Messages<'a>(pub(super) &'a mut Reader);

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = Vec<Message>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = Vec<Message>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut messages = Vec::new();
        while let Some(message) = items.next_element_seed(OneMessage(&mut *self.0))? {
            messages.extend(message);
        }
        Ok(messages)
    }
}

struct OneMessage<'a>(&'a mut Reader);

#[derive(Clone, Copy)]
enum Field {
    Role,
    Content,
}

fn field(key: &str) -> Option<Field> {
    match key {
        "role" => Some(Field::Role),
        "content" => Some(Field::Content),
        _ => None,
    }
}

impl<'de> DeserializeSeed<'de> for OneMessage<'_> {
    type Value = Option<Message>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneMessage<'_> {
    type Value = Option<Message>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let (mut role, mut content) = (None, None);
        while let Some(known) = next_field(&mut fields, self.0, field)? {
            match known {
                Some(Field::Role) => once(&mut role, "role", fields.next_value_seed(Key(role_of))?)?,
                Some(Field::Content) => once(&mut content, "content", fields.next_value_seed(Content(&mut *self.0))?)?,
                None => pass(&mut fields, self.0)?,
            }
        }
        if !self.0.digests() {
            return Ok(None);
        }
        self.0.keep::<A::Error>()?;
        Ok(Some(self.0.message(role.unwrap_or(Role::Other))))
    }
}

fn role_of(role: &str) -> Role {
    match role {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => Role::Other,
    }
}

/// The system prompt.
pub(super) struct System<'a>(pub(super) &'a mut Reader);

impl<'de> DeserializeSeed<'de> for System<'_> {
    type Value = Option<Message>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Content(&mut *self.0).deserialize(deserializer)?;
        Ok(self.0.digests().then(|| self.0.message(Role::System)))
    }
}

/// Text, a block, or a list of blocks; they are added to the reader's.
pub(super) struct Content<'a>(pub(super) &'a mut Reader);

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or blocks")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        block::text_alone(self.0, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<(), A::Error> {
        while blocks.next_element_seed(block::One(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<(), A::Error> {
        block::One(self.0).visit_map(fields)
    }
}

//! One block of a message.

use super::messages::Content;
use super::reader::{Reader, next_field, note_cache, once, pass};
use crate::messages::canon::{Canon, Digest, Key, boxed};
use policy::{canonical_digest, digest_bytes};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Blocks that hold what they say, or are the model's and the caller's own.
const BLOCKS: &[&str] =
    &["text", "image", "document", "search_result", "tool_use", "tool_result", "tool_reference", "thinking", "redacted_thinking"];
/// Sources that carry their bytes with them.
const INLINE_SOURCES: &[&str] = &["base64", "text", "content"];
/// An image is scaled down to less than this by the provider.
pub(super) const IMAGE_TOKENS_MAX: u64 = 5_000;
/// A PDF of a few kilobytes may have as many pages as the provider takes (600), each up to 3,000 tokens.
pub(super) const PDF_TOKENS_MAX: u64 = 1_800_000;
/// Longer arguments are not compared: the gateway takes none as emitted that are.
const ARGUMENTS_BYTES_MAX: usize = 1 << 20;

/// A text that stands in a block's place: the same as one block with it.
pub(super) fn text_alone(reader: &mut Reader, text: &str) {
    if reader.digests() {
        reader.canon.tag(b'{');
        let text = Text::of(reader, text);
        let fields = Fields { kind: Some("text".into()), text: Some(text), ..Fields::default() };
        fields.end(reader);
    }
}

/// A block, added to the reader's. Only an object is one.
pub(super) struct One<'a>(pub(super) &'a mut Reader);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Clone, Copy)]
enum Field {
    Kind,
    Source,
    Content,
    CacheControl,
    /// Known, and not looked at but for digests.
    Text,
    Id,
    Name,
    Input,
    ToolUseId,
    IsError,
    Thinking,
    Signature,
    Data,
}

fn field(key: &str) -> Option<Field> {
    Some(match key {
        "type" => Field::Kind,
        "source" => Field::Source,
        "content" => Field::Content,
        "cache_control" => Field::CacheControl,
        "text" => Field::Text,
        "id" => Field::Id,
        "name" => Field::Name,
        "input" => Field::Input,
        "tool_use_id" => Field::ToolUseId,
        "is_error" => Field::IsError,
        "thinking" => Field::Thinking,
        "signature" => Field::Signature,
        "data" => Field::Data,
        _ => return None,
    })
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reader = self.0;
        let mut fields = Fields::default();
        if reader.digests() {
            reader.canon.tag(b'{');
        }
        while let Some(known) = next_field(&mut map, reader, field)? {
            match known {
                Some(Field::Kind) => once(&mut fields.kind, "type", map.next_value_seed(Key(boxed))?)?,
                Some(Field::Source) => {
                    let source = map.next_value_seed(SourceSeed(&mut *reader))?;
                    once(&mut fields.source, "source", source)?;
                }
                Some(Field::Content) => once(&mut fields.content, "content", map.next_value_seed(Content(&mut *reader))?)?,
                Some(Field::CacheControl) => note_cache(&mut map, reader)?,
                Some(other) if reader.digests() => fields.detail(other, &mut map, reader)?,
                Some(_) => drop(map.next_value::<IgnoredAny>()?),
                None => pass(&mut map, reader)?,
            }
        }
        fields.judge(reader);
        if reader.digests() {
            fields.end(reader);
        }
        Ok(())
    }
}

/// What was said of one block.
#[derive(Default)]
struct Fields {
    kind: Option<Box<str>>,
    source: Option<Source>,
    content: Option<()>,
    text: Option<Text>,
    id: Option<Box<str>>,
    name: Option<Box<str>>,
    input: Option<Option<Digest>>,
    tool_use_id: Option<Box<str>>,
    is_error: Option<Option<bool>>,
    thinking: Option<Text>,
    signature: Option<Text>,
    data: Option<Text>,
}

impl Fields {
    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or_default()
    }

    /// What the provider would do for it that nobody may ask for, and what it may have in tokens beyond its bytes.
    fn judge(&self, reader: &mut Reader) {
        if !BLOCKS.contains(&self.kind()) {
            reader.forbid(&format!("block.{}", self.kind()));
        }
        if self.kind() == "image" {
            reader.extra(IMAGE_TOKENS_MAX);
        }
        let Some(Source::Of { from, bytes }) = &self.source else { return };
        if self.kind() == "image" && from.as_ref() == "base64" {
            reader.image(*bytes);
        } else if reader.digests() {
            reader.canon.weigh(usize::try_from(*bytes).unwrap_or(usize::MAX));
        }
        if !INLINE_SOURCES.contains(&from.as_ref()) {
            reader.forbid(&format!("source.{from}"));
        }
        if self.kind() == "document" && from.as_ref() == "base64" {
            reader.extra(PDF_TOKENS_MAX);
        }
    }

    /// Fields that matter only to who compares what was said.
    fn detail<'de, A: MapAccess<'de>>(&mut self, field: Field, map: &mut A, reader: &mut Reader) -> Result<(), A::Error> {
        match field {
            Field::Text => once(&mut self.text, "text", map.next_value_seed(TextSeed(reader))?),
            Field::Id => once(&mut self.id, "id", map.next_value_seed(Key(boxed))?),
            Field::Name => once(&mut self.name, "name", map.next_value_seed(Key(boxed))?),
            Field::ToolUseId => once(&mut self.tool_use_id, "tool_use_id", map.next_value_seed(Key(boxed))?),
            Field::IsError => once(&mut self.is_error, "is_error", map.next_value()?),
            Field::Thinking => once(&mut self.thinking, "thinking", map.next_value_seed(TextSeed(reader))?),
            Field::Signature => once(&mut self.signature, "signature", map.next_value_seed(TextSeed(reader))?),
            Field::Data => once(&mut self.data, "data", map.next_value_seed(TextSeed(reader))?),
            Field::Input => {
                let raw: &RawValue = map.next_value()?;
                reader.canon.weigh(raw.get().len());
                reader.canon.spell(&digest_bytes(raw.get().as_bytes()));
                once(&mut self.input, "input", arguments_of(raw))
            }
            // Read before anybody asks for details.
            Field::Kind | Field::Source | Field::Content | Field::CacheControl => Err(A::Error::custom("a block")),
        }
    }

    /// Writes down what is known, in an order of its own.
    fn end(self, reader: &mut Reader) {
        let canon = &mut reader.canon;
        canon.tag(b'|');
        for text in [&self.kind, &self.id, &self.name, &self.tool_use_id] {
            optional(canon, text.as_deref(), Canon::text);
        }
        for text in [&self.text, &self.thinking, &self.signature, &self.data] {
            optional(canon, text.as_ref().map(|text| &text.digest), Canon::digest);
        }
        optional(canon, self.input.flatten().as_ref(), Canon::digest);
        let is_error = self.is_error.flatten().unwrap_or(false);
        canon.tag(if is_error { b't' } else { b'f' });
        let thinking = [&self.thinking, &self.signature, &self.data].into_iter().flatten();
        reader.thinking_weight = thinking.fold(reader.thinking_weight, |sum, text| sum.saturating_add(text.weight));
        reader.block();
    }
}

fn optional<T: ?Sized>(canon: &mut Canon, value: Option<&T>, write: fn(&mut Canon, &T)) {
    match value {
        Some(value) => write(canon, value),
        None => canon.tag(b'-'),
    }
}

fn arguments_of(raw: &RawValue) -> Option<Digest> {
    let text = Some(raw.get()).filter(|text| text.len() <= ARGUMENTS_BYTES_MAX)?;
    canonical_digest(&serde_json::from_str::<serde_json::Value>(text).ok()?)
}

/// A text and its digest.
#[derive(Default)]
struct Text {
    digest: Digest,
    weight: u64,
}

impl Text {
    fn of(reader: &mut Reader, text: &str) -> Self {
        reader.canon.weigh(text.len());
        let weight = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Self { digest: digest_bytes(text.as_bytes()), weight }
    }
}

struct TextSeed<'a>(&'a mut Reader);

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = Text;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Text, D::Error> {
        Key(|text: &str| Text::of(self.0, text)).deserialize(deserializer)
    }
}

/// Where a block's content comes from: an object with a kind, or (of search results) a text that only names it.
enum Source {
    Of {
        from: Box<str>,
        /// How long the data is.
        bytes: u64,
    },
    Named,
}

struct SourceSeed<'a>(&'a mut Reader);

impl<'de> DeserializeSeed<'de> for SourceSeed<'_> {
    type Value = Source;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Source, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[derive(Clone, Copy)]
enum SourceField {
    Kind,
    Content,
    Data,
}

fn source_field(key: &str) -> Option<SourceField> {
    match key {
        "type" => Some(SourceField::Kind),
        "content" => Some(SourceField::Content),
        "data" => Some(SourceField::Data),
        _ => None,
    }
}

impl<'de> Visitor<'de> for SourceSeed<'_> {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a source")
    }

    fn visit_str<E>(self, name: &str) -> Result<Source, E> {
        if self.0.digests() {
            self.0.canon.text(name);
        }
        Ok(Source::Named)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Source, A::Error> {
        let (mut kind, mut content, mut data) = (None::<Box<str>>, None, None::<(Digest, u64)>);
        while let Some(known) = next_field(&mut fields, self.0, source_field)? {
            match known {
                Some(SourceField::Kind) => once(&mut kind, "type", fields.next_value_seed(Key(boxed))?)?,
                Some(SourceField::Content) => once(&mut content, "content", fields.next_value_seed(Content(&mut *self.0))?)?,
                Some(SourceField::Data) => {
                    let digests = self.0.digests();
                    let text = fields.next_value_seed(Key(|text: &str| {
                        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
                        (if digests { digest_bytes(text.as_bytes()) } else { [0; 32] }, bytes)
                    }))?;
                    once(&mut data, "data", text)?;
                }
                None => pass(&mut fields, self.0)?,
            }
        }
        let (kind, (data, bytes)) = (kind.unwrap_or_default(), data.unwrap_or_default());
        if self.0.digests() {
            self.0.canon.text(&kind);
            self.0.canon.digest(&data);
            self.0.canon.tag(b'>');
        }
        Ok(Source::Of { from: kind, bytes })
    }
}

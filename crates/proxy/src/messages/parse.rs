//! A model request, parsed read-only and once: bytes in, facts out. Nothing of the body is ever changed or stripped here.
//!
//! Unknown fields pass, as the provider's clients expect. What is closed is what could act for the caller: kinds of tools and
//! blocks are allow-lists, and so are the places where content may come from. No tree is built: a request takes no more memory
//! than its bytes, and what is kept of it is its [`Shape`].

mod block;
mod messages;
mod reader;
mod tools;

use super::canon::{Canon, Digest};
use super::shape::{Detail, Message, Said, Shape, Thinking, Tool};
use bytes::Bytes;
use policy::{CacheWrites, ModelPath, ModelRequest, Prompt, RequestBody};
use reader::{Reader, next_field, note_cache, once, pass};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::ops::Range;

/// Larger bodies are parsed beside the event loop.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// No model writes as much; what is above was not meant.
const MAX_TOKENS_MAX: u64 = 10_000_000;

/// Reads what decisions need.
///
/// # Errors
/// One sentence for the caller about what is wrong with the body.
pub(super) async fn read(path: ModelPath, body: Bytes, detail: Detail) -> Result<(ModelRequest, Shape), String> {
    if body.len() <= INLINE_BYTES_MAX {
        return request(path, &body, detail);
    }
    let parsed = tokio::task::spawn_blocking(move || request(path, &body, detail)).await;
    parsed.unwrap_or_else(|_| Err("The body can't be read.".to_owned()))
}

pub(super) fn request(path: ModelPath, body: &[u8], detail: Detail) -> Result<(ModelRequest, Shape), String> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("The body is not a valid request: it must be an object.".to_owned());
    }
    let invalid = |error: serde_json::Error| format!("The body is not a valid request: {error}.");
    let mut parser = serde_json::Deserializer::from_slice(body);
    let top = Top(Reader::new(detail)).deserialize(&mut parser).map_err(invalid)?;
    parser.end().map_err(invalid)?;
    if top.model.is_empty() || top.model.len() > 128 || top.model.chars().any(char::is_control) {
        return Err("model must be a name of 1 to 128 characters.".to_owned());
    }
    let max_tokens = top.max_tokens.map(number_of).transpose()?;
    let max_tokens = match (path, max_tokens) {
        (ModelPath::CountTokens | ModelPath::Models, _) => 0,
        (ModelPath::Messages, Some(max_tokens)) => max_tokens,
        (ModelPath::Messages, None) => return Err("max_tokens is required.".to_owned()),
    };
    let prompt = top.prompt(body.len());
    let asked = ModelRequest {
        body: RequestBody::default(),
        path,
        model: top.model,
        max_tokens,
        body_bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
        prompt,
        cache_writes: top.cache_writes,
        forbidden_feature: top.forbidden,
    };
    Ok((asked, Shape { max_tokens_at: top.max_tokens.and_then(|raw| place_of(body, raw)), ..top.shape }))
}

/// Whole, and not absurd; a sign, a fraction or an exponent is none of what the provider takes.
fn number_of(raw: &RawValue) -> Result<u64, String> {
    let text = raw.get();
    let number = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit())).and_then(|text| text.parse().ok());
    let fits = number.filter(|number| *number <= MAX_TOKENS_MAX);
    fits.ok_or_else(|| format!("max_tokens must be a whole number of at most {MAX_TOKENS_MAX}, written in digits."))
}

/// Where a value stands in the body that it was borrowed from.
fn place_of(body: &[u8], raw: &RawValue) -> Option<Range<usize>> {
    let start = raw.get().as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    let end = start.checked_add(raw.get().len())?;
    (body.get(start..end)? == raw.get().as_bytes()).then_some(start..end)
}

#[derive(Clone, Copy)]
enum Field {
    Model,
    MaxTokens,
    Messages,
    System,
    Tools,
    ToolChoice,
    Thinking,
    Stream,
    ContextManagement,
    ServiceTier,
    CacheControl,
    /// Says nothing to the model.
    Metadata,
    Forbidden(&'static str),
}

/// By which the provider would fetch, send or store for the caller, or answer dearer.
const FORBIDDEN: &[&str] = &["mcp_servers", "container", "speed", "inference_geo", "fallbacks", "fallback_model"];

fn field(key: &str) -> Option<Field> {
    Some(match key {
        "model" => Field::Model,
        "max_tokens" => Field::MaxTokens,
        "messages" => Field::Messages,
        "system" => Field::System,
        "tools" => Field::Tools,
        "tool_choice" => Field::ToolChoice,
        "thinking" => Field::Thinking,
        "stream" => Field::Stream,
        "context_management" => Field::ContextManagement,
        "service_tier" => Field::ServiceTier,
        "cache_control" => Field::CacheControl,
        "metadata" => Field::Metadata,
        _ => Field::Forbidden(FORBIDDEN.iter().find(|name| **name == key)?),
    })
}

/// What the whole body says.
struct Seen<'de> {
    model: String,
    max_tokens: Option<&'de RawValue>,
    forbidden: Option<String>,
    extra_tokens_max: u64,
    image_bytes: u64,
    cache_writes: CacheWrites,
    shape: Shape,
}

impl Seen<'_> {
    /// All of it, by its bytes. What the provider wraps around messages, blocks and tools is shorter than what JSON does.
    fn prompt(&self, body_bytes: usize) -> Prompt {
        let bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX).saturating_sub(self.image_bytes);
        Prompt { new_bytes: bytes, new_extra_tokens: self.extra_tokens_max, ..Prompt::default() }
    }
}

/// Fields that were seen, each at most once.
#[derive(Default)]
struct Fields<'de> {
    model: Option<String>,
    max_tokens: Option<Option<&'de RawValue>>,
    messages: Option<Vec<Message>>,
    system: Option<Option<Message>>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<&'de RawValue>,
    thinking: Option<&'de RawValue>,
    stream: Option<Option<bool>>,
    context_management: Option<&'de RawValue>,
    service_tier: Option<Option<String>>,
    cache_control: Option<()>,
    metadata: Option<IgnoredAny>,
    forbidden: Vec<&'static str>,
}

struct Top(Reader);

impl<'de> DeserializeSeed<'de> for Top {
    type Value = Seen<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top {
    type Value = Seen<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let reader = &mut self.0;
        let (mut fields, mut settings) = (Fields::default(), Canon::default());
        // What isn't known is a setting; the rest has a canon of its own.
        loop {
            std::mem::swap(&mut reader.canon, &mut settings);
            let next = next_field(&mut map, reader, field)?;
            if matches!(next, Some(None)) {
                pass(&mut map, reader)?;
            }
            std::mem::swap(&mut reader.canon, &mut settings);
            match next {
                Some(Some(known)) => fields.take(known, &mut map, reader)?,
                Some(None) => {}
                None => break,
            }
        }
        fields.end(self.0, settings)
    }
}

impl<'de> Fields<'de> {
    fn take<A: MapAccess<'de>>(&mut self, known: Field, map: &mut A, reader: &mut Reader) -> Result<(), A::Error> {
        match known {
            Field::Model => once(&mut self.model, "model", map.next_value()?),
            Field::MaxTokens => once(&mut self.max_tokens, "max_tokens", raw_or_null(map)?),
            Field::Messages => once(&mut self.messages, "messages", map.next_value_seed(messages::Messages(reader))?),
            Field::System => once(&mut self.system, "system", map.next_value_seed(messages::System(reader))?),
            Field::Tools => once(&mut self.tools, "tools", map.next_value_seed(tools::Tools(reader))?),
            Field::ToolChoice => once(&mut self.tool_choice, "tool_choice", map.next_value()?),
            Field::Thinking => once(&mut self.thinking, "thinking", map.next_value()?),
            Field::Stream => once(&mut self.stream, "stream", map.next_value()?),
            Field::ContextManagement => once(&mut self.context_management, "context_management", map.next_value()?),
            Field::ServiceTier => once(&mut self.service_tier, "service_tier", map.next_value()?),
            Field::CacheControl => once(&mut self.cache_control, "cache_control", note_cache(map, reader)?),
            Field::Metadata => once(&mut self.metadata, "metadata", map.next_value()?),
            Field::Forbidden(name) => {
                if self.forbidden.contains(&name) {
                    return Err(A::Error::duplicate_field(name));
                }
                self.forbidden.push(name);
                if map.next_value::<Option<IgnoredAny>>()?.is_some() {
                    reader.forbid(name);
                }
                Ok(())
            }
        }
    }

    fn end<E: Error>(self, mut reader: Reader, mut settings: Canon) -> Result<Seen<'de>, E> {
        let model = self.model.ok_or_else(|| E::missing_field("model"))?;
        let messages = self.messages.ok_or_else(|| E::missing_field("messages"))?;
        if let Some(tier) = self.service_tier.flatten().filter(|tier| !matches!(tier.as_str(), "auto" | "standard_only")) {
            settings.text(&tier);
            reader.forbid("service_tier");
        }
        let edits_context = edits(self.context_management, &mut reader)?;
        let mut shape = Shape {
            max_tokens_at: None,
            thinking: kind_of(self.thinking)?.map_or(Thinking::Off, |kind| thinking_of(&kind)),
            edits_context,
            said: None,
        };
        if reader.digests() {
            for raw in [self.thinking, self.tool_choice, self.context_management] {
                settings.text(raw.map_or("", RawValue::get));
            }
            settings.text(&model);
            let spelling = settings.take_spelling();
            settings.digest(&spelling);
            let settings: Digest = settings.take().0;
            shape.said = Some(Said { settings, system: self.system.flatten(), tools: self.tools.unwrap_or_default(), messages });
        }
        let max_tokens = self.max_tokens.flatten();
        let Reader { forbidden, extra_tokens_max, image_bytes, cache_writes, .. } = reader;
        Ok(Seen { model, max_tokens, forbidden, extra_tokens_max, image_bytes, cache_writes, shape })
    }
}

fn raw_or_null<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<&'de RawValue>, A::Error> {
    let raw: &RawValue = map.next_value()?;
    Ok(Some(raw).filter(|raw| raw.get() != "null"))
}

/// Something that says its kind.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
    budget_tokens: Option<u64>,
}

fn kind_of<E: Error>(raw: Option<&RawValue>) -> Result<Option<Kind>, E> {
    raw.map_or(Ok(None), |raw| serde_json::from_str(raw.get()).map_err(E::custom))
}

fn thinking_of(kind: &Kind) -> Thinking {
    match (kind.kind.as_str(), kind.budget_tokens) {
        ("disabled", _) => Thinking::Off,
        ("enabled", Some(budget)) => Thinking::Enabled(budget),
        ("adaptive", _) => Thinking::Adaptive,
        _ => Thinking::Other,
    }
}

#[derive(Deserialize)]
struct ContextManagement {
    edits: Option<Vec<Edit>>,
}

#[derive(Deserialize)]
struct Edit {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Whether anything but thinking would be left out of what is counted.
fn edits<E: Error>(raw: Option<&RawValue>, reader: &mut Reader) -> Result<bool, E> {
    let Some(raw) = raw else { return Ok(false) };
    let management: Option<ContextManagement> = serde_json::from_str(raw.get()).map_err(E::custom)?;
    let mut others = false;
    for kind in management.and_then(|management| management.edits).unwrap_or_default().into_iter().filter_map(|edit| edit.kind) {
        others |= !kind.starts_with("clear_thinking");
        if kind.starts_with("compact") {
            reader.forbid(&format!("context_management.{kind}"));
        }
    }
    Ok(others)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests;

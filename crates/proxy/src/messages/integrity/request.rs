//! A request of the agent, read strictly: every field is one that the pinned agent sends, stands once, and has its form. What
//! could steer the model in a way that nobody looked at (a stop sequence, a form for the answer, a field that is new) is no
//! request of an honest agent.

use super::super::canon::Digest;
use crate::strict;
use policy::{canonical_digest, digest_bytes};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// What an agent asks.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "fields that need only be known")]
pub(super) struct Request<'a> {
    model: IgnoredAny,
    pub(super) max_tokens: u64,
    stream: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    thinking: Option<IgnoredAny>,
    context_management: Option<ContextManagement>,
    output_config: Option<OutputConfig>,
    /// What the agent tells the provider of itself where nobody tells it another address.
    diagnostics: Option<Diagnostics>,
    pub(super) system: Option<Content>,
    #[serde(borrow)]
    pub(super) tools: Option<Vec<Tool<'a>>>,
    pub(super) messages: Vec<Message>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a field that needs only be known")]
struct Diagnostics {
    previous_message_id: Option<IgnoredAny>,
}

/// How much the model may think; never which form its answer has.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a field that needs only be known")]
pub(super) struct OutputConfig {
    effort: Option<IgnoredAny>,
}

/// What the provider leaves out of a conversation: nothing that anybody said or that a tool answered.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "fields that need only be known")]
struct ContextManagement {
    edits: Option<Vec<Edit>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
#[expect(dead_code, reason = "fields that need only be known")]
enum Edit {
    #[serde(rename = "clear_thinking_20251015")]
    ClearThinking { keep: Keep },
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Keep {
    All,
}

/// A tool that the model is told of.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tool<'a> {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(borrow)]
    input_schema: &'a RawValue,
    #[serde(rename = "cache_control")]
    _cache: Option<IgnoredAny>,
}

impl Tool<'_> {
    /// None for a schema that could be read in two ways.
    pub(super) fn schema(&self) -> Option<Digest> {
        canonical_digest(&strict::parse(self.input_schema.get().as_bytes()).ok()?)
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    pub(super) role: String,
    pub(super) content: Content,
    #[serde(rename = "output_config")]
    pub(super) config: Option<OutputConfig>,
}

/// Blocks; a text alone is one.
#[derive(Debug, Default)]
pub(super) struct Content(pub(super) Vec<Block>);

#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) kind: String,
    pub(super) text: Option<String>,
    /// Of the text, made before anybody waits for it.
    pub(super) digest: Option<Digest>,
    /// Of the text without its last new line.
    pub(super) trimmed: Option<Digest>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) input: Option<Digest>,
    pub(super) tool_use_id: Option<String>,
    pub(super) content: Option<Content>,
    pub(super) is_error: bool,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) data: Option<String>,
    /// Of an image: its bytes as they were sent.
    pub(super) source: Option<Digest>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBlock<'a> {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    tool_use_id: Option<String>,
    content: Option<Content>,
    is_error: Option<bool>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    source: Option<Source>,
    #[serde(rename = "cache_control")]
    _cache: Option<IgnoredAny>,
    /// Who called, as the provider says it; repeated by the agent.
    #[serde(rename = "caller")]
    _caller: Option<IgnoredAny>,
    citations: Option<Vec<IgnoredAny>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "media_type")]
    _media_type: Option<String>,
    data: String,
}

impl Block {
    pub(super) fn of_text(text: &str) -> Self {
        let digest = |text: &str| digest_bytes(text.as_bytes());
        Self {
            kind: "text".to_owned(),
            digest: Some(digest(text)),
            trimmed: text.strip_suffix('\n').map(digest),
            text: Some(text.to_owned()),
            ..Self::default()
        }
    }

    /// Which kinds of fields it has: text, call, result, thought, data, source. Every field belongs to one, so that none stands in a
    /// block that is taken for something else.
    fn has(&self) -> [bool; 6] {
        let Self {
            kind: _,
            text,
            digest: _,
            trimmed: _,
            id,
            name,
            input,
            tool_use_id,
            content,
            is_error,
            thinking,
            signature,
            data,
            source,
        } = self;
        [
            text.is_some(),
            id.is_some() || name.is_some() || input.is_some(),
            tool_use_id.is_some() || content.is_some() || *is_error,
            thinking.is_some() || signature.is_some(),
            data.is_some(),
            source.is_some(),
        ]
    }

    /// Whether it is of this kind and has the fields of it alone, by their number in [`Block::has`].
    fn is_only(&self, kind: &str, own: usize) -> bool {
        self.kind == kind && self.has().into_iter().enumerate().all(|(number, there)| there == (number == own))
    }

    /// The text and its digest, of a block that is nothing but text.
    pub(super) fn text_alone(&self) -> Option<(&str, Digest)> {
        self.text.as_deref().zip(self.digest).filter(|_| self.is_only("text", 0))
    }

    /// Id, name and arguments of a block that is nothing but a call.
    pub(super) fn call_alone(&self) -> Option<(&str, &str, Digest)> {
        let call = (self.id.as_deref()?, self.name.as_deref()?, self.input?);
        self.is_only("tool_use", 1).then_some(call)
    }

    /// Call, failure and content of a block that is nothing but a result.
    pub(super) fn result_alone(&self) -> Option<(&str, bool, Option<&Content>)> {
        let id = self.tool_use_id.as_deref().filter(|_| self.is_only("tool_result", 2));
        id.map(|id| (id, self.is_error, self.content.as_ref()))
    }

    /// Words (or data) and signature of a block that is nothing but a thought.
    pub(super) fn thought_alone(&self) -> Option<(&str, &str)> {
        if self.is_only("thinking", 3) {
            return self.thinking.as_deref().zip(self.signature.as_deref());
        }
        self.data.as_deref().filter(|_| self.is_only("redacted_thinking", 4)).map(|data| (data, ""))
    }

    /// Of a block that is nothing but an image.
    pub(super) fn image_alone(&self) -> Option<Digest> {
        self.source.filter(|_| self.is_only("image", 5))
    }
}

/// Longer arguments are not compared: the gateway takes none as emitted that are.
const ARGUMENTS_BYTES_MAX: usize = 1 << 20;

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawBlock::deserialize(deserializer)?;
        if raw.citations.is_some_and(|citations| !citations.is_empty()) {
            return Err(D::Error::custom("citations"));
        }
        let arguments = |raw: &RawValue| -> Result<Digest, D::Error> {
            let text = Some(raw.get()).filter(|text| text.len() <= ARGUMENTS_BYTES_MAX);
            let parsed = text.and_then(|text| strict::parse(text.as_bytes()).ok());
            parsed.as_ref().and_then(canonical_digest).ok_or_else(|| D::Error::custom("arguments"))
        };
        let digest = |text: &str| digest_bytes(text.as_bytes());
        let source = match raw.source {
            Some(source) if source.kind == "base64" => Some(digest_bytes(source.data.as_bytes())),
            Some(_) => return Err(D::Error::custom("a source")),
            None => None,
        };
        Ok(Self {
            kind: raw.kind,
            digest: raw.text.as_deref().map(digest),
            trimmed: raw.text.as_deref().and_then(|text| text.strip_suffix('\n')).map(digest),
            text: raw.text,
            id: raw.id,
            name: raw.name,
            input: raw.input.map(arguments).transpose()?,
            tool_use_id: raw.tool_use_id,
            content: raw.content,
            is_error: raw.is_error.unwrap_or(false),
            thinking: raw.thinking,
            signature: raw.signature,
            data: raw.data,
            source,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Blocks;

        impl<'de> Visitor<'de> for Blocks {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or blocks")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content(vec![Block::of_text(text)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = items.next_element()? {
                    blocks.push(block);
                }
                Ok(Content(blocks))
            }

            fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<Content, A::Error> {
                Err(A::Error::custom("one block is not a list of blocks"))
            }
        }

        deserializer.deserialize_any(Blocks)
    }
}

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
mod tests {
    use super::block::{IMAGE_TOKENS_MAX, PDF_TOKENS_MAX};
    use super::*;

    fn model_request(path: ModelPath, body: &[u8]) -> Result<ModelRequest, String> {
        let facts = request(path, body, Detail::Facts).map(|(asked, _)| asked);
        let digests = request(path, body, Detail::Digests).map(|(asked, _)| asked);
        assert_eq!(format!("{facts:?}"), format!("{digests:?}"), "whether or not anybody wants digests");
        facts
    }

    #[test]
    fn requests_are_read_or_refused_with_a_reason() {
        let read = |body: &str| model_request(ModelPath::Messages, body.as_bytes());
        let good = read(r#"{"model":"m","max_tokens":5,"messages":[],"unknown":{"x":1}}"#).expect("a good request");
        assert_eq!((good.model.as_str(), good.max_tokens, good.forbidden_feature), ("m", 5, None));
        for (bad, why) in [
            ("", "must be an object"),
            ("{", "EOF"),
            ("[]", "must be an object"),
            (r#"{"max_tokens":5,"messages":[]}"#, "model"),
            (r#"{"model":"m","messages":[]}"#, "max_tokens is required"),
            (r#"{"model":"m","max_tokens":-1,"messages":[]}"#, "whole number"),
            (r#"{"model":"m","max_tokens":1e3,"messages":[]}"#, "whole number"),
            (r#"{"model":"m","max_tokens":1e999,"messages":[]}"#, "whole number"),
            (r#"{"model":"m","max_tokens":1.0,"messages":[]}"#, "whole number"),
            (r#"{"model":"m","max_tokens":"5","messages":[]}"#, "whole number"),
            (r#"{"model":"m","max_tokens":true,"messages":[]}"#, "whole number"),
            (r#"{"model":"m","max_tokens":10000001,"messages":[]}"#, "at most 10000000"),
            (r#"{"model":"m","max_tokens":99999999999999999999999,"messages":[]}"#, "at most 10000000"),
            (r#"{"model":"m","max_tokens":007,"messages":[]}"#, "invalid number"),
            (r#"{"model":"m","max_tokens":null,"messages":[]}"#, "max_tokens is required"),
            (r#"{"model":"m","max_tokens":5,"messages":[],"stream":1}"#, "a boolean"),
            (r#"{"model":"m","max_tokens":5,"messages":[],"thinking":{},"thinking":{}}"#, "duplicate field"),
            (r#"{"model":"m","max_tokens":5,"messages":[],"stream":true,"str\u0065am":false}"#, "duplicate field"),
            (r#"{"model":"m","max_tokens":5,"messages":[]} x"#, "trailing"),
            (r#"{"model":"m","max_tokens":1,"messages":"x"}"#, "a sequence"),
            (r#"{"model":"m","model":"n","max_tokens":1,"messages":[]}"#, "duplicate field"),
            (r#"{"model":"m","max_tokens":1,"max_tokens":9,"messages":[]}"#, "duplicate field"),
            (
                r#"{"model":"m","max_tokens":1,"messages":[{"content":[{"source":"x","source":{"type":"url"}}]}]}"#,
                "duplicate field",
            ),
            (r#"{"model":"","max_tokens":1,"messages":[]}"#, "model must be"),
        ] {
            let error = read(bad).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    fn with(extra: &str) -> ModelRequest {
        let body = format!(r#"{{"model":"m","max_tokens":1,{extra}}}"#);
        model_request(ModelPath::Messages, body.as_bytes()).expect("a request")
    }

    #[test]
    fn features_that_fetch_for_the_caller_are_noticed() {
        let feature = |extra: &str| with(&format!(r#""messages":[],{extra}"#)).forbidden_feature;
        for (extra, name) in [
            (r#""mcp_servers":[]"#, "mcp_servers"),
            (r#""container":"c""#, "container"),
            (r#""speed":"fast""#, "speed"),
            (r#""inference_geo":"us""#, "inference_geo"),
            (r#""fallbacks":[{"model":"dear"}]"#, "fallbacks"),
            (r#""service_tier":"priority""#, "service_tier"),
            (r#""context_management":{"edits":[{"type":"compact_20260112"}]}"#, "context_management.compact_20260112"),
            (r#""tools":[{"name":"x"},{"type":"web_fetch_20260209","name":"w"}]"#, "tools.web_fetch_20260209"),
            (r#""tools":[{"type":"bash_code_execution_20260101","name":"w"}]"#, "tools.bash_code_execution_20260101"),
            (r#""tools":[{"type":"tool_search_tool_regex_20251119","name":"w"}]"#, "tools.tool_search_tool_regex_20251119"),
            (r#""system":[{"type":"image","source":{"type":"url","url":"https://x.example"}}]"#, "source.url"),
        ] {
            assert_eq!(feature(extra).as_deref(), Some(name), "{extra}");
        }
        for fine in [
            r#""tools":[{"type":"custom","name":"x","input_schema":{}},{"type":"bash_20250124","name":"bash"}]"#,
            r#""context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}"#,
            r#""mcp_servers":null,"service_tier":"auto","system":[{"type":"text","text":"t"}]"#,
        ] {
            assert_eq!(feature(fine), None, "{fine}");
        }
    }

    #[test]
    fn sources_that_the_provider_would_fetch_are_noticed() {
        let feature = |content: &str| with(&format!(r#""messages":[{{"role":"user","content":{content}}}]"#)).forbidden_feature;
        assert_eq!(feature(r#""see {\"type\":\"url\"}""#), None);
        assert_eq!(feature(r#"[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"x"}}]"#), None);
        assert_eq!(
            feature(r#"[{"type":"search_result","source":"https://x.example","content":[{"type":"text","text":"t"}]}]"#),
            None
        );
        assert_eq!(
            feature(r#"[{"type":"tool_use","id":"t","name":"n","input":{"source":{"type":"url"},"content":[{}]}}]"#),
            None
        );
        let url = r#"{"type":"image","source":{"type":"url","url":"https://x.example/?data"}}"#;
        for outer in [
            format!("[{url}]"),
            url.to_owned(),
            format!(r#"[{{"type":"tool_result","content":[{{"type":"text","text":"t"}},{url}]}}]"#),
            format!(r#"[{{"type":"document","source":{{"type":"content","content":[{url}]}}}}]"#),
        ] {
            assert_eq!(feature(&outer).as_deref(), Some("source.url"), "{outer}");
        }
        assert_eq!(feature(r#"[{"type":"document","source":{"type":"file","file_id":"f"}}]"#).as_deref(), Some("source.file"));
        assert_eq!(feature(r#"[{"type":"container_upload","file_id":"f"}]"#).as_deref(), Some("block.container_upload"));
    }

    #[test]
    fn what_has_more_tokens_than_bytes_is_counted() {
        let extra =
            |content: &str| with(&format!(r#""messages":[{{"role":"user","content":{content}}}]"#)).prompt.new_extra_tokens;
        let image = r#"{"type":"image","source":{"type":"base64","data":"x"}}"#;
        assert_eq!(extra(&format!("[{image},{image}]")), 2 * IMAGE_TOKENS_MAX);
        assert_eq!(extra(r#"[{"type":"document","source":{"type":"base64","data":"x"}}]"#), PDF_TOKENS_MAX);
        assert_eq!(extra(r#"[{"type":"document","source":{"type":"text","data":"x"}}]"#), 0);
    }

    #[test]
    fn nesting_costs_no_more_than_it_is_long() {
        let deep = |levels: usize| {
            let (open, close) = (r#"[{"type":"document","content":"#.repeat(levels), "}]".repeat(levels));
            format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"content":{open}"x"{close}}}]}}"#)
        };
        assert!(model_request(ModelPath::Messages, deep(50).as_bytes()).is_ok());
        assert!(model_request(ModelPath::Messages, deep(200).as_bytes()).is_err(), "the parser bounds the depth");
        let wide = format!(
            r#"{{"model":"m","max_tokens":1,"messages":[{{"content":[{}]}}]}}"#,
            vec![r#"{"type":"text"}"#; 300_000].join(",")
        );
        let arrays = r#"{"model":"m","max_tokens":1,"messages":[{"content":[["text"]]}]}"#;
        assert!(model_request(ModelPath::Messages, arrays.as_bytes()).is_err(), "only an object is a block");
        for detail in [Detail::Facts, Detail::Digests] {
            assert!(request(ModelPath::Messages, wide.as_bytes(), detail).is_ok(), "{detail:?}");
        }
        let many = format!(r#"{{"model":"m","max_tokens":1,"messages":[{}]}}"#, vec!["{}"; 100_001].join(","));
        for (detail, taken) in [(Detail::Facts, true), (Detail::Digests, false)] {
            assert_eq!(request(ModelPath::Messages, many.as_bytes(), detail).is_ok(), taken, "{detail:?}");
        }
    }

    fn shape(body: &str) -> Shape {
        request(ModelPath::Messages, body.as_bytes(), Detail::Digests).expect("a request").1
    }

    fn said(body: &str) -> Said {
        shape(body).said.expect("what was said")
    }

    #[test]
    fn the_number_is_where_it_is_said_to_be() {
        for body in [
            r#"{"model":"m","max_tokens":4000,"messages":[]}"#,
            "{ \"messages\":[{\"content\":\"\\\"max_tokens\\\":1\"}],\n\"max\\u005ftokens\" :\t4000 ,\"model\":\"m\"}",
        ] {
            let at = shape(body).max_tokens_at.expect("a number");
            assert_eq!(&body[at.clone()], "4000", "{body}");
            let other = format!("{}17{}", &body[..at.start], &body[at.end..]);
            let asked = request(ModelPath::Messages, other.as_bytes(), Detail::Facts).expect("still a request").0;
            assert_eq!(asked.max_tokens, 17, "nothing else has changed: {other}");
        }
        let counted = request(ModelPath::CountTokens, br#"{"model":"m","messages":[]}"#, Detail::Facts).expect("a request");
        assert_eq!((counted.0.max_tokens, counted.1.max_tokens_at), (0, None));
    }

    #[test]
    fn what_the_caller_wants_of_the_model_is_seen() {
        let of = |more: &str| shape(&format!(r#"{{"model":"m","max_tokens":9,"messages":[],{more}}}"#));
        assert_eq!(of(r#""x":1"#).thinking, Thinking::Off);
        assert_eq!(of(r#""thinking":{"type":"enabled","budget_tokens":1024},"stream":true"#).thinking_budget(), Some(1024));
        for (more, thinking) in [
            (r#""thinking":null"#, Thinking::Off),
            (r#""thinking":{"type":"disabled"}"#, Thinking::Off),
            (r#""thinking":{"type":"adaptive","display":"updates"}"#, Thinking::Adaptive),
            (r#""thinking":{"type":"enabled"}"#, Thinking::Other),
            (r#""thinking":{"type":"new"}"#, Thinking::Other),
        ] {
            assert_eq!(of(more).thinking, thinking, "{more}");
        }
        for (more, edits) in [("clear_thinking_20251015", false), ("clear_tool_uses_20250919", true)] {
            assert_eq!(of(&format!(r#""context_management":{{"edits":[{{"type":"{more}"}}]}}"#)).edits_context, edits);
        }
    }

    #[test]
    fn the_dearest_cache_is_seen_wherever_it_may_stand() {
        let of = |body: &str| {
            let body = format!(r#"{{"model":"m","max_tokens":9,{body}}}"#);
            model_request(ModelPath::Messages, body.as_bytes()).expect("a request").cache_writes
        };
        let (five, hour) = (r#""cache_control":{"type":"ephemeral"}"#, r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#);
        assert_eq!(of(r#""messages":[],"cache_control":null"#), CacheWrites::None);
        for (control, caching) in [(five, CacheWrites::FiveMinutes), (hour, CacheWrites::OneHour)] {
            for body in [
                format!(r#""messages":[],{control}"#),
                format!(r#""messages":[],"system":[{{"type":"text","text":"t",{control}}}]"#),
                format!(r#""messages":[],"tools":[{{"name":"t",{control}}}]"#),
                format!(r#""messages":[{{"role":"user","content":[{{"type":"text","text":"t",{control}}}]}}]"#),
                format!(
                    r#""messages":[{{"role":"user","content":[{{"type":"tool_result","content":[{{"type":"text",{control}}}]}}]}}]"#
                ),
            ] {
                assert_eq!(of(&body), caching, "{body}");
            }
        }
        assert_eq!(of(&format!(r#""messages":[],{five},"tools":[{{"name":"t",{hour}}}]"#)), CacheWrites::OneHour);
    }

    #[test]
    fn a_message_is_the_same_however_it_is_written() {
        let digest = |content: &str| {
            said(&format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":{content}}}]}}"#)).messages[0]
                .digest
        };
        let plain = digest(r#""a\nb""#);
        for same in [
            r#"[{"type":"text","text":"a\u000ab"}]"#,
            r#"[ {"text":"a\nb", "type":"text", "cache_control":{"type":"ephemeral","ttl":"1h"}} ]"#,
            r#"{"type":"text","text":"a\nb"}"#,
        ] {
            assert_eq!(digest(same), plain, "{same}");
        }
        for other in [
            r#""a b""#,
            r#"[{"type":"text","text":"a\nb"},{"type":"text","text":""}]"#,
            r#"[{"type":"text","text":"a\nb","citations":[]}]"#,
            r#"[{"type":"thinking","text":"a\nb"}]"#,
            r#"[{"type":"tool_result","content":"a\nb"}]"#,
            "[]",
        ] {
            assert_ne!(digest(other), plain, "{other}");
        }
        let result = |inner: &str| digest(&format!(r#"[{{"type":"tool_result","tool_use_id":"t","content":{inner}}}]"#));
        assert_eq!(result(r#""x""#), result(r#"[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]"#));
        assert_ne!(result(r#""x""#), result(r#"[{"type":"text","text":"x"},{"type":"text","text":"x"}]"#));
        let as_role = |role: &str| {
            said(&format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"content":"x","role":"{role}"}}]}}"#)).messages[0].digest
        };
        assert_ne!(as_role("user"), as_role("assistant"));
    }

    #[test]
    fn a_message_has_the_weight_of_all_that_it_says() {
        let messages = said(
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[
            {"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"ok"},
            {"type":"tool_use","id":"t1","name":"n","input":{"b":1.0,"a":[]}}]},{"role":"user","content":[
            {"type":"tool_result","tool_use_id":"t1","is_error":true,"content":[{"type":"text","text":"no"},
            {"type":"image","source":{"type":"base64","media_type":"image/png","data":"eA=="}}]},{"type":"text","text":"go","x":1}]}]}"#,
        )
        .messages;
        let (assistant, user) = (&messages[0], &messages[1]);
        assert_eq!((assistant.extra_tokens, user.extra_tokens), (0, IMAGE_TOKENS_MAX));
        assert_eq!((assistant.thinking_weight, user.thinking_weight), (3, 0));
        assert_eq!((assistant.block_count, user.block_count), (3, 4), "those inside others, too");
        assert!(assistant.weight >= 3 + 2 + 16 && user.weight >= 8);
    }

    #[test]
    fn tools_and_settings_are_told_apart() {
        let of = |more: &str| said(&format!(r#"{{"model":"m","max_tokens":9,"messages":[],{more}}}"#));
        let tool = r#""tools":[{"name":"n","description":"d","input_schema":{"type":"object"}}]"#;
        let one = of(tool);
        let cached = tool.replace("\"n\",", "\"n\",\"cache_control\":{\"type\":\"ephemeral\"},");
        assert_eq!(of(&cached).tools, one.tools);
        for (from, to) in
            [("\"n\"", "\"o\""), ("\"d\"", "\"e\""), ("object", "array"), ("{\"name", "{\"type\":\"bash_20250124\",\"name")]
        {
            assert_ne!(of(&tool.replace(from, to)).tools[0].digest, one.tools[0].digest, "{to}");
        }
        let settings = |more: &str| of(more).settings;
        let base = settings(r#""stream":true"#);
        assert_eq!(settings(r#""metadata":{"user_id":"x"},"stream":false"#), base, "these say nothing to the model");
        for other in [
            r#""output_config":{"effort":"low"}"#,
            r#""thinking":{"type":"adaptive"}"#,
            r#""tool_choice":{"type":"any"}"#,
            r#""temperature":1"#,
        ] {
            assert_ne!(settings(other), base, "{other}");
        }
    }
}

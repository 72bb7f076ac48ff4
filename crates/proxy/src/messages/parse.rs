//! A model request, parsed read-only: bytes in, facts out. Nothing of the body is ever changed or stripped here.
//!
//! Unknown fields pass, as the provider's clients expect. What is closed is what could act for the caller: kinds of tools and
//! blocks are allow-lists, and so are the places where content may come from.

use bytes::Bytes;
use policy::{ModelPath, ModelRequest};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Larger bodies are parsed beside the event loop.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Tools without a type are the caller's own; these are the provider's designs for tools that the caller runs.
const CLIENT_TOOLS: &[&str] = &["bash_2", "text_editor_2", "computer_2", "memory_2"];
/// Blocks that hold what they say, or are the model's and the caller's own.
const BLOCKS: &[&str] =
    &["text", "image", "document", "search_result", "tool_use", "tool_result", "tool_reference", "thinking", "redacted_thinking"];
/// Sources that carry their bytes with them.
const INLINE_SOURCES: &[&str] = &["base64", "text", "content"];
/// An image is scaled down to less than this by the provider.
const IMAGE_TOKENS_MAX: u64 = 5_000;
/// A PDF of a few kilobytes may have as many pages as the provider takes (600), each up to 3,000 tokens.
const PDF_TOKENS_MAX: u64 = 1_800_000;

/// Reads what decisions need.
///
/// # Errors
/// One sentence for the caller about what is wrong with the body.
pub(super) async fn read(path: ModelPath, body: Bytes) -> Result<ModelRequest, String> {
    if body.len() <= INLINE_BYTES_MAX {
        return model_request(path, &body);
    }
    let parsed = tokio::task::spawn_blocking(move || model_request(path, &body)).await;
    parsed.unwrap_or_else(|_| Err("The body can't be read.".to_owned()))
}

#[derive(Deserialize)]
struct Fields {
    model: String,
    max_tokens: Option<u64>,
    messages: Vec<Message>,
    system: Option<Content>,
    tools: Option<Vec<Tool>>,
    context_management: Option<ContextManagement>,
    service_tier: Option<String>,
    mcp_servers: Option<IgnoredAny>,
    container: Option<IgnoredAny>,
    speed: Option<IgnoredAny>,
    inference_geo: Option<IgnoredAny>,
    fallbacks: Option<IgnoredAny>,
    fallback_model: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct ContextManagement {
    edits: Option<Vec<Tool>>,
}

fn model_request(path: ModelPath, body: &[u8]) -> Result<ModelRequest, String> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("The body is not a valid request: it must be an object.".to_owned());
    }
    let fields: Fields = serde_json::from_slice(body).map_err(|error| format!("The body is not a valid request: {error}."))?;
    if fields.model.is_empty() || fields.model.len() > 128 || fields.model.chars().any(char::is_control) {
        return Err("model must be a name of 1 to 128 characters.".to_owned());
    }
    let max_tokens = match (path, fields.max_tokens) {
        (ModelPath::CountTokens, _) => 0,
        (ModelPath::Messages, Some(max_tokens)) => max_tokens,
        (ModelPath::Messages, None) => return Err("max_tokens is required.".to_owned()),
    };
    let seen = fields.seen();
    Ok(ModelRequest {
        digest: policy::digest_bytes(body),
        path,
        model: fields.model,
        max_tokens,
        body_bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
        extra_tokens_max: seen.extra_tokens_max,
        forbidden_feature: seen.forbidden,
    })
}

impl Fields {
    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        for (name, there) in [
            ("mcp_servers", self.mcp_servers.is_some()),
            ("container", self.container.is_some()),
            ("speed", self.speed.is_some()),
            ("inference_geo", self.inference_geo.is_some()),
            ("fallbacks", self.fallbacks.is_some()),
            ("fallback_model", self.fallback_model.is_some()),
            ("service_tier", self.service_tier.as_ref().is_some_and(|tier| !matches!(tier.as_str(), "auto" | "standard_only"))),
        ] {
            if there {
                seen.forbid(name.to_owned());
            }
        }
        let edits = self.context_management.as_ref().and_then(|management| management.edits.as_deref()).unwrap_or_default();
        for kind in edits.iter().filter_map(|edit| edit.kind.as_deref()).filter(|kind| kind.starts_with("compact")) {
            seen.forbid(format!("context_management.{kind}"));
        }
        for kind in self.tools.iter().flatten().filter_map(|tool| tool.kind.as_deref()) {
            if kind != "custom" && !CLIENT_TOOLS.iter().any(|known| kind.starts_with(known)) {
                seen.forbid(format!("tools.{kind}"));
            }
        }
        let contents = self.messages.iter().map(|message| &message.content).chain([&self.system]).flatten();
        contents.for_each(|content| seen.merge(&content.0));
        seen
    }
}

/// What was found in a part of the request. It is gathered while the bytes are read, each once, and no tree is built: a
/// request takes no more memory than its bytes.
#[derive(Default)]
struct Seen {
    forbidden: Option<String>,
    extra_tokens_max: u64,
}

impl Seen {
    fn forbid(&mut self, feature: String) {
        self.forbidden.get_or_insert(feature);
    }

    fn merge(&mut self, other: &Self) {
        if let Some(feature) = &other.forbidden {
            self.forbidden.get_or_insert_with(|| feature.clone());
        }
        self.extra_tokens_max = self.extra_tokens_max.saturating_add(other.extra_tokens_max);
    }
}

/// Text, a block, or a list of blocks.
struct Content(Seen);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor).map(Self)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or blocks")
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<Seen, A::Error> {
        let mut seen = Seen::default();
        while let Some(Block(block)) = blocks.next_element()? {
            seen.merge(&block);
        }
        Ok(seen)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Seen, A::Error> {
        BlockVisitor.visit_map(fields)
    }
}

/// One block. Only an object is one.
struct Block(Seen);

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BlockVisitor).map(Self)
    }
}

struct BlockVisitor;

impl<'de> Visitor<'de> for BlockVisitor {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Seen, A::Error> {
        let (mut kind, mut source, mut content) = (None::<String>, None::<Source>, None::<Content>);
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "type" => once(&mut kind, "type", fields.next_value()?)?,
                "source" => once(&mut source, "source", fields.next_value()?)?,
                "content" => once(&mut content, "content", fields.next_value()?)?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let kind = kind.unwrap_or_default();
        let mut seen = Seen::default();
        if !BLOCKS.contains(&kind.as_str()) {
            seen.forbid(format!("block.{kind}"));
        }
        if let Some(Source { kind: from, inner }) = &source {
            if from.as_ref().is_some_and(|from| !INLINE_SOURCES.contains(&from.as_str())) {
                seen.forbid(format!("source.{}", from.as_deref().unwrap_or_default()));
            }
            if kind == "document" && from.as_deref() == Some("base64") {
                seen.extra_tokens_max = PDF_TOKENS_MAX;
            }
            seen.merge(inner);
        }
        if kind == "image" {
            seen.extra_tokens_max = seen.extra_tokens_max.saturating_add(IMAGE_TOKENS_MAX);
        }
        if let Some(Content(inner)) = &content {
            seen.merge(inner);
        }
        Ok(seen)
    }
}

/// Where a block's content comes from: an object with a kind, or (of search results) a text that only names it.
struct Source {
    kind: Option<String>,
    inner: Seen,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a source")
    }

    fn visit_str<E>(self, _: &str) -> Result<Source, E> {
        Ok(Source { kind: None, inner: Seen::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Source, A::Error> {
        let (mut kind, mut content) = (None::<String>, None::<Content>);
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "type" => once(&mut kind, "type", fields.next_value()?)?,
                "content" => once(&mut content, "content", fields.next_value()?)?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Source { kind: Some(kind.unwrap_or_default()), inner: content.map(|Content(inner)| inner).unwrap_or_default() })
    }
}

/// A key that stands twice could be read differently elsewhere.
fn once<T, E: Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    if slot.replace(value).is_some() { Err(E::duplicate_field(name)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (r#"{"model":"m","max_tokens":-1,"messages":[]}"#, "invalid value"),
            (r#"{"model":"m","max_tokens":1e30,"messages":[]}"#, "invalid type"),
            (r#"{"model":"m","max_tokens":1e999,"messages":[]}"#, "range"),
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
        let extra = |content: &str| with(&format!(r#""messages":[{{"role":"user","content":{content}}}]"#)).extra_tokens_max;
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
        assert!(model_request(ModelPath::Messages, wide.as_bytes()).is_ok());
    }
}

//! A model request, parsed read-only: bytes in, facts out. Nothing of the body is ever changed or stripped here.
//!
//! Unknown fields pass, as the provider's clients expect. What is closed is what could act for the caller: kinds of tools and
//! blocks are allow-lists, and so are the places where content may come from.

use crate::strict;
use bytes::Bytes;
use policy::{ModelPath, ModelRequest};
use serde_json::{Map, Value};

/// Larger bodies are parsed beside the event loop.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Fields by which the provider would fetch, run or send something, use another model, or ask another price.
const FORBIDDEN_FIELDS: &[&str] = &["mcp_servers", "container", "speed", "inference_geo", "fallbacks", "fallback_model"];
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

fn model_request(path: ModelPath, body: &[u8]) -> Result<ModelRequest, String> {
    let parsed = strict::parse(body).map_err(|error| format!("The body is not a valid request: {error}."))?;
    let Value::Object(fields) = parsed else { return Err("The body is not a valid request: it must be an object.".to_owned()) };
    let model = fields.get("model").and_then(Value::as_str).unwrap_or_default();
    if model.is_empty() || model.len() > 128 || model.chars().any(char::is_control) {
        return Err("model must be a name of 1 to 128 characters.".to_owned());
    }
    if !fields.get("messages").is_some_and(Value::is_array) {
        return Err("messages must be a list.".to_owned());
    }
    let max_tokens = match path {
        ModelPath::CountTokens => 0,
        ModelPath::Messages => {
            fields.get("max_tokens").and_then(Value::as_u64).ok_or("max_tokens is required and must be a whole number.")?
        }
    };
    let mut seen = Seen::default();
    seen.request(&fields);
    Ok(ModelRequest {
        digest: policy::digest_bytes(body),
        path,
        model: model.to_owned(),
        max_tokens,
        body_bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
        extra_tokens_max: seen.extra_tokens_max,
        forbidden_feature: seen.forbidden,
    })
}

/// What was found on a walk over the request; each value is visited once.
#[derive(Default)]
struct Seen {
    forbidden: Option<String>,
    extra_tokens_max: u64,
}

impl Seen {
    fn forbid(&mut self, feature: String) {
        self.forbidden.get_or_insert(feature);
    }

    fn request(&mut self, fields: &Map<String, Value>) {
        let there = |name: &&&str| fields.get(**name).is_some_and(|value| !value.is_null());
        if let Some(name) = FORBIDDEN_FIELDS.iter().find(there) {
            self.forbid((*name).to_owned());
        }
        let tier = fields.get("service_tier").and_then(Value::as_str);
        if tier.is_some_and(|tier| !matches!(tier, "auto" | "standard_only")) {
            self.forbid("service_tier".to_owned());
        }
        let list = |name: &str, inner: Option<&str>| {
            let value = fields.get(name).and_then(|value| inner.map_or(Some(value), |inner| value.get(inner)));
            value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
        };
        for edit in list("context_management", Some("edits")) {
            if kind_of(edit).starts_with("compact") {
                self.forbid(format!("context_management.{}", kind_of(edit)));
            }
        }
        for tool in list("tools", None) {
            let kind = kind_of(tool);
            if !matches!(kind, "" | "custom") && !CLIENT_TOOLS.iter().any(|known| kind.starts_with(known)) {
                self.forbid(format!("tools.{kind}"));
            }
        }
        for message in list("messages", None) {
            self.content(message.get("content"));
        }
        self.content(fields.get("system"));
    }

    /// Text, a block, or a list of blocks.
    fn content(&mut self, content: Option<&Value>) {
        match content {
            Some(Value::Array(blocks)) => blocks.iter().for_each(|block| self.block(block)),
            Some(block @ Value::Object(_)) => self.block(block),
            Some(Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_)) | None => {}
        }
    }

    fn block(&mut self, block: &Value) {
        let kind = kind_of(block);
        if !BLOCKS.contains(&kind) {
            self.forbid(format!("block.{kind}"));
        }
        if let Some(source) = block.get("source").filter(|source| source.is_object()) {
            let from = kind_of(source);
            if !INLINE_SOURCES.contains(&from) {
                self.forbid(format!("source.{from}"));
            }
            if kind == "document" && from == "base64" {
                self.extra_tokens_max = self.extra_tokens_max.saturating_add(PDF_TOKENS_MAX);
            }
            self.content(source.get("content"));
        }
        if kind == "image" {
            self.extra_tokens_max = self.extra_tokens_max.saturating_add(IMAGE_TOKENS_MAX);
        }
        if kind != "tool_use" {
            self.content(block.get("content"));
        }
    }
}

fn kind_of(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or_default()
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
            ("", "EOF"),
            ("[]", "must be an object"),
            (r#"{"max_tokens":5,"messages":[]}"#, "model"),
            (r#"{"model":"m","messages":[]}"#, "max_tokens is required"),
            (r#"{"model":"m","max_tokens":-1,"messages":[]}"#, "max_tokens"),
            (r#"{"model":"m","max_tokens":1e30,"messages":[]}"#, "max_tokens"),
            (r#"{"model":"m","max_tokens":1e999,"messages":[]}"#, "range"),
            (r#"{"model":"m","max_tokens":1,"messages":"x"}"#, "messages"),
            (r#"{"model":"m","model":"n","max_tokens":1,"messages":[]}"#, "comes twice"),
            (r#"{"model":"m","max_tokens":1,"max_tokens":9,"messages":[]}"#, "comes twice"),
            (r#"{"model":"m","max_tokens":1,"messages":[{"content":[{"source":"x","source":{"type":"url"}}]}]}"#, "comes twice"),
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
            let (open, close) = (r#"[{"type":"base64"},"#.repeat(levels), "]".repeat(levels));
            format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"content":{open}5{close}}}]}}"#)
        };
        assert!(model_request(ModelPath::Messages, deep(100).as_bytes()).is_ok());
        assert!(model_request(ModelPath::Messages, deep(200).as_bytes()).is_err(), "the parser bounds the depth");
        let wide =
            format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"content":[{}5]}}]}}"#, r#"{"type":"text"},"#.repeat(300_000));
        assert!(model_request(ModelPath::Messages, wide.as_bytes()).is_ok());
    }
}

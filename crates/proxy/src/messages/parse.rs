//! A model request, parsed read-only: bytes in, facts out. Nothing of the body is ever changed or stripped here.

use policy::{ModelPath, ModelRequest};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The provider's own limit for a request body.
pub const BODY_BYTES_MAX: usize = 32 << 20;

#[derive(Deserialize)]
struct Fields {
    model: String,
    max_tokens: Option<u64>,
    messages: Vec<MessageFields>,
    #[serde(default)]
    tools: Vec<ToolFields>,
    mcp_servers: Option<IgnoredAny>,
    container: Option<IgnoredAny>,
    speed: Option<IgnoredAny>,
    inference_geo: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct MessageFields {
    content: Option<Content>,
}

/// A message's content, or a tool result's: text, or blocks that may hold blocks. There is no catch-all: what is none of
/// these (a key that stands twice, say) could be read differently elsewhere, and is refused.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(#[expect(dead_code, reason = "only its kind matters")] String),
    Blocks(Vec<Block>),
    Block(Box<Block>),
}

#[derive(Deserialize)]
struct Block {
    source: Option<Source>,
    content: Option<Box<Content>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Source {
    Typed {
        #[serde(rename = "type")]
        kind: String,
    },
    Text(#[expect(dead_code, reason = "only its kind matters")] String),
}

impl Content {
    /// The first source that is not in the request itself: the provider would fetch it, and could be made to carry data out.
    fn outside_source(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Blocks(blocks) => blocks.iter().find_map(Block::outside_source),
            Self::Block(block) => block.outside_source(),
        }
    }
}

impl Block {
    fn outside_source(&self) -> Option<&str> {
        match (&self.source, &self.content) {
            (Some(Source::Typed { kind }), _) if !INLINE_SOURCES.contains(&kind.as_str()) => Some(kind.as_str()),
            (_, Some(content)) => content.outside_source(),
            (Some(Source::Typed { .. } | Source::Text(_)) | None, None) => None,
        }
    }
}

/// Kinds of sources that carry their bytes with them.
const INLINE_SOURCES: &[&str] = &["base64", "text", "content"];

#[derive(Deserialize)]
struct ToolFields {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Tools the provider runs itself; with them data could leave or enter without passing the gateway.
const SERVER_TOOLS: &[&str] = &["web_search", "web_fetch", "code_execution", "mcp_toolset", "advisor"];

/// Reads what decisions need.
///
/// # Errors
/// One sentence for the caller about what is wrong with the body.
pub fn model_request(path: ModelPath, body: &[u8]) -> Result<ModelRequest, String> {
    let fields: Fields = serde_json::from_slice(body).map_err(|error| format!("The body is not a valid request: {error}."))?;
    if fields.model.is_empty() || fields.model.len() > 128 || fields.model.chars().any(char::is_control) {
        return Err("model must be a name of 1 to 128 characters.".to_owned());
    }
    let max_tokens = match (path, fields.max_tokens) {
        (ModelPath::Messages, None) => return Err("max_tokens is required.".to_owned()),
        (ModelPath::Messages, Some(max_tokens)) => max_tokens,
        (ModelPath::CountTokens, _) => 0,
    };
    let server_tool = fields
        .tools
        .iter()
        .filter_map(|tool| tool.kind.as_deref())
        .find(|kind| SERVER_TOOLS.iter().any(|known| kind.starts_with(known)));
    let outside = fields.messages.iter().filter_map(|message| message.content.as_ref()).find_map(Content::outside_source);
    // The last two change the price, which the ledger would not know.
    let named = [
        ("mcp_servers", fields.mcp_servers.is_some()),
        ("container", fields.container.is_some()),
        ("speed", fields.speed.is_some()),
        ("inference_geo", fields.inference_geo.is_some()),
    ];
    let named = named.into_iter().find_map(|(name, there)| there.then(|| name.to_owned()));
    let forbidden_feature = named
        .or_else(|| server_tool.map(|kind| format!("tools.{kind}")))
        .or_else(|| outside.map(|kind| format!("source.{kind}")));
    Ok(ModelRequest {
        digest: policy::digest_bytes(body),
        path,
        model: fields.model,
        max_tokens,
        body_bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
        forbidden_feature,
    })
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
            ("[]", "invalid"),
            (r#"{"max_tokens":5,"messages":[]}"#, "model"),
            (r#"{"model":"m","messages":[]}"#, "max_tokens is required"),
            (r#"{"model":"m","max_tokens":-1,"messages":[]}"#, "invalid value"),
            (r#"{"model":"m","max_tokens":1e30,"messages":[]}"#, "invalid"),
            (r#"{"model":"m","model":"n","max_tokens":1,"messages":[]}"#, "duplicate field `model`"),
            (r#"{"model":"m","max_tokens":1,"max_tokens":9,"messages":[]}"#, "duplicate field `max_tokens`"),
            (r#"{"model":"","max_tokens":1,"messages":[]}"#, "model must be"),
        ] {
            let error = read(bad).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn sources_that_the_provider_would_fetch_are_noticed() {
        let feature = |content: &str| {
            let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":{content}}}]}}"#);
            model_request(ModelPath::Messages, body.as_bytes()).expect("a request").forbidden_feature
        };
        assert_eq!(feature(r#""see {\"type\":\"url\"}""#), None);
        assert_eq!(feature(r#"[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"x"}}]"#), None);
        assert_eq!(
            feature(r#"[{"type":"search_result","source":"https://x.example","content":[{"type":"text","text":"t"}]}]"#),
            None
        );
        let url = r#"{"type":"image","source":{"type":"url","url":"https://x.example/?data"}}"#;
        assert_eq!(feature(&format!("[{url}]")).as_deref(), Some("source.url"));
        assert_eq!(
            feature(&format!(r#"[{{"type":"tool_result","content":[{{"type":"text","text":"t"}},{url}]}}]"#)).as_deref(),
            Some("source.url")
        );
        assert_eq!(feature(r#"[{"type":"document","source":{"type":"file","file_id":"f"}}]"#).as_deref(), Some("source.file"));
        let twice =
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"source":"x","source":{"type":"url"}}]}]}"#;
        assert!(model_request(ModelPath::Messages, twice.as_bytes()).is_err(), "a key that stands twice hides nothing");
    }

    #[test]
    fn features_that_fetch_for_the_caller_are_noticed() {
        let feature = |extra: &str| {
            let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[],{extra}}}"#);
            model_request(ModelPath::Messages, body.as_bytes()).expect("a request").forbidden_feature
        };
        assert_eq!(feature(r#""mcp_servers":[]"#).as_deref(), Some("mcp_servers"));
        assert_eq!(feature(r#""container":"c""#).as_deref(), Some("container"));
        assert_eq!(feature(r#""speed":"fast""#).as_deref(), Some("speed"));
        assert_eq!(feature(r#""inference_geo":"us""#).as_deref(), Some("inference_geo"));
        assert_eq!(
            feature(r#""tools":[{"name":"x"},{"type":"web_fetch_20260209","name":"w"}]"#).as_deref(),
            Some("tools.web_fetch_20260209")
        );
        assert_eq!(feature(r#""tools":[{"type":"custom","name":"x","input_schema":{}}]"#), None);
    }
}

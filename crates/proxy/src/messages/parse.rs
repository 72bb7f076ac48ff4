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
    #[serde(rename = "messages")]
    _messages: Vec<IgnoredAny>,
    #[serde(default)]
    tools: Vec<ToolFields>,
    mcp_servers: Option<IgnoredAny>,
    container: Option<IgnoredAny>,
}

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
    let forbidden_feature = if fields.mcp_servers.is_some() {
        Some("mcp_servers".to_owned())
    } else if fields.container.is_some() {
        Some("container".to_owned())
    } else {
        server_tool.map(|kind| format!("tools.{kind}"))
    };
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
    fn features_that_fetch_for_the_caller_are_noticed() {
        let feature = |extra: &str| {
            let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[],{extra}}}"#);
            model_request(ModelPath::Messages, body.as_bytes()).expect("a request").forbidden_feature
        };
        assert_eq!(feature(r#""mcp_servers":[]"#).as_deref(), Some("mcp_servers"));
        assert_eq!(feature(r#""container":"c""#).as_deref(), Some("container"));
        assert_eq!(
            feature(r#""tools":[{"name":"x"},{"type":"web_fetch_20260209","name":"w"}]"#).as_deref(),
            Some("tools.web_fetch_20260209")
        );
        assert_eq!(feature(r#""tools":[{"type":"custom","name":"x","input_schema":{}}]"#), None);
    }
}

//! The provider's list of models: a request without a body, and its two paths. Only remote callers ask for it; an agent's model is
//! chosen by its app.

use super::Caller;
use http::Method;
use policy::{CacheWrites, ModelPath, ModelRequest, Prompt, RequestBody};

/// Whether this caller may use this path at all.
pub(super) const fn is_open_to(caller: &Caller, path: ModelPath) -> bool {
    match path {
        ModelPath::Messages | ModelPath::CountTokens => true,
        ModelPath::Models => matches!(caller, Caller::Service(_)),
    }
}

/// What a path of the list asks for; the name of one model stands in it as it will stand in ours.
pub(super) fn asked(path: &str) -> ModelRequest {
    let one = path.strip_prefix(ModelPath::Models.as_str()).and_then(|rest| rest.strip_prefix('/'));
    ModelRequest {
        body: RequestBody::default(),
        path: ModelPath::Models,
        model: one.unwrap_or_default().to_owned(),
        max_tokens: 0,
        body_bytes: 0,
        prompt: Prompt::default(),
        cache_writes: CacheWrites::None,
        forbidden_feature: None,
    }
}

/// How the provider is asked for it.
pub(super) fn target(asked: &ModelRequest) -> (Method, String) {
    let path = asked.path.as_str();
    match asked.path {
        ModelPath::Messages | ModelPath::CountTokens => (Method::POST, path.to_owned()),
        ModelPath::Models if asked.model.is_empty() => (Method::GET, path.to_owned()),
        ModelPath::Models => (Method::GET, format!("{path}/{}", asked.model)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_asked_for_as_it_came() {
        for path in ["/v1/models", "/v1/models/claude-sonnet-5-5"] {
            assert_eq!(target(&asked(path)), (Method::GET, path.to_owned()));
        }
    }
}

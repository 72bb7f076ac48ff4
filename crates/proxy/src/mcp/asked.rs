//! One request to a tool server, and the result in its reply.

use super::back::{Back, asks};
use super::failure::UpstreamError;
use super::notices::Notices;
use super::parse::code;
use super::session::Session;
use super::wire::Reply;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// What a server says of an error, for the log.
const MESSAGE_CHARS_MAX: usize = 500;

/// One request to be sent.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) params: Map<String, Value>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) notices: Option<&'a Notices>,
    /// What its caller answers; questions of anybody else's call are not passed on.
    pub(super) back: Option<&'a Back>,
}

impl<'a> Asked<'a> {
    pub(super) const fn plain(method: &'a str, params: Map<String, Value>) -> Self {
        Self { method, params, headers: Vec::new(), notices: None, back: None }
    }

    /// As a server of the old era gets it.
    pub(super) fn within(&self, session: &Session) -> Self {
        Self {
            method: self.method,
            params: self.params.clone(),
            headers: session_headers(session),
            notices: self.notices,
            back: None,
        }
    }
}

pub(super) fn session_headers(session: &Session) -> Vec<(String, String)> {
    let version = ("mcp-protocol-version".to_owned(), session.version.date().to_owned());
    let id = session.id.clone().map(|id| ("mcp-session-id".to_owned(), id));
    std::iter::once(version).chain(id).collect()
}

/// The result in a reply, if it is one and is complete.
pub(super) fn result(reply: Reply) -> Result<Map<String, Value>, UpstreamError> {
    result_or_questions(reply, false)
}

/// The same where it may ask back.
pub(super) fn result_or_questions(reply: Reply, may_ask: bool) -> Result<Map<String, Value>, UpstreamError> {
    let Reply { status, message, .. } = reply;
    let mut message = match message {
        Some(Value::Object(message)) => message,
        Some(_) | None if status.is_server_error() => return Err(UpstreamError::Failed(status.as_u16())),
        Some(_) | None if !status.is_success() => return Err(UpstreamError::Refused(status.as_u16())),
        Some(_) | None => return Err(UpstreamError::Protocol("no JSON-RPC answer".to_owned())),
    };
    if let Some(error) = message.get("error") {
        let code = error.get("code").and_then(Value::as_i64).unwrap_or(code::INTERNAL);
        if code == code::CAPABILITY {
            let data = error.pointer("/data/requiredCapabilities").filter(|needed| needed.is_object());
            return Err(UpstreamError::Needs(data.cloned().unwrap_or_default()));
        }
        let text = error.get("message").and_then(Value::as_str).unwrap_or_default();
        return Err(UpstreamError::Rpc { code, message: text.chars().take(MESSAGE_CHARS_MAX).collect() });
    }
    let Some(Value::Object(result)) = message.remove("result") else {
        return Err(UpstreamError::Protocol("neither result nor error".to_owned()));
    };
    match result.get("resultType").and_then(Value::as_str) {
        None | Some("complete") => Ok(result),
        Some(_) if may_ask && asks(&result) => Ok(result),
        Some(_) => Err(UpstreamError::Protocol("the server asks back, which is not supported".to_owned())),
    }
}

/// Which of several tools of one name is meant nobody can say.
pub(super) fn drop_collisions(listed: &mut Vec<Map<String, Value>>) {
    let mut times: HashMap<String, usize> = HashMap::new();
    for name in listed.iter().filter_map(|tool| tool.get("name")?.as_str()) {
        *times.entry(name.to_owned()).or_default() += 1;
    }
    listed.retain(|tool| {
        let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
        let once = times.get(name).is_none_or(|times| *times == 1);
        if !once {
            tracing::warn!(
                tool = name.chars().take(64).collect::<String>(),
                "a server has several tools of one name; none is used"
            );
        }
        once
    });
}

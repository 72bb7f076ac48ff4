//! What stands behind the door, as the door sees it.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

/// What the door says of itself. The same for every user: a client may ask before it is known whom it works for.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// The server's name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Its version.
    pub version: String,
}

/// A tool call as it was asked for. Nobody decided on it yet.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The tool, without the prefix the model sees.
    pub name: String,
    /// The arguments.
    pub arguments: Map<String, Value>,
    /// The id of the `tool_use` block in the model's stream that this call claims to carry out.
    pub tool_use_id: Option<String>,
}

/// Why the host didn't do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no such tool or resource, or not for this caller.
    #[error("there is no such tool or resource")]
    Unknown,
    /// Refused. The caller gets both.
    #[error("denied: {code}")]
    Denied {
        /// Which rule.
        code: &'static str,
        /// The public sentence.
        message: &'static str,
    },
    /// The tool's server failed, and certainly did nothing. The text is for logs; a fixed sentence goes out.
    #[error("upstream: {0}")]
    Upstream(String),
    /// Nobody knows whether the call took effect. The text is for logs; a fixed sentence goes out.
    #[error("upstream, outcome unknown: {0}")]
    Uncertain(String),
}

/// What stands behind the door: it knows whom the door belongs to, decides, journals and calls.
pub trait ToolHost: Send + Sync {
    /// What the door says of itself.
    fn server(&self) -> ServerInfo;

    /// The tools offered to this caller, as tool definitions.
    fn tools(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>>;

    /// Carries out a call; the value is a `CallToolResult`.
    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Value, HostError>>;

    /// The resources offered to this caller.
    fn resources(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>>;

    /// The resource templates offered to this caller.
    fn resource_templates(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>>;

    /// Reads a resource; the value is a `ReadResourceResult`.
    fn read_resource<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Value, HostError>>;
}

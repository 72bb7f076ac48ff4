//! What stands behind the door, as the door sees it.

use super::back::Back;
use super::notices::Notices;
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
    /// What the caller wants to be told meanwhile.
    pub wanted: Wanted,
    /// What it can be asked, and what it answered.
    pub back: Box<Back>,
}

/// What a caller wants to be told while its call goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// How far it is, under this name of the caller's.
    pub progress: Option<Value>,
    /// What the tool logs.
    pub log: LogWish,
}

/// How grave something that is logged is, from 0 (debug) to 7 (RFC 5424, the other way round).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogLevel(pub(crate) u8);

/// What of a tool's log a caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogWish {
    /// Nothing.
    #[default]
    Nothing,
    /// What is as grave as this, or graver.
    From(LogLevel),
    /// What it said with `logging/setLevel` (up to 2025-11-25).
    AsSet,
}

/// A prompt that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptCall {
    /// Its name.
    pub name: String,
    /// What is to be filled in; texts only.
    pub arguments: Map<String, Value>,
    /// What the caller can be asked, and what it answered.
    pub back: Box<Back>,
}

/// What a host has beside tools and resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Prompts, and completion of their arguments.
    pub prompts: bool,
    /// Whether it passes on what tools log.
    pub log: bool,
}

/// Why the host didn't do what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HostError {
    /// There is no such tool or resource, or not for this caller.
    #[error("there is no such tool or resource")]
    Unknown,
    /// What its caller keeps of an earlier round is not what was given out for this call, or too old.
    #[error("the state of an earlier round is not this call's")]
    State,
    /// Refused. The caller gets both.
    #[error("denied: {code}")]
    Denied {
        /// Which rule.
        code: &'static str,
        /// The public sentence.
        message: &'static str,
    },
    /// The tool needs something of its caller that was not offered to it.
    #[error("the tool needs what its caller did not offer")]
    Needs(Value),
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

    /// The same, and passes on what the tool says meanwhile. A host that passes nothing on need not know of it.
    fn call_telling(&self, call: ToolCall, _notices: Notices) -> BoxFuture<'_, Result<Value, HostError>> {
        self.call(call)
    }

    /// The resources offered to this caller.
    fn resources(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>>;

    /// The resource templates offered to this caller.
    fn resource_templates(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>>;

    /// Reads a resource; the value is a `ReadResourceResult`.
    fn read_resource<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Value, HostError>>;

    /// What else it has. What it has not is not asked of it.
    fn extras(&self) -> Extras {
        Extras::default()
    }

    /// The prompts offered to this caller.
    fn prompts(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        none()
    }

    /// A prompt, filled in; the value is a `GetPromptResult`.
    fn prompt(&self, _call: PromptCall) -> BoxFuture<'_, Result<Value, HostError>> {
        none()
    }

    /// What an argument may be; the value is a `CompleteResult`.
    fn complete(&self, _params: Map<String, Value>) -> BoxFuture<'_, Result<Value, HostError>> {
        none()
    }

    /// From now on this caller wants to be told only what is as grave as this.
    fn set_log_level(&self, _level: LogLevel) {}
}

fn none<T: Send + 'static>() -> BoxFuture<'static, Result<T, HostError>> {
    Box::pin(std::future::ready(Err(HostError::Unknown)))
}

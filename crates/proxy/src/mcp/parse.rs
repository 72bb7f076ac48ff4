//! From a request's head and bytes to what is wanted, or to the reason it can't be answered. No I/O, no host: pure.
//!
//! Headers only repeat what the body says. Where they must agree (2026-07-28), a difference is refused, so that whoever looks
//! at the headers alone has seen the truth.

use super::back::Back;
pub use super::era::{Era, LegacyVersion};
use super::host::{LogLevel, PromptCall, ToolCall, Wanted};
use super::notices::{META_LOG, META_PROGRESS};
use super::{MODERN, prompts, sentinel};
use crate::strict;
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use serde_json::{Map, Value, json};

/// Bytes of one message.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of anything that names something: a tool, a method, an id.
pub(super) const NAME_BYTES_MAX: usize = 256;
const URI_BYTES_MAX: usize = 2048;
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_TOOL_USE: &str = "claudecode/toolUseId";

/// JSON-RPC and MCP error codes.
pub(crate) mod code {
    pub(crate) const PARSE: i64 = -32700;
    pub(crate) const REQUEST: i64 = -32600;
    pub(crate) const METHOD: i64 = -32601;
    pub(crate) const PARAMS: i64 = -32602;
    pub(crate) const INTERNAL: i64 = -32603;
    /// Resource not found, up to 2025-11-25.
    pub(crate) const RESOURCE: i64 = -32002;
    pub(crate) const HEADER: i64 = -32020;
    pub(crate) const CAPABILITY: i64 = -32021;
    pub(crate) const VERSION: i64 = -32022;
}

/// Text or a whole number, never null; it comes back as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestId(pub(crate) Value);

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// `server/discover`.
    Discover,
    /// `initialize`: the version to go on with.
    Initialize(LegacyVersion),
    /// `ping`.
    Ping,
    /// `tools/list`.
    ListTools,
    /// `tools/call`.
    CallTool(ToolCall),
    /// `resources/list`.
    ListResources,
    /// `resources/templates/list`.
    ListTemplates,
    /// `resources/read`.
    ReadResource(String),
    /// `prompts/list`.
    ListPrompts,
    /// `prompts/get`.
    Prompt(PromptCall),
    /// `completion/complete`, as it was read.
    Complete(Map<String, Value>),
    /// `logging/setLevel`.
    SetLogLevel(LogLevel),
}

/// A request to be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// By which rules.
    pub era: Era,
    /// What is wanted.
    pub call: Call,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// To be answered.
    Request(Request),
    /// Taken note of.
    Notification,
}

/// Why a message can't be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: StatusCode,
    /// The request's id, once it could be read.
    pub id: Option<RequestId>,
    /// The error's code.
    pub code: i64,
    /// A sentence for the caller.
    pub message: String,
    /// What else the caller needs to know.
    pub data: Option<Value>,
}

impl Rejection {
    fn new(status: StatusCode, code: i64, message: &str) -> Self {
        Self { status, id: None, code, message: message.to_owned(), data: None }
    }

    fn request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::REQUEST, message)
    }

    pub(super) fn params(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::PARAMS, message)
    }

    fn header(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::HEADER, message)
    }

    fn version(requested: &str) -> Self {
        let supported: Vec<&str> =
            std::iter::once(MODERN).chain(LegacyVersion::ALL.into_iter().rev().map(LegacyVersion::date)).collect();
        let requested: String = requested.chars().take(40).collect();
        let data = Some(json!({"supported": supported, "requested": requested}));
        Self { data, ..Self::new(StatusCode::BAD_REQUEST, code::VERSION, "Unsupported protocol version") }
    }
}

/// Reads a message.
///
/// # Errors
/// The [`Rejection`] to answer with.
pub fn parse(head: &Parts, body: &[u8]) -> Result<Message, Rejection> {
    check_head(head, body)?;
    let parsed = strict::parse(body).map_err(|error| {
        let place = format!("Not a JSON-RPC message (line {}, column {})", error.line(), error.column());
        Rejection::new(StatusCode::BAD_REQUEST, code::PARSE, &place)
    })?;
    let Value::Object(envelope) = parsed else {
        return Err(Rejection::request("One message is one JSON object; batches are not accepted"));
    };
    let envelope = Envelope::read(envelope)?;
    let Some(id) = envelope.id else { return Ok(Message::Notification) };
    let (method, params) = (envelope.method.as_str(), envelope.params);
    let read = || {
        let era = era(&head.headers, method, &params)?;
        let call = call(method, &params, era)?;
        if era == Era::Modern {
            check_mirror(&head.headers, method, &call)?;
        }
        Ok(Request { id: id.clone(), era, call })
    };
    read().map(Message::Request).map_err(|rejection: Rejection| Rejection { id: Some(id.clone()), ..rejection })
}

/// What can be refused before the body is read.
fn check_head(head: &Parts, body: &[u8]) -> Result<(), Rejection> {
    let refuse = |status, message| Err(Rejection::new(status, code::REQUEST, message));
    if head.method != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Only POST is answered here");
    }
    // No web page has any business here; a browser names itself by this header.
    if head.headers.contains_key(header::ORIGIN) {
        return refuse(StatusCode::FORBIDDEN, "Requests from web pages are not accepted");
    }
    let content_type = only(&head.headers, "content-type")?.unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") || head.headers.contains_key(header::CONTENT_ENCODING) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be plain application/json");
    }
    if body.len() > BODY_BYTES_MAX {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "The message is too large");
    }
    Ok(())
}

/// The value of a header that may come once. A header that comes twice is read differently by different programs.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Rejection> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Rejection::header(&format!("The header {name} comes more than once")));
    }
    value.to_str().map(Some).map_err(|_| Rejection::header(&format!("The header {name} holds invalid characters")))
}

struct Envelope {
    id: Option<RequestId>,
    method: String,
    params: Map<String, Value>,
}

impl Envelope {
    fn read(mut object: Map<String, Value>) -> Result<Self, Rejection> {
        let wrong = |message| Err(Rejection::request(message));
        if !object.keys().all(|key| ["jsonrpc", "id", "method", "params"].contains(&key.as_str())) {
            return wrong("A message holds jsonrpc, id, method and params, and nothing else");
        }
        if object.get("jsonrpc") != Some(&Value::from("2.0")) {
            return wrong("jsonrpc must be \"2.0\"");
        }
        let method = match object.remove("method") {
            Some(Value::String(method)) if (1..=NAME_BYTES_MAX).contains(&method.len()) => method,
            Some(_) | None => return wrong("method must be a short text"),
        };
        let id = match object.remove("id") {
            None => None,
            Some(id) if is_id(&id) => Some(RequestId(id)),
            Some(_) => return wrong("id must be a short text or a whole number"),
        };
        match object.remove("params") {
            None => Ok(Self { id, method, params: Map::new() }),
            Some(Value::Object(params)) => Ok(Self { id, method, params }),
            Some(_) => wrong("params must be an object"),
        }
    }
}

pub(super) fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.len() <= NAME_BYTES_MAX,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// By which rules a request wants to be read. Invariant: only requests whose header and body both say so are modern.
fn era(headers: &HeaderMap, method: &str, params: &Map<String, Value>) -> Result<Era, Rejection> {
    let announced = only(headers, "mcp-protocol-version")?;
    let meta = meta(params)?;
    let inside = match meta.and_then(|meta| meta.get(META_VERSION)) {
        None => None,
        Some(Value::String(version)) => Some(version.as_str()),
        Some(_) => return Err(Rejection::params("_meta holds a protocolVersion that is not text")),
    };
    // The era without a handshake has no such method, and says so.
    if method == "initialize" && inside.is_none() {
        return handshake(announced, params);
    }
    let modern = inside.is_some() || method == "server/discover" || announced.is_some_and(|version| version >= MODERN);
    if !modern {
        return match announced {
            None => Ok(Era::Legacy(LegacyVersion::V20250326)),
            Some(version) => LegacyVersion::from_date(version).map(Era::Legacy).ok_or_else(|| Rejection::version(version)),
        };
    }
    let Some(announced) = announced else { return Err(Rejection::header("The header MCP-Protocol-Version is missing")) };
    let Some(inside) = inside else { return Err(Rejection::params(&format!("_meta lacks {META_VERSION}"))) };
    if announced != inside {
        return Err(Rejection::header("The header MCP-Protocol-Version differs from the body"));
    }
    if inside != MODERN {
        return Err(Rejection::version(inside));
    }
    if !meta.and_then(|meta| meta.get(META_CAPABILITIES)).is_some_and(Value::is_object) {
        return Err(Rejection::params(&format!("_meta lacks {META_CAPABILITIES}")));
    }
    Ok(Era::Modern)
}

/// An `initialize` is always of the old era; a version we don't know is answered with the newest we do.
fn handshake(announced: Option<&str>, params: &Map<String, Value>) -> Result<Era, Rejection> {
    let Some(Value::String(wanted)) = params.get("protocolVersion") else {
        return Err(Rejection::params("protocolVersion is missing"));
    };
    if announced.is_some_and(|announced| announced != wanted) {
        return Err(Rejection::header("The header MCP-Protocol-Version differs from the body"));
    }
    Ok(Era::Legacy(LegacyVersion::from_date(wanted).unwrap_or(LegacyVersion::V20251125)))
}

fn meta(params: &Map<String, Value>) -> Result<Option<&Map<String, Value>>, Rejection> {
    no_lookalikes(params, &["_meta"])?;
    match params.get("_meta") {
        None => Ok(None),
        Some(Value::Object(meta)) => {
            no_lookalikes(meta, &[META_VERSION, META_CAPABILITIES, META_TOOL_USE, META_PROGRESS, META_LOG])?;
            Ok(Some(meta))
        }
        Some(_) => Err(Rejection::params("_meta must be an object")),
    }
}

/// A key that another parser might take for one that counts (`Name` for `name`) is not accepted beside or instead of it.
pub(super) fn no_lookalikes(object: &Map<String, Value>, known: &[&str]) -> Result<(), Rejection> {
    match object.keys().find(|key| known.iter().any(|known| strict::folds_to(key, known))) {
        Some(_) => Err(Rejection::params("A key differs from a known one in case only")),
        None => Ok(()),
    }
}

fn call(method: &str, params: &Map<String, Value>, era: Era) -> Result<Call, Rejection> {
    let legacy = era != Era::Modern;
    match (method, era) {
        ("server/discover", _) => Ok(Call::Discover),
        ("initialize", Era::Legacy(version)) => Ok(Call::Initialize(version)),
        ("ping", Era::Legacy(_)) => Ok(Call::Ping),
        ("tools/list", _) => whole_list(params, Call::ListTools),
        ("resources/list", _) => whole_list(params, Call::ListResources),
        ("resources/templates/list", _) => whole_list(params, Call::ListTemplates),
        ("tools/call", _) => tool_call(params, era).map(Call::CallTool),
        ("resources/read", _) => {
            no_lookalikes(params, &["uri"])?;
            short(params, "uri", URI_BYTES_MAX).map(Call::ReadResource)
        }
        ("prompts/list", _) => whole_list(params, Call::ListPrompts),
        ("prompts/get", _) => prompts::get(params, era).map(Call::Prompt),
        ("completion/complete", _) => prompts::complete(params).map(Call::Complete),
        ("logging/setLevel", Era::Legacy(_)) => {
            let level = params.get("level").and_then(LogLevel::read);
            level.map(Call::SetLogLevel).ok_or_else(|| Rejection::params("level must be one of RFC 5424"))
        }
        _ => {
            let status = if legacy { StatusCode::OK } else { StatusCode::NOT_FOUND };
            Err(Rejection::new(status, code::METHOD, "Method not found"))
        }
    }
}

/// Lists are given whole, so no cursor of ours exists.
fn whole_list(params: &Map<String, Value>, call: Call) -> Result<Call, Rejection> {
    no_lookalikes(params, &["cursor"])?;
    match params.get("cursor") {
        None | Some(Value::Null) => Ok(call),
        Some(_) => Err(Rejection::params("There is no such cursor")),
    }
}

fn tool_call(params: &Map<String, Value>, era: Era) -> Result<ToolCall, Rejection> {
    no_lookalikes(params, &["name", "arguments", "inputResponses", "requestState", "task"])?;
    // Work to be done in the background does not exist here.
    if params.contains_key("task") {
        return Err(Rejection::params("tools/call takes name and arguments"));
    }
    let back = back(params, era)?;
    let arguments = match params.get("arguments") {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(_) => return Err(Rejection::params("arguments must be an object")),
    };
    let tool_use_id = match meta(params)?.and_then(|meta| meta.get(META_TOOL_USE)) {
        None => None,
        Some(Value::String(id)) if id.len() <= NAME_BYTES_MAX => Some(id.clone()),
        Some(_) => return Err(Rejection::params("_meta holds a toolUseId that is not a short text")),
    };
    let wanted = Wanted::read(meta(params)?, era).map_err(Rejection::params)?;
    Ok(ToolCall { name: short(params, "name", NAME_BYTES_MAX)?, arguments, tool_use_id, wanted, back })
}

/// What a caller can be asked, and what it answered. Earlier revisions ask in another way, which is not passed on.
pub(super) fn back(params: &Map<String, Value>, era: Era) -> Result<Box<Back>, Rejection> {
    if era != Era::Modern {
        let answers = ["inputResponses", "requestState"].iter().any(|key| params.contains_key(*key));
        return if answers { Err(Rejection::params("There are no inputResponses in this revision")) } else { Ok(Box::default()) };
    }
    let capabilities = meta(params)?.and_then(|meta| meta.get(META_CAPABILITIES));
    Back::read(params, capabilities).map(Box::new).map_err(Rejection::params)
}

pub(super) fn short(params: &Map<String, Value>, key: &str, bytes_max: usize) -> Result<String, Rejection> {
    match params.get(key) {
        Some(Value::String(text)) if (1..=bytes_max).contains(&text.len()) => Ok(text.clone()),
        Some(_) | None => Err(Rejection::params(&format!("{key} must be a text of at most {bytes_max} bytes"))),
    }
}

/// The headers that repeat the body must be there and agree.
fn check_mirror(headers: &HeaderMap, method: &str, call: &Call) -> Result<(), Rejection> {
    if only(headers, "mcp-method")? != Some(method) {
        return Err(Rejection::header("The header Mcp-Method is missing or differs from the body"));
    }
    let name = match call {
        Call::CallTool(call) => &call.name,
        Call::ReadResource(uri) => uri,
        Call::Prompt(call) => &call.name,
        Call::Discover
        | Call::Initialize(_)
        | Call::Ping
        | Call::ListTools
        | Call::ListResources
        | Call::ListTemplates
        | Call::ListPrompts
        | Call::Complete(_)
        | Call::SetLogLevel(_) => return Ok(()),
    };
    let announced = only(headers, "mcp-name")?.and_then(sentinel::decode);
    if announced.as_ref() != Some(name) {
        return Err(Rejection::header("The header Mcp-Name is missing or differs from the body"));
    }
    Ok(())
}

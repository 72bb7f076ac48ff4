//! Answers what came through the door. Every answer is one JSON object; nothing here waits for anything but the host.

pub use super::host::{Extras, HostError, LogLevel, LogWish, PromptCall, ServerInfo, ToolCall, ToolHost, Wanted};
use super::parse::{Call, Era, LegacyVersion, Message, Rejection, Request, RequestId, code, parse};
use super::{MODERN, asks};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use serde_json::{Map, Value, json};

const UNAVAILABLE: &str = "This tool can't be reached at the moment and nothing was done. Tell the user, and try again later";
const UNCERTAIN: &str =
    "It is not known whether this took effect. Don't repeat it; look at the present state first, and tell the user";
const UNKNOWN: &str = "There is no such tool or resource";
const STATE: &str = "This requestState was not given out for this call, was changed, or is too old. Begin again without it";
const NEEDS: &str = "This tool asks back, which is not passed on here, so nothing was done";

/// An error inside a well-formed exchange.
struct Fault {
    code: i64,
    message: &'static str,
    data: Option<Value>,
}

/// Answers one request. Never fails and never hangs longer than the host does.
pub async fn handle(request: &Parts, body: Bytes, host: &dyn ToolHost) -> Response<Full<Bytes>> {
    let parsed = parse(request, &body);
    drop(body);
    respond_to(parsed, host).await
}

/// The answer to what was read.
pub(crate) async fn respond_to(parsed: Result<Message, Rejection>, host: &dyn ToolHost) -> Response<Full<Bytes>> {
    let request = match parsed {
        Ok(Message::Request(request)) => request,
        Ok(Message::Notification) => return empty(StatusCode::ACCEPTED),
        Err(rejection) => return refuse(rejection),
    };
    let Request { id, era, call } = request;
    match answer(call, era, host).await {
        Ok(Answer { result, cacheable }) => respond(&id, dress(result, era, cacheable)),
        Err(fault) => {
            let status = match (era, fault.code) {
                (Era::Modern, code::METHOD) => StatusCode::NOT_FOUND,
                (Era::Modern, code::CAPABILITY) => StatusCode::BAD_REQUEST,
                _ => StatusCode::OK,
            };
            send(status, &error_body(Some(&id), fault.code, fault.message, fault.data))
        }
    }
}

struct Answer {
    result: Map<String, Value>,
    /// Whether the modern era wants to know for how long it may be kept.
    cacheable: bool,
}

async fn answer(call: Call, era: Era, host: &dyn ToolHost) -> Result<Answer, Fault> {
    let kept = |result: Map<String, Value>| Ok(Answer { result, cacheable: true });
    let once = |result: Map<String, Value>| Ok(Answer { result, cacheable: false });
    match call {
        Call::Discover => kept(discovery(host)),
        Call::Initialize(version) => once(handshake(host, version)),
        Call::Ping => once(Map::new()),
        Call::ListTools => kept(list("tools", host.tools()).await?),
        Call::ListResources => kept(list("resources", host.resources()).await?),
        Call::ListTemplates => kept(list("resourceTemplates", host.resource_templates()).await?),
        Call::ReadResource(uri) => {
            let read = host.read_resource(&uri).await;
            kept(object(read.map_err(|error| {
                let named = named(&error, era, &uri);
                let fault = fault(error, missing_resource(era));
                Fault { data: named.or(fault.data), ..fault }
            })?)?)
        }
        Call::CallTool(call) => once(called(host.call(call).await)?),
        Call::ListPrompts if host.extras().prompts => kept(list("prompts", host.prompts()).await?),
        Call::Prompt(call) if host.extras().prompts => {
            once(object(host.prompt(call).await.map_err(|error| fault(error, code::PARAMS))?)?)
        }
        Call::Complete(params) if host.extras().prompts => {
            once(object(host.complete(params).await.map_err(|error| fault(error, code::PARAMS))?)?)
        }
        Call::SetLogLevel(level) if host.extras().log => {
            host.set_log_level(level);
            once(Map::new())
        }
        Call::ListPrompts | Call::Prompt(_) | Call::Complete(_) | Call::SetLogLevel(_) => {
            Err(Fault { code: code::METHOD, message: "Method not found", data: None })
        }
    }
}

fn called(result: Result<Value, HostError>) -> Result<Map<String, Value>, Fault> {
    match result {
        Ok(result) => object(result),
        Err(error) => tool_error(error),
    }
}

/// The message that answers a tool call.
pub(crate) fn of_call(id: &RequestId, era: Era, result: Result<Value, HostError>) -> Value {
    match called(result) {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id.0, "result": dress(result, era, false)}),
        Err(fault) => error_body(Some(id), fault.code, fault.message, fault.data),
    }
}

/// A message as an answer of its own.
pub(crate) fn send_ok(message: &Value) -> Response<Full<Bytes>> {
    send(StatusCode::OK, message)
}

/// A refusal of a request that was not read: who asks is not let in, or asks too often.
pub(crate) fn refusal(status: StatusCode, reason: &str, message: &str) -> Response<Full<Bytes>> {
    send(status, &error_body(None, code::REQUEST, message, Some(json!({"reason": reason}))))
}

async fn list(key: &str, listing: BoxFuture<'_, Result<Vec<Value>, HostError>>) -> Result<Map<String, Value>, Fault> {
    let items = listing.await.map_err(|error| fault(error, code::PARAMS))?;
    Ok(Map::from_iter([(key.to_owned(), Value::Array(items))]))
}

fn discovery(host: &dyn ToolHost) -> Map<String, Value> {
    let versions: Vec<&str> =
        std::iter::once(MODERN).chain(LegacyVersion::ALL.into_iter().rev().map(LegacyVersion::date)).collect();
    Map::from_iter([
        ("supportedVersions".to_owned(), json!(versions)),
        ("capabilities".to_owned(), capabilities(host, Era::Modern)),
        ("_meta".to_owned(), json!({"io.modelcontextprotocol/serverInfo": info(host)})),
    ])
}

fn handshake(host: &dyn ToolHost, version: LegacyVersion) -> Map<String, Value> {
    Map::from_iter([
        ("protocolVersion".to_owned(), json!(version.date())),
        ("capabilities".to_owned(), capabilities(host, Era::Legacy(version))),
        ("serverInfo".to_owned(), info(host)),
    ])
}

fn capabilities(host: &dyn ToolHost, era: Era) -> Value {
    let Extras { prompts, log } = host.extras();
    let named = [("tools", true), ("resources", true), ("prompts", prompts), ("completions", prompts)];
    // The newer era says with each request what of a log it wants.
    let log = ("logging", log && era != Era::Modern);
    let claimed = named.into_iter().chain([log]).filter(|(_, claimed)| *claimed);
    claimed.map(|(name, _)| (name.to_owned(), json!({}))).collect::<Map<_, _>>().into()
}

fn info(host: &dyn ToolHost) -> Value {
    let ServerInfo { name, title, version } = host.server();
    json!({"name": name, "title": title, "version": version})
}

/// What went wrong with a call is for the model to read and to tell: a tool result, not a protocol error.
fn tool_error(error: HostError) -> Result<Map<String, Value>, Fault> {
    let reason = match &error {
        HostError::Unknown | HostError::Needs(_) | HostError::State => return Err(fault(error, code::PARAMS)),
        HostError::Denied { code, .. } => *code,
        HostError::Upstream(_) => "tool.unavailable",
        HostError::Uncertain(_) => "tool.uncertain",
    };
    let text = sentence(&error);
    log(&error);
    object(json!({"content": [{"type": "text", "text": text}], "isError": true, "_meta": {"hexward/reason": reason}}))
}

/// What the caller is told of a call that came to nothing.
pub(crate) const fn sentence(error: &HostError) -> &'static str {
    match error {
        HostError::Unknown => UNKNOWN,
        HostError::State => STATE,
        HostError::Needs(_) => NEEDS,
        HostError::Denied { message, .. } => message,
        HostError::Upstream(_) => UNAVAILABLE,
        HostError::Uncertain(_) => UNCERTAIN,
    }
}

fn fault(error: HostError, missing: i64) -> Fault {
    log(&error);
    match error {
        HostError::Unknown => Fault { code: missing, message: UNKNOWN, data: None },
        HostError::State => Fault { code: code::PARAMS, message: STATE, data: None },
        HostError::Needs(needed) => {
            Fault { code: code::CAPABILITY, message: NEEDS, data: Some(json!({"requiredCapabilities": needed})) }
        }
        HostError::Denied { code, message } => Fault { code: code::REQUEST, message, data: Some(json!({"reason": code})) },
        HostError::Upstream(_) | HostError::Uncertain(_) => Fault { code: code::INTERNAL, message: UNAVAILABLE, data: None },
    }
}

fn log(error: &HostError) {
    match error {
        HostError::Upstream(_) | HostError::Uncertain(_) => tracing::warn!(%error, "a tool's server failed"),
        HostError::Unknown | HostError::Needs(_) | HostError::State | HostError::Denied { .. } => {
            tracing::debug!(%error, "a tool call was not carried out")
        }
    }
}

/// A host that answers with something else than an object is broken.
fn object(result: Value) -> Result<Map<String, Value>, Fault> {
    match result {
        Value::Object(result) => Ok(result),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            tracing::error!("a tool host answered with something else than an object");
            Err(Fault { code: code::INTERNAL, message: UNAVAILABLE, data: None })
        }
    }
}

/// What the eras want to find in a result, whatever its origin said. Nothing here may be shared or kept: it is one user's.
fn dress(mut result: Map<String, Value>, era: Era, cacheable: bool) -> Map<String, Value> {
    // Only who said that it answers questions gets a host's; that is of the newer era.
    let kind = if era == Era::Modern && asks(&result) { "input_required" } else { "complete" };
    for key in ["resultType", "ttlMs", "cacheScope"] {
        result.remove(key);
    }
    if era == Era::Modern {
        result.insert("resultType".to_owned(), json!(kind));
        if cacheable {
            result.insert("ttlMs".to_owned(), json!(0));
            result.insert("cacheScope".to_owned(), json!("private"));
        }
    }
    result
}

/// Which resource it is that there isn't one of.
fn named(error: &HostError, era: Era, uri: &str) -> Option<Value> {
    (era == Era::Modern && matches!(error, HostError::Unknown)).then(|| json!({"uri": uri}))
}

/// Earlier revisions had a code of their own for a resource that doesn't exist.
const fn missing_resource(era: Era) -> i64 {
    match era {
        Era::Modern => code::PARAMS,
        Era::Legacy(_) => code::RESOURCE,
    }
}

fn respond(id: &RequestId, result: Map<String, Value>) -> Response<Full<Bytes>> {
    send(StatusCode::OK, &json!({"jsonrpc": "2.0", "id": id.0, "result": result}))
}

fn refuse(rejection: Rejection) -> Response<Full<Bytes>> {
    let body = error_body(rejection.id.as_ref(), rejection.code, &rejection.message, rejection.data);
    let mut response = send(rejection.status, &body);
    if rejection.status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

fn error_body(id: Option<&RequestId>, code: i64, message: &str, data: Option<Value>) -> Value {
    let mut error = Map::from_iter([("code".to_owned(), json!(code)), ("message".to_owned(), json!(message))]);
    if let Some(data) = data {
        error.insert("data".to_owned(), data);
    }
    let mut body = Map::from_iter([("jsonrpc".to_owned(), json!("2.0")), ("error".to_owned(), Value::Object(error))]);
    if let Some(id) = id {
        body.insert("id".to_owned(), id.0.clone());
    }
    Value::Object(body)
}

fn send(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

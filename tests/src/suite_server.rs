//! A tool server of a stranger's: it has what the official conformance suite asks for, in one era or the other. It is written down to the
//! wire, so that nothing of the gateway's own stands on both sides.

use crate::suite_questions;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the server wants to see.
pub const SUITE_CREDENTIAL: &str = "the tool server's own credential";
const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

/// Which revision it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// 2026-07-28 alone.
    Modern,
    /// 2025-11-25 alone, with sessions.
    Legacy,
}

/// A running one. Ends when dropped.
pub struct SuiteServer {
    /// Where it is.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    task: JoinHandle<()>,
}

impl Drop for SuiteServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SuiteServer {
    /// Starts it on a free port.
    pub async fn start(speaks: Speaks) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<(HeaderMap, Value)>>> = Arc::default();
        let task = tokio::spawn(serve(listener, speaks, Arc::clone(&seen)));
        Self { address, seen, task }
    }

    /// Its address for a manifest.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Every request it got: headers and body.
    #[must_use]
    pub fn seen(&self) -> Vec<(HeaderMap, Value)> {
        self.seen.lock().clone()
    }
}

async fn serve(listener: TcpListener, speaks: Speaks, seen: Arc<Mutex<Vec<(HeaderMap, Value)>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let seen = Arc::clone(&seen);
                async move { Ok::<_, Infallible>(answer(request, speaks, &seen).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, speaks: Speaks, seen: &Mutex<Vec<(HeaderMap, Value)>>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    seen.lock().push((head.headers.clone(), message.clone()));
    let shown = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    if shown != Some(&format!("Bearer {SUITE_CREDENTIAL}")) {
        return whole(StatusCode::UNAUTHORIZED, &json!({}), &[]);
    }
    let (id, method) = (message["id"].clone(), message["method"].as_str().unwrap_or("").to_owned());
    if id.is_null() {
        return whole(StatusCode::ACCEPTED, &Value::Null, &[]);
    }
    let modern = message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str() == Some(MODERN);
    if modern != (speaks == Speaks::Modern) {
        let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}});
        return whole(StatusCode::NOT_FOUND, &error, &[]);
    }
    if method == "tools/call" {
        return call(id, message["params"].clone());
    }
    let (result, headers) = match method.as_str() {
        "initialize" => {
            let result = json!({"protocolVersion": LEGACY, "capabilities": {"tools": {}}, "serverInfo": {"name": "tools", "version": "1"}});
            (Ok(result), vec![("mcp-session-id", "session-of-one")])
        }
        method => (respond(method, &message["params"]), Vec::new()),
    };
    let mut envelope = json!({"jsonrpc": "2.0", "id": id});
    match result {
        Ok(result) => envelope["result"] = result,
        Err((code, data)) => envelope["error"] = json!({"code": code, "message": "The server's own words", "data": data}),
    }
    whole(StatusCode::OK, &envelope, &headers)
}

fn respond(method: &str, params: &Value) -> Result<Value, (i64, Value)> {
    let unknown = || (-32602, json!({}));
    Ok(match method {
        "server/discover" => json!({"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "resultType": "complete"}),
        "tools/list" => json!({"tools": tools()}),
        "resources/list" => json!({"resources": [
            {"uri": "test://static-text", "name": "text", "description": "A text", "mimeType": "text/plain"},
            {"uri": "test://static-binary", "name": "binary", "description": "An image", "mimeType": "image/png"},
            {"uri": "test://not-in-the-manifest", "name": "hidden"},
        ]}),
        "resources/templates/list" => json!({"resourceTemplates": [
            {"uriTemplate": "test://template/{id}/data", "name": "template", "mimeType": "application/json"},
        ]}),
        "resources/read" => json!({"contents": [read(params["uri"].as_str().unwrap_or("")).ok_or_else(unknown)?]}),
        "prompts/list" => json!({"prompts": [
            {"name": "test_simple_prompt", "description": "A plain prompt"},
            {"name": "test_prompt_with_arguments", "description": "Two arguments", "arguments": [{"name": "arg1", "required": true}, {"name": "arg2", "required": true}]},
            {"name": "test_prompt_with_embedded_resource", "description": "A resource", "arguments": [{"name": "resourceUri", "required": true}]},
            {"name": "test_prompt_with_image", "description": "An image"},
            {"name": "test_input_required_result_prompt", "description": "Asks back"},
            {"name": "not_in_the_manifest", "description": "Hidden"},
        ]}),
        "prompts/get" if params["name"] == "test_input_required_result_prompt" => suite_questions::prompt(params),
        "prompts/get" => json!({"messages": prompt(params).ok_or_else(unknown)?}),
        "completion/complete" => json!({"completion": {"values": ["test-value"], "total": 1, "hasMore": false}}),
        _ => return Err((-32601, json!({}))),
    })
}

fn read(uri: &str) -> Option<Value> {
    if let Some(id) = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data")) {
        let text = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")}).to_string();
        return Some(json!({"uri": uri, "mimeType": "application/json", "text": text}));
    }
    match uri {
        "test://static-text" => {
            Some(json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."}))
        }
        "test://static-binary" => Some(json!({"uri": uri, "mimeType": "image/png", "blob": PNG})),
        "test://not-in-the-manifest" => Some(json!({"uri": uri, "text": "nobody may see this"})),
        _ => None,
    }
}

fn prompt(params: &Value) -> Option<Value> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let text = |text: &str| user(json!({"type": "text", "text": text}));
    let argument = |name: &str| params["arguments"][name].as_str().unwrap_or("").to_owned();
    Some(match params["name"].as_str()? {
        "test_simple_prompt" => json!([text("This is a simple prompt for testing.")]),
        "test_prompt_with_arguments" => {
            json!([text(&format!("Prompt with arguments: arg1='{}', arg2='{}'", argument("arg1"), argument("arg2")))])
        }
        "test_prompt_with_embedded_resource" => {
            let resource = json!({"uri": argument("resourceUri"), "mimeType": "text/plain", "text": "Embedded resource content for testing."});
            json!([user(json!({"type": "resource", "resource": resource})), text("Please process the embedded resource above.")])
        }
        "test_prompt_with_image" => {
            json!([user(json!({"type": "image", "data": PNG, "mimeType": "image/png"})), text("Please analyze the image above.")])
        }
        "not_in_the_manifest" => json!([text("nobody may see this")]),
        _ => return None,
    })
}

/// Every tool's name, but those of a schema of their own.
const NAMES: [&str; 12] = [
    "test_simple_text",
    "test_image_content",
    "test_audio_content",
    "test_embedded_resource",
    "test_multiple_content_types",
    "test_error_handling",
    "test_tool_with_logging",
    "test_tool_with_progress",
    "test_missing_capability",
    "test_streaming_elicitation",
    "test_logging_tool",
    "not_in_the_manifest",
];

fn tools() -> Vec<Value> {
    let plain = |name: &&str| json!({"name": name, "description": format!("The tool {name}"), "inputSchema": {"type": "object", "properties": {}}});
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
        "properties": {
            "name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}, "phone": {"type": "string"}, "email": {"type": "string"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]}, "else": {"required": ["email"]},
        "additionalProperties": false,
    });
    let mut all: Vec<Value> = NAMES.iter().chain(&suite_questions::NAMES).map(plain).collect();
    all.push(json!({"name": "json_schema_2020_12_tool", "description": "Tool with JSON Schema 2020-12 features", "inputSchema": schema}));
    all
}

/// A call; those that say something meanwhile answer with a stream.
fn call(id: Value, params: Value) -> Response<Body> {
    let name = params["name"].as_str().unwrap_or("").to_owned();
    let said: Vec<Value> = match name.as_str() {
        "test_tool_with_progress" if params["_meta"]["progressToken"].is_string() => [0, 50, 100]
            .map(|at| json!({"progressToken": params["_meta"]["progressToken"], "progress": at, "total": 100}))
            .map(|params| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            .to_vec(),
        "test_tool_with_logging" | "test_logging_tool" => [
            "Tool execution started",
            "Tool processing data",
            "Tool execution completed",
        ]
        .map(|text| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}}))
        .to_vec(),
        _ => Vec::new(),
    };
    let mut answer = json!({"jsonrpc": "2.0", "id": id});
    let questions = suite_questions::tool(&name, &params);
    match questions.map_or_else(|| result(&name), Ok) {
        Ok(result) => answer["result"] = result,
        Err((code, data)) => answer["error"] = json!({"code": code, "message": "The server's own words", "data": data}),
    }
    if said.is_empty() {
        let status = if answer["error"]["code"] == -32021 { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        return whole(status, &answer, &[]);
    }
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        for message in said.into_iter().chain([answer]) {
            if sender.send(message).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let message: Value = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(format!("event: message\ndata: {message}\n\n")))), receiver))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    response
}

fn result(name: &str) -> Result<Value, (i64, Value)> {
    let text = |text: &str| json!({"type": "text", "text": text});
    let image = || json!({"type": "image", "data": PNG, "mimeType": "image/png"});
    let resource =
        |uri: &str, mime: &str, text: &str| json!({"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}});
    let content = match name {
        "test_simple_text" => json!([text("This is a simple text response for testing.")]),
        "test_image_content" => json!([image()]),
        "test_audio_content" => json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => {
            json!([resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")])
        }
        "test_multiple_content_types" => json!([
            text("Multiple content types test:"),
            image(),
            resource("test://mixed-content-resource", "application/json", "{\"test\":\"data\",\"value\":123}"),
        ]),
        "test_error_handling" => {
            return Ok(json!({"isError": true, "content": [text("This tool intentionally returns an error for testing")]}));
        }
        "test_missing_capability" => return Err((-32021, json!({"requiredCapabilities": {"sampling": {}}}))),
        name if NAMES.contains(&name) || name == "json_schema_2020_12_tool" => json!([text("Done.")]),
        _ => return Err((-32602, json!({}))),
    };
    Ok(json!({"content": content}))
}

fn whole(status: StatusCode, body: &Value, headers: &[(&'static str, &str)]) -> Response<Body> {
    let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let mut response = Response::new(Full::new(bytes).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

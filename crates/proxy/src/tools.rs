//! The way of a tool call: the run's app, the model's own word, the journal, the tool, the journal again.

use crate::answer::{self, Body};
use crate::behaviour::act_of;
use crate::context::{App, RunContext};
use crate::mcp::front::{self, HostError, ServerInfo, ToolCall, ToolHost};
use crate::mcp::upstream::{UpstreamError, UserRef};
use crate::mcp::{capped, marked, plain};
use crate::{Proxy, RunEvent, way_back};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use policy::{Act, AuditEvent, CallId, Denial, DenialCode, ToolEffect, ToolRequest, UserId, admit_tool, canonical_digest};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::{Change, Inverse, OpenError, OpenToolCall, StoreError, ToolState};

const BODY_BYTES_MAX: usize = 1 << 20;
const BODY_WAIT: Duration = Duration::from_secs(30);
/// What of a result goes to the page and into the history.
const RESULT_CHARS_SHOWN: usize = 20_000;
pub(crate) const UNCERTAIN: &str =
    "The tool's answer was lost, so nobody knows whether it took effect. Look before you ask for it again.";
pub(crate) const UNREACHABLE: &str =
    "The application's tools can't be reached right now, and nothing was done. Try again in a moment.";

/// Answers one request on the tools' name.
pub(crate) async fn handle(proxy: &Arc<Proxy>, run: Arc<RunContext>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    // The run may have ended while the body came. From here on its end waits for this request.
    let Some(entry) = run.enter() else {
        return refuse_request(proxy, &run, Denial::new(DenialCode::RunNone, head.uri.path())).await;
    };
    if !run.take_look() {
        return refuse_request(proxy, &run, Denial::new(DenialCode::RunTurns, head.uri.path())).await;
    }
    let host = RunTools { proxy: Arc::clone(proxy), run };
    // A task of its own, so that a client that goes away can't take the journal's second entry with it.
    let answering = tokio::spawn(async move {
        let answer = front(&head, body, &host).await;
        drop(entry);
        answer
    });
    answering.await.unwrap_or_else(|_| {
        answer::error(StatusCode::INTERNAL_SERVER_ERROR, "api_error", "The gateway failed to answer. Try again.")
    })
}

/// Takes the whole body, or answers why not.
pub(crate) async fn read(body: Incoming) -> Result<Bytes, Response<Body>> {
    match tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            "The request is larger than 1 MiB or ended early.",
        )),
        Err(_) => {
            Err(answer::error(StatusCode::REQUEST_TIMEOUT, "timeout_error", "The body took longer than 30 seconds to arrive."))
        }
    }
}

/// The front door with this host behind it.
pub(crate) async fn front(head: &Parts, body: Bytes, host: &dyn ToolHost) -> Response<Body> {
    front::handle(head, body, host).await.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

/// What the door says of an app.
pub(crate) fn server_info(app: &App) -> ServerInfo {
    let manifest = &app.manifest;
    let name = manifest.mcp.as_ref().map_or(&manifest.id, |mcp| &mcp.name);
    ServerInfo { name: name.clone(), title: manifest.title.clone(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// The app's tools that its manifest offers.
pub(crate) async fn offered(app: &App, user: &UserRef, writes: bool) -> Result<Vec<Value>, HostError> {
    let Some(upstream) = &app.upstream else { return Ok(Vec::new()) };
    let all = upstream.tools(user).await.map_err(|error| unreachable_app(app, error))?;
    let offered = app.manifest.tools_offered(writes);
    let named = |tool: &Value| tool.get("name").and_then(Value::as_str).is_some_and(|name| offered.contains(&name));
    Ok(all.into_iter().filter(named).map(plain).collect())
}

/// A request that is refused before it is read as one for a tool is recorded like any other refusal.
async fn refuse_request(proxy: &Proxy, run: &RunContext, denial: Denial) -> Response<Body> {
    proxy.write_down(run, denial.clone()).await;
    answer::denied(&denial)
}

/// Reads a resource of an app for a person (their map, say): by the same path, but read-only and without a run.
///
/// # Errors
/// [`HostError`] when the manifest does not list it or the app does not answer.
pub async fn read_resource(app: &App, user: UserId, uri: &str) -> Result<Value, HostError> {
    if !app.manifest.allows_resource(uri) {
        return Err(HostError::Unknown);
    }
    let upstream = app.upstream.as_ref().ok_or(HostError::Unknown)?;
    upstream.read_resource(&user_ref(user), uri).await.map_err(|error| unreachable_app(app, error))
}

pub(crate) fn user_ref(user: UserId) -> UserRef {
    UserRef::new(user.to_string())
}

pub(crate) fn unreachable_app(app: &App, error: UpstreamError) -> HostError {
    tracing::warn!(app = app.manifest.id, %error, "the app's tools did not answer");
    error.into()
}

/// The tools of one run, as the front door sees them.
struct RunTools {
    proxy: Arc<Proxy>,
    run: Arc<RunContext>,
}

impl RunTools {
    async fn call(&self, call: ToolCall) -> Result<Value, HostError> {
        let (id, dialogue) = (call.tool_use_id.clone().unwrap_or_default(), self.run.dialogue());
        let result = match self.open(&call, &id).await {
            Ok((open, arguments)) => in_band(self.run_tool(open, &id, arguments).await.map(marked)).map(capped),
            Err(OpenError::Denied(denial) | OpenError::Short { denial, .. }) => {
                let refused = self.refuse(denial, &id, &call.name).await;
                if let Some(dialogue) = dialogue {
                    dialogue.refused(&id, front::sentence(&refused));
                }
                return Err(refused);
            }
            Err(OpenError::Store(error)) => {
                tracing::error!(%error, "a tool call could not be journaled, so it was not made");
                Err(HostError::Upstream("the journal is not available".to_owned()))
            }
        };
        if let Some(dialogue) = dialogue {
            match &result {
                Ok(result) => dialogue.returned(&id, &call.name, result),
                Err(error) => dialogue.failed(&id, front::sentence(error)),
            }
        }
        result
    }

    /// May they? And then: written down before it leaves. What is written down and later sent are the arguments as the model said them, not as the agent did.
    async fn open(&self, call: &ToolCall, tool_use_id: &str) -> Result<(OpenToolCall, Map<String, Value>), OpenError> {
        let run = &self.run;
        let Some(digest) = canonical_digest(&Value::Object(call.arguments.clone())) else {
            return Err(OpenError::Denied(Denial::new(DenialCode::ToolNotEmitted, &call.name)));
        };
        let emitted = run.emitted.use_up(tool_use_id, &call.name, &digest);
        let honest = emitted.as_ref().is_some_and(|(_, honest)| *honest);
        let danger = run.app.manifest.agent.danger_induced_writes;
        let request = ToolRequest {
            tool: call.name.clone(),
            arguments_digest: digest,
            emitted: emitted.is_some(),
            honest: honest || danger,
        };
        let now = self.proxy.clock.now();
        let permit = admit_tool(request, &run.app.manifest, &run.view(), now).map_err(OpenError::Denied)?;
        if let Some(rule) = run.app.manifest.tools.get(&call.name) {
            self.proxy.pace_tool(run, act_of(rule)).await.map_err(OpenError::Denied)?;
        }
        // Of several answers to one request one acts, and only as long as the conversation has not gone on.
        if honest && !run.dialogue().is_some_and(|dialogue| dialogue.act(tool_use_id)) {
            return Err(OpenError::Denied(Denial::new(DenialCode::ToolNotEmitted, &call.name)));
        }
        let arguments = match emitted {
            Some((Value::Object(arguments), _)) => arguments,
            Some(_) | None => Map::new(),
        };
        let text = Value::Object(arguments.clone()).to_string();
        let open = self.proxy.store.open_tool_call(permit, &run.app.manifest.id, tool_use_id, text, now).await?;
        Ok((open, arguments))
    }

    /// Calls the tool; using up the open call is what allows it.
    async fn run_tool(&self, open: OpenToolCall, tool_use_id: &str, arguments: Map<String, Value>) -> Result<Value, HostError> {
        let (app, tool) = (&self.run.app, open.permit().request().tool.clone());
        let mut result = match &app.upstream {
            Some(upstream) => upstream.call_with(&user_ref(self.run.user), &tool, arguments, way_back::naming(open.id())).await,
            // A manifest without a server has no tools, so nothing was admitted.
            None => Err(UpstreamError::Unreachable("the app has no server".to_owned())),
        };
        // Before anybody sees the result: what the app says to the gateway is not for the agent.
        let said = result.as_mut().map(way_back::take).unwrap_or_default();
        let (state, text) = match &result {
            Ok(result) if is_error(result) => (ToolState::Failed, shown(result)),
            Ok(result) => (ToolState::Done, shown(result)),
            // What the server or the system said is for the log; people and history get a fixed sentence.
            Err(error) if error.outcome_unknown() => (ToolState::Uncertain, UNCERTAIN.to_owned()),
            Err(_) => (ToolState::Failed, UNREACHABLE.to_owned()),
        };
        let inverse = said.inverse(&app.manifest, &tool).filter(|_| state == ToolState::Done);
        let undo = match self.settle(open.id(), state, &text, inverse).await {
            Ok(reversible) => reversible.then(|| open.id()),
            Err(error) => {
                tracing::error!(%error, call = %open.id(), "a tool call could not be settled; it will be shown as uncertain");
                None
            }
        };
        if open.permit().effect() == ToolEffect::Write && state != ToolState::Failed {
            let user = self.run.user.to_string();
            self.proxy.store.announce(Change::App { user, app: app.manifest.id.clone() });
        }
        let told = RunEvent::ToolResult {
            call_id: tool_use_id.to_owned(),
            tool,
            ok: state == ToolState::Done,
            result: text,
            denial: None,
            undo,
        };
        self.run.tell(told).await;
        result.map_err(|error| unreachable_app(app, error))
    }

    /// Journals how the call came out; true where it can be undone.
    async fn settle(&self, call: CallId, state: ToolState, text: &str, way_back: Option<Inverse>) -> Result<bool, StoreError> {
        let (store, now) = (&self.proxy.store, self.proxy.clock.now());
        match way_back {
            Some(inverse) => store.settle_reversible_call(call, text.to_owned(), inverse, now).await.map(|()| true),
            None => store.settle_tool_call(call, state, text.to_owned(), now).await.map(|()| false),
        }
    }

    /// A refusal reaches the model as a failed tool, the user as an event, and the record.
    async fn refuse(&self, denial: Denial, tool_use_id: &str, tool: &str) -> HostError {
        let code = denial.code;
        self.proxy.judge(&self.run, Act::Denied).await;
        if self.run.record_denial() {
            self.proxy.record(AuditEvent::Denied { run: Some(self.run.run), denial: denial.clone() }).await;
            let told = RunEvent::ToolResult {
                call_id: tool_use_id.to_owned(),
                tool: tool.to_owned(),
                ok: false,
                result: denial.message().to_owned(),
                denial: Some(denial),
                undo: None,
            };
            self.run.tell(told).await;
        }
        HostError::Denied { code: code.as_str(), message: code.sentence() }
    }
}

/// A tool's server that knows no such tool, or not these arguments, is an answer to the model: agents put other words around faults
/// of the protocol.
fn in_band(result: Result<Value, HostError>) -> Result<Value, HostError> {
    match result {
        Err(error @ HostError::Unknown) => {
            let text = front::sentence(&error);
            Ok(json!({"content": [{"type": "text", "text": text}], "isError": true, "_meta": {"hexward/reason": "tool.unknown"}}))
        }
        other => other,
    }
}

pub(crate) fn is_error(result: &Value) -> bool {
    result.get("isError").and_then(Value::as_bool).unwrap_or(false)
}

/// The text of a result, bounded.
pub(crate) fn shown(result: &Value) -> String {
    let blocks = result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let texts = blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str));
    texts.collect::<Vec<_>>().join("\n").chars().take(RESULT_CHARS_SHOWN).collect()
}

impl ToolHost for RunTools {
    fn server(&self) -> ServerInfo {
        server_info(&self.run.app)
    }

    fn tools(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async move {
            let tools = offered(&self.run.app, &user_ref(self.run.user), self.run.writes).await?;
            if let Some(dialogue) = self.run.dialogue() {
                dialogue.listed(&tools);
            }
            Ok(tools)
        })
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Value, HostError>> {
        Box::pin(Self::call(self, call))
    }

    fn resources(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async move {
            let app = &self.run.app;
            let Some(upstream) = &app.upstream else { return Ok(Vec::new()) };
            let all = upstream.resources(&user_ref(self.run.user)).await.map_err(|error| unreachable_app(app, error))?;
            let listed = |resource: &Value| {
                resource.get("uri").and_then(Value::as_str).is_some_and(|uri| app.manifest.allows_resource(uri))
            };
            Ok(all.into_iter().filter(listed).collect())
        })
    }

    fn resource_templates(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async move {
            let app = &self.run.app;
            let Some(upstream) = &app.upstream else { return Ok(Vec::new()) };
            upstream.resource_templates(&user_ref(self.run.user)).await.map_err(|error| unreachable_app(app, error))
        })
    }

    fn read_resource<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Value, HostError>> {
        Box::pin(read_resource(&self.run.app, self.run.user, uri))
    }
}

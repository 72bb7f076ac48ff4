//! Decides the answer to one request: route, credential, headers, body, scenario. No socket, no clock.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::json;

use crate::{
    FakeConfig, gzip,
    history::History,
    ids::Ids,
    models,
    request::{self, MessagesRequest},
    scenario::{self, Choice, Fault, Form, HttpError, Reply, ReplyKind, Scenarios, Step, Wire},
    script::{self, Action, Envelope, Script},
    turn::Block,
    understand,
};

/// The real limit of the Messages API.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Versions the real API knows.
const VERSIONS: [&[u8]; 3] = [b"2026-10-21", b"2023-06-01", b"2023-01-01"];
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// Everything the decision needs that outlives a request.
#[derive(Debug)]
pub struct Desk {
    pub config: FakeConfig,
    pub scenarios: Scenarios,
    pub ids: Ids,
    /// Answers that were put in its mouth, each for one request.
    pub told: Mutex<VecDeque<Vec<Block>>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub script: Script,
    /// Length of the body where it is known before it is played.
    pub length: Option<usize>,
    /// What goes wrong below HTTP.
    pub wire: Option<Wire>,
}

/// An error in the API's own words.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    kind: String,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<String>,
}

impl Refusal {
    pub fn new(status: StatusCode, kind: &str, message: impl Into<String>) -> Self {
        Self { status, kind: kind.to_owned(), message: message.into(), headers: Vec::new(), body: None }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "Request exceeds the maximum size")
    }
}

impl From<request::Invalid> for Refusal {
    fn from(invalid: request::Invalid) -> Self {
        Self::invalid(invalid.0)
    }
}

impl From<models::NotThere> for Refusal {
    fn from(models::NotThere { status, kind, message }: models::NotThere) -> Self {
        Self::new(status, kind, message)
    }
}

impl From<&HttpError> for Refusal {
    fn from(error: &HttpError) -> Self {
        let (headers, body) = (error.headers.clone(), error.body.clone());
        Self { headers, body, ..Self::new(error.status, &error.kind, error.message.clone()) }
    }
}

impl Desk {
    pub fn answer(&self, parts: &Parts, body: &[u8]) -> Answer {
        let request_id = self.ids.request();
        let mut answer = self.route(parts, body).unwrap_or_else(|refusal| refused(refusal, &request_id));
        if let Ok(value) = HeaderValue::try_from(&request_id) {
            answer.headers.insert(HeaderName::from_static("request-id"), value);
        }
        answer
    }

    /// Answers a body that was not even read.
    pub fn refuse(&self, refusal: Refusal) -> Answer {
        refused(refusal, &self.ids.request())
    }

    fn route(&self, parts: &Parts, body: &[u8]) -> Result<Answer, Refusal> {
        match (&parts.method, parts.uri.path()) {
            (&Method::HEAD, "/api/hello") => Ok(document(StatusCode::OK, String::new())),
            (&Method::POST, "/v1/messages") => {
                self.check(parts)?;
                check_json(parts)?;
                self.messages(body)
            }
            (&Method::POST, "/v1/messages/count_tokens") => {
                self.check(parts)?;
                check_json(parts)?;
                let tokens = request::count_tokens(body)?;
                Ok(document(StatusCode::OK, format!(r#"{{"input_tokens":{tokens}}}"#)))
            }
            (&Method::GET, path) if path == models::PATH || path.starts_with("/v1/models/") => {
                self.check(parts)?;
                let found = models::answer(path, parts.uri.query().unwrap_or_default());
                found.map(|body| document(StatusCode::OK, body)).map_err(Refusal::from)
            }
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "not_found_error", "Not Found")),
        }
    }

    fn check(&self, parts: &Parts) -> Result<(), Refusal> {
        self.check_credential(&parts.headers)?;
        match parts.headers.get("anthropic-version") {
            None => Err(Refusal::invalid("anthropic-version: header is required")),
            Some(version) if VERSIONS.contains(&version.as_bytes()) => Ok(()),
            Some(version) => {
                let shown = String::from_utf8_lossy(version.as_bytes());
                Err(Refusal::invalid(format!("anthropic-version: \"{shown}\" is not a valid version")))
            }
        }
    }

    /// Either credential is enough: some clients send both.
    fn check_credential(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused = |message| Refusal::new(StatusCode::UNAUTHORIZED, "authentication_error", message);
        let key = headers.get("x-api-key").map(HeaderValue::as_bytes);
        let bearer = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let token = bearer.and_then(|value| value.strip_prefix(b"Bearer "));
        let expected = Some(self.config.key.as_bytes());
        if key == expected || token == expected {
            return Ok(());
        }
        match (key, bearer) {
            (None, None) => Err(refused("x-api-key header is required")),
            (None, Some(_)) => Err(refused("Invalid bearer token")),
            (Some(_), _) => Err(refused("invalid x-api-key")),
        }
    }

    fn messages(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let request = MessagesRequest::parse(body)?;
        if !request.model.starts_with("claude-") {
            let message = format!("model: {}", request.model);
            return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found_error", message));
        }
        if let Some(blocks) = self.told.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return Ok(self.play(&request, None, blocks.into_iter().map(Step::Block).collect()));
        }
        let history = History::of(&request);
        match self.scenarios.choose(&request, &history, self.config.scenario.as_deref()) {
            Choice::Understand => Ok(self.play(&request, None, understood(&request, &history))),
            Choice::Unknown(name) => Err(Refusal::invalid(format!("the fake knows no scenario named {name:?}"))),
            Choice::Reply(reply) => match &reply.answer {
                ReplyKind::Error(error) => Err(error.into()),
                ReplyKind::Steps(steps) => {
                    let steps = scenario::filled(steps, &request, &history);
                    if let Some(refusal) = early_error(&request, &steps) {
                        return Err(refusal);
                    }
                    Ok(self.play(&request, Some(reply), steps))
                }
            },
        }
    }

    fn play(&self, request: &MessagesRequest, reply: Option<&Reply>, steps: Vec<Step>) -> Answer {
        let delay = reply.and_then(|reply| reply.delay).unwrap_or(Duration::from_millis(self.config.event_delay_ms));
        let plain = Form::default();
        let form = reply.map_or(&plain, |reply| &reply.form);
        let envelope =
            Envelope { model: &request.model, usage: request.usage, max_tokens: request.max_tokens, ids: &self.ids, delay, form };
        let (script, length) = if request.stream {
            (script::stream(&envelope, steps), None)
        } else {
            let (script, length) = script::whole(&envelope, steps);
            (script, Some(length))
        };
        let wire = reply.and_then(|reply| reply.wire);
        let mut answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), script, length, wire };
        answer.headers.insert(header::CONTENT_TYPE, if request.stream { EVENTS } else { JSON });
        if request.stream {
            answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        if reply.is_some_and(|reply| reply.gzip) { zipped(answer) } else { answer }
    }
}

fn understood(request: &MessagesRequest, history: &History<'_>) -> Vec<Step> {
    understand::plan(request, history).into_iter().map(Step::Block).collect()
}

/// Without a stream there is no middle: the error is the answer.
fn early_error(request: &MessagesRequest, steps: &[Step]) -> Option<Refusal> {
    if request.stream {
        return None;
    }
    steps.iter().find_map(|step| match step {
        Step::Fault { fault: Fault::Error { kind, message }, .. } => Some(Refusal::new(status_of(kind), kind, message.clone())),
        Step::Fault { .. } | Step::Block(_) | Step::Understand => None,
    })
}

fn status_of(kind: &str) -> StatusCode {
    let code = match kind {
        "invalid_request_error" => 400,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    };
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn check_json(parts: &Parts) -> Result<(), Refusal> {
    let content_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    Err(Refusal::invalid("Content type must be application/json"))
}

fn refused(refusal: Refusal, request_id: &str) -> Answer {
    let shaped = format!(
        r#"{{"type":"error","error":{{"type":{},"message":{}}},"request_id":"{request_id}"}}"#,
        json!(refusal.kind),
        json!(refusal.message)
    );
    let mut answer = document(refusal.status, refusal.body.unwrap_or(shaped));
    for (name, value) in refusal.headers {
        answer.headers.insert(name, value);
    }
    answer
}

fn document(status: StatusCode, body: String) -> Answer {
    let length = body.len();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, JSON);
    Answer { status, headers, script: Script::from([Action::Send(body.into())]), length: Some(length), wire: None }
}

/// Joins the whole body into one gzip member; pauses are lost, which a compressed stream would do as well.
fn zipped(mut answer: Answer) -> Answer {
    let mut plain = Vec::new();
    for action in &answer.script {
        if let Action::Send(bytes) = action {
            plain.extend_from_slice(bytes);
        }
    }
    let member = gzip::stored(&plain);
    answer.length = Some(member.len());
    answer.script = Script::from([Action::Send(Bytes::from(member))]);
    answer.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer
}

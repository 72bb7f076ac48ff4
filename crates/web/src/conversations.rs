//! Conversations: list, begin, read, and say something. Pages and host applications ask for the same.

use crate::Shared;
use crate::answer::Refusal;
use crate::body::StrictJson;
use crate::hosts::HostUse;
use crate::path::Path;
use crate::serve::Peer;
use crate::session::Signed;
use crate::v1::Message;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use policy::{ConversationId, DenialCode, MESSAGE_CHARS_MAX, Manifest, RunId, UserMessage, digest_bytes};
use runs::{Sender, Started};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use store::{DeleteConversationError, Once, UndoStanding};
use utoipa::{IntoParams, ToSchema};

/// `{}`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// `{"app": "hexmap", "skill": "planner"}`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConversation {
    /// May be left out where there is one only; on a page, the one that it shows.
    app: Option<String>,
    /// One of the app's.
    skill: Option<String>,
}

/// `?app=hexmap`
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listed {
    /// May be left out where there is one only.
    app: Option<String>,
}

/// `{"text": "...", "writes": false}`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    /// Not blank, and without control characters but line ends and tabs.
    #[schema(
        min_length = 1,
        max_length = 2000,
        pattern = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*$"
    )]
    text: String,
    /// Whether the agent may change things in answer to it.
    #[serde(default)]
    writes: bool,
}

const _: () = assert!(MESSAGE_CHARS_MAX == 2_000, "the description of a message says so");

/// A conversation in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = ConversationLine)]
pub(crate) struct Line {
    #[schema(format = "uuid")]
    id: String,
    /// How its first message began.
    title: String,
    updated_at_ms: i64,
}

/// `{"id": "..."}`
#[derive(Serialize, ToSchema)]
#[schema(as = ConversationCreated)]
pub(crate) struct Created {
    #[schema(value_type = String, format = "uuid")]
    id: ConversationId,
}

/// A conversation with all that was said in it.
#[derive(Serialize, ToSchema)]
#[schema(as = Conversation)]
pub(crate) struct Whole {
    #[schema(value_type = String, format = "uuid")]
    id: ConversationId,
    #[schema(required)]
    skill: Option<String>,
    #[schema(value_type = Vec<Message>)]
    messages: Vec<Value>,
    /// The run that is going on in it.
    #[schema(value_type = Option<String>, format = "uuid", required)]
    active_run: Option<RunId>,
}

/// `{"run_id": "..."}`
#[derive(Serialize, ToSchema)]
#[schema(as = RunBegun)]
pub(crate) struct Begun {
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
}

pub(crate) fn id_of<T: std::str::FromStr>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::not_found())
}

/// `GET /api/conversations`
#[utoipa::path(
    get,
    path = "/v1/conversations",
    operation_id = "listConversations",
    tag = "conversations",
    summary = "Lists the user's conversations",
    description = "The newest first, at most 100.",
    params(Listed),
    responses((status = 200, description = "The conversations.", body = Vec<Line>)),
)]
pub(crate) async fn list(
    State(web): State<Shared>,
    signed: Signed,
    listed: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<Vec<Line>>, Refusal> {
    let Ok(Query(Listed { app })) = listed else { return Err(Refusal::not_found()) };
    let lines = web.store.conversations_of(signed.user, app_named(&web, &signed, app.as_deref())?).await?;
    let shown = lines.into_iter().map(|line| Line { id: line.id, title: line.title, updated_at_ms: line.updated_at.as_millis() });
    Ok(Json(shown.collect()))
}

/// `POST /api/conversations`
#[utoipa::path(
    post,
    path = "/v1/conversations",
    operation_id = "createConversation",
    tag = "conversations",
    summary = "Begins a conversation for the user",
    request_body = NewConversation,
    responses((
        status = 201,
        description = "It has begun.",
        body = Created,
        links(
            ("show" = (operation_id = "showConversation", parameters(("id" = "$response.body#/id")))),
            ("send" = (operation_id = "beginRun", parameters(("id" = "$response.body#/id")))),
            ("delete" = (operation_id = "deleteConversation", parameters(("id" = "$response.body#/id")))),
        ),
    )),
)]
pub(crate) async fn create(
    State(web): State<Shared>,
    signed: Signed,
    StrictJson(new): StrictJson<NewConversation>,
) -> Result<(StatusCode, Json<Created>), Refusal> {
    let app = app_named(&web, &signed, new.app.as_deref())?;
    let key = Manifest::key_of(app, new.skill.as_deref());
    // A skill that is not for somebody is none.
    if !web.runs.app(&key).is_some_and(|chosen| chosen.is_for(signed.standing)) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "skill.unknown",
            "The application has no such skill. Reload the page to see which there are.",
        ));
    }
    let id = web.store.create_conversation(signed.user, &key, web.clock.now()).await?;
    Ok((StatusCode::CREATED, Json(Created { id })))
}

/// One of the gateway's apps: without a name the one that the page shows, or the only one of the host that asks.
fn app_named<'a>(web: &'a Shared, signed: &'a Signed, wanted: Option<&'a str>) -> Result<&'a str, Refusal> {
    let usual = signed.host.as_ref().map_or(Some(web.settings.app.as_str()), HostUse::only_app);
    let app = wanted.or(usual).ok_or(Refusal::new(
        StatusCode::BAD_REQUEST,
        "app.which",
        "There is more than one application here. Name one of them as `app`.",
    ))?;
    if !signed.sees(app) {
        return Err(Refusal::denied(StatusCode::FORBIDDEN, DenialCode::HostApp));
    }
    web.runs.app(app).filter(|found| found.app.manifest.skill.is_none()).map(|_| app).ok_or(Refusal::not_found())
}

/// `GET /api/conversations/{id}`
#[utoipa::path(
    get,
    path = "/v1/conversations/{id}",
    operation_id = "showConversation",
    tag = "conversations",
    summary = "Reads a conversation with its messages",
    params(("id" = String, Path, format = "uuid", description = "The conversation.")),
    responses((status = 200, description = "The conversation.", body = Whole)),
)]
pub(crate) async fn show(State(web): State<Shared>, signed: Signed, Path(id): Path<String>) -> Result<Json<Whole>, Refusal> {
    let id: ConversationId = id_of(&id)?;
    let (app, user) = (signed.app_of_conversation(&web, id).await?, signed.user);
    let messages = web.store.messages_of(user, id).await?.ok_or(Refusal::not_found())?;
    let skill = app.split_once('/').map(|(_, skill)| skill.to_owned());
    let standings: HashMap<String, UndoStanding> = web.store.undo_standings(user, id).await?.into_iter().collect();
    let messages: Vec<Value> = messages.into_iter().map(|(role, content)| message(role, &content, &standings)).collect();
    Ok(Json(Whole { id, skill, messages, active_run: web.runs.active(user, id) }))
}

fn message(role: String, content: &str, standings: &HashMap<String, UndoStanding>) -> Value {
    let mut fields: Map<String, Value> = serde_json::from_str(content).unwrap_or_default();
    if let Some(Value::Object(undo)) = fields.get_mut("undo") {
        let standing = undo.get("call").and_then(Value::as_str).and_then(|call| standings.get(call));
        let state = standing.copied().unwrap_or(UndoStanding::NoWayBack).as_str();
        undo.insert("state".to_owned(), Value::from(state));
    }
    fields.insert("role".to_owned(), Value::String(role));
    Value::Object(fields)
}

/// `POST /api/conversations/{id}/messages`, and `POST /v1/conversations/{id}/runs` with its idempotency key.
#[utoipa::path(
    post,
    path = "/v1/conversations/{id}/runs",
    operation_id = "beginRun",
    tag = "runs",
    summary = "Says something in a conversation, which begins a run",
    description = "The same request again, with the same key and a fresh assertion, is answered with the same run for 24 hours and at \
                   every gateway. Repetitions count in no rate. A request that was refused began nothing and may come again.",
    params(
        ("id" = String, Path, format = "uuid", description = "The conversation."),
        (
            "Idempotency-Key" = String, Header, min_length = 1, max_length = 200, pattern = "^[!-~]([ -~]*[!-~])?$",
            description = "Printable ASCII characters; another key for each message.",
        ),
    ),
    request_body = NewMessage,
    responses((
        status = 202,
        description = "The run has begun, or waits for a place.",
        body = Begun,
        headers(("idempotent-replayed" = String, description = "`true` where the run had begun before.")),
        links(
            ("show" = (operation_id = "showRun", parameters(("id" = "$response.body#/run_id")))),
            ("events" = (operation_id = "readRunEvents", parameters(("id" = "$response.body#/run_id")))),
            ("ticket" = (operation_id = "issueTicket", parameters(("id" = "$response.body#/run_id")))),
            ("stop" = (operation_id = "stopRun", parameters(("id" = "$response.body#/run_id")))),
        ),
    )),
)]
pub(crate) async fn send(
    State(web): State<Shared>,
    signed: Signed,
    peer: Option<Extension<Peer>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    StrictJson(new): StrictJson<NewMessage>,
) -> Result<Response, Refusal> {
    let message =
        UserMessage::parse(&new.text).map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.code(), error.sentence()))?;
    let id: ConversationId = id_of(&id)?;
    let key = idempotency_key(&headers, signed.host.is_some())?;
    let app = signed.app_of_conversation(&web, id).await?;
    let host = signed.host.map(|host| Arc::clone(&host.host.account));
    // A back end's address says nothing of the person, and all of them would share it.
    let address = peer.filter(|_| host.is_none()).map(|Extension(Peer(address))| address);
    let sender = Sender { user: signed.user, standing: signed.standing, address, host };
    let Some(key) = key else {
        let run = web.runs.start(sender, &app, id, message, new.writes).await?;
        return Ok((StatusCode::ACCEPTED, Json(Begun { run_id: run })).into_response());
    };
    let whole = json!([id, new.text, new.writes]).to_string();
    let once = Once { key_digest: digest_bytes(key.as_bytes()), request_digest: digest_bytes(whole.as_bytes()) };
    let Started { run, before } = web.runs.start_once(sender, &app, id, message, new.writes, once).await?;
    let mut response = (StatusCode::ACCEPTED, Json(Begun { run_id: run })).into_response();
    if before {
        response.headers_mut().insert(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What stands in `Idempotency-Key`. Back ends must send one: theirs is the request that is repeated when an answer is lost.
fn idempotency_key(headers: &HeaderMap, must: bool) -> Result<Option<&str>, Refusal> {
    const CHARS: std::ops::RangeInclusive<usize> = 1..=200;
    const WRONG: Refusal = Refusal::new(
        StatusCode::BAD_REQUEST,
        "idempotency.key",
        "Send one Idempotency-Key of 1 to 200 printable characters, another one for each message.",
    );
    let mut sent = headers.get_all("idempotency-key").iter();
    let Some(first) = sent.next() else { return if must { Err(WRONG) } else { Ok(None) } };
    let key =
        first.to_str().ok().filter(|key| CHARS.contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    if sent.next().is_some() {
        return Err(WRONG);
    }
    key.map(Some).ok_or(WRONG)
}

/// `DELETE /api/conversations/{id}`
#[utoipa::path(
    delete,
    path = "/v1/conversations/{id}",
    operation_id = "deleteConversation",
    tag = "conversations",
    summary = "Deletes a conversation with all that was said in it",
    params(("id" = String, Path, format = "uuid", description = "The conversation.")),
    responses((status = 204, description = "It is gone.")),
)]
pub(crate) async fn forget(State(web): State<Shared>, signed: Signed, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let id = id_of(&id)?;
    signed.app_of_conversation(&web, id).await?;
    match web.store.delete_conversation(signed.user, id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(Refusal::not_found()),
        Err(DeleteConversationError::Active) => Err(Refusal::new(
            StatusCode::CONFLICT,
            "run.active",
            "The assistant is still working in this conversation. Stop it first, then delete the conversation.",
        )),
        Err(DeleteConversationError::Asked) => Err(Refusal::new(
            StatusCode::CONFLICT,
            "confirmation.pending",
            "Something in this conversation waits for its person's answer. Have it answered, or wait until it is over.",
        )),
        Err(DeleteConversationError::Store(error)) => Err(error.into()),
    }
}

//! Conversations: list, begin, read, and say something.

use crate::Shared;
use crate::answer::Refusal;
use crate::body::StrictJson;
use crate::serve::Peer;
use crate::session::Signed;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use policy::{ConversationId, Manifest, Standing, UserMessage};
use runs::Sender;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use store::UndoStanding;

/// `{}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// `{"app": "hexmap", "skill": "planner"}`; without an app, the one that the page shows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConversation {
    app: Option<String>,
    /// One of the app's.
    skill: Option<String>,
}

/// `?app=hexmap`; as above.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    app: Option<String>,
}

/// `{"text": "...", "writes": false}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    text: String,
    #[serde(default)]
    writes: bool,
}

pub(crate) fn id_of<T: std::str::FromStr>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::not_found())
}

/// `GET /api/conversations`
pub(crate) async fn list(
    State(web): State<Shared>,
    Signed(user): Signed,
    listed: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Ok(Query(Listed { app })) = listed else { return Err(Refusal::not_found()) };
    let lines = web.store.conversations_of(user, app_named(&web, app.as_deref())?).await?;
    let shown =
        lines.iter().map(|line| json!({"id": line.id, "title": line.title, "updated_at_ms": line.updated_at.as_millis()}));
    Ok(Json(shown.collect()))
}

/// `POST /api/conversations`
pub(crate) async fn create(
    State(web): State<Shared>,
    Signed(user): Signed,
    StrictJson(new): StrictJson<NewConversation>,
) -> Result<Json<Value>, Refusal> {
    let app = app_named(&web, new.app.as_deref())?;
    let key = Manifest::key_of(app, new.skill.as_deref());
    // Nobody signs in yet. A skill that is not for somebody is none.
    if !web.runs.app(&key).is_some_and(|chosen| chosen.is_for(Standing::Anonymous)) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "skill.unknown",
            "The application has no such skill. Reload the page to see which there are.",
        ));
    }
    let id = web.store.create_conversation(user, &key, web.clock.now()).await?;
    Ok(Json(json!({"id": id})))
}

/// One of the gateway's apps.
fn app_named<'a>(web: &'a Shared, wanted: Option<&'a str>) -> Result<&'a str, Refusal> {
    let app = wanted.unwrap_or(&web.settings.app);
    web.runs.app(app).filter(|found| found.app.manifest.skill.is_none()).map(|_| app).ok_or(Refusal::not_found())
}

/// `GET /api/conversations/{id}`
pub(crate) async fn show(
    State(web): State<Shared>,
    Signed(user): Signed,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let id: ConversationId = id_of(&id)?;
    let messages = web.store.messages_of(user, id).await?.ok_or(Refusal::not_found())?;
    let app = web.store.app_of_conversation(user, id).await?.ok_or(Refusal::not_found())?;
    let skill = app.split_once('/').map(|(_, skill)| skill);
    let standings: HashMap<String, UndoStanding> = web.store.undo_standings(user, id).await?.into_iter().collect();
    let messages: Vec<Value> = messages.into_iter().map(|(role, content)| message(role, &content, &standings)).collect();
    Ok(Json(json!({"id": id, "skill": skill, "messages": messages, "active_run": web.runs.active(user, id)})))
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

/// `POST /api/conversations/{id}/messages`
pub(crate) async fn send(
    State(web): State<Shared>,
    Signed(user): Signed,
    Extension(Peer(address)): Extension<Peer>,
    Path(id): Path<String>,
    StrictJson(new): StrictJson<NewMessage>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let message =
        UserMessage::parse(&new.text).map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.code(), error.sentence()))?;
    let id = id_of(&id)?;
    let app = web.store.app_of_conversation(user, id).await?.ok_or(Refusal::not_found())?;
    // Nobody signs in yet.
    let sender = Sender { user, standing: Standing::Anonymous, address: Some(address) };
    let run = web.runs.start(sender, &app, id, message, new.writes).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"run_id": run}))))
}

//! What only back ends of hosts ask: how a run stands, how much a user may still do, and that a conversation is forgotten.

use crate::Shared;
use crate::answer::Refusal;
use crate::conversations::id_of;
use crate::session::Signed;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use policy::{RunId, Timestamp};
use runs::Sender;
use serde_json::{Value, json};
use std::sync::Arc;
use store::{DeleteConversationError, RunShown};

/// `GET /v1/runs/{id}`
pub(crate) async fn run(State(web): State<Shared>, signed: Signed, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let run: RunId = id_of(&id)?;
    let row = web.store.run_shown(signed.user, run).await?.filter(|row| signed.sees(&row.app)).ok_or(Refusal::not_found())?;
    let RunShown { conversation, app, state, code, message, cost, turns, writes, started_at, ended_at } = row;
    let (state, outcome) = if state == "active" { ("active", None) } else { ("ended", Some(state)) };
    Ok(Json(json!({
        "run_id": run, "conversation_id": conversation, "app": app, "state": state, "outcome": outcome, "code": code,
        "message": message, "writes": writes, "turns": turns, "cost_microusd": cost,
        "started_at_ms": started_at.as_millis(), "ended_at_ms": ended_at.map(Timestamp::as_millis),
    })))
}

/// `DELETE /v1/conversations/{id}`
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

/// `GET /v1/user`
pub(crate) async fn user(State(web): State<Shared>, signed: Signed) -> Result<Json<Value>, Refusal> {
    let Some(host) = &signed.host else { return Err(Refusal::not_found()) };
    let now = web.clock.now();
    let account = Arc::clone(&host.host.account);
    let sender = Sender { user: signed.user, standing: signed.standing, address: None, host: Some(account) };
    let quota = web.runs.quota(&sender).await?;
    let quota: Vec<Value> = quota
        .into_iter()
        .map(|(window, standing)| {
            let used = standing.limit.saturating_sub(standing.remaining);
            json!({"window": window, "limit": standing.limit, "used": used, "resets_at_ms": standing.reset_at.as_millis()})
        })
        .collect();
    let (day, total) = web.store.cost_of_runs(signed.user, now).await?;
    let limit = web.runs.day_limit(&sender);
    Ok(Json(json!({
        "user": host.subject, "id": signed.user, "tier": signed.standing.as_str(), "quota": quota,
        "cost": {"day_microusd": day, "day_limit_microusd": limit, "total_microusd": total},
    })))
}

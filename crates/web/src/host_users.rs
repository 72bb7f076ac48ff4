//! What only back ends of hosts ask: how a run stands, and how much a user may still do.

use crate::Shared;
use crate::answer::Refusal;
use crate::conversations::id_of;
use crate::path::Path;
use crate::session::Signed;
use axum::Json;
use axum::extract::State;
use policy::{Microusd, RunId, Timestamp, UserId};
use runs::Sender;
use serde::Serialize;
use std::sync::Arc;
use store::RunShown;
use utoipa::ToSchema;

/// How a run stands, or came out.
#[derive(Serialize, ToSchema)]
pub(crate) struct Run {
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
    #[schema(format = "uuid")]
    conversation_id: String,
    /// The app's id; a skill of it stands after a slash.
    app: String,
    /// `active` or `ended`.
    state: &'static str,
    /// `finished`, `failed` or `stopped`, once it has ended.
    #[schema(required)]
    outcome: Option<String>,
    /// Why it failed: one of the denials' codes, or one of a run's own.
    #[schema(required)]
    code: Option<String>,
    /// The same as a sentence for people.
    #[schema(required)]
    message: Option<String>,
    writes: bool,
    /// Calls of the model.
    turns: i64,
    #[schema(value_type = i64)]
    cost_microusd: Microusd,
    started_at_ms: i64,
    #[schema(required)]
    ended_at_ms: Option<i64>,
}

/// A user, and how much they may still do.
#[derive(Serialize, ToSchema)]
pub(crate) struct User {
    /// As the host calls them.
    #[schema(value_type = String)]
    user: Arc<str>,
    /// As Hexward does.
    #[schema(value_type = String, format = "uuid")]
    id: UserId,
    tier: &'static str,
    quota: Vec<Window>,
    cost: Cost,
}

/// How many messages may come, and came.
#[derive(Serialize, ToSchema)]
#[schema(as = QuotaWindow)]
struct Window {
    /// `user_hour` or `host_hour`.
    window: &'static str,
    limit: u64,
    used: u64,
    resets_at_ms: i64,
}

/// What runs cost that have ended and are kept.
#[derive(Serialize, ToSchema)]
#[schema(as = UserCost)]
struct Cost {
    /// Since 00:00 UTC.
    #[schema(value_type = i64)]
    day_microusd: Microusd,
    /// None is no limit of the user's own.
    #[schema(value_type = Option<i64>, required)]
    day_limit_microusd: Option<Microusd>,
    #[schema(value_type = i64)]
    total_microusd: Microusd,
}

/// `GET /v1/runs/{id}`
#[utoipa::path(
    get,
    path = "/v1/runs/{id}",
    operation_id = "showRun",
    tag = "runs",
    summary = "Says how a run stands",
    params(("id" = String, Path, format = "uuid", description = "The run.")),
    responses((status = 200, description = "The run.", body = Run)),
)]
pub(crate) async fn run(State(web): State<Shared>, signed: Signed, Path(id): Path<String>) -> Result<Json<Run>, Refusal> {
    let run_id: RunId = id_of(&id)?;
    let row = web.store.run_shown(signed.user, run_id).await?.filter(|row| signed.sees(&row.app)).ok_or(Refusal::not_found())?;
    let RunShown { conversation, app, state, code, message, cost, turns, writes, started_at, ended_at } = row;
    let (state, outcome) = if state == "active" { ("active", None) } else { ("ended", Some(state)) };
    Ok(Json(Run {
        run_id,
        conversation_id: conversation,
        app,
        state,
        outcome,
        code,
        message,
        writes,
        turns,
        cost_microusd: cost,
        started_at_ms: started_at.as_millis(),
        ended_at_ms: ended_at.map(Timestamp::as_millis),
    }))
}

/// `GET /v1/user`
#[utoipa::path(
    get,
    path = "/v1/user",
    operation_id = "showUser",
    tag = "user",
    summary = "Says who the user is to Hexward, and how much they may still do",
    responses((status = 200, description = "The user.", body = User)),
)]
pub(crate) async fn user(State(web): State<Shared>, signed: Signed) -> Result<Json<User>, Refusal> {
    let Some(host) = &signed.host else { return Err(Refusal::not_found()) };
    let now = web.clock.now();
    let account = Arc::clone(&host.host.account);
    let sender = Sender { user: signed.user, standing: signed.standing, address: None, host: Some(account) };
    let quota = web.runs.quota(&sender).await?;
    let quota = quota
        .into_iter()
        .map(|(window, standing)| {
            let used = standing.limit.saturating_sub(standing.remaining);
            Window { window, limit: standing.limit, used, resets_at_ms: standing.reset_at.as_millis() }
        })
        .collect();
    let (day_microusd, total_microusd) = web.store.cost_of_runs(signed.user, now).await?;
    let cost = Cost { day_microusd, day_limit_microusd: web.runs.day_limit(&sender), total_microusd };
    Ok(Json(User { user: Arc::clone(&host.subject), id: signed.user, tier: signed.standing.as_str(), quota, cost }))
}

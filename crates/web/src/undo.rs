//! Undoing what agents did for a person, and doing it again.

use crate::answer::Refusal;
use crate::body::StrictJson;
use crate::conversations::id_of;
use crate::session::Signed;
use crate::{Shared, Web};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use policy::{CallId, DenialCode, Direction, RunId, Timestamp};
use runs::{UndoLine, UndoOutcome};
use serde::{Deserialize, Serialize};
use store::UndoScope;
use utoipa::ToSchema;

/// `{"call": "..."}`, `{"run": "..."}` or `{"app": "hexmap", "since_ms": 0}`, each with `"redo": true` to do again what was undone.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UndoRequest)]
pub(crate) struct Wanted {
    #[schema(format = "uuid")]
    call: Option<String>,
    #[schema(format = "uuid")]
    run: Option<String>,
    app: Option<String>,
    since_ms: Option<i64>,
    #[serde(default)]
    redo: bool,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = UndoReport)]
pub(crate) struct Report {
    calls: Vec<Line>,
    /// Whether all is as it was asked for.
    complete: bool,
    /// Whether there is more than one request undoes: ask again.
    more: bool,
}

/// What came of one call.
#[derive(Serialize, ToSchema)]
#[schema(as = UndoLine)]
struct Line {
    /// The call in the journal.
    #[schema(value_type = String, format = "uuid")]
    call: CallId,
    #[schema(value_type = String, format = "uuid")]
    run: RunId,
    /// As events and messages name the call.
    call_id: String,
    tool: String,
    /// `done`, `already`, `conflict`, `failed`, `uncertain`, `no_way_back`, `busy`, `active` or `left`.
    outcome: &'static str,
    /// What happened and what to do, for a person.
    #[schema(required)]
    message: Option<String>,
    /// What stands in the way.
    conflicts: Vec<String>,
}

impl Wanted {
    fn scope(&self) -> Result<UndoScope, Refusal> {
        match (&self.call, &self.run, &self.app, self.since_ms) {
            (Some(call), None, None, None) => Ok(UndoScope::Call(id_of(call)?)),
            (None, Some(run), None, None) => Ok(UndoScope::Run(id_of(run)?)),
            (None, None, Some(app), Some(ms)) => {
                Ok(UndoScope::Since { app: app.clone(), at: Timestamp(ms.saturating_mul(1_000)) })
            }
            _ => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "undo.what",
                "Say what to undo: a call, a run, or an app and since when; exactly one of them.",
            )),
        }
    }
}

/// `POST /api/undo`: what came of each call, also where it did not work out.
#[utoipa::path(
    post,
    path = "/v1/undo",
    operation_id = "undo",
    tag = "undo",
    summary = "Undoes what agents did for the user, or does it again",
    description = "Of one call (`call`), one run (`run`), or since a time (`app` and `since_ms`); exactly one of them.",
    request_body = Wanted,
    responses((status = 200, description = "What came of each call, also where it did not work out.", body = Report)),
)]
pub(crate) async fn undo(
    State(web): State<Shared>,
    signed: Signed,
    StrictJson(wanted): StrictJson<Wanted>,
) -> Result<Json<Report>, Refusal> {
    let direction = if wanted.redo { Direction::Redo } else { Direction::Undo };
    let scope = wanted.scope()?;
    signed.check_scope(&web, &scope).await?;
    let report = web.runs.undo(signed.user, scope, direction).await?;
    let complete =
        !report.more && report.lines.iter().all(|line| matches!(line.outcome, UndoOutcome::Done | UndoOutcome::Already));
    Ok(Json(Report { calls: report.lines.into_iter().map(line).collect(), complete, more: report.more }))
}

impl Signed {
    /// Whether what is to be undone is of an app that is there for this request.
    async fn check_scope(&self, web: &Web, scope: &UndoScope) -> Result<(), Refusal> {
        if self.host.is_none() {
            return Ok(());
        }
        let app = match scope {
            UndoScope::Run(run) => return self.check_run(web, *run).await,
            UndoScope::Call(call) => web.store.app_of_call(self.user, *call).await?,
            UndoScope::Since { app, .. } => Some(app.clone()),
        };
        app.filter(|app| self.sees(app)).map(drop).ok_or(Refusal::not_found())
    }
}

fn line(UndoLine { entry, outcome }: UndoLine) -> Line {
    Line {
        call: entry.call,
        run: entry.run,
        call_id: entry.tool_use_id,
        tool: entry.tool,
        outcome: outcome.as_str(),
        message: message(&outcome).map(str::to_owned),
        conflicts: if let UndoOutcome::Conflict(named) = outcome { named } else { Vec::new() },
    }
}

/// What happened and what to do, for a person; none where there is nothing to say.
fn message(outcome: &UndoOutcome) -> Option<&str> {
    match outcome {
        UndoOutcome::Done | UndoOutcome::Already => None,
        UndoOutcome::Conflict(_) => Some("Something was changed since, so this was left as it is."),
        UndoOutcome::Failed(text) if text.is_empty() => Some("The application did not do it. Nothing was changed."),
        UndoOutcome::Failed(text) => Some(text),
        UndoOutcome::Uncertain => {
            Some("Nobody knows whether this took effect, so it is not tried again. Look, and put it right by hand.")
        }
        UndoOutcome::NoWayBack => Some(DenialCode::UndoInverse.sentence()),
        UndoOutcome::Busy => Some(DenialCode::UndoBusy.sentence()),
        UndoOutcome::Active => Some(DenialCode::UndoActive.sentence()),
        UndoOutcome::Left => Some("This was not tried, because of what came before it."),
    }
}

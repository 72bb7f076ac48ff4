//! What apps hold for a person, read through their own tool server, and word of its changes.

use crate::Shared;
use crate::answer::Refusal;
use crate::path::Path;
use crate::session::Signed;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use store::Change;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const URI_BYTES_MAX: usize = 300;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// One of the resources that the app's manifest lists; at most 300 bytes of UTF-8.
    #[param(max_length = 300)]
    uri: String,
}

/// `GET /api/apps/{app}/resource?uri=...`: the resource's own JSON.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/resource",
    operation_id = "readResource",
    tag = "apps",
    summary = "Reads one of an app's resources for the user",
    description = "For example `map://items` of the map.",
    params(("app" = String, Path, description = "The app's id."), Wanted),
    responses((status = 200, description = "The resource's own JSON.", body = Value)),
)]
pub(crate) async fn resource(
    State(web): State<Shared>,
    signed: Signed,
    Path(app): Path<String>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Ok(Query(Wanted { uri })) = wanted else { return Err(Refusal::not_found()) };
    if uri.len() > URI_BYTES_MAX || !signed.sees(&app) {
        return Err(Refusal::not_found());
    }
    let read = web.runs.resource(signed.user, &app, &uri).await.map_err(|error| {
        tracing::warn!(error, app, "an app's resource could not be read");
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            "app.unavailable",
            "This part of the application does not answer right now. Try again in a moment.",
        )
    })?;
    let read = read.ok_or(Refusal::not_found())?;
    let text = read.pointer("/contents/0/text").and_then(Value::as_str);
    text.and_then(|text| serde_json::from_str(text).ok()).map(Json).ok_or(Refusal::not_found())
}

/// `GET /api/changes`: tells a page when something of its user changed elsewhere.
pub(crate) async fn changes(
    State(web): State<Shared>,
    Signed { user, .. }: Signed,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let place = web.streams.open(user)?;
    let mine = user.to_string();
    let changes = stream::unfold((web.store.changes(), mine, place), |(mut changes, mine, place)| async move {
        loop {
            let told = match changes.recv().await {
                Ok(Change::App { user, app }) if user == mine => json!({"type": "app_changed", "app": app}),
                Ok(Change::Undo { user, conversation }) if user.to_string() == mine => {
                    json!({"type": "undo_changed", "conversation": conversation})
                }
                Ok(Change::Confirmation { user }) if user == mine => json!({"type": "confirmations_changed"}),
                Ok(Change::App { .. } | Change::Undo { .. } | Change::Confirmation { .. } | Change::BudgetAlert(_)) => continue,
                // Something was missed: the page reads everything again.
                Err(RecvError::Lagged(_)) => json!({"type": "app_changed", "app": null}),
                Err(RecvError::Closed) => return None,
            };
            let event = Event::default().json_data(told).unwrap_or_default();
            return Some((Ok(event), (changes, mine, place)));
        }
    });
    let until = web.stop.clone();
    let changes = changes.take_until(async move { until.cancelled().await });
    Ok(Sse::new(changes).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

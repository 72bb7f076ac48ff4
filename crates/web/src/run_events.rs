//! Runs as pages see them: their events as a stream, and the stop button.

use crate::Shared;
use crate::answer::Refusal;
use crate::body::StrictJson;
use crate::conversations::{Nothing, id_of};
use crate::path::Path;
use crate::session::Signed;
use crate::streams::Place;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use policy::{ChallengeId, RunId};
use runs::{Answered, EventBody, Feed};
use serde::Deserialize;
use std::convert::Infallible;
use std::time::Duration;
use utoipa::ToSchema;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /api/runs/{id}/events`: everything from the beginning, or from after `Last-Event-ID`.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}/events",
    operation_id = "readRunEvents",
    tag = "runs",
    summary = "Reads a run's events as they come",
    description = "A stream of server-sent events that ends after `run_ended`. Each has a number as its `id` and an `Event` as its `data`. \
                   They are kept for two minutes after the run's end; later only its end is known. Comments keep the connection open.",
    params(
        ("id" = String, Path, format = "uuid", description = "The run."),
        (
            "Last-Event-ID" = Option<String>, Header,
            description = "The number of the last event that was seen; the stream goes on after it. What is no number counts as none.",
        ),
    ),
    responses((status = 200, description = "The events.", body = ref("#/components/schemas/StreamedEvent"), content_type = "text/event-stream")),
)]
pub(crate) async fn stream(
    State(web): State<Shared>,
    signed: Signed,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (run, user): (RunId, _) = (id_of(&id)?, signed.user);
    signed.check_run(&web, run).await?;
    let seen =
        headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok()).unwrap_or(0);
    let feed = match web.runs.feed(user, run) {
        Some(feed) => feed,
        None => return ended(&web, user, run, seen).await,
    };
    let place = web.streams.open(user)?;
    let events = stream::unfold((feed, seen, place), |(feed, seen, place): (Feed, u64, Place)| async move {
        let new = feed.after(seen).await;
        let last = new.last()?.seq;
        let shown: Vec<_> = new.into_iter().map(|event| Ok::<_, Infallible>(sse(event.seq, &event))).collect();
        Some((stream::iter(shown), (feed, last, place)))
    });
    let until = web.stop.clone();
    let events = events.flatten().take_until(async move { until.cancelled().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn sse(id: u64, data: &impl serde::Serialize) -> Event {
    Event::default().id(id.to_string()).json_data(data).unwrap_or_default()
}

/// A run that ended a while ago: only its end is still known, from the database. It comes after whatever was seen before.
async fn ended(web: &Shared, user: policy::UserId, run: RunId, seen: u64) -> Result<Response, Refusal> {
    let row = web.store.run_of(user, run).await?.ok_or(Refusal::not_found())?;
    let outcome = match row.state.as_str() {
        "finished" => "finished",
        "stopped" => "stopped",
        "active" => {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "run.elsewhere",
                "Another gateway works on this. Ask the one that began it, or wait for its end.",
            ));
        }
        _ => "failed",
    };
    let turns = u32::try_from(row.turns).unwrap_or(0);
    let end =
        EventBody::RunEnded { outcome, code: row.code, message: row.message, cost_microusd: row.cost.0, turns, duration_ms: 0 };
    let last = runs::Event { seq: seen.saturating_add(1), body: end };
    Ok(Sse::new(stream::iter([Ok::<_, Infallible>(sse(last.seq, &last))])).into_response())
}

/// `POST /api/runs/{id}/stop`
#[utoipa::path(
    post,
    path = "/v1/runs/{id}/stop",
    operation_id = "stopRun",
    tag = "runs",
    summary = "Stops a run",
    params(("id" = String, Path, format = "uuid", description = "The run; once it has ended there is nothing to stop.")),
    request_body = Nothing,
    responses((status = 202, description = "It is being stopped.")),
)]
pub(crate) async fn stop(
    State(web): State<Shared>,
    signed: Signed,
    Path(id): Path<String>,
    _: StrictJson<Nothing>,
) -> Result<StatusCode, Refusal> {
    let run = id_of(&id)?;
    signed.check_run(&web, run).await?;
    if web.runs.stop(signed.user, run) { Ok(StatusCode::ACCEPTED) } else { Err(Refusal::not_found()) }
}

/// What a person says to a question.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChallengeAnswer)]
pub(crate) struct Answer {
    #[schema(value_type = String, format = "uuid")]
    challenge_id: ChallengeId,
    /// With `challenge_id:` before it, it has the digest that was asked for. Of no use where the answer is no.
    #[serde(default)]
    nonce: String,
    goes_on: bool,
}

/// `POST /api/runs/{id}/challenge`: whether a run whose agent does unusually much shall go on.
#[utoipa::path(
    post,
    path = "/v1/runs/{id}/challenge",
    operation_id = "answerChallenge",
    tag = "runs",
    summary = "Answers whether a run whose agent does unusually much shall go on",
    description = "The answer to a `challenge` event, which says how many zero bits the SHA-256 of `CHALLENGE_ID:NONCE` has to begin with.",
    params(("id" = String, Path, format = "uuid", description = "The run.")),
    request_body = Answer,
    responses((status = 204, description = "The answer is taken.")),
)]
pub(crate) async fn answer_challenge(
    State(web): State<Shared>,
    signed: Signed,
    Path(id): Path<String>,
    StrictJson(answer): StrictJson<Answer>,
) -> Result<StatusCode, Refusal> {
    let run = id_of(&id)?;
    signed.check_run(&web, run).await?;
    match web.runs.answer_challenge(signed.user, run, answer.challenge_id, &answer.nonce, answer.goes_on) {
        Answered::Taken => Ok(StatusCode::NO_CONTENT),
        Answered::NoQuestion => Err(Refusal::not_found()),
        Answered::TooSoon => Err(Refusal::new(
            StatusCode::CONFLICT,
            "challenge.too_soon",
            "That was faster than anybody can read the question. Read it, and answer again.",
        )),
        Answered::NoWork => Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "challenge.no_work",
            "The nonce does not have the digest that was asked for. Reload the page and answer again.",
        )),
    }
}

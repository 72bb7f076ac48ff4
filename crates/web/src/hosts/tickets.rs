//! Tickets: what a host's page in a browser reads the events of one run with. A back end asks for one; it opens nothing else.
//!
//! Invariant: of a ticket one stream is open at a time, and what a page may read across origins is this one address, with a ticket only.

use super::{Host, HostUse};
use crate::answer::Refusal;
use crate::body::StrictJson;
use crate::conversations::{Nothing, id_of};
use crate::path::Path;
use crate::session::Signed;
use crate::{Shared, hosts::Entry, hosts::admit};
use aws_lc_rs::rand;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use parking_lot::Mutex;
use policy::{DenialCode, HostAction, RunId, Standing, TICKET_PREFIX, Timestamp, digest_bytes};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use store::Ticket;
use utoipa::ToSchema;

/// A ticket is good for so long at most, however long its run takes.
const LIFE_SECS: i64 = 600;
const TOKEN_BYTES_MAX: usize = 128;
/// How long a browser may remember what it may ask.
const PREFLIGHT_SECS: &str = "600";

type Open = Arc<Mutex<HashSet<[u8; 32]>>>;

/// The tickets with which a stream is open.
#[derive(Default)]
pub(crate) struct Tickets(Open);

/// One such stream; the ticket is free again when this is dropped.
struct Place {
    open: Open,
    digest: [u8; 32],
}

impl Tickets {
    fn take(&self, digest: [u8; 32]) -> Option<Place> {
        self.0.lock().insert(digest).then(|| Place { open: Arc::clone(&self.0), digest })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.lock().remove(&self.digest);
    }
}

/// A ticket as it is handed out.
#[derive(Serialize, ToSchema)]
#[schema(as = Ticket)]
pub(crate) struct Issued {
    /// For `Authorization: Bearer`, one stream at a time.
    ticket: String,
    /// Ten minutes from now; it is over sooner, two minutes after the run's end or with the key that asked for it.
    expires_at_ms: i64,
    /// The one path that it opens.
    events_url: String,
}

/// `POST /v1/runs/{id}/tickets`
#[utoipa::path(
    post,
    path = "/v1/runs/{id}/tickets",
    operation_id = "issueTicket",
    tag = "runs",
    summary = "Makes a ticket with which a page of the host reads a run's events",
    params(("id" = String, Path, format = "uuid", description = "The run.")),
    request_body = Nothing,
    responses((status = 201, description = "The ticket.", body = Issued)),
)]
pub(crate) async fn issue(
    State(web): State<Shared>,
    signed: Signed,
    Path(id): Path<String>,
    _: StrictJson<Nothing>,
) -> Result<(StatusCode, Json<Issued>), Refusal> {
    let run: RunId = id_of(&id)?;
    signed.check_run(&web, run).await?;
    let Some(HostUse { host, key, .. }) = &signed.host else { return Err(Refusal::not_found()) };
    let mut random = [0; 32];
    rand::fill(&mut random).map_err(|_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server can't make a ticket right now. Try again.")
    })?;
    let token = random.iter().fold(TICKET_PREFIX.to_owned(), |token, byte| format!("{token}{byte:02x}"));
    let expires_at = web.clock.now().plus_secs(LIFE_SECS);
    let ticket = Ticket { run, user: signed.user, host: host.account.id.clone(), expires_at };
    web.store.create_ticket(digest_bytes(token.as_bytes()), ticket, key.id).await?;
    let events_url = format!("/v1/runs/{run}/events");
    Ok((StatusCode::CREATED, Json(Issued { ticket: token, expires_at_ms: expires_at.as_millis(), events_url })))
}

/// In front of a run's events: a ticket for this run, or a back end like everywhere else.
pub(crate) async fn door(State(web): State<Shared>, mut request: Request, next: Next) -> Response {
    let Some(token) = shown(request.headers()).map(str::to_owned) else {
        let entry = Entry { web, action: HostAction::Read };
        return admit(State(entry), request, next).await.into_response();
    };
    let origin = request.headers().get(header::ORIGIN).cloned();
    // Also a refusal may be read by a page that could have been let in, so that it knows what to do.
    let named = origin.as_ref().and_then(|origin| origin.to_str().ok()).is_some_and(|origin| web.hosts.knows_origin(origin));
    let readable = origin.clone().filter(|_| named);
    let response = match open(&web, &token, request.uri().path().to_owned(), origin).await {
        Err(refusal) => refusal.into_response(),
        Ok((ticket, place)) => {
            request.headers_mut().remove(header::COOKIE);
            request.extensions_mut().insert(Signed { user: ticket.user, standing: Standing::Anonymous, host: None });
            held(next.run(request).await, place, left(ticket.expires_at, web.clock.now()))
        }
    };
    shared(response, readable)
}

/// `OPTIONS /v1/runs/{id}/events`: what a browser asks before it shows a ticket.
#[utoipa::path(
    options,
    path = "/v1/runs/{id}/events",
    operation_id = "askForRunEvents",
    tag = "runs",
    summary = "Says to a browser that a page of a host may show a ticket",
    params(
        ("id" = String, Path, description = "The run; it is not looked at."),
        ("Origin" = String, Header, description = "One that a host has configured."),
    ),
    responses((
        status = 204,
        description = "It may.",
        headers(
            ("access-control-allow-origin" = String),
            ("access-control-allow-methods" = String),
            ("access-control-allow-headers" = String),
        ),
    )),
)]
pub(crate) async fn preflight(State(web): State<Shared>, headers: HeaderMap) -> Result<Response, Refusal> {
    let origin = headers.get(header::ORIGIN).filter(|origin| origin.to_str().is_ok_and(|origin| web.hosts.knows_origin(origin)));
    let origin = origin.cloned().ok_or(FOREIGN)?;
    let fixed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, last-event-id"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECS),
    ];
    Ok(shared((StatusCode::NO_CONTENT, fixed).into_response(), Some(origin)))
}

const FOREIGN: Refusal = Refusal::new(
    StatusCode::FORBIDDEN,
    "origin",
    "This page is not one of the host's, so it may read nothing. Have the operator add its origin to the host.",
);

/// The one ticket that a request shows; whatever else it shows is a back end's.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = all.next()?.to_str().ok()?.split_at_checked(7)?;
    let one = all.next().is_none() && scheme.eq_ignore_ascii_case("bearer ") && token.len() <= TOKEN_BYTES_MAX;
    (one && token.starts_with(TICKET_PREFIX)).then_some(token)
}

async fn open(web: &Shared, token: &str, path: String, origin: Option<HeaderValue>) -> Result<(Ticket, Place), Refusal> {
    let digest = digest_bytes(token.as_bytes());
    let invalid = Refusal::denied(StatusCode::UNAUTHORIZED, DenialCode::TicketInvalid);
    let Some(ticket) = web.store.ticket_of(digest, web.clock.now()).await? else { return Err(invalid) };
    let host: Option<&Arc<Host>> = web.hosts.host(&ticket.host);
    let (Some(host), true) = (host, path == format!("/v1/runs/{}/events", ticket.run)) else { return Err(invalid) };
    if origin.is_some_and(|origin| !origin.to_str().is_ok_and(|origin| host.has_origin(origin))) {
        return Err(FOREIGN);
    }
    let in_use = Refusal::denied(StatusCode::CONFLICT, DenialCode::TicketInUse);
    web.hosts.tickets.take(digest).map(|place| (ticket, place)).ok_or(in_use)
}

/// The answer, which keeps the ticket's place as long as it is read, and ends with the ticket.
fn held(response: Response, place: Place, left: Duration) -> Response {
    let over = tokio::time::sleep(left);
    response.map(|body| {
        let pieces = body.into_data_stream().take_until(over).map(move |piece| {
            let _held = &place;
            piece
        });
        Body::from_stream(pieces)
    })
}

fn left(until: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0))
}

/// May be read by a page of this origin.
fn shared(mut response: Response, origin: Option<HeaderValue>) -> Response {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

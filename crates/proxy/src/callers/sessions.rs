//! `/api/mcp-sessions`: a service that starts an agent elsewhere gets a key for that one request of it, and ends it when it is over.

use super::{Callers, peer_of};
use crate::answer::{self, Body};
use crate::messages::pace::{self, TooMany};
use crate::{body, strict};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use policy::{Denial, DenialCode, KeyId, KeyScope, Network, Throttle, is_key_name, key_digest, key_token};
use serde::Deserialize;
use serde_json::json;
use store::{ClientKeyError, NewClientSession, StoreError};

const ROUTE: &str = "/api/mcp-sessions";
/// As long as an agent's request may take.
const SESSION_SECS: i64 = 600;
const SUBJECT_CHARS_MAX: usize = 200;
/// A tenth of a model call.
const WEIGHT_MILLIS: u64 = 100;

/// What a session is asked for with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Which of the service's users.
    user: String,
    /// The app whose tools the agent gets.
    app: String,
    /// Which of the user's agents. Its session before is over.
    #[serde(default = "only_agent")]
    agent: String,
    tools: Option<Vec<String>>,
    #[serde(default)]
    writes: bool,
    networks: Option<Vec<Network>>,
}

fn only_agent() -> String {
    "agent".to_owned()
}

/// A session that an address names, or none for all of them.
pub(super) fn route(path: &str) -> Option<Option<String>> {
    let rest = path.strip_prefix(ROUTE)?;
    match rest.strip_prefix('/') {
        None => rest.is_empty().then_some(None),
        Some(id) => Some(Some(id.to_owned())),
    }
}

impl Callers {
    pub(super) async fn answer_session(&self, session: Option<String>, request: Request<Incoming>) -> Response<Body> {
        let known = match self.service(request.headers(), peer_of(&request)) {
            Ok(known) => known,
            Err(refusal) => return refusal,
        };
        if !known.scope.sessions {
            let denial = Denial::new(DenialCode::KeyScope, ROUTE);
            return answer::denied(&denial);
        }
        let max = known.scope.requests_per_hour.map(u64::from);
        if let Err(TooMany { code, answer }) =
            pace::admit(&self.proxy, &known.notes.caller_key, max, WEIGHT_MILLIS, Throttle::Open).await
        {
            code.into_iter().for_each(|code| self.note_too_many(known.id, code));
            return answer;
        }
        match (request.method(), session) {
            (&Method::POST, None) => self.open_session(&known.scope, known.id, request.into_body()).await,
            (&Method::DELETE, Some(id)) => {
                let Ok(id) = id.parse::<KeyId>() else { return not_found() };
                match self.proxy.store.end_client_session(known.user, id, self.proxy.clock.now()).await {
                    Ok(true) => {
                        self.tools.clients.forget_key(id);
                        answer::json(StatusCode::OK, &json!({"id": id, "ended": true}))
                    }
                    Ok(false) => not_found(),
                    Err(error) => failed(&error),
                }
            }
            _ => answer::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "invalid_request_error",
                "POST to /api/mcp-sessions opens a session, DELETE of /api/mcp-sessions/ID ends it.",
            ),
        }
    }

    async fn open_session(&self, service: &KeyScope, made_by: KeyId, body: Incoming) -> Response<Body> {
        let body = match body::read(body).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let wanted = strict::parse(&body).and_then(serde_json::from_value::<Wanted>);
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(error) => return invalid(&format!("The body is not what opens a session: {error}.")),
        };
        if let Err(fault) = self.check(&wanted, service) {
            return fault;
        }
        let mut random = [0_u8; 32];
        if aws_lc_rs::rand::fill(&mut random).is_err() {
            return answer::unavailable("The system's random source failed, so no key can be made.");
        }
        let (token, now) = (key_token(&random), self.proxy.clock.now());
        let Wanted { user: subject, app, agent, tools, writes, networks } = wanted;
        let asked = KeyScope { app: Some(app), tools, writes, sessions: false, networks, ..KeyScope::default() };
        let (digest, expires_at) = (key_digest(token.as_bytes()), now.plus_secs(SESSION_SECS));
        let new = NewClientSession { digest, made_by, subject, agent, scope: asked.narrowed(service), expires_at };
        match self.proxy.store.open_client_session(new, now).await {
            Ok(row) => {
                self.tools.clients.forget(row.user);
                let told = json!({
                    "id": row.id, "token": token, "user": row.user, "generation": row.generation, "expires_at": expires_at.to_rfc3339(),
                });
                answer::json(StatusCode::CREATED, &told)
            }
            Err(ClientKeyError::TooMany) => answer::error(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "This service has as many sessions open as it may. End some.",
            ),
            Err(ClientKeyError::NoUser | ClientKeyError::Ended) => {
                answer::error(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key")
            }
            Err(ClientKeyError::Store(error)) => failed(&error),
        }
    }

    #[expect(clippy::result_large_err, reason = "the answer is what a refusal is")]
    fn check(&self, wanted: &Wanted, service: &KeyScope) -> Result<(), Response<Body>> {
        let fits =
            |text: &str| (1..=SUBJECT_CHARS_MAX).contains(&text.chars().count()) && !text.contains(|c: char| c.is_control());
        if !fits(&wanted.user) {
            return Err(invalid("user must be 1 to 200 characters."));
        }
        if !is_key_name(&wanted.agent) {
            return Err(invalid("agent must be 1 to 64 letters, digits, `-`, `_` and `.`."));
        }
        if service.app.as_ref().is_some_and(|own| *own != wanted.app) {
            return Err(answer::denied(&Denial::new(DenialCode::KeyScope, &wanted.app)));
        }
        match self.tools.app(&wanted.app) {
            Some(_) => Ok(()),
            None => Err(invalid("app is none that this gateway has.")),
        }
    }
}

fn invalid(message: &str) -> Response<Body> {
    answer::error(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}

fn not_found() -> Response<Body> {
    answer::error(StatusCode::NOT_FOUND, "not_found_error", "This service has no such session that is not over.")
}

fn failed(error: &StoreError) -> Response<Body> {
    tracing::error!(%error, "the database failed");
    answer::unavailable("The gateway's database is not available. Nothing was changed; try again in a moment.")
}

//! Errors as people's programs see them: `{"error":{"code","message"},"request_id"}`. The one place where they are made.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use policy::DenialCode;
use runs::{PersonCallError, PersonError, StartError, UndoError};
use serde::Serialize;
use std::any::Any;
use store::StoreError;
use utoipa::ToSchema;
use uuid::Uuid;

/// When a place may be free again, roughly.
const BUSY_SECS: i64 = 10;

/// What every refusal says.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Refused {
    error: Reason,
    /// Names this answer in the server's log.
    #[schema(format = "uuid")]
    request_id: String,
}

/// Why.
#[derive(Serialize, ToSchema)]
#[schema(as = Reason)]
struct Reason {
    /// Stable: programs may go by it.
    code: &'static str,
    /// A sentence for people, which may change.
    message: &'static str,
}

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
    /// After how many seconds it is worth asking again, where that is known.
    retry_after_secs: Option<i64>,
    /// The rule that refuses, where one does.
    denial: Option<DenialCode>,
}

impl Refusal {
    pub(crate) const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, retry_after_secs: None, denial: None }
    }

    pub(crate) const fn after(self, secs: i64) -> Self {
        Self { retry_after_secs: Some(secs), ..self }
    }

    /// What a rule refuses. Who answers for the rule finds it in the response's extensions, to write it down.
    pub(crate) const fn denied(status: StatusCode, code: DenialCode) -> Self {
        Self { denial: Some(code), ..Self::new(status, code.as_str(), code.sentence()) }
    }

    /// What belongs to someone else does not exist, in the same words as what exists nowhere.
    pub(crate) const fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing here. Check the address, or start again from the first page.",
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let request_id = Uuid::now_v7();
        if self.status.is_server_error() {
            tracing::warn!(%request_id, code = self.code, "answered with an error");
        }
        let error = Reason { code: self.code, message: self.message };
        let body = Refused { error, request_id: request_id.to_string() };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(code) = self.denial {
            response.extensions_mut().insert(code);
        }
        if let Some(secs) = self.retry_after_secs {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store.unavailable",
            "The server can't reach its database right now. Nothing was lost; try again in a moment.",
        )
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NoApp | StartError::NoConversation => Self::not_found(),
            StartError::Skill => Self::new(
                StatusCode::FORBIDDEN,
                "skill.tier",
                "This skill is not for you any more. Begin a new conversation without it.",
            ),
            StartError::Active => Self::new(
                StatusCode::CONFLICT,
                "run.active",
                "The assistant is still working on the last message. Wait for it, or stop it first.",
            ),
            StartError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "run.busy",
                "Too many requests are being worked on right now. Try again in a moment.",
            )
            .after(BUSY_SECS),
            StartError::Waiting => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "run.waiting",
                "As many of your messages as may are waiting already. Wait for one to begin.",
            )
            .after(BUSY_SECS),
            StartError::Rate(refusal) => Self::new(StatusCode::TOO_MANY_REQUESTS, refusal.code.as_str(), refusal.code.sentence())
                .after(refusal.retry_after_secs()),
            StartError::Other => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency.other",
                "Another request came with this Idempotency-Key. Send this one with a key of its own.",
            ),
            StartError::Stopping => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "gateway.stopping", "The server is restarting. Try again in a moment.")
            }
            StartError::Agent(error) => {
                tracing::error!(%error, "no agent can be started");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), error.public())
            }
            StartError::Store(error) => error.into(),
        }
    }
}

impl From<PersonError> for Refusal {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Rate(refusal) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, refusal.code.as_str(), refusal.code.sentence())
                    .after(refusal.retry_after_secs())
            }
            PersonError::Call(PersonCallError::Unknown) => Self::not_found(),
            PersonError::Call(PersonCallError::Unreachable) => Self::new(
                StatusCode::BAD_GATEWAY,
                "app.unavailable",
                "This part of the application does not answer right now, and nothing was changed. Try again in a moment.",
            ),
            PersonError::Call(PersonCallError::Uncertain) => Self::new(
                StatusCode::BAD_GATEWAY,
                "app.uncertain",
                "The application's answer was lost, so nobody knows whether it took effect. Look before you do it again.",
            ),
            PersonError::Call(PersonCallError::Store(error)) => error.into(),
        }
    }
}

impl From<UndoError> for Refusal {
    fn from(error: UndoError) -> Self {
        let denied = |code: DenialCode| Self::new(StatusCode::CONFLICT, code.as_str(), code.sentence());
        match error {
            UndoError::Nothing => Self::not_found(),
            UndoError::Active => denied(DenialCode::UndoActive),
            UndoError::Busy => denied(DenialCode::UndoBusy),
            UndoError::Rate(refusal) => StartError::Rate(refusal).into(),
            UndoError::Stopping => StartError::Stopping.into(),
            UndoError::Store(error) => error.into(),
        }
    }
}

pub(crate) async fn not_found() -> Refusal {
    Refusal::not_found()
}

pub(crate) async fn method_not_allowed() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "This address does not take this kind of request.")
}

pub(crate) fn panicked(_: Box<dyn Any + Send>) -> Response<Body> {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The server failed to answer. Try again; it was told to its operator.",
    )
    .into_response()
}

//! The model proxy: who, what, may they, open, forward, settle.
//!
//! Bytes pass through unchanged in both directions; the key exists only in the request that leaves for the provider.

mod callers;
mod forward;
mod headers;
mod meter;
mod parse;
mod sse;
mod upstream;

pub use callers::{CallerSecret, SecretError, serve_callers};
pub use upstream::{ModelUpstream, UpstreamError};

use crate::answer::{self, Body};
use crate::context::RunContext;
use crate::{Proxy, RunEvent};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use policy::{AuditEvent, Denial, DenialCode, ModelPath, ModelRequest, RunView, admit_model};
use std::sync::Arc;
use std::time::Duration;
use store::{OpenError, OpenModelCall};

/// A body that takes longer than this to arrive is not waited for.
const BODY_WAIT: Duration = Duration::from_secs(60);

/// Who asks for a model call.
pub(crate) enum Caller {
    /// An agent in a sandbox, known by its listener.
    Run(Arc<RunContext>),
    /// A remote caller that showed a secret.
    Service(RunView),
}

impl Caller {
    fn view(&self) -> RunView {
        match self {
            Self::Run(run) => run.view(),
            Self::Service(view) => view.clone(),
        }
    }

    async fn tell(&self, event: RunEvent) {
        if let Self::Run(run) = self {
            run.tell(event).await;
        }
    }
}

/// Answers one request on the model path. `path` is the provider's path (`/v1/...`).
pub(crate) async fn handle(proxy: &Arc<Proxy>, caller: Caller, path: &str, request: Request<Incoming>) -> Response<Body> {
    match admit(proxy, &caller, path, request).await {
        Ok((open, head, body)) => {
            let left = caller.view().deadline.0.saturating_sub(proxy.clock.now().0);
            let time_left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
            forward::forward(Arc::clone(proxy), caller, open, &head, body, time_left).await
        }
        Err(response) => response,
    }
}

/// Up to the point where the call is permitted, reserved and written down; an `Err` is the answer.
async fn admit(
    proxy: &Proxy,
    caller: &Caller,
    path: &str,
    request: Request<Incoming>,
) -> Result<(OpenModelCall, http::request::Parts, Bytes), Response<Body>> {
    let Some(known) = ModelPath::parse(request.method().as_str(), path) else {
        let wanted = format!("{} {path}", request.method());
        return Err(refuse(proxy, caller, Denial::new(DenialCode::ModelPath, &wanted)).await);
    };
    let (head, body) = request.into_parts();
    let body = read_body(&head, body).await?;
    let asked = parse::model_request(known, &body)
        .map_err(|text| answer::error(StatusCode::BAD_REQUEST, "invalid_request_error", &text))?;
    match open(proxy, caller, asked).await {
        Ok(open) => Ok((open, head, body)),
        Err(OpenError::Denied(denial)) => Err(refuse(proxy, caller, denial).await),
        Err(OpenError::Store(error)) => {
            tracing::error!(%error, "a model call could not be written down, so it was not made");
            Err(answer::unavailable("The gateway's database is not available, so nothing may be spent. Try again in a moment."))
        }
    }
}

async fn open(proxy: &Proxy, caller: &Caller, request: ModelRequest) -> Result<OpenModelCall, OpenError> {
    let (now, view, path) = (proxy.clock.now(), caller.view(), request.path);
    let deadline = view.deadline;
    let permit = admit_model(request, &view, now).map_err(OpenError::Denied)?;
    if let Caller::Run(run) = caller {
        let taken = match path {
            ModelPath::Messages => run.take_turn(),
            ModelPath::CountTokens => run.take_count(),
        };
        if !taken {
            return Err(OpenError::Denied(Denial::new(DenialCode::RunTurns, &run.run.to_string())));
        }
    }
    let lifetime_secs = (deadline.0 - now.0) / 1_000_000 + forward::GRACE_SECS;
    proxy.store.open_model_call(permit, &proxy.gateway, now, lifetime_secs).await
}

/// Reads the whole body within its bounds.
async fn read_body(head: &http::request::Parts, body: Incoming) -> Result<Bytes, Response<Body>> {
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if content_type.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(answer::error(StatusCode::BAD_REQUEST, "invalid_request_error", "content-type must be application/json."));
    }
    match tokio::time::timeout(BODY_WAIT, Limited::new(body, parse::BODY_BYTES_MAX).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            "The request is larger than 32 MB. Send less at a time.",
        )),
        Ok(Err(_)) => Err(answer::error(StatusCode::BAD_REQUEST, "invalid_request_error", "The body ended early.")),
        Err(_) => {
            Err(answer::error(StatusCode::REQUEST_TIMEOUT, "timeout_error", "The body took longer than 60 seconds to arrive."))
        }
    }
}

/// Records a refusal and answers it.
pub(crate) async fn refuse(proxy: &Proxy, caller: &Caller, denial: Denial) -> Response<Body> {
    let run = match caller {
        Caller::Run(run) => run.record_denial().then_some(run.run),
        Caller::Service(view) => Some(view.run),
    };
    if let Some(run) = run {
        proxy.record(AuditEvent::Denied { run: Some(run), denial: denial.clone() }).await;
        caller.tell(RunEvent::Denied { denial: denial.clone() }).await;
    }
    answer::denied(&denial)
}

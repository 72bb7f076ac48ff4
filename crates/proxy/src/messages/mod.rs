//! The model proxy: who, what, may they, open, forward, settle.
//!
//! Bytes pass through unchanged in both directions; the key exists only in the request that leaves for the provider.

mod betas;
mod body;
mod bounded;
mod canon;
mod events;
mod exchange;
mod forward;
pub(crate) mod headers;
pub(crate) mod integrity;
mod less;
mod meter;
mod models;
mod ongoing;
pub(crate) mod pace;
mod parse;
pub(crate) mod prefixes;
mod providers;
pub(crate) mod rooms;
mod shape;
mod sse;
mod upstream;
mod used;

pub use providers::{Attempt, Attempts, Outcome, Protocol, ProviderConfig, ProviderError, Providers, chance, check_key};
pub use upstream::{ModelUpstream, UpstreamError};

use crate::answer::{self, Body};
use crate::context::{Entry, RunContext};
use crate::{Proxy, RunEvent};
use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use policy::{AuditEvent, Denial, DenialCode, Labels, ModelPath, ModelRequest, RunView, Timestamp, admit_model};
use prefixes::Prefixes;
use rooms::Share;
use shape::Detail;
use std::pin::Pin;
use std::sync::Arc;
use store::{CallNotes, OpenError, OpenModelCall, Purse};

/// Who asks for a model call.
#[derive(Clone)]
pub(crate) enum Caller {
    /// An agent in a sandbox, known by its listener.
    Run(Arc<RunContext>),
    /// A remote caller that showed a secret.
    Service(Arc<Service>),
}

/// A remote caller, as decisions and the ledger know it.
#[derive(Clone)]
pub(crate) struct Service {
    /// What it may do.
    pub(crate) view: RunView,
    /// What it holds of the budgets above it.
    pub(crate) purse: Purse,
    /// Who it is, for the log of calls.
    pub(crate) notes: CallNotes,
    /// What was measured of its principal's conversations.
    pub(crate) prefixes: Arc<Prefixes>,
    /// How much its principal's calls may take up.
    pub(crate) share: Arc<Share>,
}

impl Caller {
    fn view(&self) -> RunView {
        match self {
            Self::Run(run) => run.view(),
            Self::Service(service) => service.view.clone(),
        }
    }

    fn run(&self) -> Option<Arc<RunContext>> {
        match self {
            Self::Run(run) => Some(Arc::clone(run)),
            Self::Service(_) => None,
        }
    }

    fn purse(&self) -> (&Purse, CallNotes) {
        match self {
            Self::Run(run) => (run.purse(), CallNotes { app: run.app.manifest.id.as_str().into(), ..CallNotes::default() }),
            Self::Service(service) => (&service.purse, service.notes.clone()),
        }
    }

    fn share(&self) -> Option<&Share> {
        match self {
            Self::Run(_) => None,
            Self::Service(service) => Some(&service.share),
        }
    }

    fn prefixes(&self) -> &Prefixes {
        match self {
            Self::Run(run) => run.prefixes(),
            Self::Service(service) => &service.prefixes,
        }
    }

    /// How much of a body is read: a run says all of it again and again.
    fn detail(&self, body: &[u8]) -> Detail {
        match self {
            Self::Run(_) => Detail::Digests,
            Self::Service(_) if prefixes::may_help(body) => Detail::Digests,
            Self::Service(_) => Detail::Facts,
        }
    }

    /// Lets a call begin, unless its run is over.
    fn enter(&self, proxy: &Proxy) -> Option<Entry> {
        match self {
            Self::Run(run) => run.enter(),
            Self::Service(_) => Some(proxy.work.token()),
        }
    }

    /// Tells a run's conductor; a remote caller has nobody to tell, and keeps no room for it.
    async fn tell(&self, event: RunEvent) {
        if let Self::Run(run) = self {
            Box::pin(run.tell(event)).await;
        }
    }
}

/// Answers one request on the model path. `path` is the provider's path (`/v1/...`).
pub(crate) async fn handle(proxy: &Arc<Proxy>, caller: Caller, path: &str, request: Request<Incoming>) -> Response<Body> {
    let known = ModelPath::parse(request.method().as_str(), path).filter(|known| models::is_open_to(&caller, *known));
    let Some(known) = known else {
        let wanted = format!("{} {path}", request.method());
        return refuse(proxy, &caller, Denial::new(DenialCode::ModelPath, &wanted)).await;
    };
    if let Some(beta) = betas::forbidden(request.headers()) {
        return refuse(proxy, &caller, Denial::new(DenialCode::ModelFeature, &format!("anthropic-beta {beta}"))).await;
    }
    let (head, body) = request.into_parts();
    let read = async {
        if known == ModelPath::Models {
            return Ok(((models::asked(path), shape::Shape::default()), body::Held::nothing()));
        }
        let body = body::read(proxy, &caller, &head, body).await?;
        let detail = caller.detail(&body.bytes);
        let asked = parse::read(known, body.bytes.clone(), detail).await.map_err(|text| body::invalid(&text))?;
        Ok((asked, body))
    };
    let ((request, shape), body) = match read.await {
        Ok(read) => read,
        Err(response) => return response,
    };
    // The run may have ended while the body came. From here on its end waits for this call.
    let Some(entry) = caller.enter(proxy) else {
        return refuse(proxy, &caller, Denial::new(DenialCode::RunNone, path)).await;
    };
    let heard = match honest(&caller, known, &body, proxy.clock.now()).await {
        Ok(heard) => heard,
        Err(denial) => return refuse(proxy, &caller, denial).await,
    };
    let watched = caller.run().is_some();
    let asked = forward::Asked::new(request, &shape, &head.headers, body.bytes.clone());
    let call = forward::Call { proxy: Arc::clone(proxy), caller, asked, head, body, entry, heard };
    if watched {
        return call.make_watched().await;
    }
    let time = call.time();
    let response = call.make().await;
    // What came whole is settled already.
    if response.body().is_end_stream() || response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| bounded::until(body, time))
}

/// Whether an agent's request is the conversation that it says it is. None where nothing is known of one: what the model says then
/// has no authority.
async fn honest(
    caller: &Caller,
    path: ModelPath,
    body: &body::Held,
    now: Timestamp,
) -> Result<Option<Arc<integrity::Heard>>, Denial> {
    let (Caller::Run(run), ModelPath::Messages) = (caller, path) else { return Ok(None) };
    if run.app.manifest.runs_code() {
        return Ok(None);
    }
    let compared = match run.dialogue() {
        Some(dialogue) => dialogue.hear(body.bytes.clone(), now).await.map_err(|why| why.to_string()),
        None => Err("a conversation that nobody follows".to_owned()),
    };
    match compared {
        Ok(heard) => Ok(Some(Arc::new(heard))),
        Err(why) if run.app.manifest.uses_model_freely() => {
            tracing::debug!(run = %run.run, why, "a model call that is not the conversation");
            Ok(None)
        }
        Err(why) => Err(Denial::new(DenialCode::ModelConversation, &why)),
    }
}

/// What is said of a call beside whose it is.
#[derive(Clone, Copy)]
struct Notes<'a> {
    provider: &'a str,
    labels: &'a Labels,
    /// Whether no other provider was asked before: several attempts are one turn.
    first: bool,
}

/// May they? And then: reserved and written down.
async fn open(proxy: &Proxy, caller: &Caller, request: ModelRequest, said: &Notes<'_>) -> Result<OpenModelCall, OpenError> {
    let (now, view, path) = (proxy.clock.now(), caller.view(), request.path);
    let deadline = view.deadline;
    let permit = admit_model(request, &view, &proxy.prices, now).map_err(OpenError::Denied)?;
    if let (Caller::Run(run), true) = (caller, said.first) {
        let taken = match path {
            ModelPath::Messages => run.take_turn(),
            ModelPath::CountTokens | ModelPath::Models => run.take_count(),
        };
        if !taken {
            return Err(OpenError::Denied(Denial::new(DenialCode::RunTurns, &run.run.to_string())));
        }
    }
    let (purse, mut notes) = caller.purse();
    notes.provider = said.provider.into();
    if *said.labels != Labels::default() {
        notes.labels = said.labels.to_string().into();
    }
    purse.open(permit, notes, deadline).await
}

/// Records a refusal and answers it. On the heap: every call would keep room for it.
pub(crate) fn refuse<'a>(
    proxy: &'a Proxy,
    caller: &'a Caller,
    denial: Denial,
) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + 'a>> {
    Box::pin(refused(proxy, caller, denial))
}

async fn refused(proxy: &Proxy, caller: &Caller, denial: Denial) -> Response<Body> {
    let run = match caller {
        Caller::Run(run) => run.record_denial().then_some(run.run),
        Caller::Service(service) => Some(service.view.run),
    };
    if let Some(run) = run {
        proxy.record(AuditEvent::Denied { run: Some(run), denial: denial.clone() }).await;
        caller.tell(RunEvent::Denied { denial: denial.clone() }).await;
    }
    let mut response = answer::denied(&denial);
    if denial.code.ends_with_the_day() {
        let seconds = http::HeaderValue::from(proxy.clock.now().secs_to_next_day());
        response.headers_mut().insert(http::header::RETRY_AFTER, seconds);
    }
    response
}

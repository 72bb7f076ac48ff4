//! A call that is open: whoever holds it owes its settlement.
//!
//! Invariant: an opened call is settled once on every way out. It is settled by [`Ongoing::finish`], or, when whoever held it goes
//! away (the client left, a task was cancelled, a panic), as it is dropped.

use super::canon::Digest;
use super::integrity::Heard;
use super::providers::{Attempt, Outcome, chance};
use super::rooms::Place;
use super::{Caller, upstream};
use crate::connections::Connections;
use crate::context::Entry;
use crate::{Proxy, RunEvent};
use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body_util::Full;
use policy::{CacheWrites, ModelPath, Timestamp, Usage};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{CallEnd, OpenModelCall, Settlement};

pub(super) const CLIENT_LEFT: &str = "the client went away";

/// How an exchange ended.
pub(super) struct End {
    pub status: u16,
    pub usage: Option<Usage>,
    pub error: Option<String>,
}

impl End {
    /// The provider may have worked: nobody knows what it cost.
    pub(super) fn unknown(error: &str) -> Self {
        Self { status: 200, usage: None, error: Some(error.to_owned()) }
    }

    /// Nothing left for the provider.
    pub(super) fn not_sent(error: &str) -> Self {
        Self { status: 0, usage: None, error: Some(error.to_owned()) }
    }
}

/// What a call holds as long as it goes on.
pub(super) type Held = (Entry, Arc<Place>);

pub(super) struct Ongoing {
    pub(super) proxy: Arc<Proxy>,
    pub(super) caller: Caller,
    /// None once it is settled.
    open: Option<OpenModelCall>,
    /// The way it goes; none once it is reported how that went.
    attempt: Option<Attempt>,
    /// When it must be over.
    pub(super) until: Timestamp,
    began: Instant,
    first_byte: Option<Duration>,
    /// The conversation that the answer belongs to, where there is one to keep honest.
    pub(super) heard: Option<Arc<Heard>>,
    /// The prompt, and whose count of it is remembered for the calls that begin with it.
    measures: Option<(Digest, Box<str>)>,
    /// The end of its run waits for it, and others for its place.
    _held: Held,
}

impl Ongoing {
    pub(super) fn new(proxy: Arc<Proxy>, caller: Caller, open: OpenModelCall, attempt: Attempt, held: Held) -> Self {
        let until = caller.view().deadline;
        Self {
            proxy,
            caller,
            open: Some(open),
            attempt: Some(attempt),
            until,
            began: Instant::now(),
            first_byte: None,
            heard: None,
            measures: None,
            _held: held,
        }
    }

    /// What it measures, if that may help others.
    pub(super) fn measuring(mut self, prompt: Option<Digest>) -> Self {
        let provider = self.attempt.as_ref().map(|attempt| attempt.provider().into());
        self.measures = prompt.zip(provider);
        self
    }

    /// The request as it leaves, and the way it goes; once, as long as the call is open.
    pub(super) fn departing(&mut self, head: &Parts) -> Option<(Request<Full<Bytes>>, Arc<Connections>)> {
        let (open, attempt) = self.open.as_mut().zip(self.attempt.as_ref())?;
        Some((upstream::request(open, attempt, head.uri.query(), &head.headers), Arc::clone(attempt.connections())))
    }

    /// How the provider did, once.
    pub(super) fn report(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.attempt.take() {
            attempt.report(outcome, chance(), self.proxy.clock.now());
        }
    }

    pub(super) fn model(&self) -> &str {
        self.open.as_ref().map_or("", |open| open.permit().request().model.as_str())
    }

    /// What the provider may write into its cache.
    pub(super) fn cache_writes(&self) -> CacheWrites {
        self.open.as_ref().map_or(CacheWrites::OneHour, |open| open.permit().request().cache_writes)
    }

    /// The time that is left for it.
    pub(super) fn left(&self) -> Duration {
        let left = self.until.0.saturating_sub(self.proxy.clock.now().0);
        Duration::from_micros(u64::try_from(left).unwrap_or(0))
    }

    /// The provider's first byte is here.
    pub(super) fn begins(&mut self) {
        self.first_byte.get_or_insert_with(|| self.began.elapsed());
    }

    /// The first piece of a good answer is here.
    pub(super) fn answers(&self) {
        if let Some(attempt) = &self.attempt {
            attempt.begins();
        }
    }

    /// Charges what is known, or what was reserved, and tells of it.
    pub(super) async fn finish(&mut self, end: End) {
        if let Some(event) = self.settle(end) {
            self.caller.tell(event).await;
        }
    }

    fn settle(&mut self, end: End) -> Option<RunEvent> {
        let open = self.open.take()?;
        let request = open.permit().request();
        let (model, ceiling) = (request.model.clone(), open.permit().ceiling());
        let settlement = match (end.status, end.usage, request.path) {
            (200..=299, _, ModelPath::CountTokens | ModelPath::Models) => Settlement::NotCharged { status: end.status },
            (200..=299, Some(usage), ModelPath::Messages) => {
                if let Some((prompt, provider)) = self.measures.take() {
                    self.caller.prefixes().note(prompt, &provider, usage.prompt());
                }
                Settlement::Measured { usage, cost: self.proxy.prices.of(&model, self.proxy.clock.now()).cost(&usage) }
            }
            (200..=299, None, ModelPath::Messages) => Settlement::Unknown,
            (status, _, _) => Settlement::NotCharged { status },
        };
        if let (Some(usage), Caller::Run(run)) = (end.usage, &self.caller) {
            run.note_prompt(usage.prompt());
        }
        let total = micros(self.began.elapsed());
        let call =
            CallEnd { status: end.status, first_byte_us: self.first_byte.map(micros), total_us: total, error: end.error.clone() };
        let cost = open.settle(settlement, call);
        if cost > ceiling {
            tracing::error!(%cost, %ceiling, usage = ?end.usage, model, "a call cost more than its ceiling");
        }
        Some(RunEvent::ModelCallEnded { model, usage: end.usage, cost, status: end.status, error: end.error })
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.report(Outcome::Left);
        let Some(event) = self.settle(End::unknown(CLIENT_LEFT)) else { return };
        // Only a run has somebody to tell; where the threads end, nobody is left.
        if let (Some(run), Ok(runtime)) = (self.caller.run(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { run.tell(event).await });
        }
    }
}

//! Forwards an opened call.
//!
//! Invariant: what the model asked for is remembered before the bytes that say so are released; a call is settled on every way out
//! (see [`Ongoing`]).

use super::body::Held;
use super::exchange::{Exchange, SILENCE_MAX};
use super::integrity::Heard;
use super::less::open_fitting;
use super::ongoing::{End, Ongoing};
use super::prefixes::Beginnings;
use super::providers::{Outcome, chance};
use super::shape::Shape;
use super::{Caller, Notes, headers, refuse};
use crate::answer::{self, Body};
use crate::callers::labels;
use crate::connections::{Lease, SendError};
use crate::context::Entry;
use crate::{Proxy, RunEvent};
use bytes::Bytes;
use http::{HeaderMap, Response, header, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use policy::{Denial, DenialCode, ModelRequest, Prompt, RequestBody};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use store::OpenError;
use tokio::sync::{mpsc, oneshot};

/// Chunks between the provider and an agent that reads slowly.
const CHUNKS_QUEUED_MAX: usize = 16;
const UNREACHABLE: &str = "The model provider can't be reached. Nothing was charged; try again in a moment.";
const LOST: &str = "The model provider's answer was lost, and may have been charged. Try again in a moment.";

/// What is asked for, with the bytes that leave for it.
pub(super) struct Asked {
    pub(super) request: ModelRequest,
    pub(super) max_tokens_at: Option<Range<usize>>,
    pub(super) thinking_tokens: Option<u64>,
    /// The prompt by its bytes, and what of it may have been measured before.
    pub(super) whole: Prompt,
    pub(super) beginnings: Beginnings,
}

impl Asked {
    pub(super) fn new(request: ModelRequest, shape: &Shape, headers: &HeaderMap, body: Bytes) -> Self {
        let request = ModelRequest { body: RequestBody(body), ..request };
        let (whole, beginnings) = (request.prompt, Beginnings::of(shape.said.as_ref(), shape.edits_context, headers));
        let (max_tokens_at, thinking_tokens) = (shape.max_tokens_at.clone(), shape.thinking_budget());
        Self { request, max_tokens_at, thinking_tokens, whole, beginnings }
    }
}

/// One call about to be made.
pub(super) struct Call {
    pub(super) proxy: Arc<Proxy>,
    pub(super) caller: Caller,
    pub(super) asked: Asked,
    pub(super) head: Parts,
    pub(super) body: Held,
    pub(super) entry: Entry,
    pub(super) heard: Option<Arc<Heard>>,
}

/// What one attempt came to.
enum Tried {
    /// The answer, whatever it says.
    Answer(Response<Body>),
    /// Not an answer, or one that another provider may better; this is what to say if there is none.
    Failed(Response<Body>),
}

impl Call {
    /// Open, forward, answer; settled by whoever reads the answer, or goes away. Where a provider fails before its first byte,
    /// the next one is tried, with a reservation of its own.
    pub(super) async fn make(self) -> Response<Body> {
        let Self { proxy, caller, mut asked, head, body: _room, entry, heard } = self;
        let Some(place) = proxy.rooms.place(caller.share()).await.map(Arc::new) else {
            let denial = Denial::new(DenialCode::ModelBusy, &asked.request.model);
            caller.tell(RunEvent::Denied { denial }).await;
            return answer::busy();
        };
        let mut attempts = proxy.upstream.providers().attempts(&asked.request.model);
        let labels = labels(&head.headers);
        let mut answer = None;
        while let Some(attempt) = attempts.next(chance(), proxy.clock.now()) {
            let notes = Notes { provider: attempt.provider(), labels: &labels, first: answer.is_none() };
            let open = match open_fitting(&proxy, &caller, &mut asked, &notes).await {
                Ok(open) => open,
                Err(error) => match answer {
                    Some(answer) => return answer,
                    None => return not_opened(&proxy, &caller, error).await,
                },
            };
            caller.tell(RunEvent::ModelCallBegan).await;
            let held = (entry.clone(), Arc::clone(&place));
            let mut call =
                Ongoing::new(Arc::clone(&proxy), caller.clone(), open, attempt, held).measuring(asked.beginnings.whole());
            call.heard.clone_from(&heard);
            let more = attempts.has_next(proxy.clock.now());
            match exchange(call, &head, more).await {
                Tried::Answer(response) => return response,
                Tried::Failed(response) => answer = Some(response),
            }
        }
        if let Some(answer) = answer {
            return answer;
        }
        let denial = Denial::new(DenialCode::UpstreamUnavailable, &asked.request.model);
        caller.tell(RunEvent::Denied { denial }).await;
        answer::no_provider(attempts.retry_after_secs(proxy.clock.now()))
    }

    /// What is left of the time that it may take.
    pub(super) fn time(&self) -> Duration {
        let left = self.caller.view().deadline.0.saturating_sub(self.proxy.clock.now().0);
        Duration::from_micros(u64::try_from(left).unwrap_or(0))
    }

    /// The same in a task of its own, so that an agent that goes away is noticed before the answer begins.
    pub(super) async fn make_watched(self) -> Response<Body> {
        let time = self.time();
        let (mut tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let response = tokio::select! {
                response = self.make() => response,
                // The client went away before the answer began.
                () = tell.closed() => return,
            };
            let _ = tell.send(watched(response, time));
        });
        told.await.unwrap_or_else(|_| answer::unavailable(LOST))
    }
}

async fn not_opened(proxy: &Proxy, caller: &Caller, error: OpenError) -> Response<Body> {
    match error {
        OpenError::Denied(denial) | OpenError::Short { denial, .. } => refuse(proxy, caller, denial).await,
        OpenError::Store(error) => {
            tracing::error!(%error, "a model call could not be written down, so it was not made");
            answer::unavailable("The gateway's database is not available, so nothing may be spent. Try again in a moment.")
        }
    }
}

async fn exchange(mut call: Ongoing, head: &Parts, more: bool) -> Tried {
    let Some((request, connections)) = call.departing(head) else { return Tried::Failed(answer::unavailable(LOST)) };
    let sent = {
        let sending = pin!(connections.send(request));
        tokio::time::timeout(call.left().min(SILENCE_MAX), sending).await
    };
    let (outcome, end, text) = match sent {
        Ok(Ok((response, lease))) => return answered(call, response, lease, more).await,
        Ok(Err(SendError::NotSent(reason))) => {
            tracing::warn!(reason, "the model provider can't be reached");
            (Outcome::Unreachable, End::not_sent("the provider can't be reached"), UNREACHABLE)
        }
        Ok(Err(SendError::Broken(reason))) => {
            tracing::warn!(reason, "the model provider broke the connection");
            (Outcome::NoFirstByte, End::unknown("the provider broke the connection"), LOST)
        }
        Err(_) => (Outcome::NoFirstByte, End::unknown("the provider was silent for too long"), LOST),
    };
    call.report(outcome);
    call.finish(end).await;
    Tried::Failed(answer::unavailable(text))
}

async fn answered(mut call: Ongoing, response: Response<Incoming>, lease: Lease, more: bool) -> Tried {
    call.begins();
    let (head, body) = response.into_parts();
    let outcome = Outcome::Answered { status: head.status.as_u16(), retry_after_secs: None };
    let streamed = head.status.is_success() && is_event_stream(&head.headers);
    let exchange = Exchange::new(call, &head, body, lease);
    let body = if streamed { exchange.streamed().await } else { exchange.whole().await };
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = headers::to_client(&head.headers);
    if more && outcome.may_fail_over() { Tried::Failed(answer) } else { Tried::Answer(answer) }
}

/// A piece of the answer, or its true end. A queue that closes without an end was cut, and the client must see that.
enum Piece {
    Frame(Frame<Bytes>),
    End,
}

/// Reads an answer in a task of its own, which ends at the call's time whether or not the client reads: nobody holds a call open
/// by not reading it.
fn watched(response: Response<Body>, time: Duration) -> Response<Body> {
    let (head, body) = response.into_parts();
    let (pieces, receiver) = mpsc::channel(CHUNKS_QUEUED_MAX);
    tokio::spawn(async move {
        let _ = tokio::time::timeout(time, pump(body, &pieces)).await;
    });
    Response::from_parts(head, body_of(receiver))
}

async fn pump(mut body: Body, pieces: &mpsc::Sender<Piece>) {
    loop {
        let frame = tokio::select! {
            // What has come already is metered, even when nobody waits for it any more.
            biased;
            frame = body.frame() => frame,
            () = pieces.closed() => return,
        };
        let piece = match frame {
            Some(Ok(frame)) => Piece::Frame(frame),
            Some(Err(_)) => return,
            None => Piece::End,
        };
        let ended = matches!(piece, Piece::End);
        if pieces.send(piece).await.is_err() || ended {
            return;
        }
    }
}

/// The answer's body: what comes out of the queue, and a break where it closes without an end.
fn body_of(receiver: mpsc::Receiver<Piece>) -> Body {
    let frames = futures_util::stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Piece::Frame(frame)) => Some((Ok(frame), Some(receiver))),
            Some(Piece::End) => None,
            None => Some((Err(std::io::Error::other("the answer was cut")), None)),
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells when it is dropped.
    struct Reading(Option<oneshot::Sender<()>>);

    impl Drop for Reading {
        fn drop(&mut self) {
            let _ = self.0.take().map(|tell| tell.send(()));
        }
    }

    /// An answer without end, and when nobody reads it any more.
    fn endless() -> (Response<Body>, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        let frames = futures_util::stream::unfold(Reading(Some(tell)), |reading| async move {
            Some((Ok(Frame::data(Bytes::from_static(b"more"))), reading))
        });
        (Response::new(BodyExt::boxed_unsync(StreamBody::new(frames))), told)
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_can_t_hold_a_call_open() {
        let (answer, told) = endless();
        let answer = watched(answer, Duration::from_millis(200));
        assert!(tokio::time::timeout(Duration::from_secs(10), told).await.is_ok_and(|told| told.is_ok()), "it is let go");
        let mut body = answer.into_body();
        let mut pieces = 0;
        let cut = loop {
            match body.frame().await {
                Some(Ok(_)) => pieces += 1,
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(cut && pieces <= CHUNKS_QUEUED_MAX, "what was queued, and then a break: {pieces}");
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_noticed_at_once() {
        let (answer, told) = endless();
        drop(watched(answer, Duration::from_secs(60)));
        assert!(tokio::time::timeout(Duration::from_secs(10), told).await.is_ok_and(|told| told.is_ok()));
    }
}

//! Forwards an opened call.
//!
//! Invariant: what the model asked for is remembered before the bytes that say so are released; a call is settled on every way out
//! (see [`Ongoing`]).

use super::body::Held;
use super::connections::SendError;
use super::exchange::{Exchange, SILENCE_MAX};
use super::ongoing::{End, Ongoing};
use super::{Caller, headers, open, refuse};
use crate::answer::{self, Body};
use crate::callers::labels;
use crate::context::Entry;
use crate::{Proxy, RunEvent};
use bytes::Bytes;
use http::{Response, header, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use policy::ModelRequest;
use std::sync::Arc;
use std::time::Duration;
use store::OpenError;
use tokio::sync::{mpsc, oneshot};

/// Chunks between the provider and an agent that reads slowly.
const CHUNKS_QUEUED_MAX: usize = 16;
const LOST: &str = "The model provider's answer was lost, and may have been charged. Try again in a moment.";

/// One call about to be made.
pub(super) struct Call {
    pub(super) proxy: Arc<Proxy>,
    pub(super) caller: Caller,
    pub(super) asked: ModelRequest,
    pub(super) head: Parts,
    pub(super) body: Held,
    pub(super) entry: Entry,
}

impl Call {
    /// Open, forward, answer. Settled by whoever reads the answer, or goes away.
    pub(super) async fn make(self) -> Response<Body> {
        let Self { proxy, caller, asked, head, body, entry } = self;
        let (open, until) = match open(&proxy, &caller, asked, &labels(&head.headers)).await {
            Ok(open) => open,
            Err(OpenError::Denied(denial) | OpenError::Short { denial, .. }) => return refuse(&proxy, &caller, denial).await,
            Err(OpenError::Store(error)) => {
                tracing::error!(%error, "a model call could not be written down, so it was not made");
                return answer::unavailable(
                    "The gateway's database is not available, so nothing may be spent. Try again in a moment.",
                );
            }
        };
        caller.tell(RunEvent::ModelCallBegan).await;
        let call = Ongoing::new(proxy, caller, open, until, entry);
        exchange(call, &head, body.bytes.clone()).await
    }

    /// The same in a task of its own, which ends at the call's time whether or not anybody reads: an agent can't hold a call
    /// open by not reading it.
    pub(super) async fn make_watched(self) -> Response<Body> {
        let left = self.caller.view().deadline.0.saturating_sub(self.proxy.clock.now().0);
        let time = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        let (mut tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let response = tokio::select! {
                response = self.make() => response,
                // The client went away before the answer began.
                () = tell.closed() => return,
            };
            let (pieces, receiver) = mpsc::channel(CHUNKS_QUEUED_MAX);
            let (head, body) = response.into_parts();
            let _ = tell.send(Response::from_parts(head, body_of(receiver)));
            let _ = tokio::time::timeout(time, pump(body, &pieces)).await;
        });
        told.await.unwrap_or_else(|_| answer::unavailable(LOST))
    }
}

async fn exchange(mut call: Ongoing, head: &Parts, body: Bytes) -> Response<Body> {
    let Some(opened) = call.open() else { return answer::unavailable(LOST) };
    let sending = call.proxy.upstream.send(opened, head.uri.query(), &head.headers, body);
    let sent = tokio::time::timeout(call.left().min(SILENCE_MAX), sending).await;
    match sent {
        Ok(Ok((response, lease))) => {
            call.begins();
            let (parts, body) = response.into_parts();
            let streamed = parts.status.is_success() && is_event_stream(&parts.headers);
            let exchange = Exchange::new(call, parts.status, body, lease);
            let body = if streamed { exchange.streamed() } else { exchange.whole().await };
            let mut answer = Response::new(body);
            *answer.status_mut() = parts.status;
            *answer.headers_mut() = headers::to_client(&parts.headers);
            answer
        }
        Ok(Err(SendError::NotSent(reason))) => {
            tracing::warn!(reason, "the model provider can't be reached");
            call.finish(End::not_sent("the provider can't be reached")).await;
            answer::unavailable("The model provider can't be reached. Nothing was charged; try again in a moment.")
        }
        Ok(Err(SendError::Broken(reason))) => {
            tracing::warn!(reason, "the model provider broke the connection");
            call.finish(End::unknown("the provider broke the connection")).await;
            answer::unavailable(LOST)
        }
        Err(_) => {
            call.finish(End::unknown("the provider was silent for too long")).await;
            answer::unavailable(LOST)
        }
    }
}

/// A piece of the answer, or its true end. A queue that closes without an end was cut, and the client must see that.
enum Piece {
    Frame(Frame<Bytes>),
    End,
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

fn is_event_stream(headers: &http::HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

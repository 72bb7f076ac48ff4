//! A body on its way through: bounded in bytes and silence, cut when its run is over, and on the way back without the secret.

use super::door::Exchanging;
use super::redact::Redactor;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// One body, in either direction.
pub(super) const BYTES_MAX: u64 = 4 << 30;
/// Between two pieces. Events may be rare; the run's own time is shorter than many of these.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(300);

/// A body that is passed on.
pub(super) struct Passing {
    body: Incoming,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    silence: Pin<Box<Sleep>>,
    left: u64,
    redactor: Option<Redactor>,
    /// Whatever was held back is out, and the body has ended.
    ended: bool,
    /// Held while the body lasts.
    _place: Option<Exchanging>,
}

impl Passing {
    /// Passes a body until its end, a bound, or the end of its run.
    pub(super) fn new(body: Incoming, over: CancellationToken, redactor: Option<Redactor>) -> Self {
        Self {
            body,
            over: Box::pin(over.cancelled_owned()),
            silence: Box::pin(sleep(SILENCE_MAX)),
            left: BYTES_MAX,
            redactor,
            ended: false,
            _place: None,
        }
    }

    /// Gives a place back when the body is over.
    pub(super) fn holding(mut self, place: Exchanging) -> Self {
        self._place = Some(place);
        self
    }

    /// The last of it, if there was something held back.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, io::Error>> {
        self.ended = true;
        let rest = self.redactor.as_mut().map(Redactor::end).filter(|rest| !rest.is_empty())?;
        Some(Ok(Frame::data(rest)))
    }

    /// A piece that came; `None` when nothing of it may leave yet.
    fn piece(&mut self, piece: Bytes) -> Option<Result<Frame<Bytes>, io::Error>> {
        self.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
        let Some(left) = self.left.checked_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX)) else {
            self.ended = true;
            return Some(Err(io::Error::other("the body is longer than allowed")));
        };
        self.left = left;
        let piece = match &mut self.redactor {
            Some(redactor) => redactor.pass(piece),
            None => piece,
        };
        (!piece.is_empty()).then_some(Ok(Frame::data(piece)))
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if this.over.as_mut().poll(context).is_ready() || this.silence.as_mut().poll(context).is_ready() {
            this.ended = true;
            return Poll::Ready(Some(Err(io::Error::other("the run is over, or nothing came for too long"))));
        }
        loop {
            let frame = match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(this.end()),
                Poll::Ready(Some(Err(error))) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            // What is no data are trailers: headers that nobody judged, and that no client of ours needs.
            let Ok(data) = frame.into_data() else { continue };
            if let Some(out) = this.piece(data) {
                return Poll::Ready(Some(out));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.body.is_end_stream() && self.redactor.as_ref().is_none_or(|redactor| redactor.held() == 0))
    }

    /// What is said of a length stays true: a secret is replaced by as many bytes.
    fn size_hint(&self) -> SizeHint {
        let held = self.redactor.as_ref().map_or(0, Redactor::held);
        let mut hint = self.body.size_hint();
        match hint.exact() {
            Some(exact) => hint.set_exact(exact.saturating_add(held)),
            None => hint.set_lower(0),
        }
        hint
    }
}

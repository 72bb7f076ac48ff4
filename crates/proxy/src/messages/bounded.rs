//! An answer that ends at its call's time, whether or not its client reads: nobody holds a call open by not reading it.
//!
//! Whoever writes to the client reads the answer, without a queue or a task in between; what waits for the time beside it only
//! takes the answer away, which settles its call (see [`super::ongoing`]). A client that goes on reading sees it cut.

use crate::answer::Body;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::AbortHandle;

/// What is left of the answer, and who waits for more of it.
struct State {
    /// None once its time was over.
    body: Option<Body>,
    reader: Option<Waker>,
}

type Shared = Arc<Mutex<State>>;

struct Bounded {
    state: Shared,
    ended: bool,
    time: AbortHandle,
}

/// `body` for at most `time`.
pub(super) fn until(body: Body, time: Duration) -> Body {
    let state: Shared = Arc::new(Mutex::new(State { body: Some(body), reader: None }));
    let shared = Arc::clone(&state);
    let waiting = tokio::spawn(async move {
        tokio::time::sleep(time).await;
        let (late, reader) = {
            let mut state = shared.lock();
            (state.body.take(), state.reader.take())
        };
        // Not under the lock: dropping it settles its call.
        drop(late);
        reader.into_iter().for_each(Waker::wake);
    });
    Bounded { state, ended: false, time: waiting.abort_handle() }.boxed_unsync()
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = {
            let mut state = self.state.lock();
            let polled = match state.body.as_mut() {
                Some(body) => Pin::new(body).poll_frame(context),
                None => Poll::Ready(Some(Err(io::Error::other("the answer was cut")))),
            };
            if polled.is_pending() && !state.reader.as_ref().is_some_and(|reader| reader.will_wake(context.waker())) {
                state.reader = Some(context.waker().clone());
            }
            polled
        };
        self.ended = !matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(_))));
        polled
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.time.abort();
        let left = self.state.lock().body.take();
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use tokio::sync::oneshot;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(600);

    /// One piece, and then nothing for ever. The receiver hears when it is dropped.
    fn endless() -> (Body, oneshot::Receiver<()>) {
        let (held, dropped) = oneshot::channel::<()>();
        let pieces = stream::unfold((true, held), |(first, held)| async move {
            if !first {
                std::future::pending::<()>().await;
            }
            Some((Ok(Frame::data(Bytes::from_static(b"x"))), (false, held)))
        });
        (StreamBody::new(pieces).boxed_unsync(), dropped)
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_given_up_at_its_time_and_then_seen_as_cut() {
        let (answer, dropped) = endless();
        let mut body = until(answer, SHORT);
        assert!(dropped.await.is_err(), "without being read");
        assert!(body.frame().await.expect("not an end").is_err());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn whoever_waits_for_more_is_told_when_the_time_is_over() {
        let (answer, _dropped) = endless();
        let mut body = until(answer, SHORT);
        assert!(body.frame().await.expect("a piece").is_ok());
        assert!(body.frame().await.expect("not an end").is_err());
    }

    #[tokio::test]
    async fn an_answer_ends_with_whoever_reads_it_and_has_its_own_end() {
        let (answer, mut dropped) = endless();
        let mut body = until(answer, LONG);
        assert!(body.frame().await.expect("a piece").is_ok());
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Empty), "it has time left");
        drop(body);
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let pieces = stream::iter([Ok(Frame::data(Bytes::from_static(b"y")))]);
        let mut whole = until(StreamBody::new(pieces).boxed_unsync(), LONG);
        assert!(whole.frame().await.expect("a piece").is_ok());
        assert!(whole.frame().await.is_none() && whole.frame().await.is_none(), "its true end, and no cut after it");
    }
}

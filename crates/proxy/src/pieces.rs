//! An answer's body, piece by piece, as fast as it comes and in as few writes as it takes.
//!
//! A connection hands over one piece at a time, and whoever writes flushes what it has when there is no more at once. So pieces that
//! came together would leave in a write each, and wake their reader as often. Here what has come already is gathered first; nothing
//! is waited for, and each piece stays what it was.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// What is gathered at most; a reader that is slow holds no more than this and a piece.
const GATHERED_BYTES_MAX: usize = 64 << 10;
const GATHERED_MAX: usize = 64;

/// The body of an answer.
pub(crate) struct Pieces<S, E> {
    body: S,
    /// What came and was not asked for yet; none is the end.
    ready: VecDeque<Option<Result<Bytes, E>>>,
    begun: Begun,
}

/// How far the beginning of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    NotYet,
    /// Its first piece was handed over.
    Handed,
    /// And its reader has had its turn.
    Seen,
}

impl<E, S: Stream<Item = Result<Bytes, E>> + Unpin> Pieces<S, E> {
    pub(crate) const fn new(body: S) -> Self {
        Self { body, ready: VecDeque::new(), begun: Begun::Seen }
    }

    /// Of a stream: asks for the first piece, so that it can leave with the head if it came with it; and its reader has a turn before
    /// the second one.
    pub(crate) async fn lead(&mut self) {
        self.begun = Begun::NotYet;
        if let Some(first) = soon(self.body.next()).await {
            self.ready.push_back(first);
        }
    }

    /// The next piece, none at the end. Given up, it has lost nothing.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, E>> {
        if self.begun == Begun::Handed {
            self.begun = Begun::Seen;
            step_aside().await;
        }
        if self.ready.is_empty() {
            let next = self.body.next().await;
            self.ready.push_back(next);
            self.gather().await;
        }
        if self.begun == Begun::NotYet {
            self.begun = Begun::Handed;
        }
        self.ready.pop_front().flatten()
    }

    /// A piece that was gathered, or the end: nobody has to wait for it.
    pub(crate) fn at_hand(&mut self) -> Option<Option<Result<Bytes, E>>> {
        if self.begun == Begun::Seen { self.ready.pop_front() } else { None }
    }

    async fn gather(&mut self) {
        let mut bytes = 0;
        while let Some(Some(Ok(last))) = self.ready.back() {
            bytes += last.len();
            if bytes >= GATHERED_BYTES_MAX || self.ready.len() >= GATHERED_MAX {
                return;
            }
            let Some(more) = soon(self.body.next()).await else { return };
            self.ready.push_back(more);
        }
    }
}

/// Whoever waits for a first piece may be on the same processors, as agents are, and would otherwise run when a burst of pieces has
/// been worked off: what is written leaves, and then the thread's turn is somebody else's.
async fn step_aside() {
    tokio::task::yield_now().await;
    std::thread::yield_now();
}

/// What is there at once, or after others had their turn. Whoever is asked is told so by the first time, and has mostly been waiting
/// to be.
async fn soon<F: Future>(work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut asked = false;
    poll_fn(|context| match (work.as_mut().poll(context), std::mem::replace(&mut asked, true)) {
        (Poll::Ready(done), _) => Poll::Ready(Some(done)),
        (Poll::Pending, false) => {
            // Behind everybody who can run now.
            context.waker().wake_by_ref();
            Poll::Pending
        }
        (Poll::Pending, true) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::{mpsc, oneshot};

    type Item = Result<Bytes, &'static str>;

    fn pieces(receiver: mpsc::Receiver<Item>) -> Pieces<impl Stream<Item = Item> + Unpin, &'static str> {
        let items =
            futures_util::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        Pieces::new(Box::pin(items))
    }

    const PIECE: Item = Ok(Bytes::from_static(b"piece"));

    #[tokio::test]
    async fn what_others_have_ready_is_had_and_nothing_else_is_waited_for() {
        assert_eq!(soon(async { 1 }).await, Some(1));
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move { sender.send(2) });
        assert_eq!(soon(receiver).await, Some(Ok(2)));
        let (_kept, receiver) = oneshot::channel::<()>();
        assert_eq!(soon(receiver).await, None);
    }

    /// One at a time, as a connection does.
    #[tokio::test]
    async fn what_came_together_is_there_together_in_order_and_whole() {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for number in 0..10_u8 {
                sender.send(Ok(Bytes::copy_from_slice(&[number]))).await.expect("it is read");
            }
        });
        let mut pieces = pieces(receiver);
        for number in 0..10_u8 {
            let piece = if number == 0 { pieces.next().await } else { pieces.next().now_or_never().expect("it was gathered") };
            assert_eq!(piece, Some(Ok(Bytes::copy_from_slice(&[number]))));
        }
        assert_eq!(pieces.next().now_or_never(), Some(None), "and the end with them");
    }

    #[tokio::test]
    async fn a_piece_is_not_held_for_one_that_is_not_there() {
        let (sender, receiver) = mpsc::channel(8);
        let mut pieces = pieces(receiver);
        pieces.lead().await;
        assert!(pieces.next().now_or_never().is_none(), "nothing came with the head");
        sender.send(PIECE).await.expect("it is read");
        sender.send(PIECE).await.expect("it is read");
        assert_eq!(pieces.next().await, Some(PIECE));
        assert!(pieces.next().now_or_never().is_none(), "its reader has a turn");
        assert_eq!(pieces.next().await, Some(PIECE));
        sender.send(PIECE).await.expect("it is read");
        sender.send(Err("cut")).await.expect("it is read");
        assert_eq!(pieces.next().await, Some(PIECE), "what came before a break passes");
        assert_eq!(pieces.next().await, Some(Err("cut")));
    }

    #[tokio::test]
    async fn who_gives_up_waiting_has_lost_nothing() {
        let (sender, receiver) = mpsc::channel(8);
        let mut pieces = pieces(receiver);
        sender.send(PIECE).await.expect("it is read");
        {
            // Asked once, and given up while it gathers.
            let mut next = pin!(pieces.next());
            assert!(futures_util::poll!(next.as_mut()).is_pending());
        }
        assert_eq!(pieces.next().await, Some(PIECE));
        let large = Bytes::from(vec![0; GATHERED_BYTES_MAX]);
        for _ in 0..3 {
            sender.send(Ok(large.clone())).await.expect("it is read");
        }
        pieces.next().await.expect("a piece").expect("no break");
        assert!(pieces.ready.is_empty(), "no more is gathered than there is room for");
    }
}

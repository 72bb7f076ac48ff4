//! HTTP/1.1 on a listener, with every wait and number bounded.

use crate::answer::Body;
use crate::places::Places;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

pub(crate) const HEADERS_WAIT: Duration = Duration::from_secs(15);
/// Whoever takes nothing of an answer for so long is not waited for: what is ready for them, and their place, would be held.
const TAKEN_WAIT: Duration = Duration::from_secs(30);
pub(crate) const HEADER_BYTES_MAX: usize = 64 << 10;
/// After a failed accept (out of file descriptors, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a request's connection, as the kernel says; an extension of each request of [`serve_http`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves a listener until `stop`, connections for which there is a place.
pub(crate) async fn serve_http<F, R>(listener: TcpListener, places: Places, stop: CancellationToken, answer: F)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let until = stop.clone();
    let place = move |peer: SocketAddr| places.take(peer.ip());
    accept(listener, place, stop, move |stream| {
        let (peer, answer) = (stream.peer_addr().ok(), answer.clone());
        serve_connection(stream, TAKEN_WAIT, until.clone(), move |mut request: Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(Peer(peer));
            }
            answer(request)
        })
    })
    .await;
}

/// Accepts until `stop`. A connection for which there is no place is closed at once: denied fast, never accepted and left
/// hanging.
pub(crate) async fn accept<F, R, P>(
    listener: TcpListener,
    place: impl Fn(SocketAddr) -> Option<P>,
    stop: CancellationToken,
    serve: F,
) where
    F: Fn(TcpStream) -> R,
    R: Future<Output = ()> + Send + 'static,
    P: Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = place(peer) else { continue };
        let _ = stream.set_nodelay(true);
        let serving = serve(stream);
        tokio::spawn(async move {
            serving.await;
            drop(place);
        });
    }
}

/// Serves one connection until it ends, nothing of an answer is taken for so long, or `stop`.
async fn serve_connection<S, F, R>(stream: S, taken_wait: Duration, stop: CancellationToken, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer(request).await) }
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(taken_wait));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::select! {
        // What goes wrong on a connection concerns its client alone.
        _ = connection => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const WAIT: Duration = Duration::from_millis(300);

    /// Asks for a megabyte, and reads so much of it at a time after each pause; how much came until the connection ended.
    async fn taken(pause: Duration, at_once: usize) -> usize {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let answer = |_| async { Response::new(full(vec![b'x'; 1 << 20])) };
        let serving = tokio::spawn(serve_connection(server, WAIT, CancellationToken::new(), answer));
        client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.expect("asked");
        let (mut bytes, mut piece) = (0_usize, vec![0; at_once]);
        for _ in 0..40 {
            tokio::time::sleep(pause).await;
            if serving.is_finished() && at_once == 1 {
                break;
            }
            match client.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(read) => bytes = bytes.saturating_add(read),
            }
        }
        tokio::time::timeout(WAIT, serving).await.expect("it ends").expect("in order");
        bytes
    }

    #[tokio::test]
    async fn who_takes_nothing_of_an_answer_is_left_and_who_takes_little_is_not() {
        let slow = taken(WAIT / 6, 64 << 10).await;
        assert!(slow > 1 << 20, "all of it, in more time than anybody is waited for: {slow}");
        let stalled = taken(WAIT * 3, 1).await;
        assert!(stalled < 64 << 10, "{stalled}");
    }
}

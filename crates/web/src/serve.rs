//! The listener for people: HTTP/1.1 with bounded waits and connections, ended in order.

use crate::hosts::Hosts;
use crate::streams::Streams;
use crate::{Web, WebParts, router};
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const HEADERS_WAIT: Duration = Duration::from_secs(15);
/// Whoever takes nothing of an answer for so long is not waited for.
const TAKEN_WAIT: Duration = Duration::from_secs(30);
const HEADER_BYTES_MAX: usize = 32 << 10;
const CONNECTIONS_MAX: usize = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// Documents of people that are in memory at the same time; each has up to 32 MiB.
const DOCUMENTS_MAX: usize = 2;

/// Where a request's connection comes from. Behind a proxy that is the proxy: what a header says is not believed.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves people until `stop`, then lets open answers finish for a moment.
///
/// # Errors
/// An I/O error of the listener itself.
pub async fn serve(listener: TcpListener, parts: WebParts, stop: CancellationToken) -> std::io::Result<()> {
    let WebParts { store, clock, runs, settings } = parts;
    let (streams, warned_of_proxy) = (Streams::default(), Once::new());
    let documents = Semaphore::new(DOCUMENTS_MAX);
    let hosts = Hosts::none();
    let router =
        router(Arc::new(Web { store, clock, runs, settings, hosts, streams, documents, stop: stop.clone(), warned_of_proxy }));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let router = router.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let router = router.clone();
            request.extensions_mut().insert(Peer(peer.ip()));
            async move {
                let response = router.oneshot(request.map(Body::new)).await;
                Ok::<_, Infallible>(response.unwrap_or_else(|never| match never {}))
            }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(TAKEN_WAIT));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WAIT)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // What goes wrong on a connection concerns its client alone.
            let _ = connection.await;
            drop(place);
        });
    }
    let _ = tokio::time::timeout(DRAIN_WAIT, graceful.shutdown()).await;
    Ok(())
}

//! One accepted connection: what it speaks, and over TLS for which name. The server name decides before anything is decrypted.

use super::ca::HTTP_2;
use super::door::Door;
use super::request::Way;
use crate::answer::Body;
use crate::serve::{HEADER_BYTES_MAX, HEADERS_WAIT};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use policy::{DenialCode, Destination, HostName, Scheme};
use rustls::server::Acceptor;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

const HTTP_PORT: u16 = 80;
const TLS_PORT: u16 = 443;
/// For the first byte, the whole ClientHello, the handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// A TLS record's first byte when it carries a handshake (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// TLS record: fatal alert `unrecognized_name` (RFC 8446, 6; RFC 6066, 3), so that a refused client fails at once.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// Requests at the same time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;

/// Serves one connection to its end. `dialled` is the address the client wanted.
pub(super) async fn serve(door: Door, stream: TcpStream, dialled: SocketAddr) {
    let speaks_tls = match dialled.port() {
        HTTP_PORT => false,
        TLS_PORT => true,
        _ => {
            let mut first = [0];
            match tokio::time::timeout(HANDSHAKE_WAIT, stream.peek(&mut first)).await {
                Ok(Ok(1)) => first == [HANDSHAKE_RECORD],
                Ok(_) | Err(_) => return,
            }
        }
    };
    serve_as(door, stream, dialled, speaks_tls).await;
}

/// The same where it is known what is spoken.
pub(super) async fn serve_as<S>(door: Door, stream: S, dialled: SocketAddr, speaks_tls: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stop = door.stop.clone();
    let serving = async {
        if speaks_tls {
            encrypted(door, stream, dialled).await;
        } else {
            speak(&door, stream, Way { dialled, scheme: Scheme::Http, server_name: None }, false).await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = stop.cancelled() => {}
    }
}

async fn encrypted<S>(door: Door, stream: S, dialled: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Collects the whole ClientHello, in however many pieces and records it comes, up to the library's bound.
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let Ok(Ok(start)) = tokio::time::timeout(HANDSHAKE_WAIT, &mut acceptor).await else {
        door.refuse(DenialCode::EgressTls, "(no TLS ClientHello)").await;
        if let Some(stream) = acceptor.take_io() {
            close(stream).await;
        }
        return;
    };
    let said = start.client_hello().server_name().unwrap_or("(no server name)").to_owned();
    let allowed = HostName::parse(&said).ok().filter(|name| may_be_asked_for(&door, name, dialled.port()));
    let Some(name) = allowed else {
        door.refuse(DenialCode::EgressTls, &said).await;
        close(start.io).await;
        return;
    };
    let server = match door.ca.server(&name) {
        Ok(server) => server,
        Err(error) => {
            tracing::error!(sandbox = %door.gate.sandbox, %error, "a certificate for a sandbox could not be made");
            return;
        }
    };
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WAIT, start.into_stream(server)).await else { return };
    let http_2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
    speak(&door, stream, Way { dialled, scheme: Scheme::Https, server_name: Some(name) }, http_2).await;
}

fn may_be_asked_for(door: &Door, name: &HostName, port: u16) -> bool {
    let provider = port == TLS_PORT && name.as_str() == Destination::PROVIDER_NAME;
    provider || door.hosts.rules.names(name, port, Scheme::Https)
}

/// HTTP/1.1, or HTTP/2 where the handshake agreed on it. Without that agreement it is not spoken.
async fn speak<S>(door: &Door, stream: S, way: Way, http_2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let dialled = way.dialled;
    let service = service_fn({
        let door = door.clone();
        move |request: Request<Incoming>| {
            let (door, way) = (door.clone(), way.clone());
            async move { Ok::<Response<Body>, Infallible>(door.answer(&way, request).await) }
        }
    });
    let stream = TokioIo::new(stream);
    let done = if http_2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(HEADERS_WAIT)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .serve_connection(stream, service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WAIT)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(stream, service)
            .with_upgrades()
            .await
    };
    // What else goes wrong on a connection concerns its client alone; who does not speak HTTP wanted something else.
    if done.is_err_and(|error| error.is_parse()) {
        door.refuse(DenialCode::EgressProtocol, &format!("(not HTTP/1.1) at {dialled}")).await;
    }
}

const HEADER_LIST_BYTES_MAX: u32 = 64 << 10;

async fn close(mut stream: impl AsyncWrite + Unpin) {
    let _ = stream.write_all(&UNRECOGNIZED_NAME).await;
    let _ = stream.shutdown().await;
}

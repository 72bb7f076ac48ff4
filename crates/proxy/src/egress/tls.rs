//! TLS on port 443: the server name decides before anything is decrypted, and the Host header must agree with it.

use super::{CONNECTIONS_MAX, Refusals, SandboxCa, wanted_host};
use crate::answer;
use crate::{accept, serve_connection};
use policy::{DenialCode, Destination, HostName, classify};
use rustls::server::Acceptor;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;

const PORT: u16 = 443;
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// TLS record: fatal alert `unrecognized_name` (RFC 8446, 6; RFC 6066, 3), so that a refused client fails at once.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

pub(super) async fn serve(listener: TcpListener, ca: Arc<SandboxCa>, refusals: Refusals, stop: CancellationToken) {
    let until = stop.clone();
    accept(listener, CONNECTIONS_MAX, stop, move |stream| connection(stream, Arc::clone(&ca), refusals.clone(), until.clone()))
        .await;
}

async fn connection(stream: TcpStream, ca: Arc<SandboxCa>, refusals: Refusals, stop: CancellationToken) {
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let hello = tokio::select! {
        hello = tokio::time::timeout(HANDSHAKE_WAIT, &mut acceptor) => hello,
        () = stop.cancelled() => return,
    };
    let Ok(Ok(start)) = hello else {
        refusals.refuse(DenialCode::EgressTls, "(no TLS ClientHello)").await;
        if let Some(stream) = acceptor.take_io() {
            close(stream).await;
        }
        return;
    };
    let sni = start.client_hello().server_name().unwrap_or("(no server name)").to_owned();
    let name = HostName::parse(&sni).ok().filter(|name| classify(name) == Some(Destination::Model));
    let Some(name) = name.filter(|name| name.as_str() == Destination::PROVIDER_NAME) else {
        refusals.refuse(DenialCode::EgressTls, &sni).await;
        close(start.io).await;
        return;
    };
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WAIT, start.into_stream(ca.server())).await else { return };
    serve_connection(stream, stop, move |request: http::Request<hyper::body::Incoming>| {
        let (refusals, name) = (refusals.clone(), name.clone());
        async move {
            let host = wanted_host(&request);
            match HostName::parse_authority(&host, PORT) {
                Ok(host) if host == name => refusals.answer(Destination::Model, request).await,
                Ok(_) | Err(_) => {
                    answer::egress_denied(&refusals.refuse(DenialCode::EgressHost, &format!("{host} over TLS for {name}")).await)
                }
            }
        }
    })
    .await;
}

async fn close(mut stream: TcpStream) {
    let _ = stream.write_all(&UNRECOGNIZED_NAME).await;
    let _ = stream.shutdown().await;
}

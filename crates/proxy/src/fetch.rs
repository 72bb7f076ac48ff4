//! Fetches a small public document from an address of the operator's, within bounds: nothing is shown there, no redirect is followed, and
//! a name that leads to a private address is refused. Plain HTTP is for loopback only.

use crate::connections::tls;
use crate::egress::dial;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

const WAIT: Duration = Duration::from_secs(5);

/// The document's bytes, or one sentence for the operator.
///
/// # Errors
/// Everything but a whole answer of status 200 within the bound.
pub async fn fetch_document(url: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
    tokio::time::timeout(WAIT, fetch(url, bytes_max)).await.map_err(|_| format!("no whole answer within {WAIT:?}"))?
}

async fn fetch(url: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
    let uri: Uri = url.parse().map_err(|error| format!("no address: {error}"))?;
    let host = uri.host().ok_or("no host in the address")?.to_owned();
    if uri.scheme_str() == Some("https") {
        let config = Arc::new(tls(true).map_err(|error| error.to_string())?);
        let line = dial(&host, uri.port_u16().unwrap_or(443), false, Some(config)).await.map_err(|error| error.to_string())?;
        return ask(line, &uri, bytes_max).await;
    }
    if !matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
        return Err("plain http is for loopback only".to_owned());
    }
    let host = host.trim_matches(['[', ']']);
    let tcp =
        TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await.map_err(|error| format!("no connection: {error}"))?;
    if !tcp.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
        return Err("plain http is for loopback only".to_owned());
    }
    ask(TokioIo::new(tcp), &uri, bytes_max).await
}

async fn ask(line: impl Read + Write + Unpin + Send + 'static, uri: &Uri, bytes_max: usize) -> Result<Vec<u8>, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(line).await.map_err(|error| format!("no connection: {error}"))?;
    let answering = async {
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let request = Request::get(path)
            .header(header::HOST, uri.authority().map_or("", http::uri::Authority::as_str))
            .header(header::ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("answered {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        body.map(|body| body.to_bytes().to_vec())
            .map_err(|error| format!("no whole answer of at most {bytes_max} bytes: {error}"))
    };
    let connection = async {
        // What went wrong on the way, the answer says.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answering => answer,
        () = connection => Err("no answer".to_owned()),
    }
}

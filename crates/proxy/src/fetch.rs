//! Fetches a small public document from an address of the operator's, within bounds. Nothing is shown there, and no redirect is followed.

use crate::mcp::tls;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

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
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(WAIT));
    let tls = tls(uri.scheme_str() == Some("https")).map_err(|error| error.to_string())?;
    let connector =
        hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    let answer = client.request(request).await.map_err(|error| format!("no answer: {error}"))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("answered {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), bytes_max).collect().await;
    body.map(|body| body.to_bytes().to_vec()).map_err(|error| format!("no whole answer of at most {bytes_max} bytes: {error}"))
}

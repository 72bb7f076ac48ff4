//! One try: one connection, one request, one status.

use super::{WebhookEndpoint, sign};
use crate::egress::{Line, dial};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use policy::Timestamp;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use store::Delivery;

/// From the name to the status.
const WAIT: Duration = Duration::from_secs(10);
const HEADER_BYTES_MAX: usize = 16 * 1024;
const USER_AGENT: &str = concat!("hexward/", env!("CARGO_PKG_VERSION"));

/// Why a try failed. The text is kept for the operator; nothing that the endpoint said is in it but its status.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// Not even connected.
    #[error("{0}")]
    Dial(String),
    /// The connection broke, or it was no HTTP.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer within {} s", WAIT.as_secs())]
    Slow,
    /// It sent the request elsewhere, where it does not go.
    #[error("answered {0}, and redirects are not followed: configure the address itself")]
    Redirect(u16),
    /// It does not want it.
    #[error("answered {0}")]
    Status(u16),
    /// The address or the id does not fit a request.
    #[error("no request can be made: {0}")]
    Request(#[from] http::Error),
}

pub(super) async fn send(
    endpoint: &WebhookEndpoint,
    tls: &Arc<ClientConfig>,
    delivery: &Delivery,
    now: Timestamp,
) -> Result<(), SendError> {
    tokio::time::timeout(WAIT, exchange(endpoint, tls, delivery, now)).await.map_err(|_| SendError::Slow)?
}

async fn exchange(
    endpoint: &WebhookEndpoint,
    tls: &Arc<ClientConfig>,
    delivery: &Delivery,
    now: Timestamp,
) -> Result<(), SendError> {
    let request = request(endpoint, delivery, now)?;
    let line = connect(endpoint, tls).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::Builder::new().max_buf_size(HEADER_BYTES_MAX).handshake::<_, Full<Bytes>>(line).await?;
    let answer = {
        let asking = sender.send_request(request);
        tokio::pin!(asking, connection);
        // The connection is driven here and ends with this call: of a body nothing is read.
        tokio::select! {
            answer = &mut asking => answer?,
            ended = &mut connection => {
                ended?;
                asking.await?
            }
        }
    };
    match answer.status() {
        status if status.is_success() => Ok(()),
        status if status.is_redirection() => Err(SendError::Redirect(status.as_u16())),
        status => Err(SendError::Status(status.as_u16())),
    }
}

async fn connect(endpoint: &WebhookEndpoint, tls: &Arc<ClientConfig>) -> Result<Line, SendError> {
    let url = &endpoint.url;
    // An IPv6 address stands in brackets in an address alone.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    let tls = (url.scheme() == "https").then(|| Arc::clone(tls));
    dial(host, port, endpoint.danger_allow_private, tls).await.map_err(|error| SendError::Dial(error.to_string()))
}

fn request(endpoint: &WebhookEndpoint, delivery: &Delivery, now: Timestamp) -> Result<Request<Full<Bytes>>, SendError> {
    let url = &endpoint.url;
    let seconds = now.0.div_euclid(1_000_000);
    let signatures = sign::signatures(&endpoint.secrets, &delivery.id, seconds, &delivery.body);
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = url.port().map_or_else(
        || url.host_str().unwrap_or_default().to_owned(),
        |port| format!("{}:{port}", url.host_str().unwrap_or_default()),
    );
    Ok(Request::builder()
        .method(Method::POST)
        .uri(target.parse::<Uri>().map_err(http::Error::from)?)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(header::USER_AGENT, HeaderValue::from_static(USER_AGENT))
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .header("webhook-id", &delivery.id)
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", signatures)
        .body(Full::new(Bytes::from(delivery.body.clone())))?)
}

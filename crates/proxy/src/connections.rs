//! Connections to a provider or a tool server, kept open between calls. A connection is handed out to one call at a time and taken back
//! when its answer was read to the end; one whose answer was not is closed, which tells the other side to stop.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use parking_lot::Mutex;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::{Service, ServiceExt};

const CONNECT_WAIT: Duration = Duration::from_secs(10);
const READY_WAIT: Duration = Duration::from_millis(50);
const IDLE_WAIT: Duration = Duration::from_secs(60);
const IDLE_MAX: usize = 128;
/// Threads keep their idle connections apart (by a hash, so two may share a place), which are mostly driven where they are used: nobody
/// has to be woken elsewhere.
const SHARDS: usize = 8;
/// A connection that was closed while it was idle is noticed when it is used; then another one is tried.
const TRIES_MAX: usize = 3;
const READ_BUFFER_BYTES_MAX: usize = 64 << 10;

type Sender = SendRequest<Full<Bytes>>;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No byte of it left: nothing was used.
    #[error("it can't be reached: {0}")]
    NotSent(String),
    /// It may have arrived.
    #[error("it broke the connection: {0}")]
    Broken(String),
}

/// The connections to one host.
pub(crate) struct Connections {
    connector: HttpsConnector<HttpConnector>,
    base: Uri,
    idle: [Mutex<Vec<Idle>>; SHARDS],
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// A connection in use. Give it back when the answer was read to its end.
pub(crate) struct Lease {
    sender: Sender,
    home: Arc<Connections>,
}

impl Lease {
    pub(crate) fn give_back(self) {
        let Self { sender, home } = self;
        if sender.is_closed() {
            return;
        }
        let mut idle = home.shard().lock();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

impl Connections {
    /// Towards `base`, whose form was checked.
    pub(crate) fn new(base: Uri) -> Result<Self, rustls::Error> {
        let tls = tls(base.scheme_str() == Some("https"))?;
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_WAIT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self { connector, base, idle: Default::default() })
    }

    /// Sends a request, once. A call that may have arrived is never sent again by itself: it was reserved, or permitted, for once.
    pub(crate) async fn send(self: &Arc<Self>, request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, Lease), SendError> {
        let mut request = Some(addressed(request));
        for _ in 0..TRIES_MAX {
            let Some(mut sender) = self.kept().await else { break };
            let Some(sending) = request.take() else { break };
            match sender.try_send_request(sending).await {
                Ok(response) => return Ok((response, Lease { sender, home: Arc::clone(self) })),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = Some(unsent),
                    None => return Err(SendError::Broken(chain(failed.error()))),
                },
            }
        }
        let Some(request) = request else { return Err(SendError::Broken("it was lost".to_owned())) };
        // Rare, and large.
        let mut sender = Box::pin(self.connect()).await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, Lease { sender, home: Arc::clone(self) })),
            Err(mut failed) => Err(match failed.take_message() {
                Some(_) => SendError::NotSent(chain(failed.error())),
                None => SendError::Broken(chain(failed.error())),
            }),
        }
    }

    fn shard(&self) -> &Mutex<Vec<Idle>> {
        let mut hasher = DefaultHasher::new();
        std::thread::current().id().hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % 8).unwrap_or(0);
        self.idle.get(at).unwrap_or(&self.idle[0])
    }

    async fn kept(&self) -> Option<Sender> {
        loop {
            let Idle { mut sender, since } = self.shard().lock().pop()?;
            if since.elapsed() < IDLE_WAIT && !sender.is_closed() {
                // One is waited for, not all of them.
                return is_ready(&mut sender).await.then_some(sender);
            }
        }
    }

    async fn connect(&self) -> Result<Sender, SendError> {
        let shaken = tokio::time::timeout(CONNECT_WAIT, self.shake_hands()).await;
        shaken.unwrap_or_else(|_| Err(SendError::NotSent("it did not finish the handshake".to_owned())))
    }

    async fn shake_hands(&self) -> Result<Sender, SendError> {
        let unreachable = |error: &dyn std::error::Error| SendError::NotSent(chain(error));
        let mut connector = self.connector.clone();
        let ready = connector.ready().await.map_err(|error| unreachable(error.as_ref()))?;
        let stream = ready.call(self.base.clone()).await.map_err(|error| unreachable(error.as_ref()))?;
        let shaken = http1::Builder::new().max_buf_size(READ_BUFFER_BYTES_MAX).handshake(stream).await;
        let (mut sender, connection) = shaken.map_err(|error| unreachable(&error))?;
        // What goes wrong on the connection is told to whoever waits for an answer on it.
        tokio::spawn(async move { drop(connection.await) });
        sender.ready().await.map_err(|error| unreachable(&error))?;
        Ok(sender)
    }
}

/// What servers are trusted by: the host's certificates, where they are needed.
pub(crate) fn tls(needed: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    if needed {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A connection adds nothing by itself: the host belongs into its header, and only path and query to the target (RFC 9112, 3.2).
fn addressed(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    // A name and a password in an address are nobody's business there.
    let host = request.uri().authority().and_then(|authority| authority.as_str().rsplit('@').next());
    let usual = if request.uri().scheme_str() == Some("https") { ":443" } else { ":80" };
    let host = host.and_then(|host| HeaderValue::from_str(host.strip_suffix(usual).unwrap_or(host)).ok());
    if let (Some(host), Some(target)) = (host, request.uri().path_and_query().cloned()) {
        request.headers_mut().insert(header::HOST, host);
        *request.uri_mut() = Uri::from(target);
    }
    request
}

/// A connection on which an answer came before its request was written is busy for longer than anybody waits.
async fn is_ready(sender: &mut Sender) -> bool {
    matches!(tokio::time::timeout(READY_WAIT, sender.ready()).await, Ok(Ok(())))
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_host_and_its_path_alone() {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = Uri::from_static("https://api.example:8443/v1/messages?beta=true");
        let request = addressed(request);
        assert_eq!(request.uri(), &Uri::from_static("/v1/messages?beta=true"));
        assert_eq!(request.headers().get("host"), Some(&HeaderValue::from_static("api.example:8443")));
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = Uri::from_static("http://name:word@tools.example:80/mcp");
        assert_eq!(addressed(request).headers().get("host"), Some(&HeaderValue::from_static("tools.example")));
    }
}

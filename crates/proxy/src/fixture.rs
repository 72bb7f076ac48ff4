//! A channel to an app that is a fixture: whoever connects is one user's client, as on a sandbox's own listener, and no model's word
//! stands behind what is asked for. It lets the official conformance suite, which can show no credential, pass through the gateway.
//!
//! Invariant: only for an app whose manifest says `danger_without_provenance`, which production refuses, and on loopback only.

use crate::Proxy;
use crate::answer::Body;
use crate::body;
use crate::callers::Windows;
use crate::client::{Client, ClientTools};
use crate::context::App;
use crate::mcp::front::{LogLevel, refusal};
use crate::mcp::stream;
use crate::places::Places;
use crate::serve::serve_http;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use policy::{KeyId, KeyScope, UserId};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CONNECTIONS_MAX: usize = 64;
const GATEWAY: &str = "fixture";

/// Why there is no such channel.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the app's manifest does not say danger_without_provenance, so every call needs a key or a model's word")]
pub struct FixtureError;

/// The channel, not open yet.
pub struct Fixture {
    host: ClientTools,
}

impl Fixture {
    /// For an app that is a fixture.
    ///
    /// # Errors
    /// [`FixtureError`] for any other.
    pub fn new(proxy: Arc<Proxy>, app: Arc<App>, user: UserId) -> Result<Self, FixtureError> {
        if !app.manifest.is_fixture() {
            return Err(FixtureError);
        }
        tracing::warn!(app = app.manifest.id, "DANGER: a channel without a credential is open to this app");
        let client = Client {
            key: KeyId::random(),
            name: Arc::from("fixture"),
            can_ask: false,
            user,
            scope: Arc::new(KeyScope { app: Some(app.manifest.id.clone()), ..KeyScope::default() }),
            windows: Arc::new(Windows::new(&Arc::from(GATEWAY))),
            log_level: Arc::new(AtomicU8::new(LogLevel::INFO.0)),
        };
        Ok(Self { host: ClientTools { proxy, app, client, _places: None } })
    }

    /// Serves it until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let host = Arc::new(self.host);
        serve_http(listener, Places::new(CONNECTIONS_MAX), stop, move |request| answer(Arc::clone(&host), request)).await;
    }
}

/// A name that was rebound to this address by a page's server is not answered.
async fn answer(host: Arc<ClientTools>, request: Request<Incoming>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let named = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let name = named.rsplit_once(':').map_or(named.as_str(), |(name, _)| name);
    if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        let text = "This channel does not answer to that name.";
        return refusal(StatusCode::FORBIDDEN, "host", text).map(|body| body.map_err(|never| match never {}).boxed_unsync());
    }
    // A page of this very address is nobody else's.
    if head.headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes() == format!("http://{named}").as_bytes()) {
        head.headers.remove(header::ORIGIN);
    }
    match body::read(body).await {
        Ok(body) => stream(&head, body, host).await,
        Err(refusal) => refusal,
    }
}

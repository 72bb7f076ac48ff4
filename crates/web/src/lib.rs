//! Shows. What *people* can reach: pages, sessions, conversations, runs and what their apps hold.
//!
//! It never decides, never speaks to an agent, a model or a tool by itself, and never depends on the rooms that do: it
//! starts runs, reads their events, and reads apps' resources and calls their tools for people through `runs`.

mod answer;
mod apps;
mod assets;
mod body;
mod confirm_page;
mod confirmations;
mod conversations;
mod door;
mod forwarded;
mod host_users;
mod hosts;
mod keys;
mod path;
mod person_tools;
mod run_events;
mod serve;
mod session;
mod streams;
mod undo;
mod user_data;
mod v1;

pub use hosts::{FetchKeys, Fetched, HostKeys, HostSettings};
pub use serve::serve;
pub use user_data::{AppData, OfApp};
pub use v1::{HostApi, HostParts, openapi};

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware;
use axum::routing::{delete, get, post};
use hosts::Hosts;
use policy::Clock;
use runs::Runs;
use secrecy::SecretString;
use std::sync::{Arc, Once};
use store::Store;
use streams::Streams;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

/// What pages are told, and how sessions are kept.
pub struct PageSettings {
    /// The app shown.
    pub app: String,
    /// What is not safe about this gateway, shown on every page.
    pub warning: Option<String>,
    /// `scripted` or `real`.
    pub model: &'static str,
    /// How the switch for changes stands at first.
    pub writes_default: bool,
    /// The origin people use, when it is not the listener's own.
    pub public_origin: Option<String>,
    /// Keys the digests of session tokens.
    pub session_key: SecretString,
}

/// What the door for people needs.
pub struct WebParts {
    /// The database.
    pub store: Store,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The conductor.
    pub runs: Arc<Runs>,
    /// Settings.
    pub settings: PageSettings,
}

/// Shared by all routes.
struct Web {
    store: Store,
    clock: Arc<dyn Clock>,
    runs: Arc<Runs>,
    settings: PageSettings,
    hosts: Hosts,
    streams: Streams,
    documents: Semaphore,
    stop: CancellationToken,
    warned_of_proxy: Once,
}

impl Web {
    /// Once is enough: every request of that proxy is refused and told why.
    fn warn_of_proxy(&self, header: &str) {
        self.warned_of_proxy.call_once(|| {
            tracing::warn!(
                header,
                "a request came through a proxy in direct mode, and all such are refused: agents are not confined here"
            );
        });
    }
}

type Shared = Arc<Web>;

/// One strict policy for every answer: nothing inline, nothing from elsewhere, no HTML but through the page's own sanitiser.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types svelte-trusted-html chat-html dompurify";

/// Every route of this listener on one screen. All but the first three, the session's and those for one question (which
/// have a session of their own) need a session.
fn router(web: Shared) -> Router {
    Router::new()
        .route("/", get(assets::index))
        .route("/assets/{*path}", get(assets::file))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/api/session", get(session::show))
        .route("/api/conversations", get(conversations::list).post(conversations::create))
        .route("/api/conversations/{id}", get(conversations::show).delete(conversations::forget))
        .route("/api/conversations/{id}/messages", post(conversations::send))
        .route("/api/runs/{id}/events", get(run_events::stream))
        .route("/api/runs/{id}/stop", post(run_events::stop))
        .route("/api/runs/{id}/challenge", post(run_events::answer_challenge))
        .route("/api/undo", post(undo::undo))
        .route("/api/confirmations", get(confirmations::list))
        .route("/api/confirmations/{id}", post(confirmations::answer))
        .route("/confirm", get(confirm_page::show).post(confirm_page::answer))
        .route("/confirm/{code}", get(confirm_page::enter))
        .route("/api/apps/{app}/resource", get(apps::resource))
        .route("/api/apps/{app}/tools/{tool}", post(person_tools::call))
        .route("/api/changes", get(apps::changes))
        .route("/api/keys", get(keys::list).post(keys::create))
        .route("/api/keys/{id}", delete(keys::revoke))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&web), door::check))
        .layer(CatchPanicLayer::custom(answer::panicked))
        .layer(fixed(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(SetResponseHeaderLayer::if_not_present(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")))
        .layer(fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .layer(fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .layer(fixed(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"))
        .with_state(web)
}

fn fixed(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}

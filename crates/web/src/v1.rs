//! The API for host applications' back ends, below `/v1/` at the callers' listener.

use crate::hosts::{Entry, FetchKeys, HostSettings, Hosts, admit, issue_ticket, link, listed, preflight, ticket_door};
use crate::serve::Peer;
use crate::streams::Streams;
use crate::{PageSettings, Shared, Web, answer, apps, conversations, fixed, host_users, person_tools, run_events, undo};
use axum::BoxError;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, options, post};
use policy::{Clock, HostAction, ShownKey};
use runs::Runs;
use std::net::IpAddr;
use std::sync::{Arc, Once};
use store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

/// Documents of hosts' users that are in memory at the same time.
const DOCUMENTS_MAX: usize = 2;

/// What the door for host applications needs.
pub struct HostParts {
    /// The database.
    pub store: Store,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The conductor.
    pub runs: Arc<Runs>,
    /// The hosts.
    pub hosts: Vec<HostSettings>,
    /// Who fetches the keys that hosts publish.
    pub fetch: Arc<dyn FetchKeys>,
    /// As people's pages have them.
    pub settings: PageSettings,
    /// Ends streams.
    pub stop: CancellationToken,
}

/// Answers back ends whose keys somebody else has looked up. Cheap to clone.
#[derive(Clone)]
pub struct HostApi(Router);

impl HostApi {
    /// With these hosts.
    #[must_use]
    pub fn new(parts: HostParts) -> Self {
        let HostParts { store, clock, runs, hosts, fetch, settings, stop } = parts;
        let hosts = Hosts::new(hosts, &fetch);
        let (streams, documents, warned_of_proxy) = (Streams::default(), Semaphore::new(DOCUMENTS_MAX), Once::new());
        Self(router(&Arc::new(Web { store, clock, runs, settings, hosts, streams, documents, stop, warned_of_proxy })))
    }

    /// Answers a request that shows this key and comes from there.
    pub async fn answer<B>(self, request: Request<B>, key: ShownKey, peer: Option<IpAddr>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(key);
        if let Some(peer) = peer {
            request.extensions_mut().insert(Peer(peer));
        }
        self.0.oneshot(request).await.unwrap_or_else(|never| match never {})
    }
}

/// Every route on one screen, each with what a key must be for.
fn router(web: &Shared) -> Router {
    use HostAction::{Confirm, Read, Runs, Undo, Users};
    let may = |action: HostAction, route: MethodRouter<Shared>| {
        route.route_layer(from_fn_with_state(Entry { web: Arc::clone(web), action }, admit))
    };
    Router::new()
        .route("/v1/conversations", may(Runs, post(conversations::create)))
        .route("/v1/conversations", may(Read, get(conversations::list)))
        .route("/v1/conversations/{id}", may(Read, get(conversations::show)))
        .route("/v1/conversations/{id}", may(Users, delete(host_users::forget)))
        .route("/v1/conversations/{id}/runs", may(Runs, post(conversations::send)))
        .route("/v1/runs/{id}", may(Read, get(host_users::run)))
        .route("/v1/runs/{id}/events", get(run_events::stream).route_layer(from_fn_with_state(Arc::clone(web), ticket_door)))
        .route("/v1/runs/{id}/events", options(preflight))
        .route("/v1/runs/{id}/tickets", may(Runs, post(issue_ticket)))
        .route("/v1/runs/{id}/stop", may(Runs, post(run_events::stop)))
        .route("/v1/runs/{id}/challenge", may(Runs, post(run_events::answer_challenge)))
        .route("/v1/confirmations", may(Read, get(listed)))
        .route("/v1/confirmations/{id}/links", may(Confirm, post(link)))
        .route("/v1/undo", may(Undo, post(undo::undo)))
        .route("/v1/apps/{app}/resource", may(Read, get(apps::resource)))
        .route("/v1/apps/{app}/tools/{tool}", may(Runs, post(person_tools::call)))
        .route("/v1/user", may(Read, get(host_users::user)))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(CatchPanicLayer::custom(answer::panicked))
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .with_state(Arc::clone(web))
}

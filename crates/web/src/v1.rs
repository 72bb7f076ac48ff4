//! The API for host applications' back ends, below `/v1/` at the callers' listener.

mod document;
mod message;
mod refusals;
mod routes;

pub use document::text as openapi;

pub(crate) use message::Message;

use crate::hosts::{FetchKeys, HostSettings, Hosts, issue_ticket, link, listed, preflight};
use crate::serve::Peer;
use crate::streams::Streams;
use crate::user_data::AppData;
use crate::{
    PageSettings, Shared, Web, answer, apps, conversations, fixed, host_users, person_tools, run_events, undo, user_data,
};
use axum::BoxError;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, header};
use policy::{Clock, ShownKey};
use routes::{Door, Routes};
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
    /// What the gateway's own apps keep of users.
    pub data: Arc<dyn AppData>,
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
        let HostParts { store, clock, runs, hosts, fetch, data, settings, stop } = parts;
        let hosts = Hosts::new(hosts, &fetch, data);
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

/// Every route on one screen, each with what a key must be for. What it takes and answers stands at its function, and the names of the
/// functions in [`document`].
fn routes() -> Routes {
    use policy::HostAction::{Confirm, Read, Runs, Undo, Users};
    Routes::default()
        .post("/v1/conversations", Runs, conversations::create)
        .get("/v1/conversations", Read, conversations::list)
        .get("/v1/conversations/{id}", Read, conversations::show)
        .delete("/v1/conversations/{id}", Users, conversations::forget)
        .post("/v1/conversations/{id}/runs", Runs, conversations::send)
        .get("/v1/runs/{id}", Read, host_users::run)
        .get("/v1/runs/{id}/events", Door::Ticket, run_events::stream)
        .options("/v1/runs/{id}/events", Door::Preflight, preflight)
        .post("/v1/runs/{id}/tickets", Runs, issue_ticket)
        .post("/v1/runs/{id}/stop", Runs, run_events::stop)
        .post("/v1/runs/{id}/challenge", Runs, run_events::answer_challenge)
        .get("/v1/confirmations", Read, listed)
        .post("/v1/confirmations/{id}/links", Confirm, link)
        .post("/v1/undo", Undo, undo::undo)
        .get("/v1/apps/{app}/resource", Read, apps::resource)
        .post("/v1/apps/{app}/tools/{tool}", Runs, person_tools::call)
        .get("/v1/user", Read, host_users::user)
        .delete("/v1/user", Users, user_data::erase)
        .get("/v1/user/export", Users, user_data::export)
        .get("/v1/openapi.json", Door::Key, document::show)
}

fn router(web: &Shared) -> Router {
    routes()
        .router(web)
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(CatchPanicLayer::custom(answer::panicked))
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .with_state(Arc::clone(web))
}

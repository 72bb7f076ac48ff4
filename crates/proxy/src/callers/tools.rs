//! `/api/mcp`: the tools of one app for a person's own client.

use super::clients::{Clients, Known, NotLetIn};
use super::{Callers, peer_of};
use crate::Proxy;
use crate::answer::{self, Body};
use crate::body;
use crate::client::{ClientTools, Places};
use crate::context::App;
use crate::mcp::front::refusal;
use crate::mcp::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use policy::DenialCode;
use std::sync::Arc;
use store::RateError;
use tokio::sync::Semaphore;

const ROUTE: &str = "/api/mcp";
/// Requests of all clients at the same time.
const AT_ONCE_MAX: usize = 256;
/// When a place may be free again, roughly.
const BUSY_SECS: u64 = 1;

/// What clients may reach.
pub(super) struct Tools {
    apps: Vec<Arc<App>>,
    pub(super) clients: Clients,
    places: Arc<Semaphore>,
}

impl Tools {
    pub(super) fn new(proxy: &Proxy, apps: Vec<Arc<App>>, gateway: &str) -> Self {
        let clients = Clients::new(proxy.store.clone(), gateway, proxy.work.clone());
        Self { apps, clients, places: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    pub(super) fn none(proxy: &Proxy) -> Self {
        Self::new(proxy, Vec::new(), "")
    }

    pub(super) fn app(&self, id: &str) -> Option<&Arc<App>> {
        self.apps.iter().find(|app| app.manifest.id == id)
    }
}

/// The app that an address names, if it is one of ours: `/api/mcp` is that of the key.
pub(super) fn route(path: &str) -> Option<Option<&str>> {
    let rest = path.strip_prefix(ROUTE)?;
    match rest.strip_prefix('/') {
        None => rest.is_empty().then_some(None),
        Some(app) => (!app.is_empty() && !app.contains('/')).then_some(Some(app)),
    }
}

impl Callers {
    pub(super) async fn answer_client(&self, app: Option<&str>, request: Request<Incoming>) -> Response<Body> {
        let peer = peer_of(&request);
        // What stands in an address is written into logs on its way.
        if request.uri().query().is_some() {
            return refuse(
                StatusCode::BAD_REQUEST,
                "query",
                "This address takes no query. A key is shown as Authorization: Bearer.",
            );
        }
        let known = match self.tools.clients.authenticate(request.headers(), peer, self.proxy.clock.now()).await {
            Ok(known) => known,
            Err(NotLetIn::Refused(refused)) => {
                self.write_down(refused, peer);
                // One answer for all that can be wrong with a key: who guesses learns nothing from it.
                return challenge(StatusCode::UNAUTHORIZED, "Bearer", "key", "No valid key was shown as Authorization: Bearer.");
            }
            Err(NotLetIn::Store(error)) => {
                tracing::error!(%error, "a client's key could not be looked up");
                return unavailable();
            }
        };
        let Some(app) = self.app_of(&known, app) else {
            let scheme = "Bearer error=\"insufficient_scope\"";
            return challenge(StatusCode::FORBIDDEN, scheme, DenialCode::KeyTool.as_str(), DenialCode::KeyTool.sentence());
        };
        if let Err(refusal) = self.count_client(&known).await {
            return refusal;
        }
        let calms_in = self.proxy.client_calms_in(known.client.user);
        if !calms_in.is_zero() {
            let code = DenialCode::BehaviourClient;
            self.note_too_many(known.client.key, code);
            let answer = refuse(StatusCode::TOO_MANY_REQUESTS, code.as_str(), code.sentence());
            return after(answer, calms_in.as_secs().saturating_add(1));
        }
        let Some(places) = self.places_of(&known) else {
            let answer = refuse(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many requests at once. Try again in a moment.");
            return after(answer, BUSY_SECS);
        };
        let (head, body) = request.into_parts();
        let body = match body::read(body).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let (proxy, client) = (Arc::clone(&self.proxy), known.client.clone());
        let host = ClientTools { proxy, app, client, _places: Some(places) };
        stream(&head, body, Arc::new(host)).await
    }

    /// The one app that a key is for, if the address says no other.
    fn app_of(&self, known: &Known, named: Option<&str>) -> Option<Arc<App>> {
        let own = known.client.scope.app.as_deref()?;
        if named.is_some_and(|named| named != own) {
            return None;
        }
        self.tools.app(own).map(Arc::clone)
    }

    /// All of a person's keys together may ask so often.
    async fn count_client(&self, known: &Known) -> Result<(), Response<Body>> {
        let Some(pacing) = &self.proxy.rates else { return Ok(()) };
        let client = &known.client;
        let per_hour = client.scope.requests_per_hour.map(u64::from);
        let checks = pacing.rules.of_tools(client.user, &client.key.to_string(), per_hour);
        match pacing.rates.admit(checks, self.proxy.clock.now()).await {
            Ok(_) => Ok(()),
            Err(RateError::Refused(refused)) => {
                self.note_too_many(client.key, refused.code);
                let answer = refuse(StatusCode::TOO_MANY_REQUESTS, refused.code.as_str(), refused.code.sentence());
                Err(after(answer, u64::try_from(refused.retry_after_secs()).unwrap_or(BUSY_SECS)))
            }
            Err(RateError::Store(error)) => {
                tracing::error!(%error, "a client's rate could not be looked up, so it was refused");
                Err(unavailable())
            }
        }
    }

    fn places_of(&self, known: &Known) -> Option<Places> {
        let one = Arc::clone(&known.standing.places).try_acquire_owned().ok()?;
        Some(Arc::new([one, Arc::clone(&self.tools.places).try_acquire_owned().ok()?]))
    }
}

fn refuse(status: StatusCode, reason: &str, message: &str) -> Response<Body> {
    refusal(status, reason, message).map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

fn challenge(status: StatusCode, scheme: &'static str, reason: &str, message: &str) -> Response<Body> {
    let mut answer = refuse(status, reason, message);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    answer
}

fn after(mut answer: Response<Body>, secs: u64) -> Response<Body> {
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
    answer
}

fn unavailable() -> Response<Body> {
    answer::unavailable("The gateway's database is not available, so no key can be checked. Try again in a moment.")
}

#[cfg(test)]
mod tests {
    use super::route;

    #[test]
    fn an_address_names_one_app_or_none() {
        assert_eq!((route("/api/mcp"), route("/api/mcp/hexmap")), (Some(None), Some(Some("hexmap"))));
        for other in ["/api/mcp/", "/api/mcp/a/b", "/api/mcpx", "/api/mcp-sessions", "/api/anthropic-proxy", "/"] {
            assert_eq!(route(other), None, "{other}");
        }
    }
}

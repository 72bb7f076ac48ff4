//! The callers' listener: back ends elsewhere that show a key, and people's own clients with theirs. Own port, no cookies, no CORS;
//! off unless it is configured.

mod clients;
mod hosts;
mod index;
mod keeper;
mod refusals;
mod secret;
mod sessions;
mod tools;
mod windows;

pub use crate::answer::unavailable;
pub use hosts::{HostRequest, HostService};
pub use secret::{CallerSecret, SecretError};
pub(crate) use windows::Windows;

use crate::Proxy;
use crate::answer::{self, Body};
use crate::context::App;
use crate::lanes;
use crate::messages::pace::TooMany;
use crate::messages::{Caller, Service, handle, headers, pace, refuse};
use crate::places::Places;
use crate::serve::{Peer, serve_http};
use hosts::HostDoor;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use index::{Known, Local, Refused};
use keeper::Keeper;
use policy::{AuditEvent, BudgetLine, Denial, DenialCode, KeyId, KeyScope, Labels, Microusd, RunView, Throttle};
use refusals::{ByKey, Refusals};
use std::net::IpAddr;
use std::sync::Arc;
use store::{KeySource, NewKey, StoreError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tools::Tools;

const PREFIX: &str = "/api/anthropic-proxy";
/// Connections of all remote callers together: the event streams of browsers are among them.
const CONNECTIONS_MAX: usize = 8_192;
/// What today's models can answer at most, and what the agent asks of them where nothing is said.
const OUTPUT_TOKENS_MAX: u64 = 128_000;
const CALL_SECS_MAX: i64 = 600;
/// The principal of the environment's secret and of what it was rotated to.
const INTERNAL: &str = "internal";
const SECRET_NAME: &str = "INTERNAL_PROXY_SECRET";

/// How the callers' listener is configured.
pub struct CallerSettings {
    /// The environment's secret, which is a key of the principal `internal`.
    pub secret: Option<CallerSecret>,
    /// What all keys of `internal` are narrowed to.
    pub internal: KeyScope,
}

/// What a client says of itself, for the call log.
#[must_use]
pub fn labels(headers: &HeaderMap) -> Labels {
    Labels::read(|name| headers.get(name).map(http::HeaderValue::as_bytes))
}

/// The remote callers, known by their keys.
pub struct Callers {
    proxy: Arc<Proxy>,
    keeper: Keeper,
    version: i64,
    refusals: Refusals,
    /// Right keys used for paths they are not for.
    overreaches: Refusals,
    /// Calls that came too often.
    too_many: ByKey,
    tools: Tools,
    hosts: HostDoor,
}

impl Callers {
    /// Makes the environment's secret a key like all others, and reads them all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn start(proxy: Arc<Proxy>, settings: CallerSettings) -> Result<Self, StoreError> {
        let now = proxy.clock.now();
        if let Some(secret) = &settings.secret {
            let new = NewKey {
                digest: secret.digest(),
                principal: INTERNAL.to_owned(),
                name: SECRET_NAME.to_owned(),
                scope: KeyScope::default(),
                source: KeySource::Environment,
                expires_at: None,
            };
            let kept = proxy.store.create_key(new, now).await?;
            if !kept.is_live(now) || kept.source != KeySource::Environment {
                tracing::warn!("INTERNAL_PROXY_SECRET was revoked and opens nothing; remove it from the environment");
            }
        }
        let local = Local { environment: settings.secret.map(|secret| secret.digest()), internal: settings.internal };
        let (keeper, version) = Keeper::start(proxy.store.clone(), Arc::clone(&proxy.clock), local).await?;
        let tools = Tools::none(&proxy);
        Ok(Self {
            proxy,
            keeper,
            version,
            refusals: Refusals::default(),
            overreaches: Refusals::default(),
            too_many: ByKey::default(),
            tools,
            hosts: HostDoor::default(),
        })
    }

    /// Serves the tools of these apps too, to people's own clients. `gateway` is this gateway's name in the database.
    #[must_use]
    pub fn with_tools(self, apps: Vec<Arc<App>>, gateway: &str) -> Self {
        let tools = Tools::new(&self.proxy, apps, gateway);
        Self { tools, ..self }
    }

    /// Lets host applications' back ends in at `/v1/`, to be answered by this.
    #[must_use]
    pub fn with_hosts(self, service: HostService) -> Self {
        Self { hosts: HostDoor::with(service), ..self }
    }

    /// Serves the callers' listener until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let callers = Arc::new(self);
        let (answering, until) = (Arc::clone(&callers), stop.clone());
        let places = Places::new(CONNECTIONS_MAX);
        let serve = move |listener| {
            let answering = Arc::clone(&answering);
            serve_http(listener, places.clone(), until.clone(), move |request| {
                let callers = Arc::clone(&answering);
                // On the heap: a connection moves what it is handed more than once, keeps room for it as long as it lives, and
                // what a call needs until its answer begins is some kilobytes.
                Box::pin(async move { callers.answer(request).await })
            })
        };
        let proxy = Arc::clone(&callers.proxy);
        let settled = move || {
            let proxy = Arc::clone(&proxy);
            async move { proxy.work.wait().await }
        };
        let (served, ()) = tokio::join!(lanes::serve(listener, serve, settled), callers.keeper.follow(callers.version, stop));
        if let Err(error) = served {
            tracing::error!(%error, "the callers' listener could not be served");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if let Some(service) = self.hosts.service(&path) {
            return self.answer_host(service, request).await;
        }
        if let Some(app) = tools::route(&path) {
            return Box::pin(self.answer_client(app, request)).await;
        }
        if let Some(session) = sessions::route(&path) {
            return Box::pin(self.answer_session(session, request)).await;
        }
        let Some(path) = path.strip_prefix(PREFIX).filter(|rest| rest.starts_with('/')) else {
            return answer::error(
                StatusCode::NOT_FOUND,
                "not_found_error",
                "There is nothing here. The model API is below /api/anthropic-proxy, tools are at /api/mcp.",
            );
        };
        let known = match self.service(request.headers(), peer_of(&request)) {
            Ok(known) => known,
            Err(refusal) => return refusal,
        };
        if request.headers().contains_key(headers::HOP) {
            return answer::error(
                StatusCode::LOOP_DETECTED,
                "api_error",
                "This request has passed the gateway before: its provider address points at itself.",
            );
        }
        let purse = known.principal.purse(&self.proxy.ledger, known.user);
        let (view, notes, now) = (self.view(&known), known.notes.clone(), self.proxy.clock.now());
        let allowed = known.scope.allows_path(path);
        if allowed && known.scope.requests_per_hour.is_some_and(|max| !known.principal.take_request(max, now)) {
            self.note_too_many(known.id, DenialCode::KeyRequests);
            return answer::denied(&Denial::new(DenialCode::KeyRequests, path));
        }
        // What the key is not for is told how its rate stands and takes nothing of it.
        let weight_millis = if allowed { pace::weight_millis(request.method().as_str(), path, request.body()) } else { 0 };
        let (max, throttle) = (known.scope.requests_per_hour.map(u64::from), self.throttle(&view));
        let pace = match pace::admit(&self.proxy, &known.notes.caller_key, max, weight_millis, throttle).await {
            Ok(pace) => pace,
            Err(TooMany { code, answer }) => {
                code.into_iter().for_each(|code| self.note_too_many(known.id, code));
                return answer;
            }
        };
        let (prefixes, share) = (Arc::clone(&known.principal.prefixes), known.principal.share(&self.proxy.rooms));
        let caller = Caller::Service(Arc::new(Service { view, purse, notes, prefixes, share }));
        let mut response = if allowed {
            handle(&self.proxy, caller, path, request).await
        } else {
            Box::pin(self.overreached(&caller, path)).await
        };
        pace.mark(&mut response);
        response
    }

    /// The service whose key a request shows.
    #[expect(clippy::result_large_err, reason = "the answer is what a refusal is")]
    fn service(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Arc<Known>, Response<Body>> {
        let Some(index) = self.keeper.index() else {
            return Err(answer::unavailable(
                "The gateway's database is not available, so no key can be checked. Try again in a moment.",
            ));
        };
        index.authenticate(headers, peer, self.proxy.clock.now()).map_err(|refused| {
            self.write_down(refused, peer);
            // One answer for all that can be wrong with a key: who guesses learns nothing from it.
            answer::error(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key")
        })
    }

    /// The refusal of what a key is not for; a flood of them is not written down.
    async fn overreached(&self, caller: &Caller, path: &str) -> Response<Body> {
        let denial = Denial::new(DenialCode::KeyScope, path);
        match self.overreaches.count(self.proxy.clock.now()) {
            Some(_) => refuse(&self.proxy, caller, denial).await,
            None => answer::denied(&denial),
        }
    }

    /// Whoever is near the end of a budget is not only answered with less, but may also ask less often.
    fn throttle(&self, view: &RunView) -> Throttle {
        if self.proxy.ledger.is_near(&view.budgets) { Throttle::Near } else { Throttle::Open }
    }

    /// Once in a minute for each key, with how many there were since the last time.
    fn note_too_many(&self, key: KeyId, code: DenialCode) {
        let Some(unwritten) = self.too_many.count(key, self.proxy.clock.now()) else { return };
        let proxy = Arc::clone(&self.proxy);
        let event = AuditEvent::RateRefused { key, code, unwritten };
        self.proxy.work.spawn(async move { proxy.record(event).await });
    }

    /// Beside the answer, which must not wait for it: its time would tell what was found.
    fn write_down(&self, Refused { fault, key }: Refused, peer: Option<IpAddr>) {
        let Some(unwritten) = self.refusals.count(self.proxy.clock.now()) else { return };
        let (peer, proxy) = (peer.map(|peer| peer.to_canonical().to_string()), Arc::clone(&self.proxy));
        let key_text = key.map(|key| key.to_string());
        tracing::warn!(fault = fault.as_str(), key = key_text, peer, unwritten, "a remote caller was not let in");
        let event = AuditEvent::CallerRefused { fault, key, peer, unwritten };
        self.proxy.work.spawn(async move { proxy.record(event).await });
    }

    fn view(&self, known: &Known) -> RunView {
        let now = self.proxy.clock.now();
        let day: Microusd = known.scope.day_limit_microusd.map_or(self.proxy.day_limit, |own| own.min(self.proxy.day_limit));
        let own = || BudgetLine {
            scope: format!("user:{}", known.user),
            period: now.utc_day(),
            limit: day,
            exhausted: DenialCode::BudgetDay,
        };
        let everybody = || self.proxy.day_budget(now);
        let budgets = known.principal.budgets(now.utc_day(), [(day, &own), (self.proxy.day_limit, &everybody)]);
        RunView {
            run: known.principal.window,
            user: known.user,
            key: Some(known.use_of()),
            models: known.scope.models.clone(),
            turns_used: 0,
            turns_max: u32::MAX,
            output_tokens_max: known.scope.output_tokens_max.map_or(OUTPUT_TOKENS_MAX, |own| own.min(OUTPUT_TOKENS_MAX)),
            context_tokens_max: None,
            deadline: now.plus_secs(CALL_SECS_MAX),
            writes: false,
            budgets,
        }
    }
}

/// Where a request's connection comes from, as the kernel says.
fn peer_of(request: &Request<Incoming>) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0.ip())
}

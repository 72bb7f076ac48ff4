//! What all listeners of one sandbox share: who is behind them, what is allowed, and where refusals are written down.

use super::ca::SandboxCa;
use super::dial::Dialer;
use super::hosts::Hosts;
use super::request::{self, To, Way};
use super::{connection, exchange};
use crate::answer::{self, Body};
use crate::context::RunContext;
use crate::selfcheck::DENIED_HOST;
use crate::traffic::Connected;
use crate::{Gate, Proxy, messages, tools};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use messages::Caller;
use policy::{Denial, DenialCode, Destination};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Requests of one sandbox to other hosts at the same time.
const EXCHANGES_MAX: usize = 64;
const IDLE_CONNECTIONS_MAX: usize = 8;
const IDLE_WAIT: Duration = Duration::from_secs(30);

/// The door of one sandbox. Cheap to share.
#[derive(Clone)]
pub struct Door {
    pub(super) proxy: Arc<Proxy>,
    pub(super) gate: Arc<Gate>,
    pub(super) ca: Arc<SandboxCa>,
    pub(super) hosts: Arc<Hosts>,
    /// Invariant: a connection to a host is used by one sandbox only, so what one leaves on it can't answer another.
    pub(super) client: Client<Dialer, Body>,
    pub(super) places: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

/// Held while an exchange with another host goes on.
pub(super) struct Exchanging {
    _place: OwnedSemaphorePermit,
    _busy: TaskTrackerToken,
}

impl Door {
    /// A door that serves until `stop`.
    #[must_use]
    pub fn new(proxy: Arc<Proxy>, gate: Arc<Gate>, ca: Arc<SandboxCa>, stop: CancellationToken) -> Self {
        // Today one set of rules is for all apps; one for each app would be chosen here.
        let hosts = Arc::clone(&proxy.hosts);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_WAIT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .retry_canceled_requests(false)
            .build(Dialer::new(Arc::clone(&hosts)));
        Self { proxy, gate, ca, hosts, client, places: Arc::new(Semaphore::new(EXCHANGES_MAX)), stop }
    }

    /// A place for a connection, if there is one. The first that finds none is written down.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        match self.gate.connect() {
            Connected::In(place) => Some(place),
            Connected::FirstBeyond => {
                let door = self.clone();
                tokio::spawn(async move { door.refuse(DenialCode::AgentConnections, "(one more at once)").await });
                None
            }
            Connected::Beyond => None,
        }
    }

    /// A place for an exchange of this run with another host, if there is one.
    pub(super) fn exchange(&self, run: &RunContext) -> Option<Exchanging> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Exchanging { _place: place, _busy: run.exchange() })
    }

    /// Serves one connection that was meant for `dialled`, until it ends or the door is closed.
    pub async fn serve(&self, stream: TcpStream, dialled: SocketAddr) {
        connection::serve(self.clone(), stream, dialled).await;
    }

    /// Answers one request. Where it leads is decided for each anew, also on a connection that led somewhere before.
    pub(super) async fn answer(&self, way: &Way, request: Request<Incoming>) -> Response<Body> {
        if let Some(code) = self.gate.request() {
            return answer::denied(&Denial::new(code, "(a flood)"));
        }
        let (method, version, uri) = (request.method(), request.version(), request.uri());
        match request::destination(way, method, version, uri, request.headers(), &self.hosts.rules) {
            Ok(To::Own(destination)) => self.answer_own(destination, request).await,
            Ok(To::Host(host)) => exchange::pass(self, way, &host, request).await,
            Err((status, denial)) => answer::egress_denied(status, &self.write_down(denial).await),
        }
    }

    /// A request for us. The run is looked up for each, so that one that ended reaches nothing.
    async fn answer_own(&self, destination: Destination, request: Request<Incoming>) -> Response<Body> {
        let Some(run) = self.gate.bound() else {
            return self.answer_unbound(destination, request).await;
        };
        run.note_activity();
        match destination {
            Destination::Model => {
                let path = request.uri().path().to_owned();
                messages::handle(&self.proxy, Caller::Run(run), &path, request).await
            }
            Destination::Tools => tools::handle(&self.proxy, run, request).await,
        }
    }

    /// Without a run: an agent that starts is told which tools there are, everything else is refused.
    async fn answer_unbound(&self, destination: Destination, request: Request<Incoming>) -> Response<Body> {
        let wanted = request.uri().path().to_owned();
        if let (Destination::Model, Some(answer)) = (destination, self.gate.check().and_then(|check| check.answer(&wanted))) {
            return Response::new(answer::full(answer));
        }
        if let (Destination::Tools, Some(discovery)) = (destination, self.gate.discovery())
            && let Some(answer) = discovery.answer(&self.proxy, request).await
        {
            return answer;
        }
        answer::denied(&self.refuse(DenialCode::RunNone, &wanted).await)
    }

    /// Refuses, and writes down what was wanted.
    pub(super) async fn refuse(&self, code: DenialCode, wanted: &str) -> Denial {
        self.write_down(Denial::new(code, wanted)).await
    }

    /// Writes a refusal down: in the audit log and on the page if a run is bound, otherwise in the log.
    pub(super) async fn write_down(&self, denial: Denial) -> Denial {
        if let Some(run) = self.gate.bound() {
            self.proxy.write_down(&run, denial.clone()).await;
        } else if self.gate.discovery().is_some() {
            // An agent that starts asks the model's name for a sign of life.
            tracing::debug!(sandbox = %self.gate.sandbox, code = %denial.code, wanted = denial.wanted, "refused while an agent starts");
        } else if self.gate.check().is_some() && denial.wanted == DENIED_HOST {
            // Asked for by ourselves.
        } else if self.gate.log_unbound() {
            tracing::warn!(sandbox = %self.gate.sandbox, code = %denial.code, wanted = denial.wanted, "refused while no run is bound");
        }
        denial
    }
}

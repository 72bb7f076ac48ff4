//! What answers inside a sandbox: names, plain HTTP and TLS, for whatever address was dialled. Nothing is resolved, nothing is
//! dialled: a request is for the model, for the tools, or it is refused at once.

mod ca;
mod datagram;
mod dns;
mod tls;

pub use ca::SandboxCa;

use crate::answer::{self, Body};
use crate::messages::{self, Caller};
use crate::{Gate, Proxy, RunEvent, serve_http, tools};
use http::{Request, Response, header};
use hyper::body::Incoming;
use policy::{AuditEvent, Denial, DenialCode, Destination, HostName, classify};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const HTTP_PORT: u16 = 80;
/// Connections of one sandbox to one port; an agent needs a handful, and the gateway's descriptors are everybody's.
const CONNECTIONS_MAX: usize = 64;

/// The listeners of one sandbox, created inside its network namespace and owned here.
pub struct Listeners {
    /// TCP 80.
    pub http: std::net::TcpListener,
    /// TCP 443.
    pub tls: std::net::TcpListener,
    /// UDP 53.
    pub dns_udp: std::net::UdpSocket,
    /// TCP 53.
    pub dns_tcp: std::net::TcpListener,
}

/// Serves one sandbox until `stop`; returns when it accepts no more.
///
/// # Errors
/// An I/O error when a listener can't be used.
pub async fn serve_sandbox(
    proxy: Arc<Proxy>,
    gate: Arc<Gate>,
    ca: Arc<SandboxCa>,
    listeners: Listeners,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let tasks = TaskTracker::new();
    let refusals = Refusals { proxy: Arc::clone(&proxy), gate: Arc::clone(&gate) };
    let http = tokio_listener(listeners.http)?;
    let tls = tokio_listener(listeners.tls)?;
    let dns_tcp = tokio_listener(listeners.dns_tcp)?;
    tasks.spawn(dns::serve_udp(listeners.dns_udp, refusals.clone(), stop.clone()));
    tasks.spawn(dns::serve_tcp(dns_tcp, refusals.clone(), stop.clone()));
    tasks.spawn(tls::serve(tls, ca, refusals.clone(), stop.clone()));
    tasks.spawn(serve_http(http, CONNECTIONS_MAX, stop, move |request| {
        let refusals = refusals.clone();
        async move { refusals.answer_plain(request).await }
    }));
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn tokio_listener(listener: std::net::TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// What every listener of a sandbox needs: the rooms behind it, and a place to write down what it refused.
#[derive(Clone)]
struct Refusals {
    proxy: Arc<Proxy>,
    gate: Arc<Gate>,
}

impl Refusals {
    /// Plain HTTP: the Host header says what is wanted.
    async fn answer_plain(&self, request: Request<Incoming>) -> Response<Body> {
        let wanted = wanted_host(&request);
        match HostName::parse_authority(&wanted, HTTP_PORT).ok().as_ref().and_then(classify) {
            Some(destination) => self.answer(destination, request).await,
            None => answer::egress_denied(&self.refuse(DenialCode::EgressHost, &wanted).await),
        }
    }

    /// A request whose destination is decided. The run is looked up for each, so that one that ended reaches nothing.
    async fn answer(&self, destination: Destination, request: Request<Incoming>) -> Response<Body> {
        let Some(run) = self.gate.bound() else {
            return self.answer_unbound(destination, request).await;
        };
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
        if let (Destination::Tools, Some(discovery)) = (destination, self.gate.discovery())
            && let Some(answer) = discovery.answer(request).await
        {
            return answer;
        }
        answer::denied(&self.refuse(DenialCode::RunNone, &wanted).await)
    }

    /// Writes a refusal down, with what was wanted.
    async fn refuse(&self, code: DenialCode, wanted: &str) -> Denial {
        let denial = Denial::new(code, wanted);
        if let Some(run) = self.gate.bound() {
            if run.record_denial() {
                self.proxy.record(AuditEvent::Denied { run: Some(run.run), denial: denial.clone() }).await;
                run.tell(RunEvent::Denied { denial: denial.clone() }).await;
            }
        } else if self.gate.discovery().is_some() {
            // An agent that starts asks the model's name for a sign of life.
            tracing::debug!(sandbox = %self.gate.sandbox, code = %denial.code, wanted = denial.wanted, "refused while an agent starts");
        } else if self.gate.log_unbound() {
            tracing::warn!(sandbox = %self.gate.sandbox, code = %denial.code, wanted = denial.wanted, "refused while no run is bound");
        }
        denial
    }
}

/// The one Host header, or the authority of an absolute request line when both agree; anything else is nowhere.
fn wanted_host(request: &Request<Incoming>) -> String {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next());
    let Some(host) = first.filter(|_| second.is_none()) else { return "(no single Host header)".to_owned() };
    match request.uri().authority() {
        Some(authority) if authority.as_str() != host => format!("{host} as {authority}"),
        Some(_) | None => host.to_owned(),
    }
}

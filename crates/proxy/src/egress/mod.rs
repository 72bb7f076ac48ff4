//! What answers inside a sandbox: names, plain HTTP and TLS, for whatever address was dialled. A request is for the model, for
//! the tools, or for a host that an operator's rule names; everything else is refused at once, and nothing is resolved before
//! that is decided.
//!
//! [`request`] says where a request leads, `policy` whether it may, [`exchange`] passes it on, [`dial`] connects.

mod ca;
mod connection;
mod datagram;
mod dial;
mod dns;
mod door;
mod exchange;
mod headers;
mod hooked;
mod hosts;
mod passing;
mod redact;
mod refused;
mod request;
mod tunnel;

#[cfg(test)]
mod tests;

pub use ca::SandboxCa;
pub use door::Door;
pub use hooked::{HookedListener, serve_hooked};
pub use hosts::{Hosts, HostsError, SECRET_BYTES_MIN};
pub use refused::{Refused, RefusedPorts};

pub(crate) use dial::{Line, dial};

use crate::{Gate, Proxy, accept};
use policy::AuditEvent;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    /// TCP ports that rules name beside those.
    pub extra: Vec<std::net::TcpListener>,
    /// Counts what no listener saw; none where the host hides it.
    pub refused_ports: Option<RefusedPorts>,
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
    let door = Door::new(proxy, gate, ca, stop.clone());
    let Listeners { http, tls, dns_udp, dns_tcp, extra, refused_ports } = listeners;
    tasks.spawn(dns::serve_udp(dns_udp, door.clone(), stop.clone()));
    tasks.spawn(dns::serve_tcp(tokio_listener(dns_tcp)?, door.clone(), stop.clone()));
    for listener in [http, tls].into_iter().chain(extra) {
        let (door, at) = (door.clone(), door.clone());
        tasks.spawn(accept(
            tokio_listener(listener)?,
            move |_| at.admit(),
            stop.clone(),
            move |stream| {
                let door = door.clone();
                async move {
                    // The address that was wanted; every one of them is local here.
                    if let Ok(dialled) = stream.local_addr() {
                        door.serve(stream, dialled).await;
                    }
                }
            },
        ));
    }
    tasks.close();
    tasks.wait().await;
    if let Some(refused_ports) = refused_ports {
        write_down(&door, &refused_ports).await;
    }
    Ok(())
}

/// At a sandbox's end: how often it tried ports that nobody has.
async fn write_down(door: &Door, refused_ports: &RefusedPorts) {
    let sandbox = door.gate.sandbox;
    match refused_ports.read() {
        Ok(refused) => {
            // What our own checks tried is no wish of the sandbox's.
            let (tcp, udp) = (refused.tcp.saturating_sub(door.gate.checks().into()), refused.udp);
            if (tcp, udp) != (0, 0) {
                door.proxy.record(AuditEvent::PortsRefused { sandbox, tcp, udp }).await;
            }
        }
        Err(error) => tracing::warn!(%sandbox, %error, "a sandbox's counters could not be read"),
    }
}

fn tokio_listener(listener: std::net::TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

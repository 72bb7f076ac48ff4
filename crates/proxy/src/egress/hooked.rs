//! Serves an agent that has no network of its own: a hook in it leads each connection to a socket for one name and port.

use super::ca::SandboxCa;
use super::connection;
use super::door::Door;
use crate::{Gate, Proxy};
use policy::{Endpoint, Scheme};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a failed accept, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket of one agent, and what is wanted of whoever connects to it.
pub struct HookedListener {
    /// Accepts.
    pub listener: std::os::unix::net::UnixListener,
    /// Which name and port it stands for.
    pub endpoint: Endpoint,
}

/// Serves one agent until `stop`; returns when it accepts no more.
///
/// # Errors
/// An I/O error when a socket can't be used.
pub async fn serve_hooked(
    proxy: Arc<Proxy>,
    gate: Arc<Gate>,
    ca: Arc<SandboxCa>,
    listeners: Vec<HookedListener>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let tasks = TaskTracker::new();
    let door = Door::new(proxy, gate, ca, stop.clone());
    for HookedListener { listener, endpoint } in listeners {
        listener.set_nonblocking(true)?;
        tasks.spawn(accept(door.clone(), UnixListener::from_std(listener)?, endpoint, stop.clone()));
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Over the bound a connection is closed at once, as in a sandbox.
async fn accept(door: Door, listener: UnixListener, endpoint: Endpoint, stop: CancellationToken) {
    let dialled = SocketAddr::from((endpoint.address, endpoint.port));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = door.admit() else { continue };
        let serving = connection::serve_as(door.clone(), stream, dialled, endpoint.scheme == Scheme::Https);
        tokio::spawn(async move {
            serving.await;
            drop(place);
        });
    }
}

//! How many connections and requests one sandbox may make. Whoever stays within is not slowed down; a flood ends the run, because
//! refusing it costs work too.

use parking_lot::Mutex;
use policy::DenialCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

const WINDOW: Duration = Duration::from_secs(60);

/// The bounds of one sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficLimits {
    /// Connections open at once; one more is closed as soon as it is there.
    pub connections_max: u32,
    /// Connections made in a minute; one more is a flood.
    pub connections_per_minute_max: u32,
    /// Requests and name questions in a minute; one more is a flood.
    pub requests_per_minute_max: u32,
}

impl TrafficLimits {
    /// For whom nobody else is a neighbour: only what is open at once is bounded.
    pub const UNCOUNTED: Self =
        Self { connections_max: 64, connections_per_minute_max: u32::MAX, requests_per_minute_max: u32::MAX };
}

impl Default for TrafficLimits {
    fn default() -> Self {
        Self { connections_max: 64, connections_per_minute_max: 3000, requests_per_minute_max: 3000 }
    }
}

/// What comes of a connection.
pub(crate) enum Connected {
    /// It is served while this is held.
    In(OwnedSemaphorePermit),
    /// There are too many, which was not said yet.
    FirstBeyond,
    Beyond,
}

/// One sandbox's traffic.
pub(crate) struct Traffic {
    places: Arc<Semaphore>,
    connections: Rate,
    requests: Rate,
    told: AtomicBool,
    flood: OnceLock<DenialCode>,
    flooded: CancellationToken,
}

impl Traffic {
    pub(crate) fn new(limits: TrafficLimits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(usize::try_from(limits.connections_max).unwrap_or(usize::MAX))),
            connections: Rate::new(limits.connections_per_minute_max),
            requests: Rate::new(limits.requests_per_minute_max),
            told: AtomicBool::new(false),
            flood: OnceLock::new(),
            flooded: CancellationToken::new(),
        }
    }

    /// Another run begins: what is said once in each can be said again.
    pub(crate) fn tell_again(&self) {
        self.told.store(false, Ordering::Relaxed);
    }

    pub(crate) fn connect(&self) -> Connected {
        if self.flood.get().is_some() {
            return Connected::Beyond;
        }
        if !self.connections.take() {
            self.flood_with(DenialCode::AgentConnections);
            return Connected::Beyond;
        }
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Connected::In(place),
            Err(_) if self.told.swap(true, Ordering::Relaxed) => Connected::Beyond,
            Err(_) => Connected::FirstBeyond,
        }
    }

    /// Counts a request; a code means that it is not answered any more.
    pub(crate) fn request(&self) -> Option<DenialCode> {
        if self.flood.get().is_none() && !self.requests.take() {
            self.flood_with(DenialCode::AgentRequests);
        }
        self.flood()
    }

    pub(crate) fn flood(&self) -> Option<DenialCode> {
        self.flood.get().copied()
    }

    /// Waits for a flood.
    pub(crate) async fn flooded(&self) -> DenialCode {
        self.flooded.cancelled().await;
        self.flood().unwrap_or(DenialCode::AgentRequests)
    }

    fn flood_with(&self, code: DenialCode) {
        // Which was first stands.
        let _ = self.flood.set(code);
        self.flooded.cancel();
    }
}

/// So many in a minute, counted from the first of them.
struct Rate {
    max: u32,
    window: Mutex<(Instant, u32)>,
}

impl Rate {
    fn new(max: u32) -> Self {
        Self { max, window: Mutex::new((Instant::now(), 0)) }
    }

    fn take(&self) -> bool {
        let mut window = self.window.lock();
        let (since, count) = &mut *window;
        if since.elapsed() >= WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count = count.saturating_add(1);
        *count <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(connections_max: u32, connections: u32, requests: u32) -> Traffic {
        Traffic::new(TrafficLimits {
            connections_max,
            connections_per_minute_max: connections,
            requests_per_minute_max: requests,
        })
    }

    #[tokio::test]
    async fn too_many_in_a_minute_are_a_flood_that_stays_one() {
        let traffic = traffic(9, 9, 3);
        assert_eq!([(); 3].map(|()| traffic.request()), [None; 3]);
        assert_eq!(traffic.flood(), None);
        assert_eq!([(); 2].map(|()| traffic.request()), [Some(DenialCode::AgentRequests); 2]);
        assert_eq!(traffic.flooded().await, DenialCode::AgentRequests);
        assert!(matches!(traffic.connect(), Connected::Beyond), "then nothing is served any more");
    }

    #[test]
    fn what_is_open_at_once_is_bounded_and_that_is_said_once_in_a_run() {
        let traffic = traffic(1, 6, 9);
        let first = traffic.connect();
        assert!(matches!(first, Connected::In(_)));
        assert!(matches!(traffic.connect(), Connected::FirstBeyond));
        assert!(matches!(traffic.connect(), Connected::Beyond));
        traffic.tell_again();
        assert!(matches!(traffic.connect(), Connected::FirstBeyond));
        drop(first);
        assert!(matches!(traffic.connect(), Connected::In(_)), "a place that was given back is there again");
        assert_eq!(traffic.flood(), None);
        assert!(matches!(traffic.connect(), Connected::In(_)) && traffic.flood().is_none(), "the last of this minute");
        assert!(matches!(traffic.connect(), Connected::Beyond));
        assert_eq!(traffic.flood(), Some(DenialCode::AgentConnections));
        assert_eq!(traffic.request(), Some(DenialCode::AgentConnections));
    }

    #[test]
    fn another_minute_counts_anew() {
        let rate = Rate::new(1);
        assert!(rate.take() && !rate.take());
        rate.window.lock().0 = Instant::now().checked_sub(WINDOW).expect("a machine that runs for a minute");
        assert!(rate.take());
    }
}

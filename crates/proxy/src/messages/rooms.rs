//! Room for calls at the same time and for bodies in memory, and how much of it may be whose.
//!
//! Invariant: one principal's calls leave half of each room to others, and the calls of all callers elsewhere leave an eighth to runs,
//! however many there are, however slow they are and whatever they wait for.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// For a place among the calls at the same time.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// Both rooms.
pub(crate) struct Rooms {
    calls: Room,
    bodies: Room,
}

struct Room {
    all: Arc<Semaphore>,
    /// What calls from elsewhere may take of it together.
    elsewhere: Arc<Semaphore>,
    /// And those of one principal.
    each: usize,
}

/// What one principal may take.
pub(crate) struct Share {
    calls: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

/// Whose room it is, the narrowest first: whoever waits for its own holds nobody else's.
type Ways = Vec<Arc<Semaphore>>;

/// A place among the calls at the same time; free again when it is dropped.
pub(super) struct Place(#[expect(dead_code, reason = "held, and given back by being dropped")] Vec<OwnedSemaphorePermit>);

impl Room {
    fn new(size: usize) -> Self {
        let elsewhere = Arc::new(Semaphore::new((size - size / 8).max(1)));
        Self { all: Arc::new(Semaphore::new(size)), elsewhere, each: size.div_ceil(2) }
    }

    fn share(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.each))
    }

    fn ways(&self, own: Option<&Arc<Semaphore>>) -> Ways {
        let of_principal = own.into_iter().flat_map(|own| [own, &self.elsewhere]);
        of_principal.chain([&self.all]).map(Arc::clone).collect()
    }
}

impl Rooms {
    /// For so many calls, and so many units of bodies.
    pub(crate) fn new(calls_max: usize, body_units: usize) -> Self {
        Self { calls: Room::new(calls_max), bodies: Room::new(body_units) }
    }

    /// What one principal may take of both.
    pub(crate) fn share(&self) -> Share {
        Share { calls: self.calls.share(), bodies: self.bodies.share() }
    }

    /// The rooms in which a body of this principal's, or of a run's, must find its own.
    pub(super) fn of_body(&self, share: Option<&Share>) -> Ways {
        self.bodies.ways(share.map(|share| &share.bodies))
    }

    /// A place for a call. Who waits is served in turn; who waits for long is told to come back.
    pub(super) async fn place(&self, share: Option<&Share>) -> Option<Place> {
        let ways = self.calls.ways(share.map(|share| &share.calls));
        let free: Option<Vec<_>> = ways.iter().map(|way| Arc::clone(way).try_acquire_owned().ok()).collect();
        if let Some(free) = free {
            return Some(Place(free));
        }
        let waiting = async {
            let mut taken = Vec::with_capacity(ways.len());
            for way in ways {
                taken.push(way.acquire_owned().await.ok()?);
            }
            Some(Place(taken))
        };
        tokio::time::timeout(PLACE_WAIT, waiting).await.ok()?
    }
}

/// Takes room for so many units in each. These semaphores are never closed.
pub(super) async fn take(ways: Ways, units: u32) -> Vec<OwnedSemaphorePermit> {
    let mut taken = Vec::with_capacity(ways.len());
    for way in ways {
        taken.extend(way.acquire_many_owned(units).await);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    /// As many places as there are without waiting.
    async fn all_of(rooms: &Rooms, share: Option<&Share>) -> Vec<Place> {
        let mut places = Vec::new();
        loop {
            let mut next = std::pin::pin!(rooms.place(share));
            match futures_util::poll!(&mut next) {
                Poll::Ready(Some(place)) => places.push(place),
                Poll::Ready(None) | Poll::Pending => return places,
            }
        }
    }

    #[tokio::test]
    async fn one_principal_leaves_half_and_all_of_them_an_eighth() {
        let rooms = Rooms::new(16, 8);
        let (one, other, third) = (rooms.share(), rooms.share(), rooms.share());
        let of_one = all_of(&rooms, Some(&one)).await;
        assert_eq!(of_one.len(), 8);
        let of_other = all_of(&rooms, Some(&other)).await;
        assert_eq!(of_other.len(), 6, "two are left for runs");
        assert_eq!(all_of(&rooms, Some(&third)).await.len(), 0);
        let of_runs = all_of(&rooms, None).await;
        assert_eq!(of_runs.len(), 2);
        drop(of_one);
        assert_eq!(all_of(&rooms, Some(&third)).await.len(), 8, "what was given back");
        drop((of_other, of_runs));
        assert_eq!(all_of(&rooms, None).await.len(), 16, "nothing is lost, and who is alone has all of it");
    }

    #[tokio::test]
    async fn the_smallest_rooms_have_a_place_for_everybody() {
        for size in 1..4 {
            let rooms = Rooms::new(size, size);
            let share = rooms.share();
            let waits = async |share| all_of(&rooms, share).await.len();
            assert!(waits(Some(&share)).await >= 1 && waits(None).await == size, "{size}");
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_its_own_share_holds_nobody_s() {
        let rooms = Rooms::new(16, 16);
        let share = rooms.share();
        let held = take(rooms.of_body(Some(&share)), 6).await;
        let mut waiting = std::pin::pin!(take(rooms.of_body(Some(&share)), 4));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "its half is used up");
        assert_eq!(rooms.bodies.all.available_permits(), 10, "and what it waits for is free for others");
        drop(held);
        assert_eq!(waiting.await.len(), 3);
    }
}

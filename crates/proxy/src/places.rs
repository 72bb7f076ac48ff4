//! Places for the connections of a listener: so many in all, of which one address leaves a quarter to others.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place; free again when it is dropped.
pub(crate) struct Place {
    _of_all: OwnedSemaphorePermit,
    network: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Places {
    /// So many.
    pub(crate) fn new(all: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each: (all - all / 4).max(1), taken: Arc::default() }
    }

    /// A place for a connection from there, if there is one.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<Place> {
        let (of_all, network) = (Arc::clone(&self.all).try_acquire_owned().ok()?, network(peer));
        let mut taken = self.taken.lock();
        let own = taken.entry(network).or_default();
        if *own >= self.each {
            return None;
        }
        *own += 1;
        drop(taken);
        Some(Place { _of_all: of_all, network, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        if let Some(own) = taken.get_mut(&self.network) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

/// Who has an IPv6 address has 2^64 of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_leaves_places_to_others_and_gives_its_own_back() {
        let places = Places::new(8);
        let mut own: Vec<_> = (0..8).filter_map(|_| places.take(at("192.0.2.1"))).collect();
        assert_eq!(own.len(), 6);
        let others: Vec<_> = ["192.0.2.2", "192.0.2.3"].into_iter().filter_map(|peer| places.take(at(peer))).collect();
        assert!(others.len() == 2 && places.take(at("192.0.2.4")).is_none(), "all are taken");
        own.pop();
        assert!(places.take(at("::ffff:192.0.2.1")).is_some(), "the same address in its other form");
        drop((own, others));
        assert!(places.taken.lock().is_empty() && places.all.available_permits() == 8, "nothing is lost");
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let places = Places::new(4);
        let own: Vec<_> = (0..4).filter_map(|n| places.take(at(&format!("2001:db8::{n}")))).collect();
        assert_eq!(own.len(), 3);
        assert!(places.take(at("2001:db8:0:1::1")).is_some());
    }
}

//! How many event streams one person may hold open: enough for a few tabs, not enough to take everybody's connections.

use crate::answer::Refusal;
use axum::http::StatusCode;
use policy::UserId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

const PER_USER_MAX: u32 = 16;

type Counts = Arc<Mutex<HashMap<UserId, u32>>>;

/// The streams that are open now.
#[derive(Default)]
pub(crate) struct Streams(Counts);

/// One open stream; its place is free again when this is dropped.
pub(crate) struct Place {
    counts: Counts,
    user: UserId,
}

impl Streams {
    /// Takes a place.
    pub(crate) fn open(&self, user: UserId) -> Result<Place, Refusal> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(user).or_insert(0);
        if *count >= PER_USER_MAX {
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "streams.too_many",
                "Too many pages of yours are open at once. Close some and reload this one.",
            ));
        }
        *count += 1;
        Ok(Place { counts: Arc::clone(&self.0), user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_come_back() {
        let (streams, ada, bob) = (Streams::default(), UserId::random(), UserId::random());
        let mut places: Vec<Place> =
            (0..PER_USER_MAX).map(|_| streams.open(ada).ok()).collect::<Option<_>>().expect("as many as allowed");
        assert!(streams.open(ada).is_err() && streams.open(bob).is_ok());
        places.pop();
        assert!(streams.open(ada).is_ok());
        drop(places);
        assert!(streams.0.lock().expect("no panic").is_empty(), "nothing is remembered of who left");
    }
}

//! Who was not let in: counted all, written down within bounds, so that guessing fills neither log nor database.

use parking_lot::Mutex;
use policy::{KeyId, Timestamp};
use std::collections::HashMap;

/// Refusals written down in a minute.
const PER_MINUTE: u32 = 30;
const MICROS_PER_MINUTE: i64 = 60_000_000;

#[derive(Default)]
struct Count {
    minute: i64,
    written: u32,
    unwritten: u64,
}

/// The count of refusals.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Count>);

impl Refusals {
    /// Counts one. Some if it should be written down, with the number of those before it that were not.
    pub(super) fn count(&self, now: Timestamp) -> Option<u64> {
        self.0.lock().one(PER_MINUTE, now)
    }
}

impl Count {
    fn one(&mut self, per_minute: u32, now: Timestamp) -> Option<u64> {
        let minute = now.0.div_euclid(MICROS_PER_MINUTE);
        if self.minute != minute {
            (self.minute, self.written) = (minute, 0);
        }
        if self.written >= per_minute {
            self.unwritten = self.unwritten.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.unwritten))
    }
}

/// Keys that are told apart.
const KEYS_MAX: usize = 10_000;

/// The count of refusals of each key: one in a minute is written down.
#[derive(Default)]
pub(super) struct ByKey(Mutex<HashMap<KeyId, Count>>);

impl ByKey {
    /// Counts one. Some if it should be written down, with the number of those before it that were not.
    pub(super) fn count(&self, key: KeyId, now: Timestamp) -> Option<u64> {
        let mut counts = self.0.lock();
        if counts.len() >= KEYS_MAX && !counts.contains_key(&key) {
            counts.clear();
        }
        counts.entry(key).or_default().one(1, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_guesses_is_counted_and_not_written() {
        let refusals = Refusals::default();
        let at = |secs: i64| refusals.count(Timestamp(secs * 1_000_000));
        assert_eq!((0..1000).filter(|_| at(60).is_some()).count(), 30);
        assert_eq!(at(119), None, "the same minute");
        assert_eq!((at(120), at(120)), (Some(971), Some(0)), "the next one tells how many were left out, once");
    }

    #[test]
    fn each_key_is_written_down_once_in_a_minute() {
        let (refusals, one, other) = (ByKey::default(), KeyId::random(), KeyId::random());
        let at = |key, secs: i64| refusals.count(key, Timestamp(secs * 1_000_000));
        assert_eq!((at(one, 60), at(one, 60), at(one, 119)), (Some(0), None, None));
        assert_eq!(at(other, 61), Some(0), "another key's are its own");
        assert_eq!((at(one, 120), at(one, 180)), (Some(2), Some(0)));
    }
}

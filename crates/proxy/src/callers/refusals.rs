//! Who was not let in: counted all, written down within bounds, so that guessing fills neither log nor database.

use parking_lot::Mutex;
use policy::Timestamp;

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
        let mut count = self.0.lock();
        let minute = now.0.div_euclid(MICROS_PER_MINUTE);
        if count.minute != minute {
            (count.minute, count.written) = (minute, 0);
        }
        if count.written >= PER_MINUTE {
            count.unwritten = count.unwritten.saturating_add(1);
            return None;
        }
        count.written += 1;
        Some(std::mem::take(&mut count.unwritten))
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
}

//! Rates: how much may come in how much time. The generic cell rate algorithm (GCRA) with weights, as one function for every
//! engine that keeps its state.
//!
//! The state of a limit is one number: its *theoretical arrival time* (TAT), when all that was admitted will be paid off, in
//! microseconds. A limit of `units` in `period` pays one off each `period / units`; at most `burst` may be owed at a time. So
//! in any stretch of time t at most `burst + t * units / period` is admitted. There are no floats, and every rounding is
//! towards less.

use crate::{DenialCode, Timestamp};

/// What one message, or one ordinary model call, weighs.
pub const UNIT_MILLIS: u64 = 1000;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many units are paid off in a period; 0 counts as 1.
    pub units: u64,
    /// The period in microseconds; less than 1 counts as 1.
    pub period_micros: i64,
    /// How many units may be owed at a time; 0 counts as 1.
    pub burst: u64,
}

impl RateLimit {
    /// So many in a minute, all of which may come at once.
    #[must_use]
    pub const fn per_minute(units: u64) -> Self {
        Self { units, period_micros: MINUTE, burst: units }
    }

    /// So many in an hour, all of which may come at once.
    #[must_use]
    pub const fn per_hour(units: u64) -> Self {
        Self { units, period_micros: HOUR, burst: units }
    }

    /// So many in a day, all of which may come at once.
    #[must_use]
    pub const fn per_day(units: u64) -> Self {
        Self { units, period_micros: DAY, burst: units }
    }

    /// The same for so many times as much.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self { units: self.units.saturating_mul(factor), burst: self.burst.saturating_mul(factor), ..self }
    }

    /// How long one unit is owed, rounded up.
    fn unit_micros(self) -> i128 {
        let (units, period) = (i128::from(self.units.max(1)), i128::from(self.period_micros.max(1)));
        (period + units - 1) / units
    }

    /// How much time may be owed at most.
    fn tolerance_micros(self) -> i128 {
        self.unit_micros().saturating_mul(i128::from(self.burst.max(1)))
    }
}

/// What one limit says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateDecision {
    /// It may come.
    Admit(Admitted),
    /// It may not, yet.
    Refuse {
        /// How many microseconds until it may, if nothing else comes.
        retry_after_micros: i64,
        /// When nothing is owed any more.
        reset_at: Timestamp,
    },
}

/// What an admitted request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The new state, to be kept.
    pub state: i64,
    /// Whole units that could come at once after it.
    pub remaining: u64,
    /// When nothing is owed any more.
    pub reset_at: Timestamp,
}

/// Decides on a request of `weight_millis` (thousandths of a unit) at `now`; `state` is what was kept of this limit, 0 of one
/// that is new.
///
/// A request heavier than the burst weighs as much as the burst: otherwise it could never come. A state further ahead than the
/// limit allows was written when the clock was ahead, and counts as a limit that is used up: a clock that goes back admits nothing
/// that it would not have admitted before, and is forgiven once the limit's own time has passed.
#[must_use]
pub fn decide(limit: RateLimit, weight_millis: u64, state: i64, now: Timestamp) -> RateDecision {
    let (unit, tolerance, now) = (limit.unit_micros(), limit.tolerance_micros(), i128::from(now.0));
    let weight = (unit * i128::from(weight_millis) + i128::from(UNIT_MILLIS) - 1) / i128::from(UNIT_MILLIS);
    let owed_until = i128::from(state).clamp(now, now + tolerance);
    let next = owed_until + weight.min(tolerance);
    let left = now + tolerance - next;
    if left < 0 {
        return RateDecision::Refuse { retry_after_micros: micros(-left), reset_at: Timestamp(micros(owed_until)) };
    }
    let remaining = u64::try_from(left / unit).unwrap_or(u64::MAX);
    RateDecision::Admit(Admitted { state: micros(next), remaining, reset_at: Timestamp(micros(next)) })
}

/// As a number that can be kept. At the end of time the limit is used up for ever, which is less than it would allow.
fn micros(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// One limit that a request is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateCheck {
    /// Which state: what is limited, whose, and in what time.
    pub name: String,
    /// The limit.
    pub limit: RateLimit,
    /// Thousandths of a unit.
    pub weight_millis: u64,
    /// The refusal when it is reached.
    pub code: DenialCode,
}

/// How the tightest limit of an admitted request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStanding {
    /// Units that may come at once when nothing is owed.
    pub limit: u64,
    /// Whole units that may come at once now.
    pub remaining: u64,
    /// When nothing is owed any more.
    pub reset_at: Timestamp,
}

/// A refused request: of several limits that refuse, the one that does for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRefusal {
    /// Which.
    pub code: DenialCode,
    /// How many microseconds until the request may come, if nothing else does.
    pub retry_after_micros: i64,
    /// How the limit stands.
    pub standing: RateStanding,
}

impl RateRefusal {
    /// Whole seconds to wait, rounded up and never 0: who waits that long is not too early.
    #[must_use]
    pub const fn retry_after_secs(&self) -> i64 {
        let micros = if self.retry_after_micros < 1 { 1 } else { self.retry_after_micros };
        (micros - 1) / SECOND + 1
    }
}

/// Decides on a request that several limits apply to, each with its state: all or nothing. Returns the new states in the same
/// order, and how the tightest limit stands; there is none of no limits.
///
/// # Errors
/// The refusal; then no state may change.
pub fn decide_all(checks: &[(&RateCheck, i64)], now: Timestamp) -> Result<(Vec<i64>, Option<RateStanding>), RateRefusal> {
    let mut states = Vec::with_capacity(checks.len());
    let (mut tightest, mut refusal): (Option<RateStanding>, Option<RateRefusal>) = (None, None);
    for (check, state) in checks {
        let limit = check.limit.burst.max(1);
        match decide(check.limit, check.weight_millis, *state, now) {
            RateDecision::Admit(Admitted { state, remaining, reset_at }) => {
                states.push(state);
                if tightest.is_none_or(|known| remaining < known.remaining) {
                    tightest = Some(RateStanding { limit, remaining, reset_at });
                }
            }
            RateDecision::Refuse { retry_after_micros, reset_at } => {
                if refusal.is_none_or(|known| retry_after_micros > known.retry_after_micros) {
                    let standing = RateStanding { limit, remaining: 0, reset_at };
                    refusal = Some(RateRefusal { code: check.code, retry_after_micros, standing });
                }
            }
        }
    }
    refusal.map_or(Ok((states, tightest)), Err)
}

#[cfg(test)]
mod tests;

//! When to leave a provider alone: a circuit breaker for each provider and model, and the pace a 429 asks for. Pure state
//! machines; time and chance come in as arguments.

use crate::Timestamp;
use std::collections::VecDeque;

/// How a call went, as far as it says something of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// Answered, also with an error of the caller's (4xx).
    Served,
    /// No connection, 500, 502, 503, 504, 529, or no first byte in time.
    Failed,
    /// Broken or silent after the first byte: paid for, and not to be repeated, so it weighs more.
    FailedLate,
    /// It says nothing: the client went away, or 429, which is the key's matter and not the provider's.
    Neither,
}

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// How far back outcomes count.
    pub window_secs: i64,
    /// Opens when failures weigh this much, and are at least half of all that counts.
    pub failures_max: u32,
    /// What a failure after the first byte weighs.
    pub late_weight: u32,
    /// How long it stays open at first; doubled each time a probe fails.
    pub open_secs: i64,
    /// And at most.
    pub open_secs_max: i64,
    /// A probe that reports nothing for so long is given up.
    pub probe_secs_max: i64,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self { window_secs: 30, failures_max: 5, late_weight: 2, open_secs: 5, open_secs_max: 120, probe_secs_max: 300 }
    }
}

/// Calls that may be probes too for each probe whose answer has begun.
const PROBES_MORE: u32 = 2;
/// Outcomes that are remembered at most.
const REMEMBERED_MAX: usize = 256;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Calls pass.
    Closed,
    /// None passes before `until`.
    Open { until: Timestamp, trips: u32 },
    /// A probe is on its way since then; so many more calls may be probes too.
    HalfOpen { since: Timestamp, trips: u32, more: u32 },
}

/// What a call that was let through must give back with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// One of many.
    Usual,
    /// The one by which an open breaker finds out whether it can close. The moment tells it from a probe that was given up.
    Probe(Timestamp),
}

/// The breaker of one provider and model.
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: BreakerRules,
    state: State,
    /// What happened lately, in order: when, and what it weighs as a failure (0 for a success).
    recent: VecDeque<(Timestamp, u32)>,
    /// What the failures among it weigh, and how many successes there are.
    failures: u32,
    successes: u32,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(rules: BreakerRules) -> Self {
        Self { rules, state: State::Closed, recent: VecDeque::new(), failures: 0, successes: 0 }
    }

    /// Lets a call pass, or says when it may be worth asking again.
    ///
    /// # Errors
    /// The moment before which nothing passes.
    pub fn enter(&mut self, now: Timestamp) -> Result<Passage, Timestamp> {
        let trips = match self.state {
            State::Closed => return Ok(Passage::Usual),
            State::Open { until, .. } if now < until => return Err(until),
            State::HalfOpen { since, trips, more } if more > 0 => {
                self.state = State::HalfOpen { since, trips, more: more - 1 };
                return Ok(Passage::Probe(since));
            }
            State::HalfOpen { since, .. } if now < since.plus_secs(self.rules.probe_secs_max) => {
                // The probe may be answered any moment.
                return Err(now.plus_secs(1).min(since.plus_secs(self.rules.probe_secs_max)));
            }
            State::Open { trips, .. } | State::HalfOpen { trips, .. } => trips,
        };
        self.state = State::HalfOpen { since: now, trips, more: 0 };
        Ok(Passage::Probe(now))
    }

    /// Whether a call would pass, and when if not; changes nothing.
    ///
    /// # Errors
    /// As [`Breaker::enter`].
    pub fn look(&self, now: Timestamp) -> Result<(), Timestamp> {
        self.clone_state().enter(now).map(|_| ())
    }

    fn clone_state(&self) -> Self {
        Self { state: self.state, ..Self::new(self.rules) }
    }

    /// Takes in how a call went that was let through.
    pub fn report(&mut self, passage: Passage, outcome: CallOutcome, now: Timestamp) {
        match (passage, self.state) {
            (Passage::Probe(mine), State::HalfOpen { since, trips, more }) if mine == since => {
                self.probed(outcome, (since, trips, more), now);
            }
            // A probe that was given up, or a call from before the breaker opened: too old to say anything.
            (Passage::Probe(_), _) | (Passage::Usual, State::Open { .. } | State::HalfOpen { .. }) => {}
            (Passage::Usual, State::Closed) => self.count(outcome, now),
        }
    }

    /// The answer to a probe has begun, which is half an answer: more calls pass, each a probe as well, until one of them was answered
    /// to its end or failed. The more have begun, the more pass; a long stream keeps nobody waiting.
    pub fn begun(&mut self, passage: Passage) {
        if let (Passage::Probe(mine), State::HalfOpen { since, trips, more }) = (passage, self.state)
            && mine == since
        {
            self.state = State::HalfOpen { since, trips, more: more.saturating_add(PROBES_MORE) };
        }
    }

    fn probed(&mut self, outcome: CallOutcome, (since, trips, more): (Timestamp, u32, u32), now: Timestamp) {
        match outcome {
            CallOutcome::Served => {
                self.state = State::Closed;
                self.forget_all();
            }
            CallOutcome::Failed | CallOutcome::FailedLate => self.open(trips.saturating_add(1), now),
            // Nothing was learnt: the next call is a probe in its place.
            CallOutcome::Neither => self.state = State::HalfOpen { since, trips, more: more.saturating_add(1) },
        }
    }

    fn count(&mut self, outcome: CallOutcome, now: Timestamp) {
        let weight = match outcome {
            CallOutcome::Served => 0,
            CallOutcome::Failed => 1,
            CallOutcome::FailedLate => self.rules.late_weight,
            CallOutcome::Neither => return,
        };
        let begin = now.plus_secs(-self.rules.window_secs);
        while self.recent.front().is_some_and(|(at, _)| *at <= begin) || self.recent.len() >= REMEMBERED_MAX {
            self.forget_first();
        }
        self.recent.push_back((now, weight));
        match weight {
            0 => self.successes += 1,
            _ => self.failures = self.failures.saturating_add(weight),
        }
        if self.failures >= self.rules.failures_max && self.failures >= self.successes {
            self.open(0, now);
        }
    }

    fn forget_first(&mut self) {
        match self.recent.pop_front() {
            Some((_, 0)) => self.successes = self.successes.saturating_sub(1),
            Some((_, weight)) => self.failures = self.failures.saturating_sub(weight),
            None => {}
        }
    }

    fn forget_all(&mut self) {
        self.recent.clear();
        (self.failures, self.successes) = (0, 0);
    }

    fn open(&mut self, trips: u32, now: Timestamp) {
        let secs = self.rules.open_secs.saturating_mul(1 << trips.min(16)).min(self.rules.open_secs_max);
        self.state = State::Open { until: now.plus_secs(secs), trips };
        self.forget_all();
    }
}

/// A provider that asks for a longer pause is asked again after this long nevertheless.
pub const PACE_SECS_MAX: i64 = 600;
const PACE_FIRST_MILLIS: i64 = 1000;
const PACE_MILLIS_MAX: i64 = 60_000;

/// When a key may be used again after the provider said "too many".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    not_before: Option<Timestamp>,
    /// Refusals in a row.
    refused: u32,
}

impl Pace {
    /// Whether the key may be used, and when if not.
    ///
    /// # Errors
    /// The moment before which it is not used.
    pub fn look(&self, now: Timestamp) -> Result<(), Timestamp> {
        match self.not_before {
            Some(until) if now < until => Err(until),
            Some(_) | None => Ok(()),
        }
    }

    /// The provider said 429. Without a `retry-after` the pause doubles with each refusal in a row, and `chance` (any number)
    /// spreads it over its second half, so that many gateways do not come back at once.
    pub fn refused(&mut self, retry_after_secs: Option<u64>, chance: u64, now: Timestamp) {
        let micros = match retry_after_secs {
            Some(secs) => i64::try_from(secs).unwrap_or(PACE_SECS_MAX).min(PACE_SECS_MAX).saturating_mul(1_000_000),
            None => {
                let millis = PACE_FIRST_MILLIS.saturating_mul(1 << self.refused.min(16)).min(PACE_MILLIS_MAX);
                let half = millis.saturating_mul(500);
                half + i64::try_from(chance % half.unsigned_abs().max(1)).unwrap_or(0)
            }
        };
        self.refused = self.refused.saturating_add(1);
        // Of two answers that crossed, the longer pause holds.
        let until = now.plus_micros(micros);
        self.not_before = Some(self.not_before.map_or(until, |before| before.max(until)));
    }

    /// The provider took a call with this key.
    pub const fn accepted(&mut self) {
        self.refused = 0;
    }
}

#[cfg(test)]
mod tests;

//! How somebody's agents behave: not how often they may call, but whether what they do looks like what a person asked for.
//!
//! Everything that is done adds points to one score of its user, and the score sinks with time. A score that is high slows the
//! next calls down; a higher one asks the person whether to go on; the highest stops the run. Pure: the time comes in.

use crate::Timestamp;
use core::time::Duration;

/// Thousandths of a point, so that a score can sink by less than one.
const MILLIS: i64 = 1000;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Something was read.
    Read,
    /// Something was changed.
    Write,
    /// Something was changed that can't be undone, or that is much.
    Destroy,
    /// Something was refused.
    Denied,
}

/// What a score means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conduct {
    /// As usual.
    Usual,
    /// So much that calls are slowed down.
    Hasty,
    /// So much that the person has to say that it shall go on.
    Suspicious,
    /// So much that the run is stopped.
    Hostile,
}

impl Conduct {
    /// A stable word for records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Hasty => "hasty",
            Self::Suspicious => "suspicious",
            Self::Hostile => "hostile",
        }
    }
}

/// What counts how much. All numbers are points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BehaviourRules {
    /// For a read.
    pub read: u32,
    /// For a change.
    pub write: u32,
    /// For a change that can't be undone.
    pub destroy: u32,
    /// For a refusal.
    pub denied: u32,
    /// By how much the score sinks in a second.
    pub sinks_per_second: u32,
    /// From here on calls are slowed down.
    pub hasty: u32,
    /// From here on the person is asked.
    pub suspicious: u32,
    /// From here on the run is stopped.
    pub hostile: u32,
    /// How long a call waits at most where it is slowed down.
    pub wait_max: Duration,
}

impl Default for BehaviourRules {
    fn default() -> Self {
        Self::USUAL
    }
}

impl BehaviourRules {
    /// A hundred reads within a second are suspicious, as are fifty changes, twelve that can't be undone, or twenty refusals; a
    /// quarter of a minute later about a third of it is forgotten.
    pub const USUAL: Self = Self {
        read: 1,
        write: 2,
        destroy: 8,
        denied: 5,
        sinks_per_second: 2,
        hasty: 50,
        suspicious: 100,
        hostile: 200,
        wait_max: Duration::from_secs(2),
    };

    /// Nothing is ever remarkable: for a program that only its own user reaches.
    #[must_use]
    pub const fn indifferent() -> Self {
        Self {
            read: 0,
            write: 0,
            destroy: 0,
            denied: 0,
            sinks_per_second: 1,
            hasty: 1,
            suspicious: 2,
            hostile: 3,
            wait_max: Duration::ZERO,
        }
    }

    const fn points(&self, act: Act) -> u32 {
        match act {
            Act::Read => self.read,
            Act::Write => self.write,
            Act::Destroy => self.destroy,
            Act::Denied => self.denied,
        }
    }

    fn conduct(&self, score_millis: i64) -> Conduct {
        let reaches = |points: u32| score_millis >= i64::from(points) * MILLIS;
        if reaches(self.hostile) {
            Conduct::Hostile
        } else if reaches(self.suspicious) {
            Conduct::Suspicious
        } else if reaches(self.hasty) {
            Conduct::Hasty
        } else {
            Conduct::Usual
        }
    }
}

/// One person's score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    score_millis: i64,
    at: Timestamp,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { score_millis: 0, at: Timestamp(0) }
    }
}

/// What follows from an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What the score means now.
    pub conduct: Conduct,
    /// Whether it means more than before this act, which is worth a record.
    pub rose: bool,
    /// How long the call waits first.
    pub wait: Duration,
}

impl Behaviour {
    /// Adds an act. A clock that goes back forgets nothing.
    pub fn note(&mut self, act: Act, rules: &BehaviourRules, now: Timestamp) -> Judged {
        self.sink(rules, now);
        let before = rules.conduct(self.score_millis);
        self.score_millis = self.score_millis.saturating_add(i64::from(rules.points(act)) * MILLIS);
        let conduct = rules.conduct(self.score_millis);
        Judged { conduct, rose: conduct > before, wait: self.wait(conduct, rules) }
    }

    /// What the score means, without anything being done.
    #[must_use]
    pub fn conduct(mut self, rules: &BehaviourRules, now: Timestamp) -> Conduct {
        self.sink(rules, now);
        rules.conduct(self.score_millis)
    }

    /// How long it takes until it is not suspicious any more; nothing if it is not.
    #[must_use]
    pub fn calms_in(mut self, rules: &BehaviourRules, now: Timestamp) -> Duration {
        self.sink(rules, now);
        let over = self.score_millis.saturating_sub(i64::from(rules.suspicious) * MILLIS);
        if over < 0 {
            return Duration::ZERO;
        }
        // One more, because exactly as much is still suspicious.
        let millis = over / i64::from(rules.sinks_per_second.max(1)) + 1;
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// The person said that it shall go on: it begins anew.
    pub const fn forgive(&mut self) {
        self.score_millis = 0;
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub fn is_forgotten(mut self, rules: &BehaviourRules, now: Timestamp) -> bool {
        self.sink(rules, now);
        self.score_millis == 0
    }

    fn sink(&mut self, rules: &BehaviourRules, now: Timestamp) {
        let elapsed_us = now.0.saturating_sub(self.at.0).max(0);
        let sunk = (elapsed_us / MILLIS).saturating_mul(i64::from(rules.sinks_per_second));
        self.score_millis = self.score_millis.saturating_sub(sunk).max(0);
        // What is less than a millisecond counts next time.
        self.at = Timestamp(self.at.0.max(now.0 - elapsed_us % MILLIS));
    }

    /// Between `hasty` and `suspicious` the wait grows from nothing to all of it.
    fn wait(self, conduct: Conduct, rules: &BehaviourRules) -> Duration {
        if conduct == Conduct::Usual {
            return Duration::ZERO;
        }
        let (from, to) = (i64::from(rules.hasty) * MILLIS, i64::from(rules.suspicious) * MILLIS);
        let over = u32::try_from((self.score_millis - from).clamp(0, to - from)).unwrap_or(0);
        let whole = u32::try_from(to - from).unwrap_or(1).max(1);
        rules.wait_max.saturating_mul(over) / whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;

    fn after(acts: &[(Act, usize)], every_us: i64) -> (Behaviour, Judged) {
        let (mut behaviour, rules) = (Behaviour::default(), BehaviourRules::default());
        let mut now = Timestamp(1_000 * SECOND);
        let mut judged = behaviour.note(Act::Read, &rules, now);
        for (act, times) in acts {
            for _ in 0..*times {
                now = Timestamp(now.0 + every_us);
                judged = behaviour.note(*act, &rules, now);
            }
        }
        (behaviour, judged)
    }

    #[test]
    fn what_no_person_asked_for_is_seen() {
        let conduct = |acts: &[(Act, usize)], every_us| after(acts, every_us).1.conduct;
        assert_eq!(conduct(&[(Act::Read, 100)], 10_000), Conduct::Hasty, "a hundred reads in a second are slowed down");
        assert_eq!(conduct(&[(Act::Read, 110)], 1_000), Conduct::Suspicious);
        assert_eq!(conduct(&[(Act::Read, 300)], 1_000), Conduct::Hostile);
        assert_eq!(conduct(&[(Act::Write, 60)], 10_000), Conduct::Suspicious, "rapid changes");
        assert_eq!(conduct(&[(Act::Destroy, 14)], 100_000), Conduct::Suspicious, "mass deletion");
        assert_eq!(conduct(&[(Act::Denied, 25)], 100_000), Conduct::Suspicious, "one refusal after the other");
        assert_eq!(conduct(&[(Act::Denied, 45)], 100_000), Conduct::Hostile);
    }

    #[test]
    fn an_honest_agent_is_left_alone() {
        let conduct = |acts: &[(Act, usize)], every_us| after(acts, every_us).1.conduct;
        assert_eq!(conduct(&[(Act::Read, 40)], 0), Conduct::Usual, "forty at once, by sub-agents");
        assert_eq!(conduct(&[(Act::Write, 20)], 0), Conduct::Usual, "twenty tiles of one answer");
        assert_eq!(conduct(&[(Act::Write, 1000)], SECOND), Conduct::Usual, "for as long as it takes");
        assert_eq!(conduct(&[(Act::Destroy, 100)], 5 * SECOND), Conduct::Usual);
    }

    #[test]
    fn a_rise_is_told_once_and_waiting_grows() {
        let (mut behaviour, rules) = (Behaviour::default(), BehaviourRules::default());
        let judged: Vec<Judged> = (0..210).map(|_| behaviour.note(Act::Read, &rules, Timestamp(SECOND))).collect();
        let rises: Vec<usize> = judged.iter().enumerate().filter(|(_, one)| one.rose).map(|(at, _)| at + 1).collect();
        assert_eq!(rises, [50, 100, 200]);
        assert!(judged.windows(2).all(|pair| matches!(pair, [a, b] if a.wait <= b.wait)));
        assert_eq!(judged.first().map(|one| one.wait), Some(Duration::ZERO));
        assert_eq!(judged.last().map(|one| one.wait), Some(rules.wait_max));
        behaviour.forgive();
        assert_eq!(behaviour.conduct(&rules, Timestamp(SECOND)), Conduct::Usual, "the person said so");
    }

    #[test]
    fn the_wait_that_is_told_is_enough_and_no_longer() {
        let (mut behaviour, rules) = (Behaviour::default(), BehaviourRules::default());
        assert_eq!(behaviour.calms_in(&rules, Timestamp(0)), Duration::ZERO);
        for acts in 1..300 {
            let judged = behaviour.note(Act::Read, &rules, Timestamp(0));
            let wait = behaviour.calms_in(&rules, Timestamp(0));
            assert_eq!(wait.is_zero(), judged.conduct < Conduct::Suspicious, "{acts}");
            let after = Timestamp(i64::try_from(wait.as_micros()).expect("it is short"));
            assert!(behaviour.conduct(&rules, after) < Conduct::Suspicious, "{acts}");
            let before = Timestamp(after.0 - 2_000);
            assert!(wait.is_zero() || behaviour.conduct(&rules, before) >= Conduct::Suspicious, "{acts}");
        }
    }

    #[test]
    fn whoever_is_indifferent_sees_nothing() {
        let (mut behaviour, rules) = (Behaviour::default(), BehaviourRules::indifferent());
        for _ in 0..10_000 {
            assert_eq!(behaviour.note(Act::Denied, &rules, Timestamp(0)).conduct, Conduct::Usual);
        }
    }

    proptest! {
        /// However the time between is divided, the same is left.
        #[test]
        fn sinking_is_the_same_in_any_number_of_looks(looks in prop::collection::vec(0_i64..2_000_000, 0..20)) {
            let rules = BehaviourRules::default();
            let (mut once, mut often) = (Behaviour::default(), Behaviour::default());
            for _ in 0..150 {
                once.note(Act::Read, &rules, Timestamp(0));
                often.note(Act::Read, &rules, Timestamp(0));
            }
            let mut now = 0;
            for look in looks {
                now += look;
                often.sink(&rules, Timestamp(now));
            }
            once.sink(&rules, Timestamp(now));
            prop_assert!((once.score_millis - often.score_millis).abs() <= i64::from(rules.sinks_per_second));
        }

        /// No sequence of acts and times, forwards or backwards, makes a score that can't be.
        #[test]
        fn a_score_is_never_negative_and_a_clock_that_goes_back_forgets_nothing(
            acts in prop::collection::vec((0_u8..4, any::<i32>()), 0..200),
        ) {
            let (mut behaviour, rules) = (Behaviour::default(), BehaviourRules::default());
            for (act, at) in acts {
                let act = match act { 0 => Act::Read, 1 => Act::Write, 2 => Act::Destroy, _ => Act::Denied };
                let before = behaviour;
                let back = i64::from(at) <= behaviour.at.0;
                behaviour.note(act, &rules, Timestamp(at.into()));
                prop_assert!(behaviour.score_millis >= 0 && behaviour.at >= before.at);
                prop_assert!(!back || behaviour.score_millis >= before.score_millis);
            }
        }
    }
}

use super::*;
use proptest::prelude::*;

const fn at(secs: i64) -> Timestamp {
    Timestamp(1_000_000_000_000).plus_secs(secs)
}

/// A breaker after outcomes that came one second apart.
fn after(outcomes: &[CallOutcome]) -> Breaker {
    let mut breaker = Breaker::new(BreakerRules::default());
    for (secs, outcome) in (0..).zip(outcomes) {
        if let Ok(passage) = breaker.enter(at(secs)) {
            breaker.report(passage, *outcome, at(secs));
        }
    }
    breaker
}

use CallOutcome::{Failed, FailedLate, Neither, Served};

#[test]
fn failures_open_it_and_nothing_else() {
    let passes = |outcomes: &[CallOutcome]| after(outcomes).look(at(i64::try_from(outcomes.len()).unwrap_or(0))).is_ok();
    assert!(passes(&[Failed; 4]) && !passes(&[Failed; 5]));
    assert!(passes(&[FailedLate; 2]) && !passes(&[FailedLate; 3]), "what was paid for in vain weighs twice");
    assert!(passes(&[Neither; 20]) && passes(&[Served; 20]));
    assert!(!passes(&[Failed, Served, Failed, Served, Failed, Served, Failed, Served, Failed]), "half of all");
    let rare = [Served, Served, Served, Served, Failed].repeat(5);
    assert!(passes(&rare), "five failures among twenty that were served");
}

#[test]
fn what_is_long_ago_is_forgotten() {
    let mut breaker = Breaker::new(BreakerRules::default());
    for number in 0..20 {
        breaker.report(Passage::Usual, Failed, at(number * 8));
    }
    assert!(breaker.look(at(160)).is_ok(), "never five within thirty seconds");
}

#[test]
fn one_probe_finds_out_whether_it_can_close() {
    let mut breaker = after(&[Failed; 5]);
    assert_eq!(breaker.enter(at(8)), Err(at(9)), "open for five seconds from the fifth failure on");
    let probe = breaker.enter(at(9)).expect("the time has come");
    assert_eq!(probe, Passage::Probe(at(9)));
    for _ in 0..10 {
        assert!(breaker.enter(at(9)).is_err() && breaker.enter(at(20)).is_err(), "not a second one");
    }
    breaker.report(Passage::Usual, Served, at(20));
    assert!(breaker.enter(at(20)).is_err(), "a call from before says nothing");
    breaker.report(probe, Failed, at(21));
    assert_eq!(breaker.enter(at(21)), Err(at(31)), "twice as long");
    let probe = breaker.enter(at(31)).expect("another probe");
    breaker.report(probe, Neither, at(31));
    let probe = breaker.enter(at(31)).expect("that one learnt nothing, so the next call is the probe");
    breaker.report(probe, Served, at(32));
    assert_eq!((breaker.enter(at(32)), breaker.enter(at(32))), (Ok(Passage::Usual), Ok(Passage::Usual)));
}

#[test]
fn a_probe_whose_answer_has_begun_lets_others_pass() {
    let begun = || {
        let mut breaker = after(&[Failed; 5]);
        let probe = breaker.enter(at(9)).expect("the time has come");
        breaker.begun(Passage::Usual);
        assert!(breaker.enter(at(10)).is_err(), "another call's answer says nothing");
        breaker.begun(probe);
        (breaker, probe)
    };
    let (mut breaker, probe) = begun();
    assert_eq!((breaker.enter(at(10)), breaker.enter(at(11))), (Ok(probe), Ok(probe)), "two more, and they are probes");
    assert!(breaker.enter(at(12)).is_err(), "no third one before another has begun");
    breaker.begun(probe);
    assert!(breaker.look(at(12)).is_ok() && breaker.look(at(12)).is_ok(), "looking takes nothing");
    assert_eq!((breaker.enter(at(12)), breaker.enter(at(12))), (Ok(probe), Ok(probe)));
    breaker.report(probe, Neither, at(13));
    assert!(breaker.enter(at(13)).is_ok() && breaker.enter(at(13)).is_err(), "in the place of one that said nothing");
    breaker.report(probe, Served, at(14));
    assert_eq!(breaker.enter(at(14)), Ok(Passage::Usual));
    breaker.report(probe, FailedLate, at(14));
    assert!(breaker.look(at(14)).is_ok(), "a probe from before it closed says nothing any more");

    let (mut breaker, probe) = begun();
    breaker.enter(at(10)).expect("another one");
    breaker.report(probe, FailedLate, at(11));
    assert_eq!(breaker.enter(at(11)), Err(at(21)), "what began well and failed is a failure: twice as long");
    breaker.report(probe, Served, at(12));
    assert!(breaker.enter(at(12)).is_err(), "and the other one comes too late");
}

#[test]
fn a_probe_that_never_reports_is_given_up() {
    let mut breaker = after(&[Failed; 5]);
    let lost = breaker.enter(at(10)).expect("a probe");
    assert!(breaker.enter(at(309)).is_err());
    let second = breaker.enter(at(310)).expect("another, after its time");
    breaker.report(lost, Served, at(311));
    assert!(breaker.enter(at(311)).is_err(), "the lost one decides nothing any more");
    breaker.report(second, Served, at(312));
    assert!(breaker.enter(at(312)).is_ok());
}

#[test]
fn a_pause_is_as_long_as_asked_and_never_too_long() {
    let mut pace = Pace::default();
    assert_eq!(pace.look(at(0)), Ok(()));
    pace.refused(Some(7), 0, at(0));
    assert_eq!((pace.look(at(6)), pace.look(at(7))), (Err(at(7)), Ok(())));
    pace.refused(Some(3), 0, at(1));
    assert_eq!(pace.look(at(6)), Err(at(7)), "a shorter one does not shorten it");
    for absurd in [601, u64::MAX] {
        let mut pace = Pace::default();
        pace.refused(Some(absurd), 0, at(0));
        assert_eq!(pace.look(at(0)), Err(at(PACE_SECS_MAX)));
    }
}

#[test]
fn without_a_time_the_pause_doubles_until_a_call_is_taken() {
    let mut pace = Pace::default();
    let mut pauses = Vec::new();
    let mut now = at(0);
    for _ in 0..9 {
        pace.refused(None, 0, now);
        let until = pace.look(now).expect_err("a pause");
        pauses.push((until.0 - now.0) / 1000);
        now = until;
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    pace.accepted();
    pace.refused(None, u64::MAX, now);
    let pause = pace.look(now).expect_err("a pause").0 - now.0;
    assert!((500_000..1_000_000).contains(&pause), "{pause}");
}

proptest! {
    #[test]
    fn an_open_breaker_opens_again_in_bounded_time_and_probes_one_at_a_time(
        steps in prop::collection::vec((0..40_i64, prop::sample::select(&[Served, Failed, FailedLate, Neither][..]), any::<bool>()), 0..200),
    ) {
        let rules = BreakerRules::default();
        let mut breaker = Breaker::new(rules);
        let (mut now, mut probe): (_, Option<Passage>) = (at(0), None);
        for (pause, outcome, answered) in steps {
            now = now.plus_secs(pause);
            match breaker.enter(now) {
                Ok(passage @ Passage::Probe(since)) => {
                    if let Some(Passage::Probe(other)) = probe {
                        prop_assert!(since >= other.plus_secs(rules.probe_secs_max), "two probes at once");
                    }
                    probe = Some(passage);
                }
                Ok(Passage::Usual) => breaker.report(Passage::Usual, outcome, now),
                Err(until) => prop_assert!(until > now && until <= now.plus_secs(rules.open_secs_max)),
            }
            if let Some(passage) = probe.filter(|_| answered) {
                breaker.report(passage, outcome, now);
                probe = None;
            }
            prop_assert!(breaker.recent.len() <= REMEMBERED_MAX);
        }
    }
}

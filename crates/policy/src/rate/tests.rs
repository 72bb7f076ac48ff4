use super::*;
use proptest::prelude::*;

const THREE: RateLimit = RateLimit { units: 3, period_micros: MINUTE, burst: 3 };

fn admitted(limit: RateLimit, weight: u64, state: i64, now: i64) -> Option<Admitted> {
    match decide(limit, weight, state, Timestamp(now)) {
        RateDecision::Admit(admitted) => Some(admitted),
        RateDecision::Refuse { .. } => None,
    }
}

fn refused(limit: RateLimit, weight: u64, state: i64, now: i64) -> i64 {
    match decide(limit, weight, state, Timestamp(now)) {
        RateDecision::Admit(admitted) => panic!("{admitted:?}"),
        RateDecision::Refuse { retry_after_micros, .. } => retry_after_micros,
    }
}

fn check(name: &str, limit: RateLimit, weight_millis: u64, code: DenialCode) -> RateCheck {
    RateCheck { name: name.to_owned(), limit, weight_millis, code }
}

#[test]
fn three_at_once_and_then_one_every_twenty_seconds() {
    let (now, mut state) = (1_800_000_000 * SECOND, 0);
    for remaining in [2, 1, 0] {
        let admitted = admitted(THREE, UNIT_MILLIS, state, now).expect("within the burst");
        assert_eq!(admitted.remaining, remaining);
        state = admitted.state;
    }
    assert_eq!(state, now + MINUTE, "what three owe");
    assert_eq!(refused(THREE, UNIT_MILLIS, state, now), 20 * SECOND);
    assert_eq!(refused(THREE, UNIT_MILLIS, state, now + 20 * SECOND - 1), 1);
    let next = admitted(THREE, UNIT_MILLIS, state, now + 20 * SECOND).expect("exactly when it was said");
    assert_eq!((next.remaining, next.reset_at), (0, Timestamp(now + 80 * SECOND)));
    assert_eq!(admitted(THREE, UNIT_MILLIS, state, now + MINUTE).expect("all is paid off").remaining, 2);
}

#[test]
fn numbers_that_do_not_divide_the_period_still_allow_the_whole_burst() {
    for units in [1, 6, 7, 11, 997, 50_000] {
        let limit = RateLimit::per_minute(units);
        let mut state = 0;
        for number in 0..units {
            state = admitted(limit, UNIT_MILLIS, state, 5).unwrap_or_else(|| panic!("{number} of {units}")).state;
        }
        refused(limit, UNIT_MILLIS, state, 5);
    }
}

#[test]
fn a_tenth_weighs_a_tenth_and_what_is_too_heavy_weighs_the_burst() {
    let mut state = 0;
    for _ in 0..30 {
        state = admitted(THREE, UNIT_MILLIS / 10, state, 0).expect("thirty tenths are three").state;
    }
    refused(THREE, UNIT_MILLIS / 10, state, 0);
    let heavy = admitted(THREE, 170 * UNIT_MILLIS, 0, 0).expect("it comes when nothing is owed");
    assert_eq!((heavy.remaining, heavy.state), (0, MINUTE));
    assert_eq!(refused(THREE, 170 * UNIT_MILLIS, heavy.state, 0), MINUTE, "and not before");
    assert_eq!(refused(THREE, u64::MAX, heavy.state, 1), MINUTE - 1);
}

#[test]
fn all_limits_or_none_and_the_longest_wait_is_told() {
    let (minute, hour) = (RateLimit::per_minute(2), RateLimit::per_hour(3));
    let (a, b) = (check("a", minute, 1000, DenialCode::RateAddress), check("b", hour, 1000, DenialCode::RateUser));
    let (states, standing) = decide_all(&[(&a, 0), (&b, 0)], Timestamp(0)).expect("both are new");
    assert_eq!(states, [30 * SECOND, 1200 * SECOND]);
    assert_eq!(standing, Some(RateStanding { limit: 2, remaining: 1, reset_at: Timestamp(30 * SECOND) }));
    let full = decide_all(&[(&a, MINUTE), (&b, HOUR)], Timestamp(0)).expect_err("both refuse");
    assert_eq!((full.code, full.retry_after_secs(), full.standing.remaining), (DenialCode::RateUser, 1200, 0));
    let one = decide_all(&[(&a, MINUTE), (&b, 0)], Timestamp(1)).expect_err("one refuses");
    assert_eq!((one.code, one.retry_after_secs()), (DenialCode::RateAddress, 30), "rounded up");
    assert_eq!(decide_all(&[], Timestamp(0)), Ok((Vec::new(), None)));
}

#[test]
fn a_clock_that_was_ahead_is_forgiven_once_the_limit_s_time_has_passed() {
    let ahead = admitted(THREE, UNIT_MILLIS, 0, 1000 * DAY).expect("new").state;
    assert_eq!(refused(THREE, UNIT_MILLIS, ahead, 0), 20 * SECOND, "used up, not locked for a thousand days");
}

fn limits() -> impl Strategy<Value = RateLimit> {
    (1..=1000_u64, 1..=HOUR, 1..=1000_u64).prop_map(|(units, period_micros, burst)| RateLimit { units, period_micros, burst })
}

proptest! {
    /// The promise itself: in no stretch of time more than the burst and what is paid off meanwhile.
    #[test]
    fn no_window_holds_more_than_burst_and_rate(
        limit in limits(),
        steps in prop::collection::vec((0..=HOUR / 50, 0..=5_000_u64), 1..150),
    ) {
        let (mut now, mut state) = (0_i64, 0_i64);
        let mut taken: Vec<(i64, u64)> = Vec::new();
        for (pause, weight) in steps {
            now += pause;
            if let Some(admitted) = admitted(limit, weight, state, now) {
                state = admitted.state;
                taken.push((now, weight.min(limit.burst * UNIT_MILLIS)));
            }
        }
        for (first, (begin, _)) in taken.iter().enumerate() {
            let mut sum = 0_u128;
            for (end, weight) in taken.iter().skip(first) {
                sum += u128::from(*weight);
                // sum <= burst + (end - begin) * units / period, in thousandths, without a division.
                let time = u128::try_from(end - begin).expect("time goes on");
                let period = u128::try_from(limit.period_micros).expect("positive");
                let allowed = u128::from(limit.burst * UNIT_MILLIS) * period + time * u128::from(limit.units * UNIT_MILLIS);
                prop_assert!(sum * period <= allowed, "{sum} thousandths in {time} of {limit:?}");
            }
        }
    }

    /// Who waits as long as told is admitted, and one microsecond less is too early.
    #[test]
    fn the_wait_that_is_told_is_exact(limit in limits(), state in 0..=HOUR, now in 0..=HOUR, weight in 1..=3_000_u64) {
        if let RateDecision::Refuse { retry_after_micros, .. } = decide(limit, weight, state, Timestamp(now)) {
            prop_assert!(retry_after_micros > 0);
            // A state from a clock that was ahead counts as one that is used up at this moment.
            let state = state.min(now + micros(limit.tolerance_micros()));
            prop_assert!(admitted(limit, weight, state, now + retry_after_micros).is_some());
            prop_assert!(admitted(limit, weight, state, now + retry_after_micros - 1).is_none());
        }
    }

    /// Whatever is admitted after the clock went back would have been admitted before it did.
    #[test]
    fn a_clock_that_goes_back_admits_nothing_more(
        limit in limits(), state in any::<i64>(), now in -HOUR..=HOUR, back in 0..=2 * HOUR, weight in 0..=5_000_u64,
    ) {
        if admitted(limit, weight, state, now - back).is_some() {
            prop_assert!(admitted(limit, weight, state, now).is_some());
        }
    }

    /// No number makes it panic or give more than the burst.
    #[test]
    fn huge_numbers_are_harmless(
        units in any::<u64>(), period_micros in any::<i64>(), burst in any::<u64>(),
        weight in any::<u64>(), state in any::<i64>(), now in any::<i64>(),
    ) {
        let limit = RateLimit { units, period_micros, burst };
        match decide(limit, weight, state, Timestamp(now)) {
            RateDecision::Admit(admitted) => {
                prop_assert!(admitted.remaining <= burst.max(1));
                prop_assert!(admitted.state >= now && (admitted.state >= state || admitted.state == i64::MAX || state > now));
            }
            RateDecision::Refuse { retry_after_micros, .. } => prop_assert!(retry_after_micros > 0),
        }
        let _ = limit.times(weight);
    }
}

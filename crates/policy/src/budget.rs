//! Budgets: which accounts a call is charged to, when somebody is told, when it gets slower, and what still fits.
//!
//! Budgets per day are of UTC days: the number of the day is part of the account, so that a new day begins with nothing spent.

use crate::{BudgetLine, DenialCode, HostAccount, Microusd, RunId, Timestamp, UserId};
use std::collections::BTreeMap;

/// What there is to spend, on every level. A level without a limit has no account. The default
/// lets nobody spend anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// One run.
    pub run: Microusd,
    /// One person on one day.
    pub user_day: Option<Microusd>,
    /// By the tier's name.
    pub tiers: BTreeMap<String, TierLimits>,
    /// All runs with one app on one day, by its id.
    pub apps: BTreeMap<String, Microusd>,
    /// Everybody on one day.
    pub day: Microusd,
}

/// What a tier's people may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierLimits {
    /// All of them together on one day.
    pub day: Option<Microusd>,
    /// Output tokens of a call.
    pub output_tokens_max: Option<u64>,
    /// Tokens of a prompt.
    pub context_tokens_max: Option<u64>,
}

/// On whose behalf a call is made.
#[derive(Clone, Copy, Debug)]
pub struct Payer<'a> {
    /// The run, or the window of a remote caller.
    pub run: RunId,
    /// The person, or the service principal.
    pub user: UserId,
    /// Their tier.
    pub tier: &'a str,
    /// The app, if there is one.
    pub app: Option<&'a str>,
    /// The host application whose user it is, if it is one's.
    pub host: Option<&'a HostAccount>,
}

impl Budgets {
    /// Every account that a call of this payer's is charged to, from the narrowest to everybody's.
    #[must_use]
    pub fn lines(&self, payer: &Payer<'_>, now: Timestamp) -> Vec<BudgetLine> {
        let Payer { run, user, tier, app, host } = *payer;
        let day = |scope: String, limit: Option<Microusd>, exhausted| {
            limit.map(|limit| BudgetLine { scope, period: now.utc_day(), limit, exhausted })
        };
        let of_host = host.and_then(|host| day(format!("host:{}", host.id), host.day, DenialCode::BudgetHost));
        // A host may only narrow what everybody has.
        let of_user = host.and_then(|host| host.user_day).into_iter().chain(self.user_day).min();
        let of_app = app.and_then(|app| day(format!("app:{app}"), self.apps.get(app).copied(), DenialCode::BudgetApp));
        [
            Some(BudgetLine { scope: format!("run:{run}"), period: 0, limit: self.run, exhausted: DenialCode::BudgetRun }),
            day(format!("user:{user}"), of_user, DenialCode::BudgetUser),
            of_host,
            day(format!("tier:{tier}"), self.tier(tier).day, DenialCode::BudgetTier),
            of_app,
            day("global".to_owned(), Some(self.day), DenialCode::BudgetDay),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What a tier may; one that is not configured has no limits of its own.
    #[must_use]
    pub fn tier(&self, name: &str) -> TierLimits {
        self.tiers.get(name).copied().unwrap_or_default()
    }
}

/// Shares of a budget, in percent, at which the operator is told.
pub const ALERT_PERCENTS: [u8; 4] = [50, 75, 90, 100];

/// Which shares were reached when spending went from `before` to `after`, the smallest first.
#[must_use]
pub fn thresholds_crossed(before: Microusd, after: Microusd, limit: Microusd) -> Vec<u8> {
    let reached = |spent: Microusd, percent: u8| i128::from(spent.0) * 100 >= i128::from(limit.0) * i128::from(percent);
    let crossed = |percent: &u8| limit > Microusd::ZERO && !reached(before, *percent) && reached(after, *percent);
    ALERT_PERCENTS.into_iter().filter(crossed).collect()
}

/// From this share of a budget on, calls are smaller and count for more.
const THROTTLE_PERCENT: i128 = 90;
/// An answer of fewer tokens helps nobody.
pub const OUTPUT_TOKENS_MIN: u64 = 256;

/// Whether a budget is nearly used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Throttle {
    /// There is enough.
    Open,
    /// From 90 % on: answers are a quarter as long, and a call counts four times for rates.
    Near,
}

impl Throttle {
    /// How many times a call counts for rates.
    #[must_use]
    pub const fn weight(self) -> u32 {
        match self {
            Self::Open => 1,
            Self::Near => 4,
        }
    }

    /// The output tokens of a call that may otherwise have so many.
    #[must_use]
    pub fn output_tokens_max(self, otherwise: u64) -> u64 {
        match self {
            Self::Open => otherwise,
            Self::Near => (otherwise / 4).max(OUTPUT_TOKENS_MIN).min(otherwise),
        }
    }
}

/// How near its end a budget is. Of several budgets the nearest counts: the greatest `Throttle`.
#[must_use]
pub fn throttle(spent: Microusd, limit: Microusd) -> Throttle {
    let near = i128::from(spent.0) * 100 >= i128::from(limit.0) * THROTTLE_PERCENT;
    if near { Throttle::Near } else { Throttle::Open }
}

/// The largest output of at most `wanted` tokens for which a call's ceiling fits into what is left, so that a small remainder
/// stays usable. `ceiling` must not fall when its argument grows. None where fewer than 256 tokens fit of more that were wanted,
/// or no more than what the call gives to thinking: such a call would be refused by the provider.
#[must_use]
pub fn affordable_output(
    wanted: u64,
    thinking_tokens: Option<u64>,
    room: Microusd,
    ceiling: impl Fn(u64) -> Microusd,
) -> Option<u64> {
    if ceiling(wanted) <= room {
        return Some(wanted);
    }
    // Invariant: `fits` fits or is 0, `beyond` does not fit.
    let (mut fits, mut beyond) = (0, wanted);
    while beyond - fits > 1 {
        let middle = fits + (beyond - fits) / 2;
        if ceiling(middle) <= room {
            fits = middle;
        } else {
            beyond = middle;
        }
    }
    let useful = fits >= OUTPUT_TOKENS_MIN && thinking_tokens.is_none_or(|thinking| thinking < fits);
    useful.then_some(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Prices, price_of};
    use proptest::prelude::*;

    const NOON: Timestamp = Timestamp::of_utc_day(20_780).plus_secs(43_200);

    fn all() -> Budgets {
        let free = TierLimits { day: Some(Microusd::dollars(3)), ..TierLimits::default() };
        Budgets {
            run: Microusd::dollars(1),
            user_day: Some(Microusd::dollars(2)),
            tiers: [("free".to_owned(), free)].into(),
            apps: [("hexmap".to_owned(), Microusd::dollars(4))].into(),
            day: Microusd::dollars(5),
        }
    }

    #[test]
    fn every_level_with_a_limit_has_its_account() {
        let (run, user) = (RunId::random(), UserId::random());
        let lines = |budgets: &Budgets, tier, app| {
            let lines = budgets.lines(&Payer { run, user, tier, app, host: None }, NOON);
            lines.into_iter().map(|line| (line.scope, line.period, line.limit.0 / 1_000_000, line.exhausted)).collect::<Vec<_>>()
        };
        let (of_run, of_user) = (format!("run:{run}"), format!("user:{user}"));
        let expected = [
            (of_run.clone(), 0, 1, DenialCode::BudgetRun),
            (of_user, 20_780, 2, DenialCode::BudgetUser),
            ("tier:free".to_owned(), 20_780, 3, DenialCode::BudgetTier),
            ("app:hexmap".to_owned(), 20_780, 4, DenialCode::BudgetApp),
            ("global".to_owned(), 20_780, 5, DenialCode::BudgetDay),
        ];
        assert_eq!(lines(&all(), "free", Some("hexmap")), expected);
        let few = Budgets { user_day: None, ..all() };
        let scopes: Vec<_> = lines(&few, "paid", None).into_iter().map(|line| line.0).collect();
        assert_eq!(scopes, [of_run, "global".to_owned()], "what is not configured is no account, and no limit either");
    }

    #[test]
    fn a_new_utc_day_is_a_new_account() {
        let payer = Payer { run: RunId::random(), user: UserId::random(), tier: "free", app: Some("hexmap"), host: None };
        let midnight = Timestamp::of_utc_day(20_781);
        let (before, after) = (all().lines(&payer, Timestamp(midnight.0 - 1)), all().lines(&payer, midnight));
        for (before, after) in before.iter().zip(&after) {
            let per_run = before.scope.starts_with("run:");
            assert_eq!((before.period, after.period), if per_run { (0, 0) } else { (20_780, 20_781) }, "{}", before.scope);
        }
    }

    #[test]
    fn shares_are_crossed_once() {
        let crossed = |before, after| thresholds_crossed(Microusd(before), Microusd(after), Microusd(1000));
        assert_eq!(crossed(0, 499), Vec::<u8>::new());
        assert_eq!(crossed(499, 500), [50]);
        assert_eq!(crossed(500, 749), Vec::<u8>::new(), "not again");
        assert_eq!(crossed(0, 1000), [50, 75, 90, 100]);
        assert_eq!(crossed(899, 2000), [90, 100]);
        assert_eq!((crossed(1000, 3000), crossed(900, 100)), (Vec::new(), Vec::new()));
        assert_eq!(
            thresholds_crossed(Microusd(0), Microusd(5), Microusd(0)),
            Vec::<u8>::new(),
            "a budget of nothing has no share"
        );
        let large = Microusd(i64::MAX);
        assert_eq!(thresholds_crossed(Microusd(0), large, large), [50, 75, 90, 100], "no overflow");
    }

    #[test]
    fn near_its_end_a_budget_is_slower() {
        let at = |spent| throttle(Microusd(spent), Microusd(1000));
        assert_eq!((at(0), at(899), at(900), at(2000)), (Throttle::Open, Throttle::Open, Throttle::Near, Throttle::Near));
        assert_eq!((Throttle::Open.weight(), Throttle::Near.weight()), (1, 4));
        let output = |otherwise| (Throttle::Open.output_tokens_max(otherwise), Throttle::Near.output_tokens_max(otherwise));
        assert_eq!((output(4000), output(1000), output(100)), ((4000, 1000), (1000, 256), (100, 100)));
        assert_eq!(at(899).max(at(900)), Throttle::Near, "of several the nearest");
    }

    #[test]
    fn what_is_left_stays_usable_down_to_a_little() {
        let price = price_of("claude-sonnet-5-5", NOON);
        let fits =
            |wanted, thinking, room| affordable_output(wanted, thinking, Microusd(room), |output| price.ceiling(1000, output));
        // 1,000 prompt tokens at $4 and output at $10, with a tenth: 4,400 + 11 for each token of output.
        assert_eq!(fits(4000, None, 48_400), Some(4000), "all of it");
        assert_eq!(fits(4000, None, 48_399), Some(3999));
        assert_eq!(fits(4000, None, 4400 + 256 * 11), Some(256));
        assert_eq!(fits(4000, None, 4400 + 256 * 11 - 1), None, "too little to say anything");
        assert_eq!(fits(10, None, 4400 + 10 * 11), Some(10), "who wants little gets it");
        assert_eq!((fits(10, None, 4400 + 9 * 11), fits(4000, None, 0), fits(0, None, 4400)), (None, None, Some(0)));
        assert_eq!(fits(4000, Some(1024), 4400 + 1025 * 11), Some(1025));
        assert_eq!(fits(4000, Some(1024), 4400 + 1024 * 11), None, "thinking must leave room for an answer");
    }

    proptest! {
        #[test]
        fn what_is_affordable_is_the_most_that_fits(prompt in 0..200_000_u64, wanted in 0..128_000_u64, room in 0..5_000_000_i64) {
            let (prices, room) = (Prices::default(), Microusd(room));
            let ceiling = |output| prices.ceiling("claude-haiku-5-5", NOON, NOON, prompt, output);
            match affordable_output(wanted, None, room, ceiling) {
                Some(output) => {
                    prop_assert!(output <= wanted && ceiling(output) <= room);
                    prop_assert!(output == wanted || ceiling(output + 1) > room);
                    prop_assert!(output >= OUTPUT_TOKENS_MIN || output == wanted);
                }
                None => prop_assert!(ceiling(OUTPUT_TOKENS_MIN.min(wanted)) > room),
            }
        }
    }
}

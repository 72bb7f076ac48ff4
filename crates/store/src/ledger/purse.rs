//! A purse: what one run, or one remote caller's window, holds of the budgets above it. Arithmetic in memory, no I/O.
//!
//! Invariant: of each slice, settled + reserved stays within granted at the moment of a reservation.

use super::{SLICE, SLICE_MAX};
use policy::{BudgetLine, Microusd, SliceId, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whoever asks again within this takes more.
const STEP_TIME: Duration = Duration::from_secs(1);

/// A slice as its holder counts it.
#[derive(Debug)]
pub(super) struct Slice {
    pub id: SliceId,
    pub lines: Arc<[BudgetLine]>,
    pub granted: Microusd,
    pub settled: Microusd,
    pub reserved: Microusd,
    /// Calls that are open inside.
    pub open: u32,
    pub expires: Timestamp,
    pub renewed: Instant,
    /// The database has it.
    pub taken: bool,
    /// The database does not have it any more.
    pub gone: bool,
    pub used: Timestamp,
}

impl Slice {
    pub(super) fn new(lines: Arc<[BudgetLine]>, now: Timestamp) -> Self {
        Self {
            id: SliceId::random(),
            lines,
            granted: Microusd::ZERO,
            settled: Microusd::ZERO,
            reserved: Microusd::ZERO,
            open: 0,
            expires: Timestamp(0),
            renewed: Instant::now(),
            taken: false,
            gone: false,
            used: now,
        }
    }

    pub(super) fn free(&self) -> Microusd {
        Microusd(self.granted.0.saturating_sub(self.settled.0).saturating_sub(self.reserved.0).max(0))
    }
}

/// How much more is taken where there is plenty: more, the more often it is asked for.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// None before the first time.
    last: Option<(Microusd, Instant)>,
}

impl Step {
    /// What was taken last.
    pub(super) fn amount(&self) -> Microusd {
        self.last.map_or(SLICE, |(amount, _)| amount)
    }

    /// What to take now.
    pub(super) fn next(&mut self, now: Instant) -> Microusd {
        let amount = match self.last {
            Some((amount, at)) if now.saturating_duration_since(at) < STEP_TIME => {
                Microusd(amount.0.saturating_mul(2)).min(SLICE_MAX)
            }
            Some(_) | None => SLICE,
        };
        self.last = Some((amount, now));
        amount
    }
}

/// The slices of one holder: the present one, and those of other budgets (a day before) that still have open calls.
#[derive(Debug, Default)]
pub(super) struct Slices {
    pub current: Option<Slice>,
    pub past: Vec<Slice>,
    /// Nothing is reserved any more.
    pub closed: bool,
    pub step: Step,
}

/// Why a reservation was not made in memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lacking {
    /// The present slice has less; so much more is needed.
    Money { slice: SliceId, more: Microusd },
    /// There is no slice of these budgets, or it would expire before the call ends.
    Slice,
    /// The holder is closed.
    Closed,
}

impl Slices {
    /// Sets `ceiling` aside in the slice of these budgets.
    pub(super) fn reserve(
        &mut self,
        lines: &Arc<[BudgetLine]>,
        ceiling: Microusd,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SliceId, Lacking> {
        if self.closed {
            return Err(Lacking::Closed);
        }
        let Some(slice) = self.with(lines) else { return Err(Lacking::Slice) };
        let free = slice.free();
        if free < ceiling {
            return Err(Lacking::Money { slice: slice.id, more: Microusd(ceiling.0 - free.0) });
        }
        if slice.expires < until {
            return Err(Lacking::Money { slice: slice.id, more: Microusd::ZERO });
        }
        slice.reserved = slice.reserved.plus(ceiling);
        slice.open += 1;
        slice.used = now;
        Ok(slice.id)
    }

    /// Undoes a reservation or turns it into what it cost.
    pub(super) fn release(&mut self, id: SliceId, reserved: Microusd, cost: Microusd) {
        if let Some(slice) = self.of(id) {
            slice.reserved = Microusd(slice.reserved.0.saturating_sub(reserved.0).max(0));
            slice.settled = slice.settled.plus(cost);
            // What a call cost above its ceiling the database takes out of the budgets by itself.
            slice.granted = slice.granted.max(slice.settled);
            slice.open = slice.open.saturating_sub(1);
        }
    }

    pub(super) fn of(&mut self, id: SliceId) -> Option<&mut Slice> {
        self.current.iter_mut().chain(&mut self.past).find(|slice| slice.id == id)
    }

    /// The slice of these budgets, new if there is none; another one becomes past.
    pub(super) fn slice_of(&mut self, lines: &Arc<[BudgetLine]>, now: Timestamp) -> SliceId {
        if let Some(slice) = self.with(lines) {
            return slice.id;
        }
        let new = Slice::new(Arc::clone(lines), now);
        let id = new.id;
        self.past.extend(self.current.replace(new));
        id
    }

    /// The slice of these budgets: the present one, or one that others have come before since.
    fn with(&mut self, lines: &Arc<[BudgetLine]>) -> Option<&mut Slice> {
        self.current.iter_mut().chain(&mut self.past).find(|slice| !slice.gone && same(&slice.lines, lines))
    }

    /// Somebody else has closed this slice: nothing more is reserved in it.
    pub(super) fn forget(&mut self, id: SliceId) {
        if let Some(slice) = self.of(id) {
            slice.gone = true;
        }
        if self.current.as_ref().is_some_and(|slice| slice.gone) {
            self.past.extend(self.current.take());
        }
    }

    /// Takes what is not needed off the slices, to be given back.
    pub(super) fn spare(&mut self) -> Vec<(SliceId, Microusd)> {
        let mut spare = Vec::new();
        for slice in self.current.iter_mut().chain(&mut self.past) {
            let free = slice.free();
            if free > Microusd::ZERO {
                slice.granted = Microusd(slice.granted.0 - free.0);
                spare.push((slice.id, free));
            }
        }
        spare
    }

    /// Slices in which nothing is open and nothing will be: they can be closed.
    pub(super) fn finished(&mut self) -> Vec<SliceId> {
        let mut done = Vec::new();
        self.past.retain(|slice| {
            let finished = slice.open == 0;
            if finished {
                done.push(slice.id);
            }
            !finished
        });
        if self.closed && self.current.as_ref().is_some_and(|slice| slice.open == 0) {
            done.extend(self.current.take().map(|slice| slice.id));
        }
        done
    }

    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.past.is_empty()
    }
}

/// The same budgets: mostly the very same list.
fn same(one: &Arc<[BudgetLine]>, other: &Arc<[BudgetLine]>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::DenialCode;

    const NOW: Timestamp = Timestamp(1_000);

    fn lines(period: i64) -> Arc<[BudgetLine]> {
        vec![BudgetLine { scope: "global".to_owned(), period, limit: Microusd::dollars(1), exhausted: DenialCode::BudgetDay }]
            .into()
    }

    fn with(granted: i64) -> (Slices, Arc<[BudgetLine]>) {
        let (mut slices, lines) = (Slices::default(), lines(0));
        let id = slices.slice_of(&lines, NOW);
        let slice = slices.of(id).expect("it was made");
        (slice.granted, slice.expires) = (Microusd(granted), Timestamp(10_000));
        (slices, lines)
    }

    #[test]
    fn no_more_is_reserved_than_was_granted() {
        let (mut slices, lines) = with(100);
        let reserve = |slices: &mut Slices, amount| slices.reserve(&lines, Microusd(amount), Timestamp(5_000), NOW);
        let id = reserve(&mut slices, 60).expect("there is room");
        assert_eq!(reserve(&mut slices, 60), Err(Lacking::Money { slice: id, more: Microusd(20) }));
        slices.release(id, Microusd(60), Microusd(10));
        assert_eq!(reserve(&mut slices, 90), Ok(id), "what was not used can be used");
        assert_eq!(reserve(&mut slices, 1), Err(Lacking::Money { slice: id, more: Microusd(1) }));
        slices.release(id, Microusd(90), Microusd(500));
        assert_eq!(
            slices.of(id).map(|slice| slice.free()),
            Some(Microusd::ZERO),
            "above its ceiling: nothing is left, and no less"
        );
    }

    #[test]
    fn another_day_is_another_slice_and_the_old_one_ends_with_its_last_call() {
        let (mut slices, today) = with(100);
        let old = slices.reserve(&today, Microusd(10), Timestamp(5_000), NOW).expect("there is room");
        let tomorrow = lines(1);
        assert_eq!(slices.reserve(&tomorrow, Microusd(10), Timestamp(5_000), NOW), Err(Lacking::Slice));
        assert_ne!(slices.slice_of(&tomorrow, NOW), old);
        assert!(slices.finished().is_empty(), "a call is open in it");
        slices.release(old, Microusd(10), Microusd(1));
        assert_eq!(slices.finished(), [old]);
    }

    #[test]
    fn a_slice_that_expires_too_soon_or_a_closed_holder_gives_nothing() {
        let (mut slices, lines) = with(100);
        let late = slices.reserve(&lines, Microusd(10), Timestamp(10_001), NOW);
        assert!(matches!(late, Err(Lacking::Money { more: Microusd::ZERO, .. })), "{late:?}");
        slices.closed = true;
        assert_eq!(slices.reserve(&lines, Microusd(10), Timestamp(5_000), NOW), Err(Lacking::Closed));
        assert_eq!(slices.finished().len(), 1);
        assert!(slices.is_empty());
    }

    #[test]
    fn a_slice_that_somebody_else_closed_is_replaced() {
        let (mut slices, lines) = with(100);
        let old = slices.reserve(&lines, Microusd(30), Timestamp(5_000), NOW).expect("there is room");
        slices.forget(old);
        assert_eq!(slices.reserve(&lines, Microusd(1), Timestamp(5_000), NOW), Err(Lacking::Slice));
        assert_ne!(slices.slice_of(&lines, NOW), old);
        slices.release(old, Microusd(30), Microusd(5));
        assert_eq!(slices.finished(), [old], "its calls end in it");
    }

    #[test]
    fn two_lists_of_budgets_do_not_push_each_other_out() {
        let (mut slices, one) = with(100);
        let first = slices.reserve(&one, Microusd(10), Timestamp(5_000), NOW).expect("there is room");
        let other = lines(1);
        slices.slice_of(&other, NOW);
        assert_eq!(slices.reserve(&one, Microusd(10), Timestamp(5_000), NOW), Ok(first));
    }

    #[test]
    fn who_asks_often_takes_more_and_who_rests_begins_anew() {
        let (mut step, begun) = (Step::default(), Instant::now());
        let at = |millis| begun + Duration::from_millis(millis);
        assert_eq!((step.amount(), step.next(at(0))), (SLICE, SLICE));
        assert_eq!(step.next(at(999)), Microusd(SLICE.0 * 2));
        assert_eq!(step.next(at(1_998)), Microusd(SLICE.0 * 4));
        for more in 0..10 {
            step.next(at(2_000 + more));
        }
        assert_eq!(step.next(at(2_020)), SLICE_MAX, "never more");
        assert_eq!(step.next(at(3_020)), SLICE);
        assert_eq!(step.amount(), SLICE);
    }

    #[test]
    fn what_is_spare_can_be_given_back_once() {
        let (mut slices, lines) = with(100);
        let id = slices.reserve(&lines, Microusd(30), Timestamp(5_000), NOW).expect("there is room");
        assert_eq!(slices.spare(), [(id, Microusd(70))]);
        assert_eq!(slices.spare(), []);
    }
}

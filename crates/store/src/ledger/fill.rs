//! Filling a purse: taking more out of the budgets above, in a durable commit.

use super::accounts::{self, Holder, Taken, Wanted};
use super::open::{OpenError, Purse};
use super::{SLICE_SECS, reclaim};
use crate::StoreError;
use policy::{BudgetLine, Microusd, SliceId, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::OwnedRwLockReadGuard;

/// After a slice could not be made larger ahead of need.
const AHEAD_PAUSE: Duration = Duration::from_secs(1);
/// A slice that is gone, one that is short, another one that is gone, one that is short for good.
const FILLS_MAX: usize = 4;

/// A call's ceiling, set aside in a slice. Dropped, it is free again.
pub(super) struct Reserved {
    /// None once a call has it.
    purse: Option<Purse>,
    pub slice: SliceId,
    amount: Microusd,
}

impl Reserved {
    pub(super) const fn new(purse: Purse, slice: SliceId, amount: Microusd) -> Self {
        Self { purse: Some(purse), slice, amount }
    }

    /// It stays set aside until its call is settled.
    pub(super) fn keep(mut self) -> SliceId {
        self.purse = None;
        self.slice
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(purse) = &self.purse {
            purse.0.slices.lock().release(self.slice, self.amount, Microusd::ZERO);
        }
    }
}

impl Purse {
    /// Asks the budgets for what this ceiling lacks. One at a time: who waited finds what another one got, and tries that first.
    pub(super) async fn fill(
        &self,
        lines: &Arc<[BudgetLine]>,
        ceiling: Microusd,
        until: Timestamp,
    ) -> Result<Option<Reserved>, OpenError> {
        let _turn = self.0.filling.lock().await;
        let mut looked = false;
        for _ in 0..FILLS_MAX {
            let taking = self.0.ledger.reclaims.taking().await;
            let Some((slice, need)) = self.lack(lines, ceiling, until) else { return Ok(None) };
            let step = self.0.slices.lock().step.next(Instant::now());
            let wanted = Wanted { need, want: need.max(step) };
            let (taken, reserved) = self.take((slice, taking), lines, wanted, Some((ceiling, until))).await?;
            match taken {
                Taken::Granted(_) => return Ok(reserved),
                // Another one is begun in its place.
                Taken::Gone => {}
                Taken::Short { denial, room } if looked => {
                    let free = self.0.slices.lock().of(slice).map_or(Microusd::ZERO, |slice| slice.free());
                    return Err(OpenError::Short { denial, room: room.plus(free) });
                }
                // Others may hold what they don't need.
                Taken::Short { .. } => {
                    reclaim::reclaim(&self.0.ledger, reclaim::Whom::Everybody).await?;
                    looked = true;
                }
            }
        }
        Ok(None)
    }

    /// What is missing for this ceiling right now: the slice, and by how much it is too small.
    fn lack(&self, lines: &Arc<[BudgetLine]>, ceiling: Microusd, until: Timestamp) -> Option<(SliceId, Microusd)> {
        let mut slices = self.0.slices.lock();
        let id = slices.slice_of(lines, self.0.ledger.clock.now());
        let slice = slices.of(id)?;
        let need = Microusd(ceiling.0.saturating_sub(slice.free().0).max(0));
        (need > Microusd::ZERO || slice.expires < until).then_some((id, need))
    }

    /// Takes a slice or makes one larger, and sets `call`'s ceiling aside in it (until when it must last) in the same moment: nobody
    /// else's need takes it away in between.
    async fn take(
        &self,
        (slice, taking): (SliceId, OwnedRwLockReadGuard<()>),
        lines: &Arc<[BudgetLine]>,
        wanted: Wanted,
        call: Option<(Microusd, Timestamp)>,
    ) -> Result<(Taken, Option<Reserved>), StoreError> {
        let ledger = &self.0.ledger;
        let now = ledger.clock.now();
        let expires = now.plus_secs(SLICE_SECS);
        let holder = Holder {
            run: self.0.run,
            user: self.0.user,
            gateway: ledger.gateway.clone(),
            journal: ledger.journal.id.clone(),
            boot: ledger.journal.boot.clone(),
        };
        let inside = Arc::clone(lines);
        let write = move |tx: &mut dyn crate::Tx| {
            let expires = tx.clock(now)?.plus_secs(SLICE_SECS);
            accounts::take(tx, slice, &holder, &inside, wanted, (now, expires))
        };
        let (purse, store, lines) = (self.clone(), ledger.store.clone(), Arc::clone(lines));
        // In a task of its own: who asks may go away, and what the budgets gave must be known here.
        let taking = tokio::spawn(async move {
            let taken = store.write(write).await?;
            let reserved = purse.note_taken(slice, &taken, expires, call.map(|(ceiling, until)| (&lines, ceiling, until)));
            // Nobody else looks at what it holds before that, nor before it is free again where nobody waits for it any more.
            Ok((taken, reserved, taking))
        });
        let (taken, reserved, _taking) = taking.await.unwrap_or(Err(StoreError::Closed))?;
        Ok((taken, reserved))
    }

    fn note_taken(
        &self,
        id: SliceId,
        taken: &Taken,
        expires: Timestamp,
        call: Option<(&Arc<[BudgetLine]>, Microusd, Timestamp)>,
    ) -> Option<Reserved> {
        let now = self.0.ledger.clock.now();
        let mut slices = self.0.slices.lock();
        match (taken, slices.of(id)) {
            (Taken::Granted(amount), Some(slice)) => {
                slice.granted = slice.granted.plus(*amount);
                (slice.expires, slice.renewed, slice.taken) = (expires, Instant::now(), true);
                let (lines, amount, until) = call?;
                let slice = slices.reserve(lines, amount, until, now).ok()?;
                return Some(Reserved::new(self.clone(), slice, amount));
            }
            (Taken::Granted(_), None) => {
                // Its holder has ended meanwhile, so nobody will give it back.
                drop(slices);
                self.0.ledger.pending.lock().closes.push(id);
            }
            (Taken::Gone, Some(_)) => slices.forget(id),
            (Taken::Gone, None) | (Taken::Short { .. }, _) => {}
        }
        None
    }

    /// Makes the slice larger before somebody has to wait for that; a budget without plenty is left alone.
    pub(super) fn fill_ahead(&self, lines: Arc<[BudgetLine]>) {
        let purse = self.clone();
        tokio::spawn(async move {
            let turn = purse.0.filling.lock().await;
            let slice = purse.0.slices.lock().current.as_ref().filter(|slice| slice.lines == lines).map(|slice| slice.id);
            if let Some(slice) = slice {
                let want = purse.0.slices.lock().step.next(Instant::now());
                let taking = purse.0.ledger.reclaims.taking().await;
                let taken = purse.take((slice, taking), &lines, Wanted { need: Microusd::ZERO, want }, None).await;
                drop(turn);
                if !matches!(taken, Ok((Taken::Granted(amount), _)) if amount > Microusd::ZERO) {
                    // There is no plenty, or no database: the next call asks for itself.
                    tokio::time::sleep(AHEAD_PAUSE).await;
                }
            }
            purse.0.ahead.store(false, Ordering::Relaxed);
        });
    }
}

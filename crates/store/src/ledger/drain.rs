//! Moves what the journal says into the database: the log of calls, the accounts, the ends of slices.

use super::accounts::{self, Progress};
use super::open::PurseInner;
use super::purse::Slice;
use super::record::{Ended, Opened, Record};
use super::{Inner, RENEW_SECS, SLICE_SECS};
use crate::alerts::{self, BudgetAlert};
use crate::{StoreError, Tx};
use policy::{CallId, Microusd, SliceId, Throttle, Timestamp, throttle};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a settlement may wait for its row.
const PAUSE: Duration = Duration::from_millis(200);
/// The same while calls come all the time: what is moved at once takes a processor from calls, so it is moved little by little.
const BUSY_PAUSE: Duration = Duration::from_millis(25);
/// A slice is renewed after so long at the latest.
const RENEW_AFTER: Duration = Duration::from_secs(600);
/// After so many records the drain does not wait any longer.
const RECORDS_FULL: usize = 2_048;
/// A database that is away must not let memory grow without end: then no further call is opened.
pub(super) const RECORDS_MAX: usize = 200_000;
/// A purse that was not used for so long gives back what it does not need.
const IDLE_SECS: i64 = 30;

/// What the database does not have yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub opened: Vec<Opened>,
    pub ended: Vec<Ended>,
    pub closes: Vec<SliceId>,
}

impl Pending {
    pub(super) const fn len(&self) -> usize {
        self.opened.len() + self.ended.len()
    }

    /// True when the drain should not wait.
    pub(super) fn add(&mut self, record: Record) -> bool {
        match record {
            Record::Opened(opened) => self.opened.push(opened),
            Record::Ended(ended) => self.ended.push(ended),
        }
        self.len() >= RECORDS_FULL
    }

    fn is_empty(&self) -> bool {
        self.len() == 0 && self.closes.is_empty()
    }

    /// What could not be moved comes first the next time.
    fn put_back(&mut self, mut earlier: Self) {
        earlier.opened.append(&mut self.opened);
        earlier.ended.append(&mut self.ended);
        earlier.closes.append(&mut self.closes);
        *self = earlier;
    }
}

pub(super) async fn keep(ledger: &Arc<Inner>, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let (mut pause, mut looked) = (PAUSE, Instant::now());
    loop {
        let ended = tokio::select! {
            () = &mut stop => true,
            () = ledger.full.notified() => false,
            () = tokio::time::sleep(pause) => false,
        };
        pause = if ledger.pending.lock().is_empty() { PAUSE } else { BUSY_PAUSE };
        // Each by itself: what stops one must not stop the others.
        tried(flush(ledger).await);
        if ended || looked.elapsed() >= PAUSE {
            looked = Instant::now();
            tried(renew(ledger).await);
            tried(reclaim(ledger, Whom::Resting).await);
        }
        if ended {
            return;
        }
    }
}

fn tried(done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::error!(%error, "the ledger could not be brought up to date; it is tried again");
    }
}

/// One batch, in one commit.
pub(super) async fn flush(ledger: &Arc<Inner>) -> Result<(), StoreError> {
    let _turn = ledger.draining.lock().await;
    // First the slices, then the records: a slice in which nothing is open has all its records among them.
    let finished = finished(ledger);
    let batch = {
        let mut pending = ledger.pending.lock();
        pending.closes.extend(finished);
        // Where that fails the batch has what could not be written, and the lines wait on.
        if let Err(error) = ledger.journal.catch_up() {
            tracing::error!(%error, "the ledger's journal could not be brought up to date");
        }
        ledger.journal.turn();
        std::mem::take(&mut *pending)
    };
    if batch.is_empty() && !ledger.journal.has_turned() {
        return Ok(());
    }
    let (batch, gateway, now) = (Arc::new(batch), ledger.gateway.clone(), ledger.clock.now());
    let inside = Arc::clone(&batch);
    let written = ledger.store.write(move |tx| apply(tx, &gateway, &inside, now)).await;
    match written {
        Ok(told) => ledger.tell(told),
        Err(error) => {
            // The closure, and with it the other reference, is gone once the write has returned.
            if let Some(batch) = Arc::into_inner(batch) {
                ledger.pending.lock().put_back(batch);
            }
            return Err(error);
        }
    }
    // Also after a turn whose first commit failed: that batch was put back and is in this one.
    if ledger.journal.has_turned() { ledger.journal.drained() } else { Ok(()) }
}

fn finished(ledger: &Inner) -> Vec<SliceId> {
    let mut purses = ledger.purses.lock();
    let mut finished = Vec::new();
    purses.retain(|purse| {
        let Some(purse) = purse.upgrade() else { return false };
        let mut slices = purse.slices.lock();
        finished.extend(slices.finished());
        !(slices.closed && slices.is_empty())
    });
    finished
}

/// Writes down what happened. What was written down before changes nothing, so a journal can be read again.
pub(super) fn apply(tx: &mut dyn Tx, gateway: &str, batch: &Pending, now: Timestamp) -> Result<Told, StoreError> {
    let mut told = Told::default();
    let mut costs: BTreeMap<SliceId, i64> = BTreeMap::new();
    let mut charge = |call: &Ended| {
        let cost = costs.entry(call.slice).or_default();
        *cost = cost.saturating_add(call.cost.0);
    };
    // Most calls have ended by now: one row for each, instead of one that is changed a moment later.
    let mut ends: HashMap<CallId, &Ended> = batch.ended.iter().map(|call| (call.id, call)).collect();
    let mut opened = Vec::with_capacity(batch.opened.len());
    for call in &batch.opened {
        let is_new = match ends.get(&call.id) {
            Some(end) => {
                let is_new = accounts::whole(tx, gateway, call, end)?;
                if is_new {
                    charge(end);
                    ends.remove(&call.id);
                }
                is_new
            }
            None => accounts::opened(tx, gateway, call)?,
        };
        opened.extend(is_new.then_some(call));
    }
    accounts::note_opened(tx, &opened)?;
    for call in batch.ended.iter().filter(|call| ends.contains_key(&call.id)) {
        if accounts::ended(tx, call)? {
            charge(call);
        }
    }
    for (slice, cost) in costs {
        let progress = accounts::settle(tx, slice, cost)?;
        note(tx, &progress, now, &mut told)?;
    }
    for slice in &batch.closes {
        let progress = accounts::close(tx, *slice, false, now)?;
        note(tx, &progress, now, &mut told)?;
    }
    Ok(told)
}

/// What spending has come to.
#[derive(Default)]
pub(super) struct Told {
    /// Shares of budgets that are used up for the first time.
    pub alerts: Vec<BudgetAlert>,
    /// Budgets that are nearly used up.
    pub near: Vec<(String, i64)>,
}

/// Writes down which shares of budgets are used up for the first time; they are told after the commit.
pub(super) fn note(tx: &mut dyn Tx, progress: &[Progress], now: Timestamp, told: &mut Told) -> Result<(), StoreError> {
    for Progress { scope, period, limit, settled_before, charged } in progress {
        let after = settled_before.plus(*charged);
        told.alerts.extend(alerts::note(tx, (scope, *period), *limit, (*settled_before, after), now)?);
        if throttle(after, *limit) == Throttle::Near {
            told.near.push((scope.clone(), *period));
        }
    }
    Ok(())
}

/// Slices that go on are kept from being taken for abandoned.
async fn renew(ledger: &Arc<Inner>) -> Result<(), StoreError> {
    let now = ledger.clock.now();
    let soon = now.plus_secs(RENEW_SECS);
    let purses = ledger.live();
    let old = |purse: &Arc<PurseInner>| {
        let slices = purse.slices.lock();
        let all = slices.current.iter().chain(&slices.past);
        // By a clock that nobody sets, too.
        let due = |slice: &&Slice| slice.expires < soon || slice.renewed.elapsed() > RENEW_AFTER;
        all.filter(|slice| slice.taken).filter(due).map(|slice| slice.id).collect::<Vec<_>>()
    };
    let due: Vec<SliceId> = purses.iter().flat_map(old).collect();
    if due.is_empty() {
        return Ok(());
    }
    let inside = due.clone();
    let renewed: Vec<SliceId> = ledger
        .store
        .write(move |tx| {
            let expires = tx.clock(now)?.plus_secs(SLICE_SECS);
            let mut renewed = Vec::new();
            for slice in &inside {
                if accounts::renew(tx, *slice, expires)? {
                    renewed.push(*slice);
                }
            }
            Ok::<_, StoreError>(renewed)
        })
        .await?;
    for purse in purses {
        let mut slices = purse.slices.lock();
        for id in &due {
            if !renewed.contains(id) {
                slices.forget(*id);
            } else if let Some(slice) = slices.of(*id) {
                (slice.expires, slice.renewed) = (now.plus_secs(SLICE_SECS), Instant::now());
            }
        }
    }
    Ok(())
}

/// Who gives back what they hold and don't need.
#[derive(Clone, Copy)]
pub(super) enum Whom<'a> {
    Everybody,
    /// All but the one who asks for more.
    Others(&'a Arc<PurseInner>),
    /// Those that were not used for a while.
    Resting,
}

/// Has them give back what they hold and don't need.
pub(super) async fn reclaim(ledger: &Arc<Inner>, whom: Whom<'_>) -> Result<(), StoreError> {
    let _turn = ledger.reclaiming.lock().await;
    let rested = ledger.clock.now().plus_secs(-IDLE_SECS);
    let gives = |purse: &Arc<PurseInner>| {
        let mut slices = purse.slices.lock();
        let gives = match whom {
            Whom::Everybody => true,
            Whom::Others(asking) => !Arc::ptr_eq(asking, purse),
            Whom::Resting => slices.current.as_ref().is_some_and(|slice| slice.used < rested),
        };
        if gives { slices.spare() } else { Vec::new() }
    };
    let all = |purse: Arc<PurseInner>| {
        let spare = gives(&purse);
        spare.into_iter().map(move |(id, amount)| (Arc::clone(&purse), id, amount)).collect::<Vec<_>>()
    };
    let spare: Vec<_> = ledger.live().into_iter().flat_map(all).collect();
    if spare.is_empty() {
        return Ok(());
    }
    // What the ends of calls have made free leaves this gateway: another life of it must know of those ends.
    if let Err(error) = ledger.journal.catch_up() {
        put_back(&spare);
        return Err(error);
    }
    let amounts: Vec<_> = spare.iter().map(|(_, id, amount)| (*id, *amount)).collect();
    let store = ledger.store.clone();
    // In a task of its own: who asks may go away, and what was taken off must be given back or put back.
    let giving = tokio::spawn(async move {
        store.write(move |tx| amounts.iter().try_for_each(|(id, amount)| accounts::give_back(tx, *id, *amount))).await
    });
    let given: Result<(), StoreError> = giving.await.unwrap_or(Err(StoreError::Closed));
    // Only where nothing can have been committed; otherwise the slice's end gives it back.
    if matches!(given, Err(StoreError::Conflict(_) | StoreError::Busy(_) | StoreError::Statement(_))) {
        put_back(&spare);
    }
    given
}

fn put_back(spare: &[(Arc<PurseInner>, SliceId, Microusd)]) {
    for (purse, id, amount) in spare {
        if let Some(slice) = purse.slices.lock().of(*id) {
            slice.granted = slice.granted.plus(*amount);
        }
    }
}

impl Inner {
    fn tell(&self, told: Told) {
        self.store.tell_budget_alerts(&told.alerts);
        if !told.near.is_empty() {
            let mut near = self.near.lock();
            // Those of days before are of no use to anybody.
            let today = self.clock.now().utc_day();
            near.retain(|(_, period)| *period == 0 || *period >= today);
            near.extend(told.near);
        }
    }

    pub(super) fn live(&self) -> Vec<Arc<PurseInner>> {
        self.purses.lock().iter().filter_map(std::sync::Weak::upgrade).collect()
    }
}

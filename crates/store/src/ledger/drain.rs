//! Moves what the journal says into the database: the log of calls, the accounts, the ends of slices.

use super::accounts::{self, Progress};
use super::open::PurseInner;
use super::reads::Reads;
use super::reclaim::{Whom, reclaim, renew};
use super::record::{Ended, Opened, Record};
use super::{Inner, journal};
use crate::alerts::{self, BudgetAlert};
use crate::{StoreError, Tx};
use policy::{CallId, SliceId, Throttle, Timestamp, throttle};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a settlement may wait for its row.
const PAUSE: Duration = Duration::from_millis(200);
/// The same while calls come all the time: what is moved at once takes a processor from calls, so it is moved little by little.
const BUSY_PAUSE: Duration = Duration::from_millis(25);
/// After so many records the drain does not wait any longer.
const RECORDS_FULL: usize = 2_048;
/// A database that is away must not let memory grow without end: then no further call is opened.
const RECORDS_MAX: usize = 200_000;
/// Steps of one flush: more than all reads that may wait need.
const STEPS_MAX: usize = 1_024;
const EMPTY_TRIES: usize = 4;
/// A file of the journal is emptied after so long at the latest, however short it is: what of people's is in it does not stay there.
const EMPTY_AFTER: Duration = Duration::from_secs(600);

/// What the database does not have yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    pub opened: Vec<Opened>,
    pub ended: Vec<Ended>,
    pub closes: Vec<SliceId>,
    pub reads: Reads,
}

impl Pending {
    const fn len(&self) -> usize {
        self.opened.len() + self.ended.len()
    }

    /// There is no room for a record of this kind.
    pub(super) const fn is_full(&self, record: &Record) -> bool {
        if record.is_sealed() { self.reads.is_full() } else { self.len() >= RECORDS_MAX }
    }

    /// True when the drain should not wait.
    pub(super) fn add(&mut self, record: Record) -> bool {
        match record {
            Record::Opened(opened) => self.opened.push(opened),
            Record::Ended(ended) => self.ended.push(ended),
            Record::Read(opened) => self.reads.open(opened),
            Record::ReadEnded(ended) => self.reads.end(ended),
        }
        self.len() >= RECORDS_FULL || self.reads.is_much()
    }

    fn is_empty(&self) -> bool {
        self.has_no_money() && self.reads.is_empty()
    }

    fn has_no_money(&self) -> bool {
        self.opened.is_empty() && self.ended.is_empty() && self.closes.is_empty()
    }

    /// What could not be moved comes first the next time.
    fn put_back(&mut self, mut earlier: Self) {
        earlier.opened.append(&mut self.opened);
        earlier.ended.append(&mut self.ended);
        earlier.closes.append(&mut self.closes);
        earlier.reads.append(&mut self.reads);
        *self = earlier;
    }
}

pub(super) async fn keep(ledger: &Arc<Inner>, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let (mut pause, mut looked, mut emptied, mut failed) = (PAUSE, Instant::now(), Instant::now(), false);
    loop {
        let ended = tokio::select! {
            () = &mut stop => true,
            // A database that is away is not asked all the time.
            () = ledger.full.notified(), if !failed => false,
            () = tokio::time::sleep(pause) => false,
        };
        pause = if ledger.pending.lock().is_empty() { PAUSE } else { BUSY_PAUSE };
        // Each by itself: what stops one must not stop the others.
        let owed = ledger.owes_emptying.swap(false, Ordering::Relaxed);
        failed = !if owed || emptied.elapsed() >= EMPTY_AFTER {
            emptied = Instant::now();
            let done = tried(empty(ledger).await);
            ledger.owes_emptying.fetch_or(!done, Ordering::Relaxed);
            done
        } else {
            tried(flush(ledger).await)
        };
        if failed {
            pause = PAUSE;
        }
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

fn tried(done: Result<(), StoreError>) -> bool {
    if let Err(error) = &done {
        tracing::error!(%error, "the ledger could not be brought up to date; it is tried again");
    }
    done.is_ok()
}

/// What came of one step.
struct Step {
    money: Result<(), StoreError>,
    /// Whether reads are left for the next one.
    reads: Result<bool, StoreError>,
    /// Nothing of before it stands in the file that is written now.
    turned: bool,
}

/// Moves what was spent so far, and some of what was read. Whoever gives back money waits for no more than that.
pub(super) async fn settle(ledger: &Arc<Inner>) -> Result<(), StoreError> {
    let Step { money, reads, .. } = step(ledger, journal::FILE_BYTES_MAX).await;
    drop(reads.inspect_err(|error| tracing::error!(%error, "reads could not be moved into the database; it is tried again")));
    money
}

/// Moves everything that happened so far.
pub(super) async fn flush(ledger: &Arc<Inner>) -> Result<(), StoreError> {
    move_over(ledger, journal::FILE_BYTES_MAX).await.map(drop)
}

/// The same, and leaves nothing of it in the journal.
pub(super) async fn empty(ledger: &Arc<Inner>) -> Result<(), StoreError> {
    for _ in 0..EMPTY_TRIES {
        // What a former turn left is moved first: there are two files.
        if ledger.journal.has_turned() {
            flush(ledger).await?;
        }
        // Another flush may turn in between.
        if move_over(ledger, 0).await? {
            return Ok(());
        }
    }
    Err(StoreError::Busy("the ledger's journal could not be emptied".to_owned()))
}

/// True where nothing of before stands in the file that is written now.
async fn move_over(ledger: &Arc<Inner>, bytes_max: u64) -> Result<bool, StoreError> {
    let first = step(ledger, bytes_max).await;
    let (turned, mut last) = (first.turned, first);
    for _ in 0..STEPS_MAX {
        last.money?;
        if !last.reads? {
            return Ok(turned);
        }
        last = step(ledger, journal::FILE_BYTES_MAX).await;
    }
    // Who reads faster than can be moved must not keep everything else of the ledger from being looked after.
    Ok(false)
}

async fn step(ledger: &Arc<Inner>, bytes_max: u64) -> Step {
    let _turn = ledger.draining.lock().await;
    // First the slices, then the records: a slice in which nothing is open has all its records among them.
    let finished = finished(ledger);
    let (mut money, turned) = {
        let mut pending = ledger.pending.lock();
        pending.closes.extend(finished);
        // Where that fails the batch has what could not be written, and the lines wait on.
        if let Err(error) = ledger.journal.catch_up() {
            tracing::error!(%error, "the ledger's journal could not be brought up to date");
        }
        let turned = ledger.journal.turn(bytes_max);
        (std::mem::take(&mut *pending), turned)
    };
    let reads = money.reads.first();
    let left = !money.reads.is_empty();
    let later = Pending { reads: std::mem::take(&mut money.reads), ..Pending::default() };
    ledger.pending.lock().put_back(later);
    let (money, reads) = (Taken::new(ledger, money), Taken::new(ledger, Pending { reads, ..Pending::default() }));
    // Each by itself: what stops reads must not stop money.
    let mut money = move_money(ledger, money).await;
    let reads = move_reads(ledger, reads).await;
    // Also after a turn whose first commit failed: that batch was put back and is in this one.
    if money.is_ok() && reads.is_ok() && !left && ledger.journal.has_turned() {
        money = ledger.journal.drained();
    }
    Step { money, reads: reads.map(|()| left), turned }
}

async fn move_money(ledger: &Arc<Inner>, taken: Taken<'_>) -> Result<(), StoreError> {
    if taken.batch().has_no_money() {
        return Ok(());
    }
    let (batch, gateway, now) = (taken.batch(), ledger.gateway.clone(), ledger.clock.now());
    let told = ledger.store.write(move |tx| apply(tx, &gateway, &batch, now)).await?;
    taken.arrived();
    ledger.tell(told);
    Ok(())
}

async fn move_reads(ledger: &Arc<Inner>, taken: Taken<'_>) -> Result<(), StoreError> {
    if taken.batch().reads.is_empty() {
        return Ok(());
    }
    let batch = taken.batch();
    let of_erased = ledger.store.note(move |tx| batch.reads.apply(tx)).await?;
    taken.arrived();
    // Their lines go before their time.
    ledger.owes_emptying.fetch_or(of_erased, Ordering::Relaxed);
    Ok(())
}

/// What is on its way into the database. Unless it got there it is put back, whatever became of the way: a part of it that got there
/// nevertheless changes nothing in the database the second time.
struct Taken<'l> {
    ledger: &'l Inner,
    batch: Arc<Pending>,
    moved: bool,
}

impl<'l> Taken<'l> {
    fn new(ledger: &'l Inner, batch: Pending) -> Self {
        Self { ledger, batch: Arc::new(batch), moved: false }
    }

    fn batch(&self) -> Arc<Pending> {
        Arc::clone(&self.batch)
    }

    fn arrived(mut self) {
        self.moved = true;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.moved {
            // Before the lock: what is still being written is copied.
            let batch = Arc::unwrap_or_clone(std::mem::take(&mut self.batch));
            self.ledger.pending.lock().put_back(batch);
        }
    }
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

//! The ledger: slice, reserve, settle.
//!
//! A run (or a remote caller's window) takes a small slice out of every budget above it in one durable commit; its calls reserve
//! and settle inside the slice, in memory and in a journal that survives the death of this process, without waiting for a disk;
//! a drain moves what the journal says into the database, where the log of calls and the accounts are. Reads of tools go the same way
//! into the journal of tool calls (`reads.rs`).
//!
//! Invariants: at the moment a slice is taken, settled + reserved of every account stays within its limit; inside a slice the
//! same holds of what was granted. A call is settled exactly once (conditional on `open`). A call whose cost is unknown is
//! charged what was reserved for it. After a power loss open slices are charged in full.

mod accounts;
mod drain;
mod fill;
mod journal;
mod line;
mod open;
mod purse;
mod reads;
mod reclaim;
mod record;
mod recover;
#[cfg(test)]
mod testing;

pub use journal::journal_is_sealed;
pub use open::{OpenError, OpenModelCall, Purse, Settlement};
pub use reads::{OpenRead, ReadCall};
pub use record::{CallEnd, CallNotes};

pub(crate) use accounts::{ALL, cost_of_run};
pub(crate) use record::{ReadEnded, ReadOpened};

use crate::{Store, StoreError};
use drain::Pending;
use journal::Journal;
use parking_lot::Mutex;
use policy::{BudgetLine, Clock, Microusd, RunId, Timestamp, UserId};
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use tokio::sync::{Mutex as AsyncMutex, Notify};

/// A slice is this much larger than needed where there is plenty: $0.05. A purse that is filled again within a second is filled
/// with twice as much, up to the larger one ($0.20), so that who spends much does not ask the database all the time.
const SLICE: Microusd = Microusd(50_000);
const SLICE_MAX: Microusd = Microusd(200_000);
/// A slice that nobody renews for so long is charged in full by whoever finds it.
const SLICE_SECS: i64 = 1_800;
/// The holder renews it when less than this is left.
const RENEW_SECS: i64 = 1_200;

/// The ledger of one gateway. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    gateway: String,
    journal: Journal,
    pending: Mutex<Pending>,
    /// Wakes the drain when much is pending.
    full: Notify,
    draining: AsyncMutex<()>,
    /// The journal holds what somebody who was erased had read.
    owes_emptying: AtomicBool,
    reclaims: reclaim::Reclaims,
    purses: Mutex<Vec<Weak<open::PurseInner>>>,
    /// Accounts that are nearly used up, by what this gateway has seen of them.
    near: Mutex<HashSet<(String, i64)>>,
}

impl Ledger {
    /// Takes over what a former life of this gateway left in `folder` and in the database, and begins a new journal. `boot` names this life of the machine. Returns the ledger and how many calls were left open.
    ///
    /// # Errors
    /// [`StoreError`] when the journal or the database can't be used: then nothing may be spent.
    pub async fn open(
        store: &Store,
        clock: Arc<dyn Clock>,
        gateway: &str,
        folder: &Path,
        boot: &str,
    ) -> Result<(Self, u64), StoreError> {
        let (left, near) = recover::take_over(store, gateway, folder, boot, clock.now()).await?;
        let inner = Inner {
            store: store.clone(),
            clock,
            gateway: gateway.to_owned(),
            journal: Journal::begin(folder, boot, store.masters.clone())?,
            pending: Mutex::new(Pending::default()),
            full: Notify::new(),
            draining: AsyncMutex::new(()),
            owes_emptying: AtomicBool::new(false),
            reclaims: reclaim::Reclaims::default(),
            purses: Mutex::new(Vec::new()),
            near: Mutex::new(near.into_iter().collect()),
        };
        Ok((Self(Arc::new(inner)), left))
    }

    /// A purse for a run or a window. What it takes out of budgets is what the permits of its calls name.
    #[must_use]
    pub fn purse(&self, run: RunId, user: UserId) -> Purse {
        let purse = Purse::new(Arc::clone(&self.0), run, user);
        let mut purses = self.0.purses.lock();
        purses.retain(|purse| purse.strong_count() > 0);
        purses.push(purse.weak());
        purse
    }

    /// Whether one of these budgets is nearly used up, as far as this gateway has seen: then calls are made smaller.
    #[must_use]
    pub fn is_near(&self, lines: &[BudgetLine]) -> bool {
        let near = self.0.near.lock();
        !near.is_empty() && lines.iter().any(|line| near.contains(&(line.scope.clone(), line.period)))
    }

    /// Moves everything settled so far into the database, and closes what is finished.
    ///
    /// # Errors
    /// [`StoreError`]; what could not be moved is kept for the next time.
    pub async fn flush(&self) -> Result<(), StoreError> {
        drain::flush(&self.0).await
    }

    /// The same, and leaves nothing of it in the journal: what people wrote stands in the database alone then.
    ///
    /// # Errors
    /// As [`Ledger::flush`].
    pub async fn empty(&self) -> Result<(), StoreError> {
        drain::empty(&self.0).await
    }

    /// The same as [`Ledger::flush`], and has everybody give back what they hold and don't need: then the accounts say what was spent.
    ///
    /// # Errors
    /// As [`Ledger::flush`].
    pub async fn settle_up(&self) -> Result<(), StoreError> {
        let flushed = drain::flush(&self.0).await;
        reclaim::reclaim(&self.0, reclaim::Whom::Everybody).await?;
        flushed
    }

    /// Closes every purse: nothing is opened any more, and what is not used goes back.
    ///
    /// # Errors
    /// [`StoreError`]; the next life of this gateway closes what is left.
    pub async fn close(&self) -> Result<(), StoreError> {
        for purse in self.0.live() {
            purse.slices.lock().closed = true;
        }
        drain::empty(&self.0).await
    }

    /// Flushes again and again, until `stop` resolves, and once more then.
    pub async fn keep_draining(&self, stop: impl Future<Output = ()>) {
        drain::keep(&self.0, stop).await;
    }
}

impl Store {
    /// Charges slices of anybody's that have expired, by the database's clock; returns how many calls were open in them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_slices(&self, now: Timestamp) -> Result<u64, StoreError> {
        recover::sweep(self, now).await
    }

    /// How many reservations are open: 0 when nothing is going on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_model_calls(&self) -> Result<i64, StoreError> {
        self.read(accounts::count_open).await
    }

    /// An account's (settled, reserved).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn account(&self, scope: &str, period: i64) -> Result<(Microusd, Microusd), StoreError> {
        let scope = scope.to_owned();
        self.read(move |tx| accounts::account(tx, &scope, period)).await
    }
}

//! Slices that go on are renewed, and what of them nobody needs goes back into the budgets.

use super::open::PurseInner;
use super::purse::Slice;
use super::{Inner, RENEW_SECS, SLICE_SECS, accounts, drain};
use crate::{StoreError, Tx};
use policy::{Microusd, SliceId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, OwnedRwLockReadGuard, RwLock};

/// A slice is renewed after so long at the latest.
const RENEW_AFTER: Duration = Duration::from_secs(600);
/// A purse that was not used for so long gives back what it does not need.
const IDLE_SECS: i64 = 30;
/// Many times what taking more out of the budgets needs.
const TAKING_WAIT: Duration = Duration::from_secs(1);

/// Slices that go on are kept from being taken for abandoned.
pub(super) async fn renew(ledger: &Arc<Inner>) -> Result<(), StoreError> {
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    Everybody,
    /// Those that were not used for a while.
    Resting,
}

/// Keeps those who give back and those who take out of each other's way.
#[derive(Default)]
pub(super) struct Reclaims {
    /// How often everybody was asked to give back.
    asked: AtomicU64,
    /// How many of these a look at everybody has answered. Held by whoever looks, until the budgets have what it found.
    answered: Arc<AsyncMutex<u64>>,
    /// Held from the look at what a purse lacks until it has what it took: what the budgets gave and nobody counts yet is not overlooked.
    taking: Arc<RwLock<()>>,
}

impl Reclaims {
    /// To be held by whoever takes more out of the budgets.
    pub(super) async fn taking(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.taking).read_owned().await
    }
}

/// Has them give back what they hold and don't need. Who asks while another one looks shares the next look with all who wait.
pub(super) async fn reclaim(ledger: &Arc<Inner>, whom: Whom) -> Result<(), StoreError> {
    let answered = Arc::clone(&ledger.reclaims.answered);
    let mut answered = match whom {
        // Who looks at everybody looks at those, too.
        Whom::Resting => match answered.try_lock_owned() {
            Ok(answered) => answered,
            Err(_) => return Ok(()),
        },
        Whom::Everybody => {
            let asked = ledger.reclaims.asked.fetch_add(1, Ordering::SeqCst) + 1;
            let answered = answered.lock_owned().await;
            if *answered >= asked {
                return Ok(());
            }
            answered
        }
    };
    let ledger = Arc::clone(ledger);
    // In a task of its own: who asks may go away, and what was taken off must be given back or put back.
    let giving = tokio::spawn(async move {
        if whom == Whom::Resting {
            return give_back(&ledger, whom).await;
        }
        let all = ledger.reclaims.asked.load(Ordering::SeqCst);
        // One that hangs is not waited for: what it may have got is not seen then, and nobody else is held up.
        let counted = tokio::time::timeout(TAKING_WAIT, ledger.reclaims.taking.write()).await.map(drop).is_ok();
        // What those who have ended leave is on its way into the budgets.
        let settled = drain::settle(&ledger).await;
        let given = give_back(&ledger, whom).await;
        if counted && settled.is_ok() && given.is_ok() {
            *answered = all;
        }
        given
    });
    giving.await.unwrap_or(Err(StoreError::Closed))
}

async fn give_back(ledger: &Inner, whom: Whom) -> Result<(), StoreError> {
    let rested = ledger.clock.now().plus_secs(-IDLE_SECS);
    let spare_of = |purse: Arc<PurseInner>| {
        let mut slices = purse.slices.lock();
        let gives = whom == Whom::Everybody || slices.current.as_ref().is_some_and(|slice| slice.used < rested);
        let spare = if gives { slices.spare() } else { Vec::new() };
        drop(slices);
        spare.into_iter().map(move |(id, amount)| (Arc::clone(&purse), id, amount)).collect::<Vec<_>>()
    };
    let spare: Vec<_> = ledger.live().into_iter().flat_map(spare_of).collect();
    if spare.is_empty() {
        return Ok(());
    }
    // What the ends of calls have made free leaves this gateway: another life of it must know of those ends.
    if let Err(error) = ledger.journal.catch_up() {
        put_back(&spare);
        return Err(error);
    }
    let amounts: Vec<_> = spare.iter().map(|(_, id, amount)| (*id, *amount)).collect();
    let write = move |tx: &mut dyn Tx| amounts.iter().try_for_each(|(id, amount)| accounts::give_back(tx, *id, *amount));
    let given: Result<(), StoreError> = ledger.store.write(write).await;
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

#[cfg(test)]
mod tests {
    use super::super::testing::ledger;
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn what_the_budgets_gave_and_nobody_counts_yet_is_waited_for() {
        let (_folder, ledger) = ledger().await;
        let taking = ledger.0.reclaims.taking().await;
        // Whoever gives back what rests does not look at it.
        reclaim(&ledger.0, Whom::Resting).await.expect("it looks");
        let asked = || {
            tokio::spawn({
                let inner = Arc::clone(&ledger.0);
                async move { reclaim(&inner, Whom::Everybody).await }
            })
        };
        let looks: Vec<_> = (0..3).map(|_| asked()).collect();
        tokio::time::sleep(SOON).await;
        assert!(looks.iter().all(|look| !look.is_finished()), "it may be what they ask for");
        drop(taking);
        for look in looks {
            look.await.expect("no panic").expect("it looks");
        }
        assert_eq!(*ledger.0.reclaims.answered.lock().await, 3, "each of them is answered");
    }

    #[tokio::test]
    async fn who_takes_without_end_holds_nobody_up() {
        let (_folder, ledger) = ledger().await;
        let _taking = ledger.0.reclaims.taking().await;
        let inner = Arc::clone(&ledger.0);
        let look = tokio::spawn(async move { reclaim(&inner, Whom::Everybody).await });
        tokio::time::sleep(SOON).await;
        reclaim(&ledger.0, Whom::Resting).await.expect("what goes on all the time does not wait");
        look.await.expect("no panic").expect("it looks all the same");
        drop(ledger.0.reclaims.taking().await);
        assert_eq!(*ledger.0.reclaims.answered.lock().await, 0, "who asked meanwhile looks again");
    }

    #[tokio::test]
    async fn who_asks_and_goes_away_leaves_the_look_to_its_end() {
        let (_folder, ledger) = ledger().await;
        let taking = ledger.0.reclaims.taking().await;
        let gone = tokio::time::timeout(SOON, reclaim(&ledger.0, Whom::Everybody)).await;
        assert!(gone.is_err() && ledger.0.reclaims.answered.try_lock().is_err(), "nobody else takes its turn before");
        drop(taking);
        assert_eq!(*ledger.0.reclaims.answered.lock().await, 1);
    }
}

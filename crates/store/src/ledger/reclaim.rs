//! Slices that go on are renewed, and what of them nobody needs goes back into the budgets.

use super::open::PurseInner;
use super::purse::Slice;
use super::{Inner, RENEW_SECS, SLICE_SECS, accounts};
use crate::StoreError;
use policy::{Microusd, SliceId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A slice is renewed after so long at the latest.
const RENEW_AFTER: Duration = Duration::from_secs(600);
/// A purse that was not used for so long gives back what it does not need.
const IDLE_SECS: i64 = 30;

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

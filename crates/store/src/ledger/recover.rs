//! What a former life left, and what anybody left who never came back.

use super::accounts;
use super::drain::{Pending, Told, apply, note};
use super::journal::{self, Left};
use super::record::{CallEnd, Ended, Record};
use crate::{Store, StoreError, Tx};
use policy::{SliceId, Timestamp, Usage};
use std::path::Path;
use std::sync::Arc;

/// Reads the journal of a former life of this gateway into the database, charges the calls that were open at their ceilings,
/// and closes its slices: with what was used where the journal is whole, in full where the machine has lost power or the
/// journal is gone. Returns how many calls were open, and which budgets are nearly used up.
pub(super) async fn take_over(
    store: &Store,
    gateway: &str,
    folder: &Path,
    boot: &str,
    now: Timestamp,
) -> Result<(u64, Vec<(String, i64)>), StoreError> {
    let left = Arc::new(journal::left(folder, boot, store.masters.as_deref())?);
    let (gateway, left_of_reads) = (gateway.to_owned(), Arc::clone(&left));
    let (open, told) = store.write(move |tx| settle_left(tx, &gateway, &left, now)).await?;
    store.tell_budget_alerts(&told.alerts);
    // By itself: money is not held up by what was read. What was of somebody who was erased goes with the files of that life.
    let mut reads = batch_of(&left_of_reads.records).reads;
    while !reads.is_empty() {
        let some = reads.first();
        store.note(move |tx| some.apply(tx)).await?;
    }
    Ok((open, told.near))
}

fn batch_of(records: &[Record]) -> Pending {
    let mut batch = Pending::default();
    for record in records {
        batch.add(record.clone());
    }
    batch
}

fn settle_left(tx: &mut dyn Tx, gateway: &str, left: &Left, now: Timestamp) -> Result<(u64, Told), StoreError> {
    /// Nobody's slice is expired at the beginning of time: only this gateway's are looked at.
    const NEVER: Timestamp = Timestamp(i64::MIN);
    let mut told = apply(tx, gateway, &batch_of(&left.records), now)?;
    let mut open = 0;
    for (slice, journal, _) in accounts::left(tx, gateway, NEVER)? {
        let whole = left.whole.contains(&journal);
        open += abandon(tx, slice, !whole, now, &mut told)?;
    }
    // What others have spent, or this gateway in another life.
    told.near.extend(accounts::near(tx, now.utc_day())?);
    Ok((open, told))
}

/// Charges what has expired by the database's clock: in full, because its journal is elsewhere.
pub(super) async fn sweep(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    /// A name no gateway has.
    const NOBODY: &str = "";
    let (open, told) = store
        .write(move |tx| {
            let now = tx.clock(now)?;
            let (mut open, mut told) = (0, Told::default());
            for (slice, ..) in accounts::left(tx, NOBODY, now)? {
                open += abandon(tx, slice, true, now, &mut told)?;
            }
            Ok::<_, StoreError>((open, told))
        })
        .await?;
    store.tell_budget_alerts(&told.alerts);
    Ok(open)
}

fn abandon(tx: &mut dyn Tx, slice: SliceId, charge_rest: bool, now: Timestamp, told: &mut Told) -> Result<u64, StoreError> {
    let (mut open, mut cost) = (0, 0_i64);
    for (id, reserved, run) in accounts::open_calls(tx, slice)? {
        let odd = |_| StoreError::Statement(format!("{id:?} is not a call of a run"));
        let ended = Ended {
            id: id.parse().map_err(odd)?,
            slice,
            run: run.parse().map_err(odd)?,
            reserved,
            cost: reserved,
            outcome: "unknown".into(),
            usage: Usage::default(),
            at: now.0,
            end: CallEnd { error: Some("the gateway ended before the call did".to_owned()), ..CallEnd::default() },
        };
        if accounts::ended(tx, &ended)? {
            open += 1;
            cost = cost.saturating_add(reserved.0);
        }
    }
    let progress = accounts::settle(tx, slice, cost)?;
    note(tx, &progress, now, told)?;
    let progress = accounts::close(tx, slice, charge_rest, now)?;
    note(tx, &progress, now, told)?;
    Ok(open)
}

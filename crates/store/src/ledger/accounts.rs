//! The ledger in the database: accounts, the slices taken out of them, and the log of calls.

use super::record::{Ended, Opened};
use crate::{StoreError, Tx, Value, audit, statements};
use policy::{AuditEvent, BudgetLine, Denial, Microusd, RunId, SliceId, Timestamp, UserId};
use std::collections::BTreeMap;

statements! { ALL:
    ENSURE = "INSERT INTO ledger_accounts (scope, period, settled_microusd, reserved_microusd) VALUES (?1, ?2, 0, 0) \
              ON CONFLICT (scope, period) DO NOTHING";
    RESERVE = "UPDATE ledger_accounts SET reserved_microusd = reserved_microusd + ?3 \
               WHERE scope = ?1 AND period = ?2 AND settled_microusd + reserved_microusd + ?3 <= ?4";
    MOVE = "UPDATE ledger_accounts SET reserved_microusd = reserved_microusd + ?3, settled_microusd = settled_microusd + ?4 \
            WHERE scope = ?1 AND period = ?2";
    READ_ACCOUNT = "SELECT settled_microusd, reserved_microusd FROM ledger_accounts WHERE scope = ?1 AND period = ?2";
    INSERT_SLICE = "INSERT INTO ledger_slices (id, run_id, user_id, gateway, journal, boot, state, granted_microusd, settled_microusd, \
                    opened_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open', 0, 0, ?7, ?8) ON CONFLICT (id) DO NOTHING";
    INSERT_SLICE_ACCOUNT = "INSERT INTO ledger_slice_accounts (slice_id, scope, period, limit_microusd) VALUES (?1, ?2, ?3, ?4)";
    LIST_SLICE_ACCOUNTS = "SELECT scope, period, limit_microusd FROM ledger_slice_accounts WHERE slice_id = ?1 ORDER BY scope, period";
    READ_STATE = "SELECT state FROM ledger_slices WHERE id = ?1";
    READ_CLOSED = "SELECT settled_microusd FROM ledger_slices WHERE id = ?1 AND state = 'closed'";
    COST_OF_SLICE = "SELECT CAST(COALESCE(SUM(cost_microusd), 0) AS BIGINT) FROM model_calls WHERE slice_id = ?1 AND state = 'settled'";
    PAY_CLOSED = "UPDATE ledger_slices SET settled_microusd = ?2 WHERE id = ?1 AND state = 'closed'";
    READ_SLICE = "SELECT granted_microusd, settled_microusd FROM ledger_slices WHERE id = ?1 AND state = 'open'";
    CHANGE_SLICE = "UPDATE ledger_slices SET granted_microusd = ?2, settled_microusd = ?3 WHERE id = ?1 AND state = 'open'";
    RENEW_SLICE = "UPDATE ledger_slices SET expires_at = ?2 WHERE id = ?1 AND state = 'open'";
    CLOSE_SLICE = "UPDATE ledger_slices SET state = 'closed', settled_microusd = ?2, closed_at = ?3 WHERE id = ?1 AND state = 'open'";
    LIST_LEFT = "SELECT id, journal, boot FROM ledger_slices WHERE state = 'open' AND (gateway = ?1 OR expires_at <= ?2) ORDER BY id";
    LIST_OPEN_CALLS = "SELECT id, reserved_microusd, run_id FROM model_calls WHERE slice_id = ?1 AND state = 'open'";
    INSERT_CALL = "INSERT INTO model_calls (id, run_id, user_id, gateway, path, model, state, reserved_microusd, opened_at, expires_at, \
                   slice_id, app, caller_key, labels, provider) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open', ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT (id) DO NOTHING";
    INSERT_WHOLE = "INSERT INTO model_calls (id, run_id, user_id, gateway, path, model, state, reserved_microusd, opened_at, expires_at, \
                    slice_id, app, caller_key, labels, provider, cost_microusd, outcome, input_tokens, output_tokens, \
                    cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, settled_at, status, first_byte_us, total_us, error) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'settled', ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
                    ?22, ?23, ?24, ?25, ?26) ON CONFLICT (id) DO NOTHING";
    SETTLE_CALL = "UPDATE model_calls SET state = 'settled', cost_microusd = ?2, outcome = ?3, input_tokens = ?4, output_tokens = ?5, \
                   cache_read_tokens = ?6, cache_write_tokens = ?7, cache_write_1h_tokens = ?8, settled_at = ?9, status = ?10, \
                   first_byte_us = ?11, total_us = ?12, error = ?13 WHERE id = ?1 AND state = 'open'";
    LIST_NEAR = "SELECT scope, period FROM budget_alerts WHERE percent = 90 AND (period = 0 OR period >= ?1)";
    COUNT_OPEN = "SELECT CAST(COUNT(*) AS BIGINT) FROM model_calls WHERE state = 'open'";
    COST_OF_RUN = "SELECT CAST(COALESCE(SUM(COALESCE(cost_microusd, reserved_microusd)), 0) AS BIGINT) FROM model_calls WHERE run_id = ?1";
}

/// Calls in one audit entry.
const NOTED_MAX: usize = 256;

/// Whose slice it is.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub run: RunId,
    pub user: UserId,
    pub gateway: String,
    pub journal: String,
    pub boot: String,
}

/// What is wanted of a slice: `need` at least, `want` where there is plenty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub need: Microusd,
    pub want: Microusd,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) enum Taken {
    /// The slice is larger by this much.
    Granted(Microusd),
    /// Some budget has less room than is needed; nothing was taken.
    Short { denial: Denial, room: Microusd },
    /// Somebody else has closed the slice.
    Gone,
}

/// Only where a budget has so many times what is wanted, more than what is needed is taken out of it.
const PLENTY: i64 = 20;

/// Takes a slice or makes one larger, out of every budget or none.
pub(super) fn take(
    tx: &mut dyn Tx,
    slice: SliceId,
    holder: &Holder,
    lines: &[BudgetLine],
    wanted: Wanted,
    (now, expires): (Timestamp, Timestamp),
) -> Result<Taken, StoreError> {
    if tx.query_opt(READ_STATE, &[slice.to_string().into()])?.is_some_and(|row| row.text(0).is_ok_and(|state| state != "open")) {
        return Ok(Taken::Gone);
    }
    let mut least: Option<(i64, &BudgetLine)> = None;
    for line in lines {
        let (settled, reserved) = account(tx, &line.scope, line.period)?;
        let room = line.limit.0.saturating_sub(settled.0).saturating_sub(reserved.0);
        if least.is_none_or(|(least, _)| room < least) {
            least = Some((room, line));
        }
    }
    let room = least.map_or(i64::MAX, |(room, _)| room);
    if let Some((room, line)) = least.filter(|(room, _)| *room < wanted.need.0) {
        return Ok(Taken::Short { denial: Denial::new(line.exhausted, &line.scope), room: Microusd(room.max(0)) });
    }
    let amount = if room / PLENTY >= wanted.want.0 { wanted.want.0.max(wanted.need.0) } else { wanted.need.0 };
    for line in lines {
        tx.execute(ENSURE, &[line.scope.as_str().into(), line.period.into()])?;
        let params = [line.scope.as_str().into(), line.period.into(), amount.into(), line.limit.0.into()];
        if tx.execute(RESERVE, &params)? != 1 {
            // Read and written in one serializable transaction, so nothing can have come between.
            return Err(StoreError::Statement(format!("{} had room and then had not", line.scope)));
        }
    }
    grow(tx, slice, holder, lines, amount, (now, expires))?;
    if amount == 0 {
        return Ok(Taken::Granted(Microusd::ZERO));
    }
    audit::append(tx, &AuditEvent::SliceTaken { slice, run: holder.run, granted: Microusd(amount) }, now)?;
    Ok(Taken::Granted(Microusd(amount)))
}

fn grow(
    tx: &mut dyn Tx,
    slice: SliceId,
    holder: &Holder,
    lines: &[BudgetLine],
    amount: i64,
    (now, expires): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    let id = slice.to_string();
    let row = [
        (&id).into(),
        holder.run.to_string().into(),
        holder.user.to_string().into(),
        (&holder.gateway).into(),
        (&holder.journal).into(),
        (&holder.boot).into(),
        now.0.into(),
        expires.0.into(),
    ];
    if tx.execute(INSERT_SLICE, &row)? == 1 {
        for line in lines {
            let account = [(&id).into(), line.scope.as_str().into(), line.period.into(), line.limit.0.into()];
            tx.execute(INSERT_SLICE_ACCOUNT, &account)?;
        }
    }
    let (granted, settled) = open_slice(tx, slice)?.ok_or_else(|| StoreError::Statement(format!("slice {id} is closed")))?;
    tx.execute(CHANGE_SLICE, &[(&id).into(), (granted + amount).into(), settled.into()])?;
    tx.execute(RENEW_SLICE, &[(&id).into(), expires.0.into()]).map(|_| ())
}

/// Gives back what is not needed. The holder has taken it off its own count before.
pub(super) fn give_back(tx: &mut dyn Tx, slice: SliceId, amount: Microusd) -> Result<(), StoreError> {
    let Some((granted, settled)) = open_slice(tx, slice)? else { return Ok(()) };
    let amount = amount.0.min(granted.saturating_sub(settled)).max(0);
    tx.execute(CHANGE_SLICE, &[slice.to_string().into(), (granted - amount).into(), settled.into()])?;
    change_accounts(tx, slice, -amount, 0).map(|_| ())
}

/// Moves what was settled inside a slice from reserved to settled in all its accounts. Returns them as they were before.
pub(super) fn settle(tx: &mut dyn Tx, slice: SliceId, cost: i64) -> Result<Vec<Progress>, StoreError> {
    let Some((granted, settled)) = open_slice(tx, slice)? else { return settle_closed(tx, slice, cost) };
    let spent = settled.saturating_add(cost);
    // A call above its ceiling is charged all the same: what the slice lacks comes out of its budgets, without asking.
    let lacking = spent.saturating_sub(granted).max(0);
    tx.execute(CHANGE_SLICE, &[slice.to_string().into(), (granted + lacking).into(), spent.into()])?;
    change_accounts(tx, slice, lacking - cost, cost)
}

/// A slice that somebody else closed has mostly paid already, in full; what its calls cost beyond that is charged all the same.
fn settle_closed(tx: &mut dyn Tx, slice: SliceId, cost: i64) -> Result<Vec<Progress>, StoreError> {
    let id = slice.to_string();
    let Some(row) = tx.query_opt(READ_CLOSED, &[(&id).into()])? else {
        tracing::error!(
            slice = id,
            cost,
            "calls were settled in a slice that the database does not have; they are in no account"
        );
        return Ok(Vec::new());
    };
    let (paid, due) = (row.int(0)?, tx.query_one(COST_OF_SLICE, &[(&id).into()])?.int(0)?);
    let missing = due.saturating_sub(paid).clamp(0, cost.max(0));
    if missing == 0 {
        return Ok(Vec::new());
    }
    tx.execute(PAY_CLOSED, &[(&id).into(), (paid + missing).into()])?;
    change_accounts(tx, slice, 0, missing)
}

/// Closes a slice: the rest goes back, or is charged where nobody knows what became of it.
pub(super) fn close(tx: &mut dyn Tx, slice: SliceId, charge_rest: bool, now: Timestamp) -> Result<Vec<Progress>, StoreError> {
    let Some((granted, settled)) = open_slice(tx, slice)? else { return Ok(Vec::new()) };
    let rest = granted.saturating_sub(settled);
    let charged = if charge_rest { rest } else { 0 };
    tx.execute(CLOSE_SLICE, &[slice.to_string().into(), (settled + charged).into(), now.0.into()])?;
    change_accounts(tx, slice, -rest, charged)
}

/// An account before it was charged `charged` more.
pub(super) struct Progress {
    pub scope: String,
    pub period: i64,
    pub limit: Microusd,
    pub settled_before: Microusd,
    pub charged: Microusd,
}

fn change_accounts(tx: &mut dyn Tx, slice: SliceId, reserved: i64, settled: i64) -> Result<Vec<Progress>, StoreError> {
    let mut progress = Vec::new();
    for row in tx.query(LIST_SLICE_ACCOUNTS, &[slice.to_string().into()])? {
        let (scope, period, limit) = (row.text(0)?, row.int(1)?, Microusd(row.int(2)?));
        if settled != 0 {
            let settled_before = account(tx, &scope, period)?.0;
            progress.push(Progress { scope: scope.clone(), period, limit, settled_before, charged: Microusd(settled) });
        }
        tx.execute(MOVE, &[scope.into(), period.into(), reserved.into(), settled.into()])?;
    }
    Ok(progress)
}

pub(super) fn renew(tx: &mut dyn Tx, slice: SliceId, expires: Timestamp) -> Result<bool, StoreError> {
    Ok(tx.execute(RENEW_SLICE, &[slice.to_string().into(), expires.0.into()])? == 1)
}

fn open_slice(tx: &mut dyn Tx, slice: SliceId) -> Result<Option<(i64, i64)>, StoreError> {
    tx.query_opt(READ_SLICE, &[slice.to_string().into()])?.map(|row| Ok((row.int(0)?, row.int(1)?))).transpose()
}

/// (settled, reserved) of an account.
pub(super) fn account(tx: &mut dyn Tx, scope: &str, period: i64) -> Result<(Microusd, Microusd), StoreError> {
    let row = tx.query_opt(READ_ACCOUNT, &[scope.into(), period.into()])?;
    row.map_or(Ok((Microusd::ZERO, Microusd::ZERO)), |row| Ok((Microusd(row.int(0)?), Microusd(row.int(1)?))))
}

/// A slice that nobody holds any more: (id, journal, boot).
pub(super) fn left(tx: &mut dyn Tx, gateway: &str, now: Timestamp) -> Result<Vec<(SliceId, String, String)>, StoreError> {
    let rows = tx.query(LIST_LEFT, &[gateway.into(), now.0.into()])?;
    rows.iter().map(|row| Ok((slice_id(&row.text(0)?)?, row.text(1)?, row.text(2)?))).collect()
}

fn slice_id(text: &str) -> Result<SliceId, StoreError> {
    text.parse().map_err(|_| StoreError::Statement(format!("{text:?} is not a slice")))
}

/// Writes a call's opening down; false when it was there. [`note_opened`] belongs into the same commit.
pub(super) fn opened(tx: &mut dyn Tx, gateway: &str, call: &Opened) -> Result<bool, StoreError> {
    Ok(tx.execute(INSERT_CALL, &opening(gateway, call))? == 1)
}

/// Writes a call down that has ended already, in one row from the beginning; false when it was there, opened or settled.
/// [`note_opened`] belongs into the same commit.
pub(super) fn whole(tx: &mut dyn Tx, gateway: &str, call: &Opened, end: &Ended) -> Result<bool, StoreError> {
    let mut params = Vec::with_capacity(26);
    params.extend(opening(gateway, call));
    params.extend(ending(end));
    if tx.execute(INSERT_WHOLE, &params)? != 1 {
        return Ok(false);
    }
    note_above(tx, end).map(|()| true)
}

/// Settles a call once; false when it was settled before.
pub(super) fn ended(tx: &mut dyn Tx, call: &Ended) -> Result<bool, StoreError> {
    let mut params = Vec::with_capacity(13);
    params.push(call.id.to_string().into());
    params.extend(ending(call));
    if tx.execute(SETTLE_CALL, &params)? != 1 {
        return Ok(false);
    }
    note_above(tx, call).map(|()| true)
}

/// The audit entries of calls that were opened, one for all of a run and model that come in one commit.
pub(super) fn note_opened(tx: &mut dyn Tx, calls: &[&Opened]) -> Result<(), StoreError> {
    let mut entries: BTreeMap<(RunId, &str), Vec<&Opened>> = BTreeMap::new();
    for call in calls {
        entries.entry((call.run, &*call.model)).or_default().push(call);
    }
    for ((run, model), calls) in entries {
        for calls in calls.chunks(NOTED_MAX) {
            let at = calls.first().map_or(0, |call| call.at);
            let reserved = calls.iter().fold(Microusd::ZERO, |sum, call| sum.plus(call.reserved));
            let (calls, model) = (calls.iter().map(|call| call.id).collect(), model.to_owned());
            audit::append(tx, &AuditEvent::ModelCallsOpened { calls, run, model, reserved }, Timestamp(at))?;
        }
    }
    Ok(())
}

fn note_above(tx: &mut dyn Tx, call: &Ended) -> Result<(), StoreError> {
    if call.cost <= call.reserved {
        return Ok(());
    }
    let event = AuditEvent::AboveCeiling { call: call.id, run: call.run, reserved: call.reserved, cost: call.cost };
    audit::append(tx, &event, Timestamp(call.at))
}

/// What is known of a call from its beginning, as parameters.
fn opening(gateway: &str, call: &Opened) -> [Value; 14] {
    [
        call.id.to_string().into(),
        call.run.to_string().into(),
        call.user.to_string().into(),
        gateway.into(),
        (&*call.path).into(),
        (&*call.model).into(),
        call.reserved.0.into(),
        call.at.into(),
        call.until.into(),
        call.slice.to_string().into(),
        (&*call.notes.app).into(),
        (&*call.notes.caller_key).into(),
        (&*call.notes.labels).into(),
        (&*call.notes.provider).into(),
    ]
}

/// What is known of it at its end.
fn ending(call: &Ended) -> [Value; 12] {
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX).into();
    let usage = &call.usage;
    [
        call.cost.0.into(),
        (&*call.outcome).into(),
        tokens(usage.input),
        tokens(usage.output),
        tokens(usage.cache_read),
        tokens(usage.cache_write_5m.saturating_add(usage.cache_write_1h)),
        tokens(usage.cache_write_1h),
        call.at.into(),
        i64::from(call.end.status).into(),
        call.end.first_byte_us.into(),
        call.end.total_us.into(),
        call.end.error.as_deref().into(),
    ]
}

/// The open calls of a slice: (id, reserved, run).
pub(super) fn open_calls(tx: &mut dyn Tx, slice: SliceId) -> Result<Vec<(String, Microusd, String)>, StoreError> {
    let rows = tx.query(LIST_OPEN_CALLS, &[slice.to_string().into()])?;
    rows.iter().map(|row| Ok((row.text(0)?, Microusd(row.int(1)?), row.text(2)?))).collect()
}

/// Accounts that were told to be used up to nine tenths, of today or without an end.
pub(super) fn near(tx: &mut dyn Tx, today: i64) -> Result<Vec<(String, i64)>, StoreError> {
    tx.query(LIST_NEAR, &[today.into()])?.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
}

pub(super) fn count_open(tx: &mut dyn Tx) -> Result<i64, StoreError> {
    tx.query_one(COUNT_OPEN, &[])?.int(0)
}

pub(crate) fn cost_of_run(tx: &mut dyn Tx, run: RunId) -> Result<Microusd, StoreError> {
    tx.query_one(COST_OF_RUN, &[run.to_string().into()])?.int(0).map(Microusd)
}

//! The ledger: reserve, then settle.
//!
//! Invariant: at the moment of a reservation, settled + reserved of every account stays within its limit; a reservation is
//! settled exactly once (conditional on `open`); a call whose cost is unknown is charged what was reserved for it.

use crate::{Store, StoreError, Tx, audit, statements};
use policy::{AuditEvent, CallId, Denial, Microusd, ModelPermit, RunId, Timestamp, Usage};

statements! { ALL:
    ENSURE = "INSERT INTO ledger_accounts (scope, period, settled_microusd, reserved_microusd) VALUES (?1, ?2, 0, 0) \
              ON CONFLICT (scope, period) DO NOTHING";
    RESERVE = "UPDATE ledger_accounts SET reserved_microusd = reserved_microusd + ?3 \
               WHERE scope = ?1 AND period = ?2 AND settled_microusd + reserved_microusd + ?3 <= ?4";
    RELEASE = "UPDATE ledger_accounts SET reserved_microusd = reserved_microusd - ?3, settled_microusd = settled_microusd + ?4 \
               WHERE scope = ?1 AND period = ?2";
    READ_ACCOUNT = "SELECT settled_microusd, reserved_microusd FROM ledger_accounts WHERE scope = ?1 AND period = ?2";
    INSERT_CALL = "INSERT INTO model_calls (id, run_id, user_id, gateway, path, model, state, reserved_microusd, opened_at, expires_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open', ?7, ?8, ?9)";
    INSERT_CALL_ACCOUNT = "INSERT INTO model_call_accounts (call_id, scope, period) VALUES (?1, ?2, ?3)";
    READ_OPEN = "SELECT reserved_microusd FROM model_calls WHERE id = ?1 AND state = 'open'";
    LIST_CALL_ACCOUNTS = "SELECT scope, period FROM model_call_accounts WHERE call_id = ?1 ORDER BY scope, period";
    SETTLE = "UPDATE model_calls SET state = 'settled', cost_microusd = ?2, outcome = ?3, input_tokens = ?4, output_tokens = ?5, \
              cache_read_tokens = ?6, cache_write_tokens = ?7, settled_at = ?8 WHERE id = ?1 AND state = 'open'";
    LIST_LEFT = "SELECT id FROM model_calls WHERE state = 'open' AND (gateway = ?1 OR expires_at <= ?2)";
    COUNT_OPEN = "SELECT CAST(COUNT(*) AS BIGINT) FROM model_calls WHERE state = 'open'";
    COST_OF_RUN = "SELECT CAST(COALESCE(SUM(COALESCE(cost_microusd, reserved_microusd)), 0) AS BIGINT) FROM model_calls WHERE run_id = ?1";
}

/// A model call that is permitted, recorded and paid for in advance: what forwarding needs. Only [`Store::open_model_call`]
/// makes one, out of a permit it uses up.
#[derive(Debug)]
pub struct OpenModelCall {
    id: CallId,
    permit: ModelPermit,
}

impl OpenModelCall {
    /// The call's id.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
    }
    /// What was permitted.
    #[must_use]
    pub const fn permit(&self) -> &ModelPermit {
        &self.permit
    }
}

/// Why a call could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A budget does not have room for it.
    #[error("{}", .0.message())]
    Denied(Denial),
    /// It could not be written down, so it must not happen.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a call came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The provider said what it used.
    Measured {
        /// Tokens by kind.
        usage: Usage,
        /// Their price.
        cost: Microusd,
    },
    /// The provider refused or was never reached: nothing was used. The status, 0 when there was none.
    NotCharged {
        /// HTTP status.
        status: u16,
    },
    /// Cut, crashed or silent: charged at the ceiling.
    Unknown,
}

impl Store {
    /// Reserves the ceiling of a permitted call in all its budgets and writes the audit entry, in one commit.
    ///
    /// # Errors
    /// [`OpenError::Denied`] when a budget has no room, [`OpenError::Store`] when the database failed.
    pub async fn open_model_call(
        &self,
        permit: ModelPermit,
        gateway: &str,
        now: Timestamp,
        lifetime_secs: i64,
    ) -> Result<OpenModelCall, OpenError> {
        let (id, gateway, permit) = (CallId::random(), gateway.to_owned(), std::sync::Arc::new(permit));
        let inside = std::sync::Arc::clone(&permit);
        self.write(move |tx| reserve(tx, id, &inside, &gateway, now, lifetime_secs)).await?;
        // The closure, and with it the other reference, is gone once the write has returned.
        let permit = std::sync::Arc::into_inner(permit).ok_or(StoreError::Closed)?;
        Ok(OpenModelCall { id, permit })
    }

    /// Settles a call once; a second settlement changes nothing and returns `None`. Returns what was charged.
    ///
    /// # Errors
    /// [`StoreError`]; the reservation then stays open and the sweeper charges it.
    pub async fn settle_model_call(
        &self,
        id: CallId,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Option<Microusd>, StoreError> {
        self.write(move |tx| settle(tx, &id.to_string(), settlement, now)).await
    }

    /// Charges what a former life of this gateway, or anybody's expired reservation, left open; returns how many calls.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_model_calls(&self, gateway: &str, now: Timestamp) -> Result<u64, StoreError> {
        let gateway = gateway.to_owned();
        self.write(move |tx| {
            let mut swept = 0;
            for row in tx.query(LIST_LEFT, &[(&gateway).into(), now.0.into()])? {
                if settle(tx, &row.text(0)?, Settlement::Unknown, now)?.is_some() {
                    swept += 1;
                }
            }
            Ok(swept)
        })
        .await
    }

    /// How many reservations are open: 0 when nothing is going on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_model_calls(&self) -> Result<i64, StoreError> {
        self.read(|tx| tx.query_one(COUNT_OPEN, &[])?.int(0)).await
    }

    /// An account's (settled, reserved).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn account(&self, scope: &str, period: i64) -> Result<(Microusd, Microusd), StoreError> {
        let scope = scope.to_owned();
        self.read(move |tx| {
            let row = tx.query_opt(READ_ACCOUNT, &[(&scope).into(), period.into()])?;
            row.map_or(Ok((Microusd::ZERO, Microusd::ZERO)), |row| Ok((Microusd(row.int(0)?), Microusd(row.int(1)?))))
        })
        .await
    }
}

fn reserve(
    tx: &mut dyn Tx,
    id: CallId,
    permit: &ModelPermit,
    gateway: &str,
    now: Timestamp,
    lifetime_secs: i64,
) -> Result<(), OpenError> {
    let request = permit.request();
    let call = [
        id.to_string().into(),
        permit.run().to_string().into(),
        permit.user().to_string().into(),
        gateway.into(),
        request.path.as_str().into(),
        request.model.as_str().into(),
        permit.ceiling().0.into(),
        now.0.into(),
        now.plus_secs(lifetime_secs).0.into(),
    ];
    tx.execute(INSERT_CALL, &call)?;
    for line in permit.budgets() {
        let scope = line.scope.as_str();
        tx.execute(ENSURE, &[scope.into(), line.period.into()])?;
        let reserved =
            tx.execute(RESERVE, &[scope.into(), line.period.into(), permit.ceiling().0.into(), line.limit.0.into()])?;
        if reserved != 1 {
            return Err(OpenError::Denied(Denial::new(line.exhausted, scope)));
        }
        tx.execute(INSERT_CALL_ACCOUNT, &[id.to_string().into(), scope.into(), line.period.into()])?;
    }
    let event =
        AuditEvent::ModelCallOpened { call: id, run: permit.run(), model: request.model.clone(), reserved: permit.ceiling() };
    audit::append(tx, &event, now)?;
    Ok(())
}

fn settle(tx: &mut dyn Tx, id: &str, settlement: Settlement, now: Timestamp) -> Result<Option<Microusd>, StoreError> {
    let Some(open) = tx.query_opt(READ_OPEN, &[id.into()])? else { return Ok(None) };
    let reserved = open.int(0)?;
    let (cost, outcome, usage) = match settlement {
        Settlement::Measured { usage, cost } => (cost.0, "measured".to_owned(), usage),
        Settlement::NotCharged { status } => (0, format!("not_charged.{status}"), Usage::default()),
        Settlement::Unknown => (reserved, "unknown".to_owned(), Usage::default()),
    };
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    let params = [
        id.into(),
        cost.into(),
        outcome.into(),
        tokens(usage.input).into(),
        tokens(usage.output).into(),
        tokens(usage.cache_read).into(),
        tokens(written).into(),
        now.0.into(),
    ];
    if tx.execute(SETTLE, &params)? != 1 {
        return Ok(None);
    }
    for account in tx.query(LIST_CALL_ACCOUNTS, &[id.into()])? {
        tx.execute(RELEASE, &[account.text(0)?.into(), account.int(1)?.into(), reserved.into(), cost.into()])?;
    }
    Ok(Some(Microusd(cost)))
}

pub(crate) fn cost_of_run(tx: &mut dyn Tx, run: RunId) -> Result<Microusd, StoreError> {
    tx.query_one(COST_OF_RUN, &[run.to_string().into()])?.int(0).map(Microusd)
}

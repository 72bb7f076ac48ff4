//! Budget alerts: the operator is told once in a period that a share of a budget is used up.
//!
//! Invariant: the row that says so, the audit entry and the spending that crossed the share stand in one commit. Two gateways
//! that cross it at once make one row.

use crate::{Change, Store, StoreError, Tx, audit, statements};
use policy::{AuditEvent, Microusd, Timestamp, thresholds_crossed};

statements! { ALL:
    INSERT = "INSERT INTO budget_alerts (scope, period, percent, at) VALUES (?1, ?2, ?3, ?4) \
              ON CONFLICT (scope, period, percent) DO NOTHING";
    LIST = "SELECT percent FROM budget_alerts WHERE scope = ?1 AND period = ?2 ORDER BY percent";
}

/// A share of a budget that was used up for the first time in its period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetAlert {
    /// The account, as the ledger calls it.
    pub scope: String,
    /// Its period: a UTC day, or 0.
    pub period: i64,
    /// The share, in percent.
    pub percent: u8,
    /// The budget.
    pub limit: Microusd,
    /// What was spent then.
    pub spent: Microusd,
}

/// Writes down, inside the transaction that spends, which shares spending from `before` to `after` crossed first. The caller
/// announces what is returned once that transaction is committed ([`Store::tell_budget_alerts`]).
pub(crate) fn note(
    tx: &mut dyn Tx,
    (scope, period): (&str, i64),
    limit: Microusd,
    (before, after): (Microusd, Microusd),
    now: Timestamp,
) -> Result<Vec<BudgetAlert>, StoreError> {
    let mut first = Vec::new();
    for percent in thresholds_crossed(before, after, limit) {
        if tx.execute(INSERT, &[scope.into(), period.into(), i64::from(percent).into(), now.0.into()])? == 1 {
            let alert = BudgetAlert { scope: scope.to_owned(), period, percent, limit, spent: after };
            audit::append(tx, &alert.event(), now)?;
            first.push(alert);
        }
    }
    Ok(first)
}

impl BudgetAlert {
    fn event(&self) -> AuditEvent {
        let Self { scope, period, percent, limit, spent } = self.clone();
        AuditEvent::BudgetAlert { scope, period, percent, limit, spent }
    }
}

impl Store {
    /// Writes down which shares of a budget are used up for the first time, and tells. For spending that is counted elsewhere
    /// than in the ledger, and for a budget that refused: it is used up when it has no room for the smallest useful call, with
    /// `after` being its limit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_spending(
        &self,
        scope: &str,
        period: i64,
        limit: Microusd,
        (before, after): (Microusd, Microusd),
        now: Timestamp,
    ) -> Result<Vec<BudgetAlert>, StoreError> {
        let scope = scope.to_owned();
        let alerts = self.write(move |tx| note(tx, (&scope, period), limit, (before, after), now)).await?;
        self.tell_budget_alerts(&alerts);
        Ok(alerts)
    }

    /// Tells the operator and whoever listens. Only after the commit.
    pub fn tell_budget_alerts(&self, alerts: &[BudgetAlert]) {
        for alert in alerts {
            let BudgetAlert { scope, percent, limit, spent, .. } = alert;
            tracing::warn!(%scope, percent, %limit, %spent, "a budget is used up to a share at which the operator is told");
            self.announce(Change::BudgetAlert(alert.clone()));
        }
    }

    /// The shares of a budget that were told in a period.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn budget_alerts(&self, scope: &str, period: i64) -> Result<Vec<i64>, StoreError> {
        let scope = scope.to_owned();
        self.read(move |tx| tx.query(LIST, &[(&scope).into(), period.into()])?.iter().map(|row| row.int(0)).collect()).await
    }
}

//! The audit log: append-only, committed together with the change it tells of.

use crate::{Store, StoreError, Tx, statements, webhooks};
use policy::{AuditEvent, RunId, Timestamp};
use uuid::Uuid;

statements! { ALL:
    INSERT = "INSERT INTO audit_log (id, at, kind, run_id, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    READ_RUN = "SELECT kind, detail FROM audit_log WHERE run_id = ?1 ORDER BY id";
}

/// Appends inside the caller's transaction, so that state and audit entry stand or fall together; and what a host application is
/// told of it.
pub(crate) fn append(tx: &mut dyn Tx, event: &AuditEvent, now: Timestamp) -> Result<(), StoreError> {
    let run = event.run().map(|run| run.to_string());
    let params =
        [Uuid::now_v7().to_string().into(), now.0.into(), event.kind().into(), run.into(), event.detail().to_string().into()];
    tx.execute(INSERT, &params)?;
    webhooks::note(tx, event, now)
}

impl Store {
    /// Records something that changes no other state (a refusal, say).
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written; what depends on it must then not happen.
    pub async fn record(&self, event: AuditEvent, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| append(tx, &event, now)).await
    }

    /// The entries of one run in order: (kind, detail as JSON text).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_of_run(&self, run: RunId) -> Result<Vec<(String, String)>, StoreError> {
        self.read(move |tx| {
            tx.query(READ_RUN, &[run.to_string().into()])?.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
        })
        .await
    }
}

//! Erasing a user: with the data key everything that they wrote is unreadable at once, wherever a copy of the database is; the rows go too.
//!
//! What stays is what says who did what and what it cost (ledger, audit), which holds ids and digests, and that they were erased.

use crate::{Statement, Store, StoreError, Tx, audit, statements};
use policy::{AuditEvent, KeyId, RunId, Timestamp, UserId};
use std::collections::BTreeMap;

statements! { ALL:
    FORGET_KEY = "DELETE FROM user_keys WHERE user_id = ?1";
    INSERT_ERASURE = "INSERT INTO erasures (user_id, erased_at) VALUES (?1, ?2) ON CONFLICT (user_id) DO NOTHING";
    LIST_ERASURES = "SELECT user_id, erased_at FROM erasures ORDER BY erased_at, user_id";
    READ_ERASURE = "SELECT erased_at FROM erasures WHERE user_id = ?1";
    FORGET_UNDOS = "DELETE FROM tool_undos WHERE call_id IN (SELECT id FROM tool_calls WHERE user_id = ?1)";
    FORGET_CALLS = "DELETE FROM tool_calls WHERE user_id = ?1";
    FORGET_CONFIRMATIONS = "DELETE FROM confirmations WHERE user_id = ?1";
    FORGET_MESSAGES = "DELETE FROM messages WHERE conversation_id IN (SELECT id FROM conversations WHERE user_id = ?1)";
    FORGET_RUNS = "DELETE FROM runs WHERE user_id = ?1";
    FORGET_CONVERSATIONS = "DELETE FROM conversations WHERE user_id = ?1";
    FORGET_SESSIONS = "DELETE FROM sessions WHERE user_id = ?1";
    FORGET_WINDOWS = "DELETE FROM client_windows WHERE user_id = ?1";
    FORGET_KEYS = "DELETE FROM caller_keys WHERE user_id = ?1";
    FORGET_DELIVERIES = "DELETE FROM webhook_deliveries WHERE user_id = ?1";
    LIST_ACTIVE = "SELECT id FROM runs WHERE user_id = ?1 AND state = 'active' ORDER BY id LIMIT 1";
    /// Gateways that believe in the keys look again.
    NEWS = "UPDATE caller_keys_version SET version = version + 1 WHERE id = 1";
    /// So that whoever comes with the same name is somebody else.
    FORGET_USER = "DELETE FROM users WHERE id = ?1";
}

/// In an order in which nothing refers to what is gone, each with the name of what it erases where that is told.
const FORGET: [(Statement, Option<&str>); 12] = [
    (FORGET_KEY, None),
    (FORGET_UNDOS, None),
    (FORGET_CALLS, Some("tool_calls")),
    (FORGET_CONFIRMATIONS, Some("confirmations")),
    (FORGET_MESSAGES, Some("messages")),
    (FORGET_RUNS, Some("runs")),
    (FORGET_CONVERSATIONS, Some("conversations")),
    (FORGET_SESSIONS, Some("sessions")),
    (FORGET_WINDOWS, None),
    (FORGET_KEYS, Some("keys")),
    (FORGET_DELIVERIES, Some("webhooks")),
    (FORGET_USER, None),
];

/// How many of what was erased.
pub type Erased = BTreeMap<&'static str, u64>;

impl Store {
    /// Erases a user of the core in one commit: data key, sessions, keys, conversations with all messages and runs, the journal of their
    /// calls, confirmations, what waits for their host. That they were erased stays, with an audit entry that says by whose key, so that
    /// nothing under way writes for them again. Whoever calls this ends their runs first, and erases what apps keep of them: none while a
    /// run of theirs goes on, wherever. Once more changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was erased.
    pub async fn erase_user(&self, user: UserId, by: Option<KeyId>, now: Timestamp) -> Result<Option<Erased>, StoreError> {
        self.write(move |tx| {
            let (id, mut erased) = (user.to_string(), Erased::new());
            if tx.query_opt(LIST_ACTIVE, &[(&id).into()])?.is_some() {
                return Ok(None);
            }
            for (forget, name) in FORGET {
                let count = tx.execute(forget, &[(&id).into()])?;
                if let Some(name) = name {
                    erased.insert(name, count);
                }
            }
            tx.execute(NEWS, &[])?;
            if tx.execute(INSERT_ERASURE, &[id.into(), now.0.into()])? == 1 {
                audit::append(tx, &AuditEvent::UserErased { user, key: by }, now)?;
            }
            Ok(Some(erased))
        })
        .await
    }

    /// A run of the user's that is going on, here or at another gateway.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn active_run_of(&self, user: UserId) -> Result<Option<RunId>, StoreError> {
        self.read(move |tx| {
            let row = tx.query_opt(LIST_ACTIVE, &[user.to_string().into()])?;
            let run = |text: String| text.parse().map_err(|_| StoreError::Statement(format!("{text:?} is not a run's id")));
            row.map(|row| run(row.text(0)?)).transpose()
        })
        .await
    }

    /// Overwrites what the database still holds of rows that are gone: with `SQLite` its log. `PostgreSQL` does so by itself, later.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when others use it all the time; then its next checkpoint does it.
    pub async fn scrub(&self) -> Result<(), StoreError> {
        self.engine.scrub().await
    }

    /// Who was erased and when, the first first: after a backup was restored they are erased again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn erasures(&self) -> Result<Vec<(UserId, Timestamp)>, StoreError> {
        self.read(move |tx| {
            let rows = tx.query(LIST_ERASURES, &[])?;
            rows.iter().map(|row| Ok((crate::users::parse_user(&row.text(0)?)?, Timestamp(row.int(1)?)))).collect()
        })
        .await
    }

    /// Whether a user was erased.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn was_erased(&self, user: UserId) -> Result<bool, StoreError> {
        self.read(move |tx| is_erased(tx, &user.to_string())).await
    }
}

/// The same within a transaction.
pub(crate) fn is_erased(tx: &mut dyn Tx, user: &str) -> Result<bool, StoreError> {
    Ok(tx.query_opt(READ_ERASURE, &[user.into()])?.is_some())
}

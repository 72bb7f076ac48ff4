//! Erasing a user: with the data key everything that they wrote is unreadable at once, wherever a copy of the database is; the rows go too.
//!
//! What stays is what says who did what and what it cost (ledger, audit), which holds ids and digests, and that they were erased.

use crate::{Statement, Store, StoreError, statements};
use policy::{Timestamp, UserId};

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
    /// Gateways that believe in the keys look again.
    NEWS = "UPDATE caller_keys_version SET version = version + 1 WHERE id = 1";
    /// So that whoever comes with the same name is somebody else.
    FORGET_USER = "DELETE FROM users WHERE id = ?1";
}

/// In an order in which nothing refers to what is gone.
const FORGET: [Statement; 11] = [
    FORGET_KEY,
    FORGET_UNDOS,
    FORGET_CALLS,
    FORGET_CONFIRMATIONS,
    FORGET_MESSAGES,
    FORGET_RUNS,
    FORGET_CONVERSATIONS,
    FORGET_SESSIONS,
    FORGET_WINDOWS,
    FORGET_KEYS,
    FORGET_USER,
];

impl Store {
    /// Erases a user of the core in one commit: data key, sessions, keys, conversations with all messages and runs, the journal of their
    /// calls, confirmations. That they were erased stays, so that nothing under way writes for them again. Whoever calls this ends their
    /// runs first, and erases what apps keep of them. Once more changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was erased.
    pub async fn erase_user(&self, user: UserId, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            let id = user.to_string();
            for forget in FORGET {
                tx.execute(forget, &[(&id).into()])?;
            }
            tx.execute(NEWS, &[])?;
            tx.execute(INSERT_ERASURE, &[id.into(), now.0.into()]).map(|_| ())
        })
        .await
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
        self.read(move |tx| Ok(tx.query_opt(READ_ERASURE, &[user.to_string().into()])?.is_some())).await
    }
}

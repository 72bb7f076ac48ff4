//! Users and their sessions. A user is (issuer, subject); a session is a random token of which only the digest is kept.

use crate::{Store, StoreError, statements};
use policy::{Timestamp, UserId};

statements! { ALL:
    INSERT_USER = "INSERT INTO users (id, issuer, subject, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (issuer, subject) DO NOTHING";
    READ_USER = "SELECT id FROM users WHERE issuer = ?1 AND subject = ?2";
    INSERT_SESSION = "INSERT INTO sessions (token_digest, user_id, created_at, seen_at, expires_at) VALUES (?1, ?2, ?3, ?3, ?4)";
    READ_SESSION = "SELECT user_id, seen_at FROM sessions WHERE token_digest = ?1 AND expires_at > ?2 AND seen_at > ?3";
    TOUCH_SESSION = "UPDATE sessions SET seen_at = ?2 WHERE token_digest = ?1";
    DELETE_SESSIONS_OLD = "DELETE FROM sessions WHERE expires_at <= ?1 OR seen_at <= ?2";
}

/// A session unused for this long is over (row M5).
const IDLE_SECS: i64 = 30 * 60;
/// A session is never older than this.
const ABSOLUTE_SECS: i64 = 12 * 60 * 60;
/// `seen_at` is written at most this often, so that reading pages does not write the database.
const TOUCH_SECS: i64 = 60;

impl Store {
    /// The user of (issuer, subject), made at the first sight.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_of(&self, issuer: &str, subject: &str, now: Timestamp) -> Result<UserId, StoreError> {
        let (issuer, subject, fresh) = (issuer.to_owned(), subject.to_owned(), UserId::random());
        self.write(move |tx| {
            tx.execute(INSERT_USER, &[fresh.to_string().into(), (&issuer).into(), (&subject).into(), now.0.into()])?;
            parse_user(&tx.query_one(READ_USER, &[(&issuer).into(), (&subject).into()])?.text(0)?)
        })
        .await
    }

    /// The user of (issuer, subject), if they were seen before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_named(&self, issuer: &str, subject: &str) -> Result<Option<UserId>, StoreError> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        self.read(move |tx| {
            let row = tx.query_opt(READ_USER, &[(&issuer).into(), (&subject).into()])?;
            row.map(|row| parse_user(&row.text(0)?)).transpose()
        })
        .await
    }

    /// Opens a session for a user. `token_digest` is the SHA-256 of the token the client keeps.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_session(&self, token_digest: [u8; 32], user: UserId, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            let expires = now.plus_secs(ABSOLUTE_SECS);
            tx.execute(
                INSERT_SESSION,
                &[token_digest.as_slice().into(), user.to_string().into(), now.0.into(), expires.0.into()],
            )?;
            Ok(())
        })
        .await
    }

    /// The user of a live session, if it is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_of_session(&self, token_digest: [u8; 32], now: Timestamp) -> Result<Option<UserId>, StoreError> {
        let found = self
            .read(move |tx| {
                let row = tx.query_opt(
                    READ_SESSION,
                    &[token_digest.as_slice().into(), now.0.into(), now.plus_secs(-IDLE_SECS).0.into()],
                )?;
                row.map(|row| Ok::<_, StoreError>((parse_user(&row.text(0)?)?, row.int(1)?))).transpose()
            })
            .await?;
        let Some((user, seen_at)) = found else { return Ok(None) };
        if seen_at < now.plus_secs(-TOUCH_SECS).0 {
            self.write(move |tx| tx.execute(TOUCH_SESSION, &[token_digest.as_slice().into(), now.0.into()])).await?;
        }
        Ok(Some(user))
    }

    /// Forgets sessions that are over; returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |tx| tx.execute(DELETE_SESSIONS_OLD, &[now.0.into(), now.plus_secs(-IDLE_SECS).0.into()])).await
    }
}

pub(crate) fn parse_user(text: &str) -> Result<UserId, StoreError> {
    text.parse().map_err(|_| StoreError::Statement(format!("{text:?} is not a user id")))
}

//! What back ends of hosts read and delete of their users, and links by which a person answers a question in their own browser.

use crate::{Confirmation, Place, Store, StoreError, Tx, statements};
use policy::{ConfirmationId, ConversationId, Microusd, RunId, Timestamp, UserId};

const DAY_MICROS: i64 = 86_400_000_000;

statements! { ALL:
    READ_RUN = "SELECT conversation_id, app, state, code, message, cost_microusd, turns, writes, started_at, ended_at \
                FROM runs WHERE id = ?1 AND user_id = ?2";
    COST = "SELECT CAST(COALESCE(SUM(cost_microusd), 0) AS BIGINT) FROM runs WHERE user_id = ?1 AND started_at >= ?2";
    ACTIVE = "SELECT id FROM runs WHERE conversation_id = ?1 AND state = 'active'";
    ASKED = "SELECT c.id FROM confirmations c JOIN runs r ON r.id = c.run_id \
             WHERE c.user_id = ?1 AND r.conversation_id = ?2 AND c.state IN ('pending', 'approved', 'executing')";
    DELETE = "DELETE FROM conversations WHERE id = ?1 AND user_id = ?2";
    INSERT_LINK = "INSERT INTO confirmation_links (code_digest, confirmation_id, user_id, host, return_to, expires_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    OPEN_LINK = "UPDATE confirmation_links SET session_digest = ?2 WHERE code_digest = ?1 AND session_digest IS NULL AND expires_at > ?3";
    READ_LINK = "SELECT confirmation_id, user_id, host, return_to, expires_at FROM confirmation_links \
                 WHERE session_digest = ?1 AND expires_at > ?2";
    SWEEP_LINKS = "DELETE FROM confirmation_links WHERE expires_at <= ?1";
}

/// A run as a back end sees it.
#[derive(Clone, Debug)]
pub struct RunShown {
    /// Its conversation.
    pub conversation: String,
    /// Its app, a skill after a slash.
    pub app: String,
    /// `active`, `finished`, `failed` or `stopped`.
    pub state: String,
    /// The code of a failure.
    pub code: Option<String>,
    /// The sentence of a failure.
    pub message: Option<String>,
    /// What it cost; 0 while it goes on.
    pub cost: Microusd,
    /// Model calls made.
    pub turns: i64,
    /// Whether changes are switched on.
    pub writes: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Why a conversation was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteConversationError {
    /// A run is going on in it.
    #[error("a run is going on in this conversation")]
    Active,
    /// Something in it waits for its person.
    #[error("a question of this conversation waits")]
    Asked,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A link to one question, for one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmationLink {
    /// The question.
    pub confirmation: ConfirmationId,
    /// Whose.
    pub user: UserId,
    /// The host that asked for it.
    pub host: String,
    /// Where they go afterwards.
    pub return_to: Option<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Store {
    /// The user's run, if it is theirs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn run_shown(&self, user: UserId, run: RunId) -> Result<Option<RunShown>, StoreError> {
        self.read(move |tx| {
            let row = tx.query_opt(READ_RUN, &[run.to_string().into(), user.to_string().into()])?;
            let key = tx.key_of(&user.to_string(), None)?;
            row.map(|row| {
                Ok(RunShown {
                    conversation: row.text(0)?,
                    app: row.text(1)?,
                    state: row.text(2)?,
                    code: row.opt_text(3)?,
                    message: key.open_opt(Place::new("runs", "message", &run.to_string()), row.opt_text(4)?.as_deref())?,
                    cost: Microusd(row.int(5)?),
                    turns: row.int(6)?,
                    writes: row.bool(7)?,
                    started_at: Timestamp(row.int(8)?),
                    ended_at: row.opt_int(9)?.map(Timestamp),
                })
            })
            .transpose()
        })
        .await
    }

    /// What the user's runs cost that have ended and are kept: those begun today (UTC), and all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cost_of_runs(&self, user: UserId, now: Timestamp) -> Result<(Microusd, Microusd), StoreError> {
        self.read(move |tx| {
            let since = |tx: &mut dyn Tx, at: i64| {
                Ok::<_, StoreError>(Microusd(tx.query_one(COST, &[user.to_string().into(), at.into()])?.int(0)?))
            };
            Ok((since(tx, now.utc_day().saturating_mul(DAY_MICROS))?, since(tx, 0)?))
        })
        .await
    }

    /// Deletes the user's conversation with all that was said in it; false when they have no such conversation. The journal of what was
    /// changed stays, without it nothing could be undone.
    ///
    /// # Errors
    /// [`DeleteConversationError`]; then everything is as it was.
    pub async fn delete_conversation(&self, user: UserId, id: ConversationId) -> Result<bool, DeleteConversationError> {
        self.write(move |tx| {
            let (user, id) = (user.to_string(), id.to_string());
            if tx.query_opt(ACTIVE, &[(&id).into()])?.is_some() {
                return Err(DeleteConversationError::Active);
            }
            if tx.query_opt(ASKED, &[(&user).into(), (&id).into()])?.is_some() {
                return Err(DeleteConversationError::Asked);
            }
            Ok(tx.execute(DELETE, &[(&id).into(), (&user).into()])? == 1)
        })
        .await
    }

    /// Keeps a link, whose code is known by its digest only.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_confirmation_link(&self, code: [u8; 32], link: ConfirmationLink) -> Result<(), StoreError> {
        self.write(move |tx| {
            let params = [
                code.as_slice().into(),
                link.confirmation.to_string().into(),
                link.user.to_string().into(),
                (&link.host).into(),
                link.return_to.clone().into(),
                link.expires_at.0.into(),
            ];
            tx.execute(INSERT_LINK, &params).map(|_| ())
        })
        .await
    }

    /// Turns a link's code into a session, once; false when it is over or was used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_confirmation_link(&self, code: [u8; 32], session: [u8; 32], now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |tx| Ok(tx.execute(OPEN_LINK, &[code.as_slice().into(), session.as_slice().into(), now.0.into()])? == 1))
            .await
    }

    /// The link of a session, while it is good.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn confirmation_link_of(&self, session: [u8; 32], now: Timestamp) -> Result<Option<ConfirmationLink>, StoreError> {
        self.read(move |tx| {
            let row = tx.query_opt(READ_LINK, &[session.as_slice().into(), now.0.into()])?;
            row.map(|row| {
                let confirmation = row.text(0)?.parse();
                Ok(ConfirmationLink {
                    confirmation: confirmation.map_err(|_| StoreError::Statement("a kept question's id is none".to_owned()))?,
                    user: crate::users::parse_user(&row.text(1)?)?,
                    host: row.text(2)?,
                    return_to: row.opt_text(3)?,
                    expires_at: Timestamp(row.int(4)?),
                })
            })
            .transpose()
        })
        .await
    }

    /// What waits for the user's answer, for somebody else who asks: nothing counts as shown by it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting_confirmations(&self, user: UserId, now: Timestamp) -> Result<Vec<Confirmation>, StoreError> {
        let rows = self.own_confirmations(user).await?;
        Ok(rows.into_iter().filter(|row| now < row.times.expires_at).collect())
    }

    /// Forgets links that are over; returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_confirmation_links(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |tx| tx.execute(SWEEP_LINKS, &[now.0.into()])).await
    }
}

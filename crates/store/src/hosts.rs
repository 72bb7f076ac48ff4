//! What host applications' back ends have shown and begun: assertions of users, requests that must happen once, tickets.
//!
//! Invariant: an assertion belongs to its bytes and to the key that showed it first, and is spent once, in one statement. What was
//! begun under an idempotency key is written down in the commit that began it.

use crate::{BeginError, NewRun, Store, StoreError, Tx, runs, statements};
use policy::{CallId, KeyId, RunId, Timestamp, UserId};

/// How long a request that came before is known again.
const REQUEST_KEPT_SECS: i64 = 24 * 3600;
/// How long the events of a run are kept after its end, in which its tickets are still good.
const AFTER_RUN_SECS: i64 = 120;
/// An assertion is forgotten so much later than it must be: clocks of gateways differ.
const FORGOTTEN_SECS: i64 = 600;

statements! { ALL:
    SHOW = "INSERT INTO host_assertions (host, assertion_digest, token_digest, key_id, spent, expires_at) VALUES (?1, ?2, ?3, ?4, 0, ?5) \
            ON CONFLICT (host, assertion_digest) DO NOTHING";
    SHOWN = "SELECT token_digest, key_id FROM host_assertions WHERE host = ?1 AND assertion_digest = ?2";
    SPEND = "INSERT INTO host_assertions (host, assertion_digest, token_digest, key_id, spent, expires_at) VALUES (?1, ?2, ?3, ?4, 1, ?5) \
             ON CONFLICT (host, assertion_digest) DO UPDATE SET spent = 1 WHERE host_assertions.spent = 0 \
             AND host_assertions.token_digest = excluded.token_digest AND host_assertions.key_id = excluded.key_id";
    SWEEP_ASSERTIONS = "DELETE FROM host_assertions WHERE expires_at <= ?1";
    FORGET_REQUEST = "DELETE FROM host_requests WHERE user_id = ?1 AND key_digest = ?2 AND created_at <= ?3";
    INSERT_REQUEST = "INSERT INTO host_requests (user_id, key_digest, request_digest, run_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                      ON CONFLICT (user_id, key_digest) DO NOTHING";
    READ_REQUEST = "SELECT request_digest, run_id FROM host_requests WHERE user_id = ?1 AND key_digest = ?2 AND created_at > ?3";
    SWEEP_REQUESTS = "DELETE FROM host_requests WHERE created_at <= ?1";
    INSERT_TICKET = "INSERT INTO run_tickets (token_digest, run_id, user_id, host, made_by, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    /// A ticket is dead with the key that made it.
    READ_TICKET = "SELECT t.run_id, t.user_id, t.host, t.expires_at FROM run_tickets t \
                   JOIN runs r ON r.id = t.run_id JOIN caller_keys k ON k.id = t.made_by \
                   WHERE t.token_digest = ?1 AND t.expires_at > ?2 AND (r.ended_at IS NULL OR r.ended_at > ?3) \
                   AND (k.revoked_at IS NULL OR k.revoked_at > ?2) AND (k.expires_at IS NULL OR k.expires_at > ?2)";
    RUN_APP = "SELECT app FROM runs WHERE id = ?1 AND user_id = ?2";
    CALL_APP = "SELECT app FROM tool_calls WHERE id = ?1 AND user_id = ?2";
    SWEEP_TICKETS = "DELETE FROM run_tickets WHERE expires_at <= ?1";
}

/// An assertion that a host's key shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The host.
    pub host: String,
    /// The digest of its id.
    pub id_digest: [u8; 32],
    /// The digest of the whole of it.
    pub token_digest: [u8; 32],
    /// The key.
    pub key: KeyId,
    /// Until when it must be remembered.
    pub expires_at: Timestamp,
}

/// A request that must happen once.
#[derive(Clone, Debug)]
pub struct Once {
    /// The digest of its idempotency key.
    pub key_digest: [u8; 32],
    /// The digest of all that it asks for.
    pub request_digest: [u8; 32],
}

/// Why a run was not begun under an idempotency key.
#[derive(Debug, thiserror::Error)]
pub enum BeginOnceError {
    /// It was begun before by the same request.
    #[error("begun before")]
    Before(RunId),
    /// Another request came with this key.
    #[error("another request came with this key")]
    Other,
    /// As without a key.
    #[error(transparent)]
    Begin(#[from] BeginError),
}

impl From<StoreError> for BeginOnceError {
    fn from(error: StoreError) -> Self {
        Self::Begin(BeginError::Store(error))
    }
}

/// What opens the events of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The run.
    pub run: RunId,
    /// Whose.
    pub user: UserId,
    /// The host that had it made.
    pub host: String,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl Shown {
    /// Whether what was seen under this id is the same, from the same key; none if nothing was.
    fn was(&self, tx: &mut dyn Tx) -> Result<Option<bool>, StoreError> {
        let row = tx.query_opt(SHOWN, &[(&self.host).into(), self.id_digest.as_slice().into()])?;
        row.map(|row| Ok(row.blob(0)? == self.token_digest && row.text(1)? == self.key.to_string())).transpose()
    }

    fn params(&self) -> [crate::Value; 5] {
        [
            (&self.host).into(),
            self.id_digest.as_slice().into(),
            self.token_digest.as_slice().into(),
            self.key.to_string().into(),
            self.expires_at.0.into(),
        ]
    }
}

impl Store {
    /// Whether an assertion may be used to read: it was not seen before, or was the same from the same key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn show_assertion(&self, shown: Shown) -> Result<bool, StoreError> {
        let before = shown.clone();
        if let Some(same) = self.read(move |tx| before.was(tx)).await? {
            return Ok(same);
        }
        self.write(move |tx| {
            if tx.execute(SHOW, &shown.params())? == 1 {
                return Ok(true);
            }
            Ok(shown.was(tx)?.unwrap_or(false))
        })
        .await
    }

    /// Spends an assertion for a change; false when it was spent before, or was another's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spend_assertion(&self, shown: Shown) -> Result<bool, StoreError> {
        self.write(move |tx| Ok(tx.execute(SPEND, &shown.params())? == 1)).await
    }

    /// The run that the same request began before; none if there was no request with this key.
    ///
    /// # Errors
    /// [`BeginOnceError::Other`], or the database's.
    pub async fn begun_before(&self, user: UserId, once: Once, now: Timestamp) -> Result<Option<RunId>, BeginOnceError> {
        self.read(move |tx| before(tx, user, &once, now)).await
    }

    /// Begins a run under an idempotency key: both in one commit, whoever else tries at the same time, at whichever gateway.
    ///
    /// # Errors
    /// [`BeginOnceError`].
    pub async fn begin_run_once(&self, new: NewRun, once: Once, now: Timestamp) -> Result<(), BeginOnceError> {
        self.write(move |tx| {
            let (user, key) = (new.user.to_string(), once.key_digest.as_slice());
            tx.execute(FORGET_REQUEST, &[(&user).into(), key.into(), now.plus_secs(-REQUEST_KEPT_SECS).0.into()])?;
            let (request, run) = (once.request_digest.as_slice().into(), new.run.to_string().into());
            if tx.execute(INSERT_REQUEST, &[(&user).into(), key.into(), request, run, now.0.into()])? == 0 {
                let run = before(tx, new.user, &once, now)?;
                let run = run.ok_or_else(|| StoreError::Statement("a request that is kept is gone".to_owned()))?;
                return Err(BeginOnceError::Before(run));
            }
            runs::begin(tx, &new, now).map_err(BeginOnceError::Begin)
        })
        .await
    }

    /// The app of the user's run, a skill after a slash.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn app_of_run(&self, user: UserId, run: RunId) -> Result<Option<String>, StoreError> {
        self.read(move |tx| {
            tx.query_opt(RUN_APP, &[run.to_string().into(), user.to_string().into()])?.map(|row| row.text(0)).transpose()
        })
        .await
    }

    /// The app of a call that was made for the user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn app_of_call(&self, user: UserId, call: CallId) -> Result<Option<String>, StoreError> {
        self.read(move |tx| {
            tx.query_opt(CALL_APP, &[call.to_string().into(), user.to_string().into()])?.map(|row| row.text(0)).transpose()
        })
        .await
    }

    /// Keeps a ticket for a run of this user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_ticket(&self, digest: [u8; 32], ticket: Ticket, made_by: KeyId) -> Result<(), StoreError> {
        self.write(move |tx| {
            let params = [
                digest.as_slice().into(),
                ticket.run.to_string().into(),
                ticket.user.to_string().into(),
                (&ticket.host).into(),
                made_by.to_string().into(),
                ticket.expires_at.0.into(),
            ];
            tx.execute(INSERT_TICKET, &params).map(|_| ())
        })
        .await
    }

    /// The ticket of a token's digest, as long as it, its key and its run's events are there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ticket_of(&self, digest: [u8; 32], now: Timestamp) -> Result<Option<Ticket>, StoreError> {
        self.read(move |tx| {
            let ended_after = now.plus_secs(-AFTER_RUN_SECS).0;
            let row = tx.query_opt(READ_TICKET, &[digest.as_slice().into(), now.0.into(), ended_after.into()])?;
            row.map(|row| {
                let run = row.text(0)?.parse().map_err(|_| StoreError::Statement("a kept run's id is none".to_owned()))?;
                let user = crate::users::parse_user(&row.text(1)?)?;
                Ok(Ticket { run, user, host: row.text(2)?, expires_at: Timestamp(row.int(3)?) })
            })
            .transpose()
        })
        .await
    }

    /// Forgets what hosts showed and asked for so long ago that it can't be used again; returns how much.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_hosts(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let forgotten = tx.execute(SWEEP_ASSERTIONS, &[now.plus_secs(-FORGOTTEN_SECS).0.into()])?
                + tx.execute(SWEEP_REQUESTS, &[now.plus_secs(-REQUEST_KEPT_SECS).0.into()])?;
            Ok(forgotten + tx.execute(SWEEP_TICKETS, &[now.0.into()])?)
        })
        .await
    }
}

fn before(tx: &mut dyn Tx, user: UserId, once: &Once, now: Timestamp) -> Result<Option<RunId>, BeginOnceError> {
    let after = now.plus_secs(-REQUEST_KEPT_SECS).0;
    let params = [user.to_string().into(), once.key_digest.as_slice().into(), after.into()];
    let Some(row) = tx.query_opt(READ_REQUEST, &params)? else { return Ok(None) };
    if row.blob(0)? != once.request_digest {
        return Err(BeginOnceError::Other);
    }
    let run = row.text(1)?.parse().map_err(|_| StoreError::Statement("a kept run's id is none".to_owned()))?;
    Ok(Some(run))
}

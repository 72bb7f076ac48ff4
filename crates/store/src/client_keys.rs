//! Keys by which people's own clients, and agents elsewhere, reach the tools of one app. They belong to the user whose data they open.
//!
//! Invariant: a session's key is the only one of its agent that opens anything, in the commit that makes it: the one before is dead.

use crate::keys::{parse, read_key, revoke};
use crate::{KeyRow, Store, StoreError, Tx, audit, statements};
use policy::{AuditEvent, KeyId, KeyScope, RunId, Timestamp, UserId};

/// Before a service principal's name, the issuer of its users.
pub const SERVICE_ISSUER: &str = "hexward:service:";
/// Keys of one person that are good at the same time.
pub const CLIENT_KEYS_MAX: i64 = 20;
/// Sessions of one service that are good at the same time.
const SESSIONS_MAX: i64 = 1000;
/// How many of a person's keys are shown, those that ended included.
const LISTED_MAX: i64 = 100;
/// How long the key of a session that is over is kept, so that the log can tell it from a guess.
const KEPT_SECS: i64 = 24 * 3600;

statements! { ALL:
    USER_IS_THERE = "SELECT id FROM users WHERE id = ?1";
    INSERT_USER = "INSERT INTO users (id, issuer, subject, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (issuer, subject) DO NOTHING";
    READ_USER = "SELECT id FROM users WHERE issuer = ?1 AND subject = ?2";
    INSERT = "INSERT INTO caller_keys (id, user_id, token_digest, name, scope, source, created_at, expires_at, purpose, made_by, generation) \
              VALUES (?1, ?2, ?3, ?4, ?5, 'made', ?6, ?7, ?8, ?9, ?10)";
    READ_MAKER = "SELECT u.subject FROM caller_keys k JOIN users u ON u.id = k.user_id WHERE k.id = ?1 AND k.purpose = 'model' \
                  AND (k.expires_at IS NULL OR k.expires_at > ?2) AND (k.revoked_at IS NULL OR k.revoked_at > ?2)";
    COUNT_LIVE = "SELECT CAST(COUNT(*) AS BIGINT) FROM caller_keys \
                  WHERE user_id = ?1 AND purpose = 'mcp' AND expires_at > ?2 AND (revoked_at IS NULL OR revoked_at > ?2)";
    COUNT_SESSIONS = "SELECT CAST(COUNT(*) AS BIGINT) FROM caller_keys \
                      WHERE made_by = ?1 AND expires_at > ?2 AND (revoked_at IS NULL OR revoked_at > ?2)";
    LIST_OF_USER = "SELECT k.id, k.user_id, u.subject, k.token_digest, k.name, k.scope, k.source, k.created_at, k.expires_at, k.revoked_at, \
                    k.used_at, k.purpose, k.made_by, k.generation FROM caller_keys k JOIN users u ON u.id = k.user_id \
                    WHERE k.user_id = ?1 AND k.purpose = 'mcp' ORDER BY k.id DESC LIMIT ?2";
    OWN_KEY = "SELECT id FROM caller_keys WHERE id = ?1 AND user_id = ?2 AND purpose = 'mcp'";
    SESSION_OF = "SELECT s.id FROM caller_keys s JOIN caller_keys m ON m.id = s.made_by \
                  WHERE s.id = ?1 AND s.purpose = 'mcp-session' AND m.user_id = ?2";
    LAST_GENERATION = "SELECT CAST(COALESCE(MAX(generation), 0) AS BIGINT) FROM caller_keys \
                       WHERE user_id = ?1 AND name = ?2 AND purpose = 'mcp-session'";
    END_BEFORE = "UPDATE caller_keys SET revoked_at = ?3 \
                  WHERE user_id = ?1 AND name = ?2 AND purpose = 'mcp-session' AND (revoked_at IS NULL OR revoked_at > ?3)";
    SWEEP_SESSIONS = "DELETE FROM caller_keys WHERE purpose = 'mcp-session' AND expires_at <= ?1";
    INSERT_WINDOW = "INSERT INTO client_windows (id, key_id, user_id, app, gateway, opened_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                     ON CONFLICT (id) DO NOTHING";
}

/// A person's key about to be kept.
#[derive(Clone, Debug)]
pub struct NewClientKey {
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// Whose data it opens.
    pub user: UserId,
    /// What they call it.
    pub name: String,
    /// What it may be used for.
    pub scope: KeyScope,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// The key of an agent's next request, about to be kept.
#[derive(Clone, Debug)]
pub struct NewClientSession {
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// The service's key that asks for it.
    pub made_by: KeyId,
    /// Which of the service's users, as the service calls them.
    pub subject: String,
    /// Which of the user's agents; its session before ends with this commit.
    pub agent: String,
    /// What it may be used for.
    pub scope: KeyScope,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// What stands in the tool journal where a run would.
#[derive(Clone, Debug)]
pub struct ClientWindow {
    /// Its id.
    pub id: RunId,
    /// The key whose calls it holds.
    pub key: KeyId,
    /// Whose.
    pub user: UserId,
    /// The app.
    pub app: String,
    /// The gateway that makes the calls.
    pub gateway: String,
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum ClientKeyError {
    /// There is no such user.
    #[error("there is no such user")]
    NoUser,
    /// The key that asks for it opens nothing any more.
    #[error("the key that asks has ended")]
    Ended,
    /// As many as allowed are good at the same time.
    #[error("as many keys as allowed are in use")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Keeps a new key of a person's.
    ///
    /// # Errors
    /// [`ClientKeyError`].
    pub async fn create_client_key(&self, new: NewClientKey, now: Timestamp) -> Result<KeyRow, ClientKeyError> {
        let id = KeyId::random();
        self.write(move |tx| {
            let user = new.user.to_string();
            if tx.query_opt(USER_IS_THERE, &[(&user).into()])?.is_none() {
                return Err(ClientKeyError::NoUser);
            }
            if tx.query_one(COUNT_LIVE, &[(&user).into(), now.0.into()])?.int(0)? >= CLIENT_KEYS_MAX {
                return Err(ClientKeyError::TooMany);
            }
            let made =
                Made { id, user: &user, digest: &new.digest, name: &new.name, scope: &new.scope, expires_at: new.expires_at };
            Ok(insert(tx, &made, Kind::Person, now)?)
        })
        .await
    }

    /// A person's keys, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn client_keys_of(&self, user: UserId) -> Result<Vec<KeyRow>, StoreError> {
        self.read(move |tx| tx.query(LIST_OF_USER, &[user.to_string().into(), LISTED_MAX.into()])?.iter().map(parse).collect())
            .await
    }

    /// Ends one of a person's own keys; false when it is not theirs, or had ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_client_key(&self, user: UserId, id: KeyId, now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let own = tx.query_opt(OWN_KEY, &[id.to_string().into(), user.to_string().into()])?.is_some();
            Ok(own && revoke(tx, id, now, now)?)
        })
        .await
    }

    /// Makes the key of an agent's next request, and ends the one of its last. A user is made at the first sight, among those of the
    /// service.
    ///
    /// # Errors
    /// [`ClientKeyError`].
    pub async fn open_client_session(&self, new: NewClientSession, now: Timestamp) -> Result<KeyRow, ClientKeyError> {
        let (id, fresh) = (KeyId::random(), UserId::random());
        self.write(move |tx| {
            let maker = new.made_by.to_string();
            let service = tx.query_opt(READ_MAKER, &[(&maker).into(), now.0.into()])?.ok_or(ClientKeyError::Ended)?.text(0)?;
            let issuer = format!("{SERVICE_ISSUER}{service}");
            if tx.query_one(COUNT_SESSIONS, &[(&maker).into(), now.0.into()])?.int(0)? >= SESSIONS_MAX {
                return Err(ClientKeyError::TooMany);
            }
            let user = [fresh.to_string().into(), (&issuer).into(), (&new.subject).into(), now.0.into()];
            tx.execute(INSERT_USER, &user)?;
            let user = tx.query_one(READ_USER, &[(&issuer).into(), (&new.subject).into()])?.text(0)?;
            let name = format!("{}/{}", new.scope.app.as_deref().unwrap_or_default(), new.agent);
            let generation = tx.query_one(LAST_GENERATION, &[(&user).into(), (&name).into()])?.int(0)?.saturating_add(1);
            tx.execute(END_BEFORE, &[(&user).into(), (&name).into(), now.0.into()])?;
            let made = Made { id, user: &user, digest: &new.digest, name: &name, scope: &new.scope, expires_at: new.expires_at };
            Ok(insert(tx, &made, Kind::Session { made_by: &maker, generation }, now)?)
        })
        .await
    }

    /// Ends a session that a key of this service principal made; false when there is none, or it had ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_client_session(&self, principal: UserId, id: KeyId, now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let own = tx.query_opt(SESSION_OF, &[id.to_string().into(), principal.to_string().into()])?.is_some();
            Ok(own && revoke(tx, id, now, now)?)
        })
        .await
    }

    /// Forgets the keys of sessions that have long been over; returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_client_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |tx| tx.execute(SWEEP_SESSIONS, &[now.plus_secs(-KEPT_SECS).0.into()])).await
    }

    /// Writes down whose calls stand under a window's id, before the first of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_client_window(&self, window: ClientWindow, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            let params = [
                window.id.to_string().into(),
                window.key.to_string().into(),
                window.user.to_string().into(),
                (&window.app).into(),
                (&window.gateway).into(),
                now.0.into(),
            ];
            if tx.execute(INSERT_WINDOW, &params)? == 1 {
                let event = AuditEvent::ClientWindow { window: window.id, key: window.key, user: window.user };
                audit::append(tx, &event, now)?;
            }
            Ok(())
        })
        .await
    }
}

/// What both kinds have.
struct Made<'a> {
    id: KeyId,
    user: &'a str,
    digest: &'a [u8; 32],
    name: &'a str,
    scope: &'a KeyScope,
    expires_at: Timestamp,
}

enum Kind<'a> {
    Person,
    Session { made_by: &'a str, generation: i64 },
}

fn insert(tx: &mut dyn Tx, made: &Made<'_>, kind: Kind<'_>, now: Timestamp) -> Result<KeyRow, StoreError> {
    let (purpose, made_by, generation) = match kind {
        Kind::Person => ("mcp", None, 0),
        Kind::Session { made_by, generation } => ("mcp-session", Some(made_by.to_owned()), generation),
    };
    let scope = serde_json::to_string(made.scope).map_err(|error| StoreError::Statement(error.to_string()))?;
    let params = [
        made.id.to_string().into(),
        made.user.into(),
        made.digest.as_slice().into(),
        made.name.into(),
        scope.into(),
        now.0.into(),
        made.expires_at.0.into(),
        purpose.into(),
        made_by.into(),
        generation.into(),
    ];
    tx.execute(INSERT, &params)?;
    let kept = read_key(tx, made.digest)?.ok_or_else(|| StoreError::Statement("a key that was just kept is gone".to_owned()))?;
    audit::append(tx, &AuditEvent::KeyCreated { key: kept.id, user: kept.user, name: kept.name.clone() }, now)?;
    Ok(kept)
}

//! Keys of remote callers: digests of tokens, what each may be used for, and when it ends.
//!
//! Invariant: a key's end only ever comes nearer, and its scope never changes; whoever wants more makes another key. Every
//! change raises the version in the same commit, so that a gateway that has seen a version has seen the change.

use crate::{Row, Store, StoreError, Tx, audit, statements};
use policy::{AuditEvent, KeyId, KeyPurpose, KeyScope, Timestamp, UserId};

/// The issuer of service principals.
pub const CALLER_ISSUER: &str = "hexward:callers";

statements! { ALL:
    INSERT_PRINCIPAL = "INSERT INTO users (id, issuer, subject, created_at) VALUES (?1, 'hexward:callers', ?2, ?3) \
                        ON CONFLICT (issuer, subject) DO NOTHING";
    READ_PRINCIPAL = "SELECT id FROM users WHERE issuer = 'hexward:callers' AND subject = ?1";
    INSERT_KEY = "INSERT INTO caller_keys (id, user_id, token_digest, name, scope, source, created_at, expires_at, purpose) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (token_digest) DO NOTHING";
    LIST_KEYS = "SELECT k.id, k.user_id, u.subject, k.token_digest, k.name, k.scope, k.source, k.created_at, k.expires_at, \
                 k.revoked_at, k.used_at, k.purpose, k.made_by, k.generation FROM caller_keys k JOIN users u ON u.id = k.user_id ORDER BY k.id";
    LIST_MODEL_KEYS = "SELECT k.id, k.user_id, u.subject, k.token_digest, k.name, k.scope, k.source, k.created_at, k.expires_at, \
                       k.revoked_at, k.used_at, k.purpose, k.made_by, k.generation FROM caller_keys k \
                       JOIN users u ON u.id = k.user_id WHERE k.purpose = 'model' ORDER BY k.id";
    READ_KEY = "SELECT k.id, k.user_id, u.subject, k.token_digest, k.name, k.scope, k.source, k.created_at, k.expires_at, \
                k.revoked_at, k.used_at, k.purpose, k.made_by, k.generation FROM caller_keys k JOIN users u ON u.id = k.user_id WHERE k.token_digest = ?1";
    REVOKE_KEY = "UPDATE caller_keys SET revoked_at = ?2 WHERE id = ?1 AND (revoked_at IS NULL OR revoked_at > ?2)";
    REVOKE_MADE_BY = "UPDATE caller_keys SET revoked_at = ?2 WHERE made_by = ?1 AND (revoked_at IS NULL OR revoked_at > ?2)";
    TOUCH_KEY = "UPDATE caller_keys SET used_at = ?2 WHERE id = ?1 AND (used_at IS NULL OR used_at < ?2)";
    RAISE_VERSION = "UPDATE caller_keys_version SET version = version + 1 WHERE id = 1";
    READ_VERSION = "SELECT version FROM caller_keys_version WHERE id = 1";
}

/// Where a key's token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The gateway made it.
    Made,
    /// It stands in a gateway's environment, and is good at that gateway only.
    Environment,
}

impl KeySource {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Environment => "environment",
        }
    }
}

/// A key about to be kept.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// The service principal.
    pub principal: String,
    /// What people call the key.
    pub name: String,
    /// What it may be used for.
    pub scope: KeyScope,
    /// Where the token came from.
    pub source: KeySource,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The key.
    pub id: KeyId,
    /// The service principal as a user, or the person whose tools it opens.
    pub user: UserId,
    /// The service principal; of a person's key their id.
    pub principal: String,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// What people call the key.
    pub name: String,
    /// What it may be used for; none is a scope that this version does not understand, and such a key opens nothing.
    pub scope: Option<KeyScope>,
    /// Where the token came from.
    pub source: KeySource,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it ends or ended because somebody said so.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, give or take a minute.
    pub used_at: Option<Timestamp>,
    /// What it opens.
    pub purpose: KeyPurpose,
    /// The key that made it.
    pub made_by: Option<KeyId>,
    /// Which of its agent's sessions it is; 0 for a key that is none.
    pub generation: i64,
}

impl KeyRow {
    /// Whether it has not ended. (Where it may be used from is another question.)
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        [self.expires_at, self.revoked_at].iter().flatten().all(|end| now < *end)
    }
}

impl Store {
    /// Keeps a new key and makes its principal at the first sight. A token that is there already is left as it is, revoked or
    /// not: what this returns is what is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_key(&self, new: NewKey, now: Timestamp) -> Result<KeyRow, StoreError> {
        let (id, fresh) = (KeyId::random(), UserId::random());
        self.write(move |tx| insert(tx, id, fresh, &new, KeyPurpose::Model, now)).await
    }

    /// The same for the back end of a host application, which is the principal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_service_key(&self, new: NewKey, now: Timestamp) -> Result<KeyRow, StoreError> {
        let (id, fresh) = (KeyId::random(), UserId::random());
        self.write(move |tx| insert(tx, id, fresh, &new, KeyPurpose::Service, now)).await
    }

    /// The key of a token's digest.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_of(&self, digest: [u8; 32]) -> Result<Option<KeyRow>, StoreError> {
        self.read(move |tx| tx.query_opt(READ_KEY, &[digest.as_slice().into()])?.as_ref().map(parse).transpose()).await
    }

    /// Every key there ever was, the oldest first, with the version at which this is so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self) -> Result<(i64, Vec<KeyRow>), StoreError> {
        self.read(|tx| {
            let version = tx.query_one(READ_VERSION, &[])?.int(0)?;
            let rows = tx.query(LIST_KEYS, &[])?.iter().map(parse).collect::<Result<_, _>>()?;
            Ok((version, rows))
        })
        .await
    }

    /// The keys for the model API alone, with the version at which this is so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn model_keys(&self) -> Result<(i64, Vec<KeyRow>), StoreError> {
        self.read(|tx| {
            let version = tx.query_one(READ_VERSION, &[])?.int(0)?;
            let rows = tx.query(LIST_MODEL_KEYS, &[])?.iter().map(parse).collect::<Result<_, _>>()?;
            Ok((version, rows))
        })
        .await
    }

    /// Goes up with every change but that of `used_at`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys_version(&self) -> Result<i64, StoreError> {
        self.read(|tx| tx.query_one(READ_VERSION, &[])?.int(0)).await
    }

    /// Ends a key at a moment, unless it ends earlier; returns whether anything changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_key(&self, id: KeyId, at: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |tx| revoke(tx, id, at, now)).await
    }

    /// Keeps a new key and ends others, in one commit: there is no moment at which neither opens.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rotate_keys(&self, new: NewKey, old: Vec<KeyId>, at: Timestamp, now: Timestamp) -> Result<KeyRow, StoreError> {
        let (id, fresh) = (KeyId::random(), UserId::random());
        self.write(move |tx| {
            for old in &old {
                revoke(tx, *old, at, now)?;
            }
            insert(tx, id, fresh, &new, KeyPurpose::Model, now)
        })
        .await
    }

    /// Writes down when keys were last used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn touch_keys(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), StoreError> {
        self.write(move |tx| {
            used.iter().try_for_each(|(id, at)| tx.execute(TOUCH_KEY, &[id.to_string().into(), at.0.into()]).map(|_| ()))
        })
        .await
    }
}

fn insert(
    tx: &mut dyn Tx,
    id: KeyId,
    fresh: UserId,
    new: &NewKey,
    purpose: KeyPurpose,
    now: Timestamp,
) -> Result<KeyRow, StoreError> {
    tx.execute(INSERT_PRINCIPAL, &[fresh.to_string().into(), (&new.principal).into(), now.0.into()])?;
    let user = tx.query_one(READ_PRINCIPAL, &[(&new.principal).into()])?.text(0)?;
    let scope = serde_json::to_string(&new.scope).map_err(|error| StoreError::Statement(error.to_string()))?;
    let params = [
        id.to_string().into(),
        (&user).into(),
        new.digest.as_slice().into(),
        (&new.name).into(),
        scope.into(),
        new.source.as_str().into(),
        now.0.into(),
        new.expires_at.map(|at| at.0).into(),
        purpose.as_str().into(),
    ];
    let inserted = tx.execute(INSERT_KEY, &params)? == 1;
    let kept = parse(&tx.query_one(READ_KEY, &[new.digest.as_slice().into()])?)?;
    if inserted {
        tx.execute(RAISE_VERSION, &[])?;
        audit::append(tx, &AuditEvent::KeyCreated { key: id, user: kept.user, name: new.name.clone() }, now)?;
    }
    Ok(kept)
}

/// With all that it made.
pub(crate) fn revoke(tx: &mut dyn Tx, id: KeyId, at: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
    let changed = tx.execute(REVOKE_KEY, &[id.to_string().into(), at.0.into()])? == 1;
    if changed {
        tx.execute(REVOKE_MADE_BY, &[id.to_string().into(), at.0.into()])?;
        tx.execute(RAISE_VERSION, &[])?;
        audit::append(tx, &AuditEvent::KeyRevoked { key: id, at }, now)?;
    }
    Ok(changed)
}

/// The key of a digest, inside a transaction.
pub(crate) fn read_key(tx: &mut dyn Tx, digest: &[u8; 32]) -> Result<Option<KeyRow>, StoreError> {
    tx.query_opt(READ_KEY, &[digest.as_slice().into()])?.as_ref().map(parse).transpose()
}

pub(crate) fn parse(row: &Row) -> Result<KeyRow, StoreError> {
    let broken = |what: &str| StoreError::Statement(format!("a kept {what} is none"));
    let purpose = KeyPurpose::parse(&row.text(11)?).ok_or_else(|| broken("key's purpose"))?;
    let user = row.text(1)?;
    let time = |column| row.opt_int(column).map(|at| at.map(Timestamp));
    let source = row.text(6)?;
    Ok(KeyRow {
        id: row.text(0)?.parse().map_err(|_| broken("key's id"))?,
        principal: if matches!(purpose, KeyPurpose::Model | KeyPurpose::Service) { row.text(2)? } else { user.clone() },
        user: user.parse().map_err(|_| broken("user's id"))?,
        digest: row.blob(3)?.try_into().map_err(|_| broken("digest"))?,
        name: row.text(4)?,
        scope: serde_json::from_str(&row.text(5)?).ok(),
        source: if source == KeySource::Environment.as_str() { KeySource::Environment } else { KeySource::Made },
        created_at: Timestamp(row.int(7)?),
        expires_at: time(8)?,
        revoked_at: time(9)?,
        used_at: time(10)?,
        purpose,
        made_by: row.opt_text(12)?.map(|id| id.parse().map_err(|_| broken("key's maker"))).transpose()?,
        generation: row.int(13)?,
    })
}

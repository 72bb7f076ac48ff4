//! Who shows what at the tools' address. There are many of these keys and each is used seldom, so none is kept in memory ahead: one that
//! is shown is looked up by its digest, and what was found is believed for [`BELIEVED`]. A revoked key is dead within that time.

use super::index::{Refused, TOKEN_BYTES_MAX, bearer};
use super::windows::Windows;
use crate::client::Client;
use crate::mcp::front::LogLevel;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use policy::{KeyFault, KeyId, KeyPurpose, Timestamp, UserId, judge_key, key_digest};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, Instant};
use store::{KeyRow, Store, StoreError};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// How long what was read of a key is believed.
const BELIEVED: Duration = Duration::from_millis(500);
/// Keys remembered at a time; when there are more, all are read again.
const KNOWN_MAX: usize = 10_000;
/// `used_at` is written this often at most.
const TOUCH_SECS: i64 = 60;
/// Keys looked up at the same time: whoever guesses waits behind others who guess.
const LOOKED_UP_MAX: usize = 32;
/// Requests of one key at the same time.
const AT_ONCE_MAX: usize = 32;

/// The keys that were shown lately.
pub(super) struct Clients {
    store: Store,
    gateway: Arc<str>,
    work: TaskTracker,
    known: Mutex<HashMap<[u8; 32], Arc<Known>>>,
    looking: Semaphore,
}

/// What of a key outlives its being read again.
pub(super) struct Standing {
    pub(super) windows: Arc<Windows>,
    pub(super) places: Arc<Semaphore>,
    used_at: AtomicI64,
    log_level: Arc<AtomicU8>,
}

pub(super) struct Known {
    pub(super) client: Client,
    pub(super) standing: Arc<Standing>,
    digest: [u8; 32],
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    read_at: Instant,
}

/// Why there is no client.
pub(super) enum NotLetIn {
    Refused(Refused),
    Store(StoreError),
}

impl From<StoreError> for NotLetIn {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Clients {
    pub(super) fn new(store: Store, gateway: &str, work: TaskTracker) -> Self {
        Self { store, gateway: Arc::from(gateway), work, known: Mutex::default(), looking: Semaphore::new(LOOKED_UP_MAX) }
    }

    /// The client whose key a request shows: in one `Authorization: Bearer`, and nowhere else.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<Known>, NotLetIn> {
        let refused = |fault, key| NotLetIn::Refused(Refused { fault, key });
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = shown.next() else { return Err(refused(KeyFault::Missing, None)) };
        if shown.next().is_some() {
            return Err(refused(KeyFault::Differing, None));
        }
        let token = bearer(value.as_bytes());
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(refused(KeyFault::Unknown, None));
        }
        let known = self.look_up(key_digest(token)).await?;
        let id = known.client.key;
        judge_key(&known.client.scope, known.expires_at, known.revoked_at, peer, now)
            .map_err(|fault| refused(fault, Some(id)))?;
        self.touch(&known, now);
        Ok(known)
    }

    async fn look_up(&self, digest: [u8; 32]) -> Result<Arc<Known>, NotLetIn> {
        let before = self.known.lock().get(&digest).cloned();
        // What an attacker could learn from the look-up is about digests, which can't be chosen; which it is, constant time says.
        let before = before.filter(|known| bool::from(known.digest.ct_eq(&digest)));
        if let Some(known) = before.as_ref().filter(|known| known.read_at.elapsed() < BELIEVED) {
            return Ok(Arc::clone(known));
        }
        let _place = self.looking.acquire().await;
        let read_at = Instant::now();
        let refused = |fault, key| Err(NotLetIn::Refused(Refused { fault, key }));
        let row = self.store.key_of(digest).await?.filter(|row| bool::from(row.digest.ct_eq(&digest)));
        let Some(row) = row else {
            self.known.lock().remove(&digest);
            return refused(KeyFault::Unknown, None);
        };
        if !matches!(row.purpose, KeyPurpose::Mcp | KeyPurpose::McpSession) {
            return refused(KeyFault::Purpose, Some(row.id));
        }
        // A limit that this version can't read must not be ignored, so neither is the key taken.
        let id = row.id;
        let Some(known) = self.known_of(row, before.as_deref(), read_at) else { return refused(KeyFault::Unknown, Some(id)) };
        let mut all = self.known.lock();
        if all.len() >= KNOWN_MAX && !all.contains_key(&digest) {
            all.clear();
        }
        all.insert(digest, Arc::clone(&known));
        Ok(known)
    }

    fn known_of(&self, row: KeyRow, before: Option<&Known>, read_at: Instant) -> Option<Arc<Known>> {
        let standing = before.map(|before| Arc::clone(&before.standing)).unwrap_or_else(|| {
            Arc::new(Standing {
                windows: Arc::new(Windows::new(&self.gateway)),
                places: Arc::new(Semaphore::new(AT_ONCE_MAX)),
                used_at: AtomicI64::new(row.used_at.map_or(0, |at| at.0)),
                log_level: Arc::new(AtomicU8::new(LogLevel::INFO.0)),
            })
        });
        let (scope, windows) = (Arc::new(row.scope?), Arc::clone(&standing.windows));
        let log_level = Arc::clone(&standing.log_level);
        let can_ask = row.purpose == KeyPurpose::Mcp;
        let client = Client { key: row.id, name: row.name.into(), can_ask, user: row.user, scope, windows, log_level };
        let (digest, expires_at, revoked_at) = (row.digest, row.expires_at, row.revoked_at);
        Some(Arc::new(Known { client, standing, digest, expires_at, revoked_at, read_at }))
    }

    /// Something of this user's keys has changed here: they are read again. Other gateways see it in their own time.
    pub(super) fn forget(&self, user: UserId) {
        self.known.lock().retain(|_, known| known.client.user != user);
    }

    /// The same where only the key is known.
    pub(super) fn forget_key(&self, key: KeyId) {
        self.known.lock().retain(|_, known| known.client.key != key);
    }

    fn touch(&self, known: &Known, now: Timestamp) {
        let last = known.standing.used_at.load(Ordering::Relaxed);
        let due = now.0.saturating_sub(last) >= TOUCH_SECS * 1_000_000;
        if !due || known.standing.used_at.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let (store, used) = (self.store.clone(), vec![(known.client.key, now)]);
        self.work.spawn(async move {
            if let Err(error) = store.touch_keys(used).await {
                tracing::warn!(%error, "when a key was last used could not be written down");
            }
        });
    }
}

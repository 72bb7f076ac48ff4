//! `/v1/`: the API for host applications' back ends. Whose key a request shows is found here, with all that holds for keys; what it
//! asks for is answered by whoever was handed over ([`HostService`]), because this room shows nothing to people.

use super::index::{Refused, TOKEN_BYTES_MAX, bearer};
use super::{Callers, peer_of};
use crate::answer::Body;
use http::{HeaderMap, Method, Request, Response, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use policy::{HostKey, KeyFault, KeyPurpose, ShownKey, TICKET_PREFIX, Timestamp, judge_key, key_digest};
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use store::{KeyRow, StoreError};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

const PREFIX: &str = "/v1/";
/// How long what was read of a key is believed.
const BELIEVED: Duration = Duration::from_millis(500);
/// Keys remembered at a time; when there are more, all are read again.
const KNOWN_MAX: usize = 1_000;
/// Keys looked up at the same time: whoever guesses waits behind others who guess.
const LOOKED_UP_MAX: usize = 32;
/// `used_at` is written this often at most.
const TOUCH_MICROS: i64 = 60_000_000;

/// A request at `/v1/`.
#[derive(Debug)]
pub struct HostRequest {
    /// As it came.
    pub request: Request<Incoming>,
    /// Whose key it shows.
    pub key: ShownKey,
    /// Where it comes from.
    pub peer: Option<IpAddr>,
}

/// Whoever answers host applications.
pub type HostService = Arc<dyn Fn(HostRequest) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync>;

/// The keys of back ends that were shown lately, and who answers them.
#[derive(Default)]
pub(super) struct HostDoor {
    service: Option<HostService>,
    known: Mutex<HashMap<[u8; 32], Arc<Known>>>,
    looking: Looking,
}

struct Looking(Semaphore);

impl Default for Looking {
    fn default() -> Self {
        Self(Semaphore::new(LOOKED_UP_MAX))
    }
}

struct Known {
    key: Arc<HostKey>,
    digest: [u8; 32],
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    used_at: Arc<AtomicI64>,
    read_at: Instant,
}

enum NotLetIn {
    Refused(Refused),
    Store(StoreError),
}

impl From<StoreError> for NotLetIn {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl HostDoor {
    pub(super) fn with(service: HostService) -> Self {
        Self { service: Some(service), ..Self::default() }
    }

    /// Who answers a path, if it is one of theirs.
    pub(super) fn service(&self, path: &str) -> Option<HostService> {
        self.service.clone().filter(|_| path.starts_with(PREFIX))
    }
}

impl Callers {
    pub(super) async fn answer_host(&self, service: HostService, request: Request<Incoming>) -> Response<Body> {
        let peer = peer_of(&request);
        let key = match self.host_key(request.headers(), peer, self.proxy.clock.now()).await {
            Ok(key) => ShownKey::Good(key),
            Err(NotLetIn::Refused(refused)) => {
                // A browser shows a ticket, or asks with what it may come.
                if !shows_ticket(request.headers()) && request.method() != Method::OPTIONS {
                    self.write_down(refused, peer);
                }
                ShownKey::None
            }
            Err(NotLetIn::Store(error)) => {
                tracing::error!(%error, "a host's key could not be looked up");
                ShownKey::Unavailable
            }
        };
        service(HostRequest { request, key, peer }).await
    }

    /// The key in the one `Authorization: Bearer`, and nowhere else.
    async fn host_key(&self, headers: &HeaderMap, peer: Option<IpAddr>, now: Timestamp) -> Result<Arc<HostKey>, NotLetIn> {
        let refused = |fault, key| NotLetIn::Refused(Refused { fault, key });
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = shown.next() else { return Err(refused(KeyFault::Missing, None)) };
        if shown.next().is_some() {
            return Err(refused(KeyFault::Differing, None));
        }
        let token = bearer(value.as_bytes());
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || token.starts_with(TICKET_PREFIX.as_bytes()) {
            return Err(refused(KeyFault::Unknown, None));
        }
        let known = self.look_up_host(key_digest(token)).await?;
        let id = known.key.id;
        judge_key(&known.key.scope, known.expires_at, known.revoked_at, peer, now).map_err(|fault| refused(fault, Some(id)))?;
        self.touch_host(&known, now);
        Ok(Arc::clone(&known.key))
    }

    async fn look_up_host(&self, digest: [u8; 32]) -> Result<Arc<Known>, NotLetIn> {
        let refused = |fault, key| Err(NotLetIn::Refused(Refused { fault, key }));
        let before = self.hosts.known.lock().get(&digest).cloned();
        // Digests can't be chosen; which it is, constant time says.
        let before = before.filter(|known| bool::from(known.digest.ct_eq(&digest)));
        if let Some(known) = before.as_ref().filter(|known| known.read_at.elapsed() < BELIEVED) {
            return Ok(Arc::clone(known));
        }
        let _place = self.hosts.looking.0.acquire().await;
        let read_at = Instant::now();
        let row = self.proxy.store.key_of(digest).await?.filter(|row| bool::from(row.digest.ct_eq(&digest)));
        let Some(row) = row else {
            self.hosts.known.lock().remove(&digest);
            return refused(KeyFault::Unknown, None);
        };
        let (id, purpose) = (row.id, row.purpose);
        if purpose != KeyPurpose::Service {
            return refused(KeyFault::Purpose, Some(id));
        }
        // A limit that this version can't read must not be ignored, so neither is the key taken.
        let Some(known) = known_of(row, before.as_deref(), read_at) else { return refused(KeyFault::Unknown, Some(id)) };
        let mut all = self.hosts.known.lock();
        if all.len() >= KNOWN_MAX && !all.contains_key(&digest) {
            all.clear();
        }
        all.insert(digest, Arc::clone(&known));
        Ok(known)
    }

    fn touch_host(&self, known: &Known, now: Timestamp) {
        let last = known.used_at.load(Ordering::Relaxed);
        let due = now.0.saturating_sub(last) >= TOUCH_MICROS;
        if !due || known.used_at.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let (store, used) = (self.proxy.store.clone(), vec![(known.key.id, now)]);
        self.proxy.work.spawn(async move {
            if let Err(error) = store.touch_keys(used).await {
                tracing::warn!(%error, "when a key was last used could not be written down");
            }
        });
    }
}

fn known_of(row: KeyRow, before: Option<&Known>, read_at: Instant) -> Option<Arc<Known>> {
    let used = || Arc::new(AtomicI64::new(row.used_at.map_or(0, |at| at.0)));
    let used_at = before.map_or_else(used, |before| Arc::clone(&before.used_at));
    let (digest, expires_at, revoked_at) = (row.digest, row.expires_at, row.revoked_at);
    let key = Arc::new(HostKey { id: row.id, host: row.principal, scope: row.scope? });
    Some(Arc::new(Known { key, digest, expires_at, revoked_at, used_at, read_at }))
}

fn shows_ticket(headers: &HeaderMap) -> bool {
    headers.get(header::AUTHORIZATION).is_some_and(|value| bearer(value.as_bytes()).starts_with(TICKET_PREFIX.as_bytes()))
}

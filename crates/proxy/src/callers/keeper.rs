//! Keeps the index as the database has it.
//!
//! A revoked key is dead within [`POLL`] and the time of one read. A gateway that can't read the database goes on with what it
//! knows for [`STALE_MAX`]: a short failure of the database must not look like wrong keys, and a long one must not keep a
//! revoked key alive. (Calls that cost money need the database anyway.)

use super::index::{Index, Local};
use arc_swap::ArcSwap;
use policy::{Clock, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

/// Between two questions for the version.
const POLL: Duration = Duration::from_millis(250);
/// What was read longer ago is not believed any more.
const STALE_MAX: Duration = Duration::from_secs(10);
/// A read that takes longer is given up, and tried again.
const READ_WAIT: Duration = Duration::from_secs(5);
/// `used_at` is written this often at most.
const TOUCH: Duration = Duration::from_secs(60);

pub(super) struct Keeper {
    store: Store,
    clock: Arc<dyn Clock>,
    local: Local,
    index: ArcSwap<Index>,
    born: Instant,
    /// When the newest good read began, in milliseconds since `born`.
    fresh_ms: AtomicU64,
}

impl Keeper {
    /// Reads all keys once; a gateway that can't does not start.
    pub(super) async fn start(store: Store, clock: Arc<dyn Clock>, local: Local) -> Result<(Self, i64), StoreError> {
        let (born, (version, rows)) = (Instant::now(), store.model_keys().await?);
        let index = ArcSwap::from_pointee(Index::new(rows, &local, &Index::default()));
        Ok((Self { store, clock, local, index, born, fresh_ms: AtomicU64::new(0) }, version))
    }

    /// The keys, unless what is known is too old.
    pub(super) fn index(&self) -> Option<arc_swap::Guard<Arc<Index>>> {
        let age = self.since_born().saturating_sub(self.fresh_ms.load(Ordering::Relaxed));
        (Duration::from_millis(age) <= STALE_MAX).then(|| self.index.load())
    }

    fn since_born(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Follows the database until `stop`; at the end it writes down what was used.
    pub(super) async fn follow(&self, mut version: i64, stop: CancellationToken) {
        let (mut touched, mut touched_at, mut failing) = (self.clock.now(), Instant::now(), false);
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => break,
            }
            let began = self.since_born();
            match tokio::time::timeout(READ_WAIT, self.refresh(version)).await {
                Ok(Ok(seen)) => {
                    self.fresh_ms.store(began, Ordering::Relaxed);
                    (version, failing) = (seen, false);
                }
                failed if !failing => {
                    let error = failed.map_or_else(|_| "it does not answer".to_owned(), |read| format!("{:?}", read.err()));
                    tracing::error!(error, "keys of callers can't be read; those known stay good for 10 seconds");
                    failing = true;
                }
                _ => {}
            }
            if touched_at.elapsed() >= TOUCH {
                (touched, touched_at) = (self.touch(touched).await, Instant::now());
            }
        }
        self.touch(touched).await;
    }

    async fn refresh(&self, version: i64) -> Result<i64, StoreError> {
        if self.store.keys_version().await? == version {
            return Ok(version);
        }
        let (version, rows) = self.store.model_keys().await?;
        self.index.store(Arc::new(Index::new(rows, &self.local, &self.index.load())));
        Ok(version)
    }

    /// Writes down what was used since; returns until when that is done.
    async fn touch(&self, since: Timestamp) -> Timestamp {
        let used = self.index.load().used_since(since);
        let Some(newest) = used.iter().map(|(_, at)| *at).max() else { return since };
        match self.store.touch_keys(used).await {
            Ok(()) => newest,
            Err(error) => {
                tracing::warn!(%error, "when keys were last used could not be written down");
                since
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{KeyScope, key_digest};
    use store::{CORE, KeySource, NewKey};

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            Timestamp(1_800_000_000_000_000)
        }
    }

    #[tokio::test]
    async fn without_a_database_keys_are_believed_for_ten_seconds() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("a.db").display());
        let store = Store::open(&url, &[&CORE]).await.expect("a store");
        let local = Local { environment: None, internal: KeyScope::default() };
        let (mut keeper, version) = Keeper::start(store.clone(), Arc::new(Fixed), local).await.expect("it starts");
        assert!(keeper.index().is_some());
        let before = |secs| Instant::now().checked_sub(Duration::from_secs(secs)).expect("the machine runs for longer");
        keeper.born = before(9);
        assert!(keeper.index().is_some(), "a short failure is nobody's wrong key");
        keeper.born = before(11);
        assert!(keeper.index().is_none(), "what was read longer ago says nothing about now");
        keeper.fresh_ms.store(5_000, Ordering::Relaxed);
        assert!(keeper.index().is_some(), "six seconds ago");
        let new = NewKey {
            digest: key_digest(b"token"),
            principal: "shop".to_owned(),
            name: "n".to_owned(),
            scope: KeyScope::default(),
            source: KeySource::Made,
            expires_at: None,
        };
        store.create_key(new, Fixed.now()).await.expect("a key");
        let seen = keeper.refresh(version).await.expect("a read");
        assert!(seen > version && keeper.refresh(seen).await.expect("a read") == seen);
    }
}

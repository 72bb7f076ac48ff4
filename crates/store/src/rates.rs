//! Rates: what is owed to each limit, where every request that counts can reach it.
//!
//! On SQLite there is one gateway, and the states are in its memory, with a copy in the database that is at most a second old. On
//! PostgreSQL they are rows that all gateways share, read and written under their locks, by the database's clock. What a state
//! means is said once, in `policy::decide_rates`.
//!
//! Invariant: a request changes all of its states or none, and no other request sees some of them changed.

use crate::engine::Engine;
use crate::{Store, StoreError, Tx, statements};
use parking_lot::{Mutex, MutexGuard};
use policy::{RateCheck, RateRefusal, RateStanding, Timestamp, decide_rates};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

statements! { ALL:
    /// Makes the row if there is none, locks it, and reads what was committed last.
    LOCK = "INSERT INTO rate_states (name, state) VALUES (?1, 0) \
            ON CONFLICT (name) DO UPDATE SET state = rate_states.state RETURNING state";
    KEEP = "UPDATE rate_states SET state = ?2 WHERE name = ?1";
    COPY = "INSERT INTO rate_states (name, state) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET state = excluded.state";
    LIST = "SELECT name, state FROM rate_states WHERE state > ?1 ORDER BY state DESC LIMIT ?2";
    SWEEP = "DELETE FROM rate_states WHERE state <= ?1";
}

/// PostgreSQL's own. A commit that a power cut takes back may admit a request again, which is not worth a wait for the disk.
const DATABASE_TIME: crate::Statement = crate::Statement(
    "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT), set_config('synchronous_commit', 'off', true)",
);

const SHARDS: usize = 16;
const SHARD_STATES_MAX: usize = 16_384;
const STATES_MAX: i64 = 262_144;
/// How old the copy in the database may become.
const COPY_PAUSE: Duration = Duration::from_secs(1);
/// How often what is paid off is forgotten.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);

/// Why a request may not come.
#[derive(Debug, thiserror::Error)]
pub enum RateError {
    /// A limit is reached.
    #[error("{}", .0.code.sentence())]
    Refused(RateRefusal),
    /// It could not be looked up, so it must not come.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The states of all limits. Cheap to clone.
#[derive(Clone)]
pub struct Rates {
    store: Store,
    /// None where the database itself has them.
    memory: Option<Arc<Memory>>,
}

impl Rates {
    /// Those of a database: what a former life of this gateway left of them counts on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        let memory = match &store.engine {
            Engine::Postgres(_) => None,
            Engine::Sqlite(_) => {
                let kept = store.read(move |tx| {
                    let rows = tx.query(LIST, &[now.0.into(), STATES_MAX.into()])?;
                    rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect::<Result<Vec<_>, StoreError>>()
                });
                Some(Arc::new(Memory::of(kept.await?, now)))
            }
        };
        Ok(Self { store: store.clone(), memory })
    }

    /// Counts a request in all of its limits, or refuses it and counts it in none. The names must differ. Returns how the tightest
    /// limit stands. `now` counts only where the states are in memory.
    ///
    /// # Errors
    /// [`RateError`].
    pub async fn admit(&self, mut checks: Vec<RateCheck>, now: Timestamp) -> Result<Option<RateStanding>, RateError> {
        match &self.memory {
            Some(memory) => memory.admit(&checks, now).map_err(RateError::Refused),
            None => {
                // One order for everybody, so that nobody waits in a circle.
                checks.sort_by(|a, b| a.name.cmp(&b.name));
                self.store.engine.write_in_turns(move |tx| admit_in(tx, &checks)).await
            }
        }
    }

    /// Keeps the copy in the database and forgets what is paid off, until `stop`; then copies a last time.
    pub async fn keep(self, now: impl Fn() -> Timestamp + Send, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut swept = std::time::Instant::now();
        loop {
            let stopped = tokio::select! {
                () = &mut stop => true,
                () = self.something_changed() => false,
            };
            let due = swept.elapsed() >= SWEEP_PAUSE;
            if let Err(error) = self.copy(now(), due).await {
                tracing::error!(%error, "the rates could not be written down; a restart now would forget some");
            }
            if due {
                swept = std::time::Instant::now();
            }
            if stopped {
                return;
            }
        }
    }

    /// Until there is something new to copy and the last copy is old enough, or something may have to be forgotten.
    async fn something_changed(&self) {
        match &self.memory {
            None => tokio::time::sleep(SWEEP_PAUSE).await,
            Some(memory) => {
                tokio::time::sleep(COPY_PAUSE).await;
                // A change, or the time to forget what is paid off.
                let _ = tokio::time::timeout(SWEEP_PAUSE, memory.changed.notified()).await;
            }
        }
    }

    async fn copy(&self, now: Timestamp, sweep: bool) -> Result<(), StoreError> {
        let changed = self.memory.as_ref().map(|memory| memory.take_changed(now, sweep)).unwrap_or_default();
        if changed.is_empty() && !sweep {
            return Ok(());
        }
        let (inside, is_shared) = (Arc::new(changed), self.memory.is_none());
        let changed = Arc::clone(&inside);
        let written = self.store.write(move |tx| {
            for (name, state) in inside.iter() {
                tx.execute(COPY, &[name.into(), (*state).into()])?;
            }
            if sweep {
                let now = if is_shared { tx.query_one(DATABASE_TIME, &[])?.int(0)? } else { now.0 };
                tx.execute(SWEEP, &[now.into()])?;
            }
            Ok::<_, StoreError>(())
        });
        let written = written.await;
        if let (Err(_), Some(memory)) = (&written, &self.memory) {
            memory.mark_changed(&changed);
        }
        written
    }
}

fn admit_in(tx: &mut dyn Tx, checks: &[RateCheck]) -> Result<Option<RateStanding>, RateError> {
    let mut with_states = Vec::with_capacity(checks.len());
    for check in checks {
        with_states.push((check, tx.query_one(LOCK, &[(&check.name).into()])?.int(0)?));
    }
    // Once the rows are ours: a clock that was read before would be behind what others wrote meanwhile.
    let now = Timestamp(tx.query_one(DATABASE_TIME, &[])?.int(0)?);
    let (states, standing) = decide_rates(&with_states, now).map_err(RateError::Refused)?;
    for (check, state) in checks.iter().zip(states) {
        tx.execute(KEEP, &[(&check.name).into(), state.into()])?;
    }
    Ok(standing)
}

#[derive(Clone, Copy)]
struct State {
    paid_off_at: i64,
    /// Whether the database does not have it yet.
    is_new: bool,
}

#[derive(Default)]
struct Shard(HashMap<String, State>);

/// States in memory, bounded: in shards, so that requests that share no limit don't wait for each other.
struct Memory {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    changed: Notify,
}

impl Memory {
    fn of(kept: Vec<(String, i64)>, now: Timestamp) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let memory = Self { shards, hasher: RandomState::new(), changed: Notify::new() };
        for (name, paid_off_at) in kept {
            if let Some(shard) = memory.shards.get(memory.place_of(&name)) {
                shard.lock().keep(&name, State { paid_off_at, is_new: false }, now);
            }
        }
        memory
    }

    fn place_of(&self, name: &str) -> usize {
        usize::try_from(self.hasher.hash_one(name)).unwrap_or(usize::MAX) % SHARDS
    }

    fn admit(&self, checks: &[RateCheck], now: Timestamp) -> Result<Option<RateStanding>, RateRefusal> {
        let places: Vec<usize> = checks.iter().map(|check| self.place_of(&check.name)).collect();
        // In ascending order, so that nobody waits in a circle; all at once, so that nobody sees half of it.
        let mut ordered = places.clone();
        ordered.sort_unstable();
        ordered.dedup();
        let lock = |place: usize| Some((place, self.shards.get(place)?.lock()));
        let mut held: Vec<(usize, MutexGuard<'_, Shard>)> = ordered.into_iter().filter_map(lock).collect();
        let state_of = |(check, place): (&'_ RateCheck, &usize)| {
            let shard = held.iter().find(|(held, _)| held == place);
            shard.and_then(|(_, shard)| shard.0.get(&check.name)).map_or(0, |state| state.paid_off_at)
        };
        let states: Vec<i64> = checks.iter().zip(&places).map(state_of).collect();
        let with_states: Vec<(&RateCheck, i64)> = checks.iter().zip(states).collect();
        let (states, standing) = decide_rates(&with_states, now)?;
        for ((check, place), paid_off_at) in checks.iter().zip(&places).zip(states) {
            if let Some((_, shard)) = held.iter_mut().find(|(held, _)| held == place) {
                shard.keep(&check.name, State { paid_off_at, is_new: true }, now);
            }
        }
        drop(held);
        self.changed.notify_one();
        Ok(standing)
    }

    /// What the database does not have yet; from now on it is taken to have it.
    fn take_changed(&self, now: Timestamp, sweep: bool) -> Vec<(String, i64)> {
        let mut changed = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            for (name, state) in shard.0.iter_mut().filter(|(_, state)| state.is_new) {
                changed.push((name.clone(), state.paid_off_at));
                state.is_new = false;
            }
            if sweep {
                shard.forget_until(now.0);
            }
        }
        changed
    }

    fn mark_changed(&self, names: &[(String, i64)]) {
        for (name, _) in names {
            if let Some(shard) = self.shards.get(self.place_of(name))
                && let Some(state) = shard.lock().0.get_mut(name)
            {
                state.is_new = true;
            }
        }
        self.changed.notify_one();
    }
}

impl Shard {
    fn keep(&mut self, name: &str, state: State, now: Timestamp) {
        if let Some(known) = self.0.get_mut(name) {
            *known = state;
            return;
        }
        if self.0.len() >= SHARD_STATES_MAX {
            self.make_room(now);
        }
        self.0.insert(name.to_owned(), state);
    }

    /// Forgets what is paid off, and where that is not enough the quarter that owes least.
    fn make_room(&mut self, now: Timestamp) {
        self.forget_until(now.0);
        if self.0.len() >= SHARD_STATES_MAX {
            let mut moments: Vec<i64> = self.0.values().map(|state| state.paid_off_at).collect();
            let (_, least, _) = moments.select_nth_unstable(SHARD_STATES_MAX / 4);
            self.forget_until(*least);
        }
    }

    fn forget_until(&mut self, moment: i64) {
        self.0.retain(|_, state| state.paid_off_at > moment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{DenialCode, RateLimit};

    const SECOND: i64 = 1_000_000;

    fn check(name: &str, limit: RateLimit) -> RateCheck {
        RateCheck { name: name.to_owned(), limit, weight_millis: 1000, code: DenialCode::RateUser }
    }

    fn states(memory: &Memory) -> usize {
        memory.shards.iter().map(|shard| shard.lock().0.len()).sum()
    }

    #[test]
    fn memory_is_bounded_and_forgets_first_what_owes_nothing() {
        let memory = Memory::of(Vec::new(), Timestamp(0));
        let heavy = check("heavy", RateLimit::per_day(1));
        memory.admit(std::slice::from_ref(&heavy), Timestamp(0)).expect("new");
        let all = SHARDS * SHARD_STATES_MAX;
        for number in 0..all + all / 2 {
            memory.admit(&[check(&number.to_string(), RateLimit::per_minute(60))], Timestamp(0)).expect("each is new");
        }
        assert!(states(&memory) <= all, "{}", states(&memory));
        assert!(memory.admit(&[heavy], Timestamp(SECOND)).is_err(), "who owes most is forgotten last");
        memory.take_changed(Timestamp(2 * SECOND), true);
        assert_eq!(states(&memory), 1, "what is paid off is forgotten");
    }

    #[test]
    fn a_refusal_changes_nothing() {
        let memory = Memory::of(vec![("full".to_owned(), 60 * SECOND)], Timestamp(0));
        let (full, free) = (check("full", RateLimit::per_minute(1)), check("free", RateLimit::per_minute(1)));
        for _ in 0..3 {
            let refused = memory.admit(&[free.clone(), full.clone()], Timestamp(SECOND)).expect_err("one is used up");
            assert_eq!(refused.retry_after_secs(), 59);
        }
        assert!(memory.take_changed(Timestamp(SECOND), false).is_empty());
        memory.admit(&[free], Timestamp(SECOND)).expect("nothing was taken from it");
        let changed = memory.take_changed(Timestamp(SECOND), false);
        assert_eq!(changed, [("free".to_owned(), 61 * SECOND)]);
        assert!(memory.take_changed(Timestamp(SECOND), false).is_empty(), "once");
        memory.mark_changed(&changed);
        assert_eq!(memory.take_changed(Timestamp(SECOND), false), changed, "unless it could not be written");
    }
}

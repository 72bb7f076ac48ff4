//! Agents that are started before anybody needs them, because their own start is what people wait for.
//!
//! An agent in the pool belongs to nobody. Until it is claimed its listeners answer which tools there are and refuse everything
//! else; it is claimed once and never comes back; it is not older than ten minutes. What it was started with decides who may
//! have it, so a changed prompt, model, tool list or limit needs other agents.

use crate::agents::{Agent, Kind};
use crate::{Parts, boot};
use parking_lot::Mutex;
use proxy::Discovery;
use sandbox::SandboxError;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a start may take until the agent has asked for its tools.
const BOOT_WAIT: Duration = Duration::from_secs(20);
/// Claims of the last minute decide how many agents are kept ready ...
const DEMAND_WINDOW: Duration = Duration::from_secs(60);
/// ... one, and one more for each so many claims.
const CLAIMS_PER_AGENT: usize = 8;
/// The run that has just claimed an agent has the processors first.
const REFILL_PAUSE: Duration = Duration::from_millis(500);
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// After a start that failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);
/// Claims remembered of one kind.
const CLAIMS_REMEMBERED_MAX: usize = 256;

/// An agent that belongs to nobody yet.
struct Warm {
    agent: Agent,
    since: Instant,
}

impl Warm {
    /// One that ended or spoke before anybody said a word is not trusted with a run.
    fn is_good(&mut self, age_max: Duration) -> bool {
        self.since.elapsed() < age_max && self.agent.is_quiet()
    }
}

/// All agents of one kind.
struct Shelf {
    kind: Kind,
    ready: VecDeque<Warm>,
    booting: usize,
    claims: VecDeque<Instant>,
}

impl Shelf {
    /// How many of this kind the last minute asks for.
    fn wanted(&self) -> usize {
        let recent = self.claims.iter().filter(|claim| claim.elapsed() < DEMAND_WINDOW).count();
        1 + recent.div_ceil(CLAIMS_PER_AGENT)
    }

    fn lacks(&self) -> bool {
        self.ready.len() + self.booting < self.wanted()
    }
}

/// Agents ready to be claimed. Invariant: none of them has a run bound.
pub(crate) struct Pool {
    parts: Arc<Parts>,
    shelves: Mutex<Vec<Shelf>>,
    claimed: Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Pool {
    /// A pool that fills itself, for each app with and without changes.
    pub(crate) fn start(parts: Arc<Parts>) -> Arc<Self> {
        // Of one without tools nothing tells that it is ready. With a skill it is started when somebody chose that.
        let apps = parts.apps.values().map(|chosen| &chosen.app.manifest);
        let apps = apps.filter(|manifest| manifest.mcp.is_some() && manifest.skill.is_none()).map(policy::Manifest::key);
        let apps = apps.filter_map(|key| parts.apps.get(&key));
        let kinds = apps.flat_map(|chosen| [true, false].map(|writes| boot::kind(&parts, &chosen.app, writes)));
        let empty = |kind| Shelf { kind, ready: VecDeque::new(), booting: 0, claims: VecDeque::new() };
        let shelves = Mutex::new(kinds.map(empty).collect());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let pool = Arc::new(Self { parts, shelves, claimed: Notify::new(), tasks, stop });
        if pool.parts.settings.warm_agents_max > 0 {
            pool.tasks.spawn(Arc::clone(&pool).keep_filled());
        }
        pool
    }

    /// An agent of this kind, if one is ready. The caller binds a run to it or destroys it.
    pub(crate) async fn claim(&self, kind: &Kind) -> Option<Agent> {
        loop {
            let mut warm = self.take(kind)?;
            if !warm.is_good(self.parts.settings.keeping.age_max) {
                warm.agent.destroy().await;
            } else if warm.agent.passes_check(&self.parts.proxy).await {
                return Some(warm.agent);
            } else {
                // One that does not answer may not end quickly either, and somebody is waiting.
                self.tasks.spawn(warm.agent.destroy());
            }
        }
    }

    fn take(&self, kind: &Kind) -> Option<Warm> {
        let mut shelves = self.shelves.lock();
        let shelf = shelves.iter_mut().find(|shelf| shelf.kind == *kind)?;
        if shelf.claims.len() >= CLAIMS_REMEMBERED_MAX {
            shelf.claims.pop_front();
        }
        shelf.claims.push_back(Instant::now());
        self.claimed.notify_one();
        shelf.ready.pop_front()
    }

    /// How many agents are ready.
    pub(crate) fn ready(&self) -> usize {
        self.shelves.lock().iter().map(|shelf| shelf.ready.len()).sum()
    }

    /// Ends the pool and everything in it.
    pub(crate) async fn destroy_all(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let all: Vec<Warm> = self.shelves.lock().iter_mut().flat_map(|shelf| shelf.ready.drain(..)).collect();
        futures_util::future::join_all(all.into_iter().map(|warm| warm.agent.destroy())).await;
    }

    async fn keep_filled(self: Arc<Self>) {
        loop {
            let pause = match self.look_after().await {
                Ok(()) => LOOK_PAUSE,
                Err(error) => {
                    tracing::warn!(%error, "no agent could be started ahead of need; the next message starts its own");
                    FAILURE_PAUSE
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.claimed.notified(), if pause == LOOK_PAUSE => {
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(REFILL_PAUSE) => {}
                    }
                }
            }
        }
    }

    /// Replaces what is old or gone, then starts what is missing, one after the other.
    async fn look_after(&self) -> Result<(), SandboxError> {
        let scarce = !self.parts.enough_memory();
        for warm in self.sort_out(scarce) {
            warm.agent.destroy().await;
        }
        while !self.stop.is_cancelled() && self.parts.enough_memory() {
            let Some((kind, gives_way)) = self.begin_boot() else { break };
            if let Some(warm) = gives_way {
                warm.agent.destroy().await;
            }
            let booted = self.boot(&kind).await;
            let (agent, failed) = booted.map_or_else(|error| (None, Some(error)), |agent| (agent, None));
            self.end_boot(&kind, agent);
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes out what can't be handed over: too old, ended, speaking, or all when the host is short of memory.
    fn sort_out(&self, all: bool) -> Vec<Warm> {
        let mut shelves = self.shelves.lock();
        let mut out = Vec::new();
        for shelf in shelves.iter_mut() {
            for mut warm in std::mem::take(&mut shelf.ready) {
                let good = !all && warm.is_good(self.parts.settings.keeping.age_max);
                if good { shelf.ready.push_back(warm) } else { out.push(warm) }
            }
        }
        out
    }

    /// Starts an agent and waits until it has been told its tools; none when the pool is being ended.
    async fn boot(&self, kind: &Kind) -> Result<Option<Agent>, SandboxError> {
        let Some(chosen) = self.parts.apps.get(&kind.app) else { return Ok(None) };
        let Some(options) = boot::options(&self.parts, &kind.app, kind.writes, Vec::new()) else { return Ok(None) };
        let discovery = Arc::new(Discovery::new(Arc::clone(&chosen.app), kind.writes));
        let agent = boot::start(&self.parts, &options, |gate| gate.bind_discovery(Arc::clone(&discovery))).await?;
        let mut ending = agent.life.ending();
        let failed = tokio::select! {
            () = discovery.listed() => return Ok(Some(agent)),
            () = self.stop.cancelled() => None,
            exit = ending.exited() => Some(SandboxError::Ended(format!("{}; {}", exit.reason, exit.stderr_tail.trim()))),
            () = tokio::time::sleep(BOOT_WAIT) => Some(SandboxError::Slow(BOOT_WAIT.as_secs())),
        };
        agent.destroy().await;
        failed.map_or(Ok(None), Err)
    }

    /// The kind that lacks an agent most urgently. Where there are as many as allowed, one of a kind that was asked for less
    /// recently gives way, or none is started.
    fn begin_boot(&self) -> Option<(Kind, Option<Warm>)> {
        let mut shelves = self.shelves.lock();
        let there: usize = shelves.iter().map(|shelf| shelf.ready.len() + shelf.booting).sum();
        let asked = |shelf: &Shelf| shelf.claims.back().copied();
        let lacking = shelves.iter().filter(|shelf| shelf.lacks()).rev().max_by_key(|shelf| asked(shelf))?;
        let (kind, urgency) = (lacking.kind.clone(), asked(lacking));
        let mut gives_way = None;
        if there >= self.parts.settings.warm_agents_max {
            let others = shelves.iter_mut().filter(|shelf| asked(shelf) < urgency && !shelf.ready.is_empty());
            gives_way = Some(others.min_by_key(|shelf| asked(shelf))?.ready.pop_front()?);
        }
        shelves.iter_mut().filter(|shelf| shelf.kind == kind).for_each(|shelf| shelf.booting += 1);
        Some((kind, gives_way))
    }

    fn end_boot(&self, kind: &Kind, booted: Option<Agent>) {
        let mut shelves = self.shelves.lock();
        if let Some(shelf) = shelves.iter_mut().find(|shelf| shelf.kind == *kind) {
            shelf.booting = 0;
            shelf.ready.extend(booted.map(|agent| Warm { agent, since: Instant::now() }));
        }
    }
}

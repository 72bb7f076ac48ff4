//! Agents at rest: kept for a follow-up message of the same conversation, with everything denied meanwhile.

use crate::limits;
use futures_util::FutureExt;
use parking_lot::Mutex;
use policy::{ConversationId, Standing, Timestamp, UserId, first_to_go};
use proxy::{Gate, Proxy, SelfCheck};
use sandbox::{Check, Checked, Claude, Life, Usage};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What an agent was started with: another app, model, tool list or switch needs another agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) app: String,
    pub(crate) writes: bool,
    /// Digest of the arguments and environment it was started with, but for what was said before.
    pub(crate) boot: [u8; 32],
}

/// A running agent of one conversation.
pub(crate) struct Agent {
    pub(crate) claude: Claude,
    pub(crate) gate: Arc<Gate>,
    pub(crate) life: Life,
    /// Ends the listeners.
    pub(crate) listeners: CancellationToken,
    /// Done when the listeners are closed.
    pub(crate) served: JoinHandle<()>,
    /// What it had used at the end of its last run.
    pub(crate) used: Usage,
    /// What was told to its conversation before this moment it knows.
    pub(crate) since: Timestamp,
}

impl Agent {
    /// Whether it lives and has not said anything. Nobody asked it anything, so it has nothing to say: one that ended a turn
    /// nobody began, closed its output, or asked for too much, is not trusted with another.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.gate.flood().is_none()
            && self.claude.next().now_or_never().is_none()
            && self.life.ending().exited().now_or_never().is_none()
    }

    /// Whether its network is what it was built to be, tried right now. Meanwhile and afterwards nothing is bound to it.
    pub(crate) async fn passes_check(&self, proxy: &Proxy) -> bool {
        let begun = Instant::now();
        let checked = self.check(proxy).await;
        self.gate.unbind();
        tracing::debug!(sandbox = %self.gate.sandbox, us = begun.elapsed().as_micros(), "network checked");
        if let Err(reason) = &checked {
            let sandbox = self.gate.sandbox;
            tracing::warn!(%sandbox, reason, "an agent's network failed its check, so the agent is replaced; if that repeats, stop the gateway and find out why");
        }
        checked.is_ok()
    }

    async fn check(&self, proxy: &Proxy) -> Result<(), String> {
        let check = Arc::new(SelfCheck::new()?);
        let proxy::Trial { address, number, closed_port } = check.trial(proxy).ok_or("the gateway has no address for itself")?;
        self.gate.bind_check(Arc::clone(&check));
        let tried = self.life.check(Check { address, number, closed_port }).await;
        let Checked { own, denied, closed } = tried.map_err(|error| error.to_string())?;
        check.judge(&own, &denied, closed)
    }

    /// Denies everything, then destroys it; returns when nothing is left.
    pub(crate) async fn destroy(self) {
        self.gate.unbind();
        self.listeners.cancel();
        let Self { claude, life, served, .. } = self;
        drop(claude);
        life.destroy().await;
        let _ = served.await;
    }
}

/// An agent at rest.
pub(crate) struct Parked {
    pub(crate) user: UserId,
    pub(crate) standing: Standing,
    pub(crate) conversation: ConversationId,
    pub(crate) kind: Kind,
    pub(crate) agent: Agent,
}

impl Parked {
    pub(crate) async fn destroy(self) {
        self.agent.destroy().await;
    }
}

struct Slot {
    parked: Parked,
    since: Instant,
}

/// All agents at rest. Invariant: none of them has a run bound.
pub(crate) struct Agents {
    slots: Arc<Mutex<Vec<Slot>>>,
    idle: Duration,
    max: usize,
    /// Processor time that an agent at rest may use.
    cpu: Duration,
    /// One task for each agent at rest, which ends it when its time is over.
    timers: TaskTracker,
    stop: CancellationToken,
}

impl Agents {
    pub(crate) fn new(idle: Duration, max: usize, cpu: Duration) -> Self {
        let (timers, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { slots: Arc::new(Mutex::new(Vec::new())), idle, max, cpu, timers, stop }
    }

    /// The agent of this conversation, if it is there, of the right kind, and what it was. Any other one is destroyed.
    pub(crate) async fn take(&self, user: UserId, conversation: ConversationId, kind: &Kind, proxy: &Proxy) -> Option<Agent> {
        let mut found = {
            let mut slots = self.slots.lock();
            let at = slots.iter().position(|slot| slot.parked.conversation == conversation && slot.parked.user == user)?;
            slots.swap_remove(at).parked
        };
        if found.kind == *kind && found.agent.is_quiet() {
            if found.agent.passes_check(proxy).await {
                return Some(found.agent);
            }
            // One that does not answer may not end quickly either, and somebody is waiting.
            self.timers.spawn(found.destroy());
            return None;
        }
        found.destroy().await;
        None
    }

    /// Keeps an agent for its idle window; one gives way when there are too many.
    pub(crate) async fn park(&self, parked: Parked) {
        let (conversation, sandbox) = (parked.conversation, parked.agent.gate.sandbox);
        let (gate, meter) = (Arc::clone(&parked.agent.gate), parked.agent.life.meter());
        let surplus = {
            let mut slots = self.slots.lock();
            slots.push(Slot { parked, since: Instant::now() });
            (slots.len() > self.max).then(|| one_less(&mut slots)).flatten()
        };
        if let Some(slot) = surplus {
            slot.parked.destroy().await;
        }
        let (slots, idle, cpu, stop) = (Arc::clone(&self.slots), self.idle, self.cpu, self.stop.clone());
        self.timers.spawn(async move {
            let reached = tokio::select! {
                () = tokio::time::sleep(idle) => None,
                code = limits::restless(&gate, &meter, cpu) => Some(code),
                () = stop.cancelled() => return,
            };
            let over = {
                let mut slots = slots.lock();
                let is_this = |slot: &Slot| slot.parked.conversation == conversation && slot.parked.agent.gate.sandbox == sandbox;
                let at = slots.iter().position(|slot| is_this(slot) && (reached.is_some() || slot.since.elapsed() >= idle));
                at.map(|at| slots.swap_remove(at))
            };
            if let (Some(code), Some(_)) = (reached, &over) {
                tracing::warn!(%sandbox, %code, "an agent at rest did too much and is ended");
            }
            if let Some(slot) = over {
                slot.parked.destroy().await;
            }
        });
    }

    /// Ends all of a user's.
    pub(crate) async fn forget(&self, user: UserId) {
        let gone: Vec<Slot> = {
            let mut slots = self.slots.lock();
            let (gone, kept) = std::mem::take(&mut *slots).into_iter().partition(|slot| slot.parked.user == user);
            *slots = kept;
            gone
        };
        for slot in gone {
            slot.parked.destroy().await;
        }
    }

    /// Ends one of them, to make room for others' work.
    pub(crate) async fn give_way(&self) {
        let given = one_less(&mut self.slots.lock());
        if let Some(slot) = given {
            tracing::info!(sandbox = %slot.parked.agent.gate.sandbox, "memory is short, so an agent at rest was ended");
            slot.parked.destroy().await;
        }
    }

    /// Destroys all, and waits for those that are being destroyed already.
    pub(crate) async fn destroy_all(&self) {
        self.stop.cancel();
        self.timers.close();
        let all: Vec<Slot> = std::mem::take(&mut *self.slots.lock());
        futures_util::future::join_all(all.into_iter().map(|slot| slot.parked.destroy())).await;
        self.timers.wait().await;
    }
}

fn one_less(slots: &mut Vec<Slot>) -> Option<Slot> {
    let first = first_to_go(slots.iter().map(|slot| (slot.parked.standing, slot.since.elapsed())))?;
    Some(slots.swap_remove(first))
}

impl crate::Runs {
    /// The servers of all apps' tools.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<proxy::mcp::upstream::McpUpstream>> {
        self.parts.apps.values().filter_map(|app| app.app.upstream.as_ref())
    }
}

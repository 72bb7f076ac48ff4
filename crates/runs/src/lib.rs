//! Conducts: one run from a person's message to its end. The only place where sandbox, proxy and store meet.
//!
//! A run is begun in the database, its listeners are bound, the message goes to the agent, and what the proxy sees pass is kept
//! and shown. On every way out the listeners are unbound, open work is settled, and the run is ended in the database.
//! This crate decides nothing about permissions (`policy`) and shows nothing to people (`web`).

mod agents;
mod app;
mod boot;
mod conduct;
mod decide;
mod ending;
mod event;
mod feed;
mod hands;
mod history;
mod ledger;
mod limits;
mod once;
mod past;
mod pool;
mod queue;
mod quota;
mod settings;
mod shown;
mod undo;

pub use app::RunApp;
pub use event::{ConfirmationView, DenialView, Event, EventBody, UndoView};
pub use feed::Feed;
pub use hands::PersonError;
pub use limits::AgentLimits;
pub use once::Started;
pub use proxy::confirm::{DecideError, Decided};
pub use proxy::{Answered, PersonAnswer, PersonCallError, UndoLine, UndoOutcome, UndoReport};
pub use queue::QueueSettings;
pub use settings::{Keeping, RunSettings};
pub use undo::UndoError;

use agents::{Agents, Parked};
use once::Turns;
use parking_lot::Mutex;
use policy::{ChallengeId, Clock, ConversationId, HostAccount, RateRefusal, RateRules, RunId, Standing, UserId, UserMessage};
use pool::Pool;
use proxy::Proxy;
use queue::{NoRoom, Queue, Turn};
use sandbox::{Driver, SandboxError};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::{BeginOnceError, NewRun, Once, RateError, Rates, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything a conductor needs.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// What is owed to rate limits.
    pub rates: Rates,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What agents can reach.
    pub proxy: Arc<Proxy>,
    /// How agents are run.
    pub driver: Arc<dyn Driver>,
    /// The apps by key: their id, and with each skill.
    pub apps: HashMap<String, RunApp>,
    /// This gateway's name in the database.
    pub gateway: String,
    /// Limits.
    pub settings: RunSettings,
}

impl Parts {
    /// A host that does not say how much memory it has left is taken to have enough: each agent's own limit still holds.
    fn enough_memory(&self) -> bool {
        let least = self.settings.keeping.memory_bytes_left_min;
        sandbox::memory_available_bytes().is_none_or(|bytes| bytes >= least)
    }
}

/// Who sends a message, as far as limits go.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The user.
    pub user: UserId,
    /// Whether they signed in.
    pub standing: Standing,
    /// From where; none if not over a network.
    pub address: Option<IpAddr>,
    /// The host application whose user it is, if it is one's.
    pub host: Option<Arc<HostAccount>>,
}

impl Sender {
    /// Who works on the gateway's own machine.
    #[must_use]
    pub const fn local(user: UserId) -> Self {
        Self { user, standing: Standing::Anonymous, address: None, host: None }
    }
}

/// Why a run was not begun.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such app.
    #[error("no such app")]
    NoApp,
    /// The conversation's skill is not for people of this standing.
    #[error("the skill is not for this person")]
    Skill,
    /// The user has no such conversation.
    #[error("no such conversation")]
    NoConversation,
    /// A run is going on in it.
    #[error("a run is going on in this conversation")]
    Active,
    /// As many runs as allowed are going on, and as many as allowed wait.
    #[error("too many runs at once")]
    Busy,
    /// As many messages of this user as allowed wait.
    #[error("too many messages of one user wait")]
    Waiting,
    /// As many messages as allowed were sent.
    #[error("{}", .0.code.sentence())]
    Rate(RateRefusal),
    /// Another request came with this idempotency key.
    #[error("another request came with this idempotency key")]
    Other,
    /// The gateway is being stopped.
    #[error("the gateway is stopping")]
    Stopping,
    /// No agent can be started at all.
    #[error(transparent)]
    Agent(#[from] SandboxError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A run that is going on, or was a moment ago.
#[derive(Clone)]
struct Live {
    user: UserId,
    conversation: ConversationId,
    feed: Feed,
    stop: CancellationToken,
}

/// Conducts runs. Cheap to share.
pub struct Runs {
    parts: Arc<Parts>,
    agents: Agents,
    pool: Arc<Pool>,
    live: Mutex<HashMap<RunId, Live>>,
    undoing: Mutex<HashSet<UserId>>,
    turns: Turns,
    queue: Arc<Queue>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Runs {
    /// A conductor without runs. It begins to start agents ahead of need, so it needs a runtime around it.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let agents = Agents::new(parts.settings.idle, parts.settings.idle_agents_max, parts.settings.limits.cpu);
        let queue = Queue::new(parts.settings.concurrent_max, parts.settings.queue);
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        let parts = Arc::new(parts);
        let pool = Pool::start(Arc::clone(&parts));
        let (live, undoing, turns) = (Mutex::default(), Mutex::default(), Turns::default());
        let runs = Arc::new(Self { parts, agents, pool, live, undoing, turns, queue, tasks, stopping });
        runs.tasks.spawn(Arc::clone(&runs).give_way());
        runs
    }

    /// Begins a run with a message. It goes on by itself; [`Runs::feed`] shows it. Where all places are taken it is begun all the
    /// same, so that the message is kept, and waits for its turn.
    ///
    /// # Errors
    /// [`StartError`]; then nothing was begun.
    pub async fn start(
        self: &Arc<Self>,
        sender: Sender,
        app: &str,
        conversation: ConversationId,
        message: UserMessage,
        writes: bool,
    ) -> Result<RunId, StartError> {
        self.begin(sender, app, conversation, message, writes, None).await.map(|started| started.run)
    }

    async fn begin(
        self: &Arc<Self>,
        sender: Sender,
        app: &str,
        conversation: ConversationId,
        message: UserMessage,
        writes: bool,
        once: Option<Once>,
    ) -> Result<Started, StartError> {
        if self.stopping.is_cancelled() {
            return Err(StartError::Stopping);
        }
        let chosen = self.parts.apps.get(app).ok_or(StartError::NoApp)?;
        if !chosen.is_for(sender.standing) {
            return Err(StartError::Skill);
        }
        self.parts.driver.check()?;
        let (run, user, feed) = (RunId::random(), sender.user, Feed::new());
        feed.push(EventBody::RunStarted { run_id: run, conversation_id: conversation });
        let weight = self.parts.settings.rates.tier(sender.standing).weight;
        // What there is no room for does not count against anybody.
        let turn = Turn { run, user, weight, tokens: Turn::tokens_of(message.as_str()) };
        let ticket = self.queue.enter(turn, &feed).map_err(|no_room| match no_room {
            NoRoom::Full => StartError::Busy,
            NoRoom::OfUser => StartError::Waiting,
        })?;
        self.count(&sender).await?;
        let new = NewRun {
            run,
            conversation,
            user,
            app: app.to_owned(),
            message: message.clone(),
            writes,
            gateway: self.parts.gateway.clone(),
        };
        if let Some(before) = self.keep(new, once).await? {
            return Ok(Started { run: before, before: true });
        }
        let live = Live { user, conversation, feed, stop: self.stopping.child_token() };
        self.live.lock().insert(run, live.clone());
        let conductor = conduct::Conductor {
            runs: Arc::clone(self),
            run,
            user,
            standing: sender.standing,
            host: sender.host,
            conversation,
            app: Arc::clone(&chosen.app),
            writes,
            feed: live.feed,
            stop: live.stop,
            ticket,
        };
        self.tasks.spawn(conductor.conduct(message));
        Ok(Started { run, before: false })
    }

    /// Writes a run down before it is conducted; the run that the same request began before, if it did.
    async fn keep(&self, new: NewRun, once: Option<Once>) -> Result<Option<RunId>, StartError> {
        let (store, now) = (&self.parts.store, self.parts.clock.now());
        let kept = match once {
            None => store.begin_run(new, now).await.map_err(BeginOnceError::Begin),
            Some(once) => store.begin_run_once(new, once, now).await,
        };
        match kept {
            Ok(()) => Ok(None),
            Err(BeginOnceError::Before(run)) => Ok(Some(run)),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts a message in everything that limits how many are sent.
    async fn count(&self, sender: &Sender) -> Result<(), StartError> {
        let mut checks = self.parts.settings.rates.of_message(sender.user, sender.standing, sender.address);
        checks.extend(sender.host.as_deref().and_then(RateRules::of_host));
        match self.parts.rates.admit(checks, self.parts.clock.now()).await {
            Ok(_) => Ok(()),
            Err(RateError::Refused(refusal)) => Err(StartError::Rate(refusal)),
            Err(RateError::Store(error)) => Err(StartError::Store(error)),
        }
    }

    /// Messages that wait for a place.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// The events of the user's run, while it goes on and a little longer.
    #[must_use]
    pub fn feed(&self, user: UserId, run: RunId) -> Option<Feed> {
        self.live.lock().get(&run).filter(|live| live.user == user).map(|live| live.feed.clone())
    }

    /// Stops the user's run; false when there is none going on.
    #[must_use]
    pub fn stop(&self, user: UserId, run: RunId) -> bool {
        let live = self.live.lock().get(&run).filter(|live| live.user == user && !live.feed.is_ended()).cloned();
        live.is_some_and(|live| {
            live.stop.cancel();
            true
        })
    }

    /// The user's answer to the question whether a run of theirs shall go on.
    #[must_use]
    pub fn answer_challenge(&self, user: UserId, run: RunId, challenge: ChallengeId, nonce: &str, goes_on: bool) -> Answered {
        self.parts.proxy.answer_challenge(user, run, challenge, nonce, goes_on)
    }

    /// The run going on in the user's conversation.
    #[must_use]
    pub fn active(&self, user: UserId, conversation: ConversationId) -> Option<RunId> {
        let live = self.live.lock();
        let found = live.iter().find(|(_, live)| live.user == user && live.conversation == conversation && !live.feed.is_ended());
        found.map(|(run, _)| *run)
    }

    /// Reads a resource of an app for a person: `None` when there is no such app or resource.
    ///
    /// # Errors
    /// One sentence for the operator when the app did not answer.
    pub async fn resource(&self, user: UserId, app: &str, uri: &str) -> Result<Option<serde_json::Value>, String> {
        let Some(app) = self.parts.apps.get(app) else { return Ok(None) };
        match proxy::read_resource(&app.app, user, uri).await {
            Ok(value) => Ok(Some(value)),
            Err(proxy::mcp::front::HostError::Unknown) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// An app by its key.
    #[must_use]
    pub fn app(&self, id: &str) -> Option<&RunApp> {
        self.parts.apps.get(id)
    }

    /// All of them, by id.
    pub fn apps(&self) -> impl Iterator<Item = &RunApp> {
        let mut apps: Vec<(&String, &RunApp)> = self.parts.apps.iter().collect();
        apps.sort_by_key(|(id, _)| *id);
        apps.into_iter().map(|(_, app)| app)
    }

    /// Whether agents are confined, and how.
    #[must_use]
    pub fn driver(&self) -> &dyn Driver {
        self.parts.driver.as_ref()
    }

    /// Stops every run and destroys every agent; returns when nothing is left.
    pub async fn shutdown(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.agents.destroy_all().await;
        self.pool.destroy_all().await;
    }

    /// While the host is short of memory, agents without work go: first those of nobody, then one at rest after the other.
    async fn give_way(self: Arc<Self>) {
        const LOOK_PAUSE: Duration = Duration::from_secs(5);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
            if self.pool.ready() == 0 && !self.parts.enough_memory() {
                self.agents.give_way().await;
            }
        }
    }

    /// Agents that are started and belong to nobody yet.
    #[must_use]
    pub fn agents_ready(&self) -> usize {
        self.pool.ready()
    }

    /// Keeps a finished run's feed for those who are still reading it.
    fn retire(self: &Arc<Self>, run: RunId) {
        const KEPT: Duration = Duration::from_secs(120);
        let runs = Arc::downgrade(self);
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(KEPT) => {}
                () = stopping.cancelled() => {}
            }
            if let Some(runs) = runs.upgrade() {
                runs.live.lock().remove(&run);
            }
        });
    }

    /// Keeps an agent for the next message of its conversation, or destroys it.
    async fn park(self: &Arc<Self>, parked: Parked) {
        if self.stopping.is_cancelled() {
            parked.destroy().await;
        } else {
            self.agents.park(parked).await;
        }
    }
}

//! What the listeners of a sandbox are bound to while it works: one run.

use crate::emissions::Emissions;
use crate::events::RunEvent;
use crate::mcp::upstream::McpUpstream;
use crate::messages::integrity::Dialogue;
use crate::messages::prefixes::Prefixes;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use policy::{BudgetLine, DenialCode, Manifest, RunId, RunView, Timestamp, UserId};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use store::Purse;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Refusals written down of one run; an agent that is refused more often than that says nothing new.
pub(crate) const DENIALS_RECORDED_MAX: u32 = 200;

/// An app as the proxy needs it: its rules and the way to its tools.
pub struct App {
    /// The manifest.
    pub manifest: Manifest,
    /// The server of its tools, if it has any.
    pub upstream: Option<Arc<McpUpstream>>,
}

/// The limits of one run.
#[derive(Clone, Debug)]
pub struct RunLimits {
    /// When it must be over.
    pub deadline: Timestamp,
    /// Model calls at most.
    pub turns_max: u32,
    /// Output tokens of one call at most.
    pub output_tokens_max: u64,
    /// Tokens of a prompt at most.
    pub context_tokens_max: Option<u64>,
    /// What its calls are charged to.
    pub budgets: Arc<[BudgetLine]>,
}

/// Token counts a run may ask for, for each turn it has.
const COUNTS_PER_TURN: u32 = 4;
/// Requests to its tools' server, for each turn it has.
const LOOKS_PER_TURN: u32 = 40;
/// Memory for bodies is given out in units of this size.
pub(crate) const BODY_UNIT_BYTES: usize = 64 << 10;
/// 16 MiB for one run.
const BODY_UNITS_MAX: usize = 256;

/// One run, as the listeners see it.
pub struct RunContext {
    /// The run.
    pub run: RunId,
    /// Whose.
    pub user: UserId,
    /// The app.
    pub app: Arc<App>,
    /// Whether the user switched changes on.
    pub writes: bool,
    limits: RunLimits,
    purse: Purse,
    prefixes: Prefixes,
    turns: AtomicU32,
    counts: AtomicU32,
    denials: AtomicU32,
    pub(crate) emitted: Emissions,
    looks: AtomicU32,
    dialogue: ArcSwapOption<Dialogue>,
    prompt_tokens: AtomicU64,
    events: Mutex<Option<mpsc::Sender<RunEvent>>>,
    bodies: Arc<Semaphore>,
    closed: AtomicBool,
    /// Ends what goes on with other hosts: nobody waits for that, it is cut.
    over: CancellationToken,
    /// Work that must come to its end before the run does: settlements and journal entries.
    work: TaskTracker,
    /// Exchanges with other hosts that go on.
    exchanges: TaskTracker,
    /// When it was last seen to do something.
    active: Mutex<Instant>,
    /// Why it has to be stopped, and the bell that says so.
    misconduct: OnceLock<DenialCode>,
    stopped: CancellationToken,
}

/// Held by whatever acts for a run; the run's end waits for it.
pub(crate) type Entry = TaskTrackerToken;

impl RunContext {
    /// A run about to begin, with its purse. Everything seen of it goes to `events`.
    #[must_use]
    pub fn new(purse: Purse, app: Arc<App>, writes: bool, limits: RunLimits, events: mpsc::Sender<RunEvent>) -> Self {
        Self {
            run: purse.run(),
            user: purse.user(),
            app,
            writes,
            limits,
            purse,
            prefixes: Prefixes::default(),
            turns: AtomicU32::new(0),
            counts: AtomicU32::new(0),
            denials: AtomicU32::new(0),
            emitted: Emissions::default(),
            looks: AtomicU32::new(0),
            dialogue: ArcSwapOption::empty(),
            prompt_tokens: AtomicU64::new(0),
            events: Mutex::new(Some(events)),
            bodies: Arc::new(Semaphore::new(BODY_UNITS_MAX)),
            closed: AtomicBool::new(false),
            over: CancellationToken::new(),
            work: TaskTracker::new(),
            exchanges: TaskTracker::new(),
            active: Mutex::new(Instant::now()),
            misconduct: OnceLock::new(),
            stopped: CancellationToken::new(),
        }
    }

    /// It has to be stopped, for the first reason that is given.
    pub(crate) fn stop_for(&self, code: DenialCode) {
        let _ = self.misconduct.set(code);
        self.stopped.cancel();
    }

    /// Whether it has to be stopped.
    pub(crate) fn has_to_stop(&self) -> bool {
        self.stopped.is_cancelled()
    }

    /// Waits until it has to be stopped for what its agent does.
    pub async fn misconduct(&self) -> DenialCode {
        self.stopped.cancelled().await;
        self.misconduct.get().copied().unwrap_or(DenialCode::BehaviourHostile)
    }

    /// The conversation of the agent that works for this run.
    pub fn dialogue(&self) -> Option<Arc<Dialogue>> {
        self.dialogue.load_full()
    }

    pub(crate) fn converse(&self, dialogue: Option<Arc<Dialogue>>) {
        self.dialogue.store(dialogue);
    }

    pub(crate) fn note_prompt(&self, tokens: u64) {
        self.prompt_tokens.fetch_max(tokens, Ordering::Relaxed);
    }

    /// The most that one of its prompts was measured to have.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens.load(Ordering::Relaxed)
    }

    /// Something is asked of the model, a tool or another host, or the person's message was handed over.
    pub fn note_activity(&self) {
        *self.active.lock() = Instant::now();
    }

    /// How long nothing was asked and nothing was waited for. Who waits for the model or a tool is not idle.
    #[must_use]
    pub fn idle_for(&self) -> Duration {
        if !(self.work.is_empty() && self.exchanges.is_empty()) {
            self.note_activity();
        }
        self.active.lock().elapsed()
    }

    /// An exchange with another host begins; it ends when this is dropped.
    pub(crate) fn exchange(&self) -> Entry {
        self.note_activity();
        self.exchanges.token()
    }

    /// Lets something act for this run, unless it is over. Whoever was let in before [`RunContext::close`] is waited for; after
    /// it nobody is let in: the token is taken first, so that one of the two always sees the other.
    pub(crate) fn enter(&self) -> Option<Entry> {
        let entry = self.work.token();
        (!self.closed.load(Ordering::SeqCst)).then_some(entry)
    }

    /// Ends the run for everybody who holds it: nothing is admitted any more, what was is waited for (at most `wait`), and then
    /// no event follows. False when something was still going on.
    pub async fn close(&self, wait: Duration) -> bool {
        self.closed.store(true, Ordering::SeqCst);
        self.over.cancel();
        self.work.close();
        let settled = tokio::time::timeout(wait, self.work.wait()).await.is_ok();
        // What is not used goes back into the budgets.
        if let Err(error) = self.purse.close().await {
            tracing::error!(%error, run = %self.run, "a run's slice could not be given back; it is tried again");
        }
        self.events.lock().take();
        settled
    }

    /// What it holds of the budgets above it.
    pub(crate) const fn purse(&self) -> &Purse {
        &self.purse
    }

    /// What was measured of its conversation.
    pub(crate) const fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// Cancelled when the run is closed.
    pub(crate) fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    /// Room for bodies that this run may have in memory at the same time, in units of [`BODY_UNIT_BYTES`].
    pub(crate) fn bodies(&self) -> Arc<Semaphore> {
        Arc::clone(&self.bodies)
    }

    /// Takes one of the run's requests to its tools, listings and reads included.
    pub(crate) fn take_look(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed) < self.limits.turns_max.saturating_mul(LOOKS_PER_TURN)
    }

    /// What decisions need to know of the run right now.
    #[must_use]
    pub fn view(&self) -> RunView {
        RunView {
            run: self.run,
            user: self.user,
            key: None,
            models: Some(vec![self.app.manifest.agent.model.clone()]),
            turns_used: self.turns(),
            turns_max: self.limits.turns_max,
            output_tokens_max: self.limits.output_tokens_max,
            context_tokens_max: self.limits.context_tokens_max,
            deadline: self.limits.deadline,
            writes: self.writes,
            budgets: Arc::clone(&self.limits.budgets),
        }
    }

    /// Tokens of a prompt at most.
    #[must_use]
    pub const fn context_tokens_max(&self) -> Option<u64> {
        self.limits.context_tokens_max
    }

    /// Model calls admitted so far.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Takes the next turn, unless all are used: two calls at once can't both take the last one.
    pub(crate) fn take_turn(&self) -> bool {
        self.turns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < self.limits.turns_max).then_some(used + 1))
            .is_ok()
    }

    /// Takes one of the run's token counts. They cost nothing, so they are no turns, but they are not endless either.
    pub(crate) fn take_count(&self) -> bool {
        self.counts.fetch_add(1, Ordering::Relaxed) < self.limits.turns_max.saturating_mul(COUNTS_PER_TURN)
    }

    /// Tells the conductor. Waits when it is behind; a conductor that is gone needs no news.
    pub(crate) async fn tell(&self, event: RunEvent) {
        let events = self.events.lock().clone();
        if let Some(events) = events {
            let _ = events.send(event).await;
        }
    }

    /// Whether one more refusal should be written down.
    pub(crate) fn record_denial(&self) -> bool {
        self.denials.fetch_add(1, Ordering::Relaxed) < DENIALS_RECORDED_MAX
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::mcp::upstream::UpstreamConfig;

    const MANIFEST: &str = "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools]\n";

    /// An app whose tools can't be reached.
    pub(crate) fn app() -> Arc<App> {
        let config = UpstreamConfig {
            url: "http://127.0.0.1:9/mcp".parse().expect("an address"),
            credential: secrecy::SecretString::from("x"),
            timeout: Duration::from_secs(1),
            result_bytes_max: 1000,
        };
        let upstream = McpUpstream::new(config).expect("an upstream");
        Arc::new(App { manifest: Manifest::parse(MANIFEST).expect("a manifest"), upstream: Some(Arc::new(upstream)) })
    }

    /// Nobody's, over an empty database.
    pub(crate) async fn purse() -> Purse {
        ledger().await.purse(RunId::random(), UserId::random())
    }

    /// A ledger of its own.
    pub(crate) async fn ledger() -> store::Ledger {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let url = format!("sqlite:{}", folder.join("ledger.db").display());
        let store = store::Store::open(&url, &[&store::CORE]).await.expect("a database");
        let clock: Arc<dyn policy::Clock> = Arc::new(Standing);
        store::Ledger::open(&store, clock, "g", &folder.join("ledger"), "boot").await.expect("a ledger").0
    }

    struct Standing;

    impl policy::Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
    }

    async fn run() -> (Arc<RunContext>, mpsc::Receiver<RunEvent>) {
        let limits = RunLimits {
            deadline: Timestamp(i64::MAX),
            turns_max: 2,
            output_tokens_max: 1,
            context_tokens_max: None,
            budgets: Vec::new().into(),
        };
        let (sender, events) = mpsc::channel(8);
        let purse = purse().await;
        (Arc::new(RunContext::new(purse, app(), false, limits, sender)), events)
    }

    #[tokio::test]
    async fn a_closed_run_admits_nothing_and_waits_for_who_was_in() {
        let (run, mut events) = run().await;
        let entry = run.enter().expect("the run goes on");
        let closing = tokio::spawn({
            let run = Arc::clone(&run);
            async move { run.close(Duration::from_secs(30)).await }
        });
        for _ in 0..1000 {
            if run.enter().is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(run.enter().is_none(), "it was closed and lets nobody in");
        assert!(!closing.is_finished(), "somebody is still in");
        run.tell(RunEvent::ModelCallBegan).await;
        drop(entry);
        assert!(closing.await.expect("it ends"), "everything was settled");
        assert!(matches!(events.recv().await, Some(RunEvent::ModelCallBegan)), "who was in could still tell");
        run.tell(RunEvent::ModelCallBegan).await;
        assert!(events.recv().await.is_none(), "nothing follows the end");
        assert!(run.enter().is_none());
    }

    #[tokio::test]
    async fn a_run_that_hangs_is_closed_all_the_same() {
        let (run, _events) = run().await;
        let _entry = run.enter();
        assert!(!run.close(Duration::from_millis(20)).await, "something was still going on, and that is said");
    }

    #[tokio::test]
    async fn what_costs_nothing_is_not_endless() {
        let (run, _events) = run().await;
        let taken = |take: &dyn Fn() -> bool| (0..1000).filter(|_| take()).count();
        assert_eq!(taken(&|| run.take_turn()), 2);
        assert_eq!(taken(&|| run.take_count()), 8);
        assert_eq!(taken(&|| run.take_look()), 80);
        assert_eq!(taken(&|| run.record_denial()), 200);
    }
}

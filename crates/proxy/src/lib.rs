//! Forwards. What an *agent* can reach: the model ([`messages`]), its tools ([`mcp`]), and names that lead nowhere else
//! ([`egress`]). Its listeners are per sandbox; the same model path, authenticated, is there for callers elsewhere.
//!
//! It never decides (that is `policy`), never shows anything to people, and never believes what a sandbox says of itself.

mod answer;
mod behaviour;
mod body;
pub mod callers;
mod calling;
mod client;
pub mod confirm;
mod connections;
mod context;
mod definitions;
mod discovery;
pub mod egress;
mod emissions;
mod events;
mod fetch;
mod fitting;
mod fixture;
mod gate;
mod lanes;
pub mod mcp;
pub mod messages;
mod offer;
mod people;
mod pieces;
mod places;
mod prompts;
mod reading;
mod relay;
mod selfcheck;
mod serve;
mod strict;
mod tools;
mod traffic;
mod undo;
mod way_back;
pub mod webhooks;

pub use behaviour::Answered;
pub use context::{App, RunContext, RunLimits};
pub use discovery::Discovery;
pub use events::RunEvent;
pub use fetch::fetch_document;
pub use fixture::{Fixture, FixtureError};
pub use gate::Gate;
pub use messages::integrity::{AGENT_RELEASE, Dialogue, Expected};
pub use offer::read_resource;
pub use people::{PersonAnswer, PersonCallError};
pub use relay::relay;
pub use selfcheck::{SelfCheck, Trial};
pub use traffic::TrafficLimits;
pub use undo::{UndoLine, UndoOutcome, UndoReport, Undoing};

pub(crate) use serve::accept;

use confirm::CONFIRMATION_WAIT;
use definitions::Definitions;
use egress::Hosts;
use messages::ModelUpstream;
use messages::pace::Pacing;
use messages::rooms::Rooms;
use parking_lot::Mutex;
use policy::{
    AuditEvent, BudgetLine, Budgets, Clock, Denial, DenialCode, HostAccount, Microusd, Payer, Prices, RateRules, RunId,
    TierLimits, Timestamp, UserId,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use store::{Ledger, Purse, Rates, Store};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// What all listeners share.
pub struct Proxy {
    store: Store,
    clock: Arc<dyn Clock>,
    upstream: ModelUpstream,
    ledger: Ledger,
    day_limit: Microusd,
    prices: Prices,
    budgets: Budgets,
    hosts: Arc<Hosts>,
    /// Answers read on although their clients left.
    drains: Arc<Semaphore>,
    /// Budgets that were told to be used up.
    used_up: Mutex<HashSet<(String, i64)>>,
    /// Room for calls at the same time, and for bodies in memory.
    rooms: Rooms,
    /// None where nothing is counted.
    rates: Option<Pacing>,
    behaviours: behaviour::Behaviours,
    /// The same of people's own clients.
    client_behaviours: behaviour::Behaviours,
    /// What tools' servers say of their tools.
    definitions: Definitions,
    /// What tools' servers keep in clients goes through it.
    states: mcp::StateSeal,
    /// This gateway's name in the database.
    gateway: String,
    /// How long a call waits for a person's yes.
    confirmation_wait: Duration,
    work: TaskTracker,
}

/// Bodies of all callers that may be in memory at the same time: 256 MiB, in units of [`context::BODY_UNIT_BYTES`].
const BODY_UNITS_MAX: usize = 4096;
/// Answers that are read on for a moment although nobody waits for them.
const DRAINS_MAX: usize = 64;
/// Used up budgets that are remembered, so that each is written down once.
const USED_UP_MAX: usize = 10_000;
/// Model calls at the same time, unless the configuration says otherwise.
pub const CALLS_MAX: usize = 2_048;

/// Whose tier everybody is of, as long as accounts have none.
pub(crate) const ONLY_TIER: &str = "free";

impl Proxy {
    /// `ledger` pays for model calls; `day_limit` bounds what everybody together spends in a UTC day; `hosts` are
    /// what sandboxes may reach beside the model and their tools.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        upstream: ModelUpstream,
        ledger: Ledger,
        day_limit: Microusd,
        hosts: Hosts,
    ) -> Self {
        let definitions = Definitions::new(store.clone(), Arc::clone(&clock));
        Self {
            store,
            clock,
            upstream,
            ledger,
            day_limit,
            prices: Prices::default(),
            budgets: Budgets::default(),
            hosts: Arc::new(hosts),
            drains: Arc::new(Semaphore::new(DRAINS_MAX)),
            used_up: Mutex::default(),
            rooms: Rooms::new(CALLS_MAX, BODY_UNITS_MAX),
            rates: None,
            behaviours: behaviour::Behaviours::default(),
            client_behaviours: behaviour::Behaviours::default(),
            definitions,
            states: mcp::StateSeal::of(RunId::random().to_string().as_bytes()),
            gateway: String::new(),
            confirmation_wait: CONFIRMATION_WAIT,
            work: TaskTracker::new(),
        }
    }

    /// With an operator's own prices.
    #[must_use]
    pub fn with_prices(mut self, prices: Prices) -> Self {
        self.prices = prices;
        self
    }

    /// Under this name in the database, and with another time that a call waits for a person's yes.
    #[must_use]
    pub fn named(self, gateway: String, confirmation_wait: Duration) -> Self {
        Self { gateway, confirmation_wait, ..self }
    }

    /// With a secret that all gateways of the deployment share: what one of them gave a client to keep, each takes back.
    #[must_use]
    pub fn sealing_with(self, secret: &[u8]) -> Self {
        Self { states: mcp::StateSeal::of(secret), ..self }
    }

    /// Who may answer model calls.
    #[must_use]
    pub const fn providers(&self) -> &messages::Providers {
        self.upstream.providers()
    }

    /// Limits how often callers elsewhere may call, and tools may be used.
    #[must_use]
    pub fn paced(self, rates: Rates, rules: RateRules) -> Self {
        Self { rates: Some(Pacing { rates, rules }), ..self }
    }

    /// What people of the only tier there is may, beside what their app says.
    #[must_use]
    pub fn tier_limits(&self) -> TierLimits {
        self.budgets.tier(ONLY_TIER)
    }

    /// Whether it is new that this budget is used up.
    pub(crate) fn told_used_up(&self, line: &BudgetLine) -> bool {
        let mut told = self.used_up.lock();
        if told.len() >= USED_UP_MAX {
            told.clear();
        }
        told.insert((line.scope.clone(), line.period))
    }

    /// It is not, or that could not be written down.
    pub(crate) fn forget_used_up(&self, line: &BudgetLine) {
        self.used_up.lock().remove(&(line.scope.clone(), line.period));
    }

    /// With another number of model calls at the same time.
    #[must_use]
    pub fn with_calls_max(mut self, calls_max: usize) -> Self {
        self.rooms = Rooms::new(calls_max, BODY_UNITS_MAX);
        self
    }

    /// With budgets of further levels than the run's and everybody's.
    #[must_use]
    pub fn with_budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self
    }

    /// The budgets above one run of this person's, who may be a host application's user, with this app.
    #[must_use]
    pub fn run_budgets(
        &self,
        run: RunId,
        run_limit: Microusd,
        (user, host): (UserId, Option<&HostAccount>),
        app: &str,
    ) -> Arc<[BudgetLine]> {
        let payer = Payer { run, user, tier: ONLY_TIER, app: Some(app), host };
        let budgets = Budgets { run: run_limit, day: self.day_limit, ..self.budgets.clone() };
        budgets.lines(&payer, self.clock.now()).into()
    }

    /// A purse for a run.
    #[must_use]
    pub fn purse(&self, run: RunId, user: UserId) -> Purse {
        self.ledger.purse(run, user)
    }

    /// What calls were written down in before the database has them.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Ports beside 80 and 443 that a sandbox must have listeners for.
    #[must_use]
    pub fn extra_ports(&self) -> Vec<u16> {
        self.hosts.extra_ports()
    }

    /// Waits until every exchange of remote callers is settled.
    pub async fn drain(&self) {
        self.work.close();
        self.work.wait().await;
    }

    pub(crate) fn day_budget(&self, now: Timestamp) -> BudgetLine {
        BudgetLine { scope: "global".to_owned(), period: now.utc_day(), limit: self.day_limit, exhausted: DenialCode::BudgetDay }
    }

    /// Writes a refusal of a run down, in the audit log and on the page, unless there were too many.
    pub async fn write_down(&self, run: &RunContext, denial: Denial) {
        if run.record_denial() {
            self.record(AuditEvent::Denied { run: Some(run.run), denial: denial.clone() }).await;
            run.tell(RunEvent::Denied { denial }).await;
        }
    }

    /// Writes a refusal down. The refusal stands whether or not that succeeds.
    pub(crate) async fn record(&self, event: AuditEvent) {
        if let Err(error) = self.store.record(event, self.clock.now()).await {
            tracing::error!(%error, "an audit entry could not be written");
        }
    }
}

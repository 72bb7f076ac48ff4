//! One run, top to bottom: an agent, the message, what is seen, the end.

use crate::agents::{Agent, Parked};
use crate::event::EventBody;
use crate::history::History;
use crate::limits::{Watch, has_room};
use crate::past;
use crate::queue::{Left, Ticket};
use crate::shown::{Failed, note, show};
use crate::{Feed, Runs, boot};
use policy::{AuditEvent, ConversationId, DenialCode, HostAccount, RunId, Standing, UserId, UserMessage};
use proxy::{App, RunContext, RunEvent, RunLimits};
use sandbox::{AgentEvent, PastMessage, SandboxError, TurnResult};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::RunEnd;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events between the proxy and the conductor; the proxy waits when it is full.
const EVENTS_QUEUED_MAX: usize = 256;
/// Settlements and journal entries may take this long after the last turn.
const SETTLE_WAIT: Duration = Duration::from_secs(10);

/// One run about to be conducted.
pub(crate) struct Conductor {
    pub(crate) runs: Arc<Runs>,
    pub(crate) run: RunId,
    pub(crate) user: UserId,
    pub(crate) standing: Standing,
    pub(crate) host: Option<Arc<HostAccount>>,
    pub(crate) conversation: ConversationId,
    pub(crate) app: Arc<App>,
    pub(crate) writes: bool,
    pub(crate) feed: Feed,
    pub(crate) stop: CancellationToken,
    /// One of the places for runs at the same time, or a position in the line for one.
    pub(crate) ticket: Ticket,
}

/// How a run came out.
struct Outcome {
    outcome: &'static str,
    code: Option<String>,
    message: Option<String>,
    /// The agent, if it may be kept.
    agent: Option<Agent>,
    /// Whether it failed because there is no agent any more.
    agent_ended: bool,
}

impl Outcome {
    fn failed(code: &str, message: &str) -> Self {
        Self {
            outcome: "failed",
            code: Some(code.to_owned()),
            message: Some(message.to_owned()),
            agent: None,
            agent_ended: false,
        }
    }

    fn reached(limit: DenialCode) -> Self {
        Self::failed(limit.as_str(), limit.sentence())
    }

    fn gone() -> Self {
        let error = SandboxError::Ended(String::new());
        Self { agent_ended: true, ..Self::failed(error.code(), error.public()) }
    }

    const fn of(outcome: &'static str) -> Self {
        Self { outcome, code: None, message: None, agent: None, agent_ended: false }
    }
}

impl Conductor {
    /// From the message to the end. Never fails: a failure is an end too.
    pub(crate) async fn conduct(mut self, message: UserMessage) {
        let arrived = Instant::now();
        if let Err(left) = self.ticket.wait(&self.stop).await {
            return self.left(left, arrived).await;
        }
        // Whatever is limited in time begins here, not with the waiting.
        let begun = Instant::now();
        self.feed.push(EventBody::State { state: "starting" });
        let (context, events) = self.context();
        let seen = tokio::spawn(self.watcher(events));
        let outcome = self.with_agent(&context, message).await;
        // Nothing new can be asked for; what was is settled, and then no event follows.
        if !context.close(SETTLE_WAIT).await {
            tracing::warn!(run = %self.run, "calls are still open at the end of their run; the sweeper will settle them");
        }
        let turns = context.turns();
        let provider_error = tokio::time::timeout(SETTLE_WAIT, seen).await.ok().and_then(Result::ok).flatten();
        self.end(outcome, provider_error, turns, begun).await;
    }

    /// Ends a run whose turn did not come. Its message is in the history, as that of any run that failed.
    async fn left(self, left: Left, arrived: Instant) {
        let outcome = match left {
            Left::Stopped => Outcome::of("stopped"),
            Left::Expired => self.ended_by(DenialCode::RunQueueExpired),
        };
        self.end(outcome, None, 0, arrived).await;
    }

    fn context(&self) -> (Arc<RunContext>, mpsc::Receiver<RunEvent>) {
        let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
        let settings = &self.runs.parts.settings;
        let agent = &self.app.manifest.agent;
        let wall_secs = i64::try_from(settings.wall_clock.as_secs()).unwrap_or(i64::MAX);
        let (output, tier) = (u64::from(agent.output_tokens_max), self.runs.parts.proxy.tier_limits());
        let limits = RunLimits {
            deadline: self.runs.parts.clock.now().plus_secs(wall_secs),
            turns_max: agent.turns_max,
            output_tokens_max: tier.output_tokens_max.map_or(output, |of_tier| of_tier.min(output)),
            context_tokens_max: tier.context_tokens_max,
            budgets: {
                let payer = (self.user, self.host.as_deref());
                self.runs.parts.proxy.run_budgets(self.run, settings.run_budget, payer, &self.app.manifest.id)
            },
        };
        let purse = self.runs.parts.proxy.purse(self.run, self.user);
        (Arc::new(RunContext::new(purse, Arc::clone(&self.app), self.writes, limits, sender)), events)
    }

    /// Shows and keeps what the proxy sees, until the run's context is gone. Returns the provider's last error.
    fn watcher(&self, mut events: mpsc::Receiver<RunEvent>) -> impl Future<Output = Option<Failed>> + use<> {
        let parts = &self.runs.parts;
        let mut history = History::new(parts.store.clone(), Arc::clone(&parts.clock), self.conversation, self.run);
        let (feed, run) = (self.feed.clone(), self.run);
        async move {
            let (mut failed, mut answering) = (None, false);
            while let Some(event) = events.recv().await {
                history.saw(&event).await;
                note(&event, &mut failed);
                if matches!(event, RunEvent::TextDelta { .. }) && !std::mem::replace(&mut answering, true) {
                    feed.push(EventBody::State { state: "answering" });
                }
                answering &= matches!(event, RunEvent::TextDelta { .. });
                show(&feed, run, event);
            }
            history.flush().await;
            failed
        }
    }

    async fn with_agent(&self, context: &Arc<RunContext>, message: UserMessage) -> Outcome {
        let outcome = match self.kept_agent(context, &message).await {
            Ok(Some(agent)) => self.turn_of(agent, context, &message).await,
            Ok(None) => Outcome::gone(),
            Err(error) => return self.not_started(&error),
        };
        // One that was kept may have ended a moment ago. As long as it has asked for nothing, another one can begin in its place.
        if !(outcome.agent_ended && context.turns() == 0) {
            return outcome;
        }
        match self.new_agent(context, &message).await {
            Ok(agent) => self.turn_of(agent, context, &message).await,
            Err(error) => self.not_started(&error),
        }
    }

    fn not_started(&self, error: &SandboxError) -> Outcome {
        tracing::error!(run = %self.run, %error, "the agent could not be started");
        Outcome::failed(error.code(), error.public())
    }

    /// One turn of this agent, which is kept after a good end only, and only with all its limits far away.
    async fn turn_of(&self, mut agent: Agent, context: &Arc<RunContext>, message: &UserMessage) -> Outcome {
        let parts = &self.runs.parts;
        let mut watch = Watch::new(&agent, context, &parts.proxy, &parts.settings.limits);
        let mut outcome = self.turn(&mut agent, &mut watch, message).await;
        agent.gate.unbind();
        if outcome.outcome == "finished" && !watch.is_worn() && has_room(context) {
            outcome.agent = Some(agent);
        } else {
            agent.destroy().await;
        }
        outcome
    }

    /// The conversation's agent at rest, or one from the pool, with this run bound to its listeners. One that was started ahead
    /// has no past, so a conversation that goes on needs its own.
    async fn kept_agent(&self, context: &Arc<RunContext>, message: &UserMessage) -> Result<Option<Agent>, SandboxError> {
        let kind = boot::kind(&self.runs.parts, &self.app, self.writes);
        if let Some(agent) = self.runs.agents.take(self.user, self.conversation, &kind, &self.runs.parts.proxy).await {
            if self.missed_something(&agent).await? {
                agent.destroy().await;
                return Ok(None);
            }
            agent.gate.deliver(message.as_str());
            agent.gate.bind(Arc::clone(context));
            return Ok(Some(agent));
        }
        if !self.past().await?.is_empty() {
            return Ok(None);
        }
        // One that was started ahead has the prompt of everybody.
        if self.app.manifest.agent.isolate_prompt_cache {
            return Ok(None);
        }
        let Some(agent) = self.runs.pool.claim(&kind).await else { return Ok(None) };
        agent.gate.deliver(message.as_str());
        agent.gate.bind(Arc::clone(context));
        self.claimed(agent).await.map(Some)
    }

    /// Whether the conversation was told something that this agent does not know: what became of a call that it was told waits.
    async fn missed_something(&self, agent: &Agent) -> Result<bool, SandboxError> {
        // The database's clock need not be ours.
        const SLACK_SECS: i64 = 30;
        let told = self.runs.parts.store.told_since(self.conversation, agent.since.plus_secs(-SLACK_SECS)).await;
        told.map_err(|error| SandboxError::Unrecorded(error.to_string()))
    }

    /// A new one, which is told what was said before.
    async fn new_agent(&self, context: &Arc<RunContext>, message: &UserMessage) -> Result<Agent, SandboxError> {
        let parts = &self.runs.parts;
        let since = parts.clock.now();
        let options = boot::options(parts, &self.app.manifest.key(), self.writes, self.past().await?);
        let mut options = options.ok_or_else(|| SandboxError::Ended("its app is gone".to_owned()))?;
        if self.app.manifest.agent.isolate_prompt_cache {
            options.system_prompt = boot::prompt_of_its_own(&options.system_prompt, self.user);
        }
        let mut agent = boot::start(parts, &options, |gate| {
            // Nothing is answered in the person's name before their message is known.
            gate.deliver(message.as_str());
            gate.bind(Arc::clone(context));
        })
        .await?;
        agent.since = since;
        self.claimed(agent).await
    }

    /// Writes down whose this agent is now; what can't be written down is not done.
    async fn claimed(&self, agent: Agent) -> Result<Agent, SandboxError> {
        let sandbox = agent.gate.sandbox;
        let claimed = AuditEvent::SandboxClaimed { sandbox, run: self.run };
        if let Err(error) = self.runs.parts.store.record(claimed, self.runs.parts.clock.now()).await {
            agent.destroy().await;
            return Err(SandboxError::Unrecorded(error.to_string()));
        }
        tracing::info!(%sandbox, run = %self.run, "agent claimed");
        Ok(agent)
    }

    /// What was said before this run's own message, which the agent gets by itself.
    async fn past(&self) -> Result<Vec<PastMessage>, SandboxError> {
        let kept = self.runs.parts.store.messages_of(self.user, self.conversation).await;
        let mut rows = kept.map_err(|error| SandboxError::Unrecorded(error.to_string()))?.unwrap_or_default();
        rows.pop();
        Ok(past::messages(&rows, &self.app.manifest.tool_prefix().unwrap_or_default()))
    }

    /// Hands the message over and waits for the end of the turn, a limit, the stop button or the agent's death.
    async fn turn(&self, agent: &mut Agent, watch: &mut Watch, message: &UserMessage) -> Outcome {
        self.feed.push(EventBody::State { state: "thinking" });
        // An agent that does not read holds up nobody but itself: saying is bounded like listening.
        let exchange = async {
            if agent.claude.say(message.as_str()).await.is_err() {
                return AgentEvent::Closed;
            }
            agent.claude.next().await
        };
        let event = tokio::select! {
            event = exchange => event,
            () = self.stop.cancelled() => return Outcome::of("stopped"),
            code = watch.until_reached() => return self.ended_by(code),
            () = tokio::time::sleep(self.runs.parts.settings.wall_clock) => return self.ended_by(DenialCode::RunDeadline),
        };
        match event {
            AgentEvent::Turn(result) => {
                agent.used = watch.finish().await;
                self.of_turn(&result, watch)
            }
            AgentEvent::TooMuchOutput => self.ended_by(DenialCode::AgentOutput),
            AgentEvent::Closed => self.died(agent, watch).await,
        }
    }

    fn ended_by(&self, limit: DenialCode) -> Outcome {
        tracing::warn!(run = %self.run, code = %limit, "a run has reached a limit and is ended");
        Outcome::reached(limit)
    }

    /// A turn that failed is a failed run, whatever it calls itself.
    fn of_turn(&self, result: &TurnResult, watch: &Watch) -> Outcome {
        let outcome = of_turn(result);
        match watch.reason() {
            Some(limit) if outcome.code.as_deref() == Some("model.failed") => self.ended_by(limit),
            _ => outcome,
        }
    }

    async fn died(&self, agent: &Agent, watch: &mut Watch) -> Outcome {
        const WAIT: Duration = Duration::from_secs(5);
        let exit = tokio::time::timeout(WAIT, agent.life.ending().exited()).await;
        let limit = match &exit {
            Ok(exit) => watch.reason_of_end(exit).await,
            Err(_) => watch.reason(),
        };
        let reason = exit
            .map_or_else(|_| "it closed its output".to_owned(), |exit| format!("{}; {}", exit.reason, exit.stderr_tail.trim()));
        tracing::error!(run = %self.run, reason, "the agent ended in the middle of a run");
        limit.map_or_else(Outcome::gone, |limit| self.ended_by(limit))
    }

    /// Ends the run in the database and on the page, and keeps the agent if it may be kept.
    async fn end(self, outcome: Outcome, provider_error: Option<Failed>, turns: u32, begun: Instant) {
        let Outcome { outcome, mut code, mut message, agent, agent_ended: _ } = outcome;
        if let (true, Some(failed)) = (code.as_deref() == Some("model.failed"), provider_error) {
            (code, message) = (Some(failed.code), Some(failed.message));
        }
        let end = RunEnd { outcome, code: code.clone(), message: message.clone(), turns };
        let cost_microusd = self.write_end(end).await;
        if let Some(upstream) = &self.app.upstream {
            upstream.forget(&self.user.to_string());
        }
        if let Some(agent) = agent {
            let kind = boot::kind(&self.runs.parts, &self.app, self.writes);
            let (user, standing) = (self.user, self.standing);
            self.runs.park(Parked { user, standing, conversation: self.conversation, kind, agent }).await;
        }
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Whoever hears of the end may begin the next run at once.
        drop(self.ticket);
        self.feed.push(EventBody::RunEnded { outcome, code, message, cost_microusd, turns, duration_ms });
        self.runs.retire(self.run);
    }
}

impl Conductor {
    /// Writes the end down; tries for a while when the database is away, because until then the conversation is taken.
    async fn write_end(&self, end: RunEnd) -> i64 {
        const TRIES: u32 = 5;
        const PAUSE: Duration = Duration::from_secs(2);
        let parts = &self.runs.parts;
        for _ in 0..TRIES {
            match parts.store.end_run(self.run, end.clone(), parts.clock.now()).await {
                Ok(cost) => return cost.0,
                Err(error) => tracing::error!(%error, run = %self.run, "the end of a run could not be written"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::error!(run = %self.run, "the run will be ended at the next start");
        0
    }
}

fn of_turn(result: &TurnResult) -> Outcome {
    match (result.subtype.as_str(), result.is_error || result.api_error_status.is_some()) {
        ("success", false) => Outcome::of("finished"),
        ("error_max_turns", _) => Outcome::failed(DenialCode::RunTurns.as_str(), DenialCode::RunTurns.sentence()),
        ("error_max_budget_usd", _) => Outcome::failed(DenialCode::BudgetRun.as_str(), DenialCode::BudgetRun.sentence()),
        _ => Outcome::failed("model.failed", "The model could not answer. Nothing else was changed; try again in a moment."),
    }
}

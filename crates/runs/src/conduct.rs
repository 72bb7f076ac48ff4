//! One run, top to bottom: an agent, the message, what is seen, the end.

use crate::agents::{Agent, Kind, Parked};
use crate::event::{DenialView, EventBody};
use crate::history::History;
use crate::past;
use crate::{Feed, Runs};
use policy::{AuditEvent, ConversationId, DenialCode, RunId, SandboxId, UserId, UserMessage};
use proxy::egress::{RefusedPorts, SandboxCa, serve_sandbox};
use proxy::{App, Gate, RunContext, RunEvent, RunLimits};
use sandbox::{AgentEvent, Claude, ClaudeOptions, PastMessage, SandboxError, TurnResult};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::RunEnd;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events between the proxy and the conductor; the proxy waits when it is full.
const EVENTS_QUEUED_MAX: usize = 256;
/// Settlements and journal entries may take this long after the last turn.
const SETTLE_WAIT: Duration = Duration::from_secs(10);

const TOO_MUCH_OUTPUT: &str = "The assistant produced more output than allowed and was stopped. Ask for less at a time.";

/// One run about to be conducted.
pub(crate) struct Conductor {
    pub(crate) runs: Arc<Runs>,
    pub(crate) run: RunId,
    pub(crate) user: UserId,
    pub(crate) conversation: ConversationId,
    pub(crate) app: Arc<App>,
    pub(crate) prompt: String,
    pub(crate) writes: bool,
    pub(crate) feed: Feed,
    pub(crate) stop: CancellationToken,
}

/// How a run came out.
struct Outcome {
    outcome: &'static str,
    code: Option<String>,
    message: Option<String>,
    /// The agent, if it may be kept.
    agent: Option<Agent>,
}

impl Outcome {
    fn failed(code: &str, message: &str) -> Self {
        Self { outcome: "failed", code: Some(code.to_owned()), message: Some(message.to_owned()), agent: None }
    }
}

impl Conductor {
    /// From the message to the end. Never fails: a failure is an end too.
    pub(crate) async fn conduct(self, message: UserMessage) {
        let begun = Instant::now();
        self.feed.push(EventBody::RunStarted { run_id: self.run, conversation_id: self.conversation });
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

    fn context(&self) -> (Arc<RunContext>, mpsc::Receiver<RunEvent>) {
        let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
        let settings = &self.runs.parts.settings;
        let agent = &self.app.manifest.agent;
        let wall_secs = i64::try_from(settings.wall_clock.as_secs()).unwrap_or(i64::MAX);
        let limits = RunLimits {
            deadline: self.runs.parts.clock.now().plus_secs(wall_secs),
            turns_max: agent.turns_max,
            output_tokens_max: u64::from(agent.output_tokens_max),
            budgets: self.runs.parts.proxy.run_budgets(self.run, settings.run_budget),
        };
        (Arc::new(RunContext::new(self.run, self.user, Arc::clone(&self.app), self.writes, limits, sender)), events)
    }

    /// Shows and keeps what the proxy sees, until the run's context is gone. Returns the provider's last error.
    fn watcher(&self, mut events: mpsc::Receiver<RunEvent>) -> impl Future<Output = Option<Failed>> + use<> {
        let parts = &self.runs.parts;
        let mut history = History::new(parts.store.clone(), Arc::clone(&parts.clock), self.conversation, self.run);
        let feed = self.feed.clone();
        async move {
            let (mut failed, mut answering) = (None, false);
            while let Some(event) = events.recv().await {
                history.saw(&event).await;
                note(&event, &mut failed);
                if matches!(event, RunEvent::TextDelta { .. }) && !std::mem::replace(&mut answering, true) {
                    feed.push(EventBody::State { state: "answering" });
                }
                answering &= matches!(event, RunEvent::TextDelta { .. });
                show(&feed, event);
            }
            history.flush().await;
            failed
        }
    }

    async fn with_agent(&self, context: &Arc<RunContext>, message: UserMessage) -> Outcome {
        let mut agent = match self.agent(context).await {
            Ok(agent) => agent,
            Err(error) => {
                tracing::error!(run = %self.run, %error, "the agent could not be started");
                return Outcome::failed(error.code(), error.public());
            }
        };
        let mut outcome = self.turn(&mut agent, &message).await;
        agent.gate.unbind();
        if outcome.outcome == "finished" {
            outcome.agent = Some(agent);
        } else {
            agent.destroy().await;
        }
        outcome
    }

    /// The conversation's agent at rest, or a new one, with this run bound to its listeners.
    async fn agent(&self, context: &Arc<RunContext>) -> Result<Agent, SandboxError> {
        let kind = self.kind();
        if let Some(agent) = self.runs.agents.take(self.user, self.conversation, &kind).await {
            agent.gate.bind(Arc::clone(context));
            return Ok(agent);
        }
        let id = SandboxId::random();
        let ca = SandboxCa::generate().map_err(|error| SandboxError::Ended(error.to_string()))?;
        let mut spec = self.options(self.past().await?).spec(id, ca.certificate_pem().to_owned());
        spec.extra_ports = self.runs.parts.proxy.extra_ports();
        let sandbox = self.runs.parts.driver.start(spec).await?;
        for downgrade in &sandbox.downgrades {
            tracing::warn!(sandbox = %id, "not enforced on this host: {downgrade}");
        }
        if !sandbox.downgrades.is_empty() && !self.runs.parts.settings.danger_accept_downgrades {
            sandbox.life.destroy().await;
            return Err(SandboxError::Downgraded);
        }
        let claimed = AuditEvent::SandboxClaimed { sandbox: id, run: self.run };
        if let Err(error) = self.runs.parts.store.record(claimed, self.runs.parts.clock.now()).await {
            sandbox.life.destroy().await;
            return Err(SandboxError::Unrecorded(error.to_string()));
        }
        tracing::info!(sandbox = %id, run = %self.run, setup_us = sandbox.setup_us, "sandbox ready");
        let gate = Arc::new(Gate::new(id));
        gate.bind(Arc::clone(context));
        let sandbox::Listeners { http, tls, dns_udp, dns_tcp, extra } = sandbox.listeners;
        let refused_ports = RefusedPorts::of(sandbox.init_pid);
        if let Err(error) = &refused_ports {
            tracing::warn!(sandbox = %id, %error, "connections to ports that nobody has will not be counted");
        }
        let listeners = proxy::egress::Listeners { http, tls, dns_udp, dns_tcp, extra, refused_ports: refused_ports.ok() };
        let stop = CancellationToken::new();
        let serving = serve_sandbox(Arc::clone(&self.runs.parts.proxy), Arc::clone(&gate), Arc::new(ca), listeners, stop.clone());
        let served = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "a sandbox's listeners can't be served");
            }
        });
        Ok(Agent { claude: Claude::new(sandbox.stdin, sandbox.stdout), gate, life: sandbox.life, listeners: stop, served })
    }

    fn kind(&self) -> Kind {
        Kind { app: self.app.manifest.id.clone(), writes: self.writes }
    }

    /// What was said before this run's own message, which the agent gets by itself.
    async fn past(&self) -> Result<Vec<PastMessage>, SandboxError> {
        let kept = self.runs.parts.store.messages_of(self.user, self.conversation).await;
        let mut rows = kept.map_err(|error| SandboxError::Unrecorded(error.to_string()))?.unwrap_or_default();
        rows.pop();
        Ok(past::messages(&rows, &format!("mcp__{}__", self.app.manifest.mcp.name)))
    }

    fn options(&self, past: Vec<PastMessage>) -> ClaudeOptions {
        let manifest = &self.app.manifest;
        let settings = &self.runs.parts.settings;
        ClaudeOptions {
            model: manifest.agent.model.clone(),
            system_prompt: self.prompt.clone(),
            tools_server: manifest.mcp.name.clone(),
            tools: manifest.tools_offered(self.writes).into_iter().map(str::to_owned).collect(),
            turns_max: manifest.agent.turns_max,
            budget: settings.run_budget,
            output_tokens_max: manifest.agent.output_tokens_max,
            past,
            tell_base_url: settings.tell_base_url,
        }
    }

    /// Hands the message over and waits for the end of the turn, a limit, the stop button or the agent's death.
    async fn turn(&self, agent: &mut Agent, message: &UserMessage) -> Outcome {
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
            () = self.stop.cancelled() => return Outcome { outcome: "stopped", code: None, message: None, agent: None },
            () = tokio::time::sleep(self.runs.parts.settings.wall_clock) => {
                return Outcome::failed(DenialCode::RunDeadline.as_str(), DenialCode::RunDeadline.sentence());
            }
        };
        match event {
            AgentEvent::Turn(result) => of_turn(&result),
            AgentEvent::TooMuchOutput => Outcome::failed("agent.output", TOO_MUCH_OUTPUT),
            AgentEvent::Closed => self.died(agent).await,
        }
    }

    async fn died(&self, agent: &Agent) -> Outcome {
        const WAIT: Duration = Duration::from_secs(5);
        let exit = tokio::time::timeout(WAIT, agent.life.ending().exited()).await;
        let reason = exit
            .map_or_else(|_| "it closed its output".to_owned(), |exit| format!("{}; {}", exit.reason, exit.stderr_tail.trim()));
        tracing::error!(run = %self.run, reason, "the agent ended in the middle of a run");
        let error = SandboxError::Ended(reason);
        Outcome::failed(error.code(), error.public())
    }

    /// Ends the run in the database and on the page, and keeps the agent if it may be kept.
    async fn end(self, outcome: Outcome, provider_error: Option<Failed>, turns: u32, begun: Instant) {
        let Outcome { outcome, mut code, mut message, agent } = outcome;
        if let (true, Some(failed)) = (code.as_deref() == Some("model.failed"), provider_error) {
            (code, message) = (Some(failed.code), Some(failed.message));
        }
        let end = RunEnd { outcome, code: code.clone(), message: message.clone(), turns };
        let cost_microusd = self.write_end(end).await;
        self.app.upstream.forget(&self.user.to_string());
        if let Some(agent) = agent {
            self.runs.park(Parked { user: self.user, conversation: self.conversation, kind: self.kind(), agent }).await;
        }
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
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

/// A turn that failed is a failed run, whatever it calls itself.
fn of_turn(result: &TurnResult) -> Outcome {
    match (result.subtype.as_str(), result.is_error) {
        ("success", false) => Outcome { outcome: "finished", code: None, message: None, agent: None },
        ("error_max_turns", _) => Outcome::failed(DenialCode::RunTurns.as_str(), DenialCode::RunTurns.sentence()),
        ("error_max_budget_usd", _) => Outcome::failed(DenialCode::BudgetRun.as_str(), DenialCode::BudgetRun.sentence()),
        _ => Outcome::failed("model.failed", "The model could not answer. Nothing else was changed; try again in a moment."),
    }
}

/// Why the model path failed last, for the sentence of a failed run.
struct Failed {
    code: String,
    message: String,
}

fn note(event: &RunEvent, failed: &mut Option<Failed>) {
    match event {
        RunEvent::Denied { denial } => {
            *failed = Some(Failed { code: denial.code.as_str().to_owned(), message: denial.message().to_owned() })
        }
        RunEvent::ModelCallEnded { status, error: Some(_), .. } => {
            let message = match status {
                0 => "The model provider can't be reached. Nothing was charged; try again in a moment.",
                401 | 403 => "The model provider refused the gateway's key. The operator has to check it.",
                429 => "The model provider is limiting requests right now. Try again in a minute.",
                200..=299 => "The model's answer was cut off. Try again in a moment.",
                500..=599 => "The model provider is overloaded or failing right now. Try again in a moment.",
                _ => "The model provider refused the request. Try again, or start a new conversation.",
            };
            *failed = Some(Failed { code: "model.failed".to_owned(), message: message.to_owned() });
        }
        RunEvent::ModelCallEnded { error: None, .. } => *failed = None,
        RunEvent::ModelCallBegan
        | RunEvent::TextDelta { .. }
        | RunEvent::ToolCallStarted { .. }
        | RunEvent::ToolCall { .. }
        | RunEvent::ToolResult { .. } => {}
    }
}

fn show(feed: &Feed, event: RunEvent) {
    match event {
        RunEvent::ModelCallBegan => feed.push(EventBody::State { state: "thinking" }),
        RunEvent::TextDelta { text } => feed.push(EventBody::TextDelta { text }),
        RunEvent::ToolCallStarted { call_id, tool } => {
            feed.push(EventBody::State { state: "calling_tool" });
            feed.push(EventBody::ToolCallStarted { call_id, tool });
        }
        RunEvent::ToolCall { call_id, tool, arguments } => feed.push(EventBody::ToolCall { call_id, tool, arguments }),
        RunEvent::ToolResult { call_id, tool, ok, result, denial } => {
            let denial = denial.map(|denial| DenialView { code: denial.code.as_str(), message: denial.message() });
            feed.push(EventBody::ToolResult { call_id, tool, ok, result, denial });
        }
        RunEvent::ModelCallEnded { model, usage, cost, .. } => {
            let (input_tokens, output_tokens) = usage.map_or((0, 0), |usage| (usage.prompt(), usage.output));
            feed.push(EventBody::ModelCall { model, input_tokens, output_tokens, cost_microusd: cost.0 });
        }
        RunEvent::Denied { denial } => {
            feed.push(EventBody::Denied { code: denial.code.as_str(), message: denial.message(), wanted: denial.wanted });
        }
    }
}

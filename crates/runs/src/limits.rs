//! What one run may use of its sandbox, looked at from outside while it goes on.
//!
//! Some limits end the run. Others (processes, room for files) are held by the kernel, which refuses; those are told once, and
//! are the reason if the run then fails.

use crate::agents::Agent;
use policy::{Denial, DenialCode};
use proxy::{Gate, Proxy, RunContext, TrafficLimits};
use sandbox::{Exit, Meter, Usage};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// What an agent may use.
#[derive(Clone, Debug)]
pub struct AgentLimits {
    /// How long it may do nothing in the middle of a run.
    pub idle: Duration,
    /// Processor time of one run, and of a rest between two.
    pub cpu: Duration,
    /// What it may print in one run.
    pub output_bytes: u64,
    /// Connections and requests of its sandbox.
    pub traffic: TrafficLimits,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(120),
            cpu: Duration::from_secs(180),
            output_bytes: 256 << 20,
            traffic: TrafficLimits::default(),
        }
    }
}

/// Watches one run's agent.
pub(crate) struct Watch {
    context: Arc<RunContext>,
    proxy: Arc<Proxy>,
    gate: Arc<Gate>,
    meter: Meter,
    limits: AgentLimits,
    /// What was used before this run, which is nobody's fault now.
    before: Usage,
    /// The last that was read.
    last: Option<Usage>,
    /// What the kernel refused, in the order in which it was seen.
    refused: Vec<DenialCode>,
}

impl Watch {
    pub(crate) fn new(agent: &Agent, context: &Arc<RunContext>, proxy: &Arc<Proxy>, limits: &AgentLimits) -> Self {
        context.note_activity();
        Self {
            context: Arc::clone(context),
            proxy: Arc::clone(proxy),
            gate: Arc::clone(&agent.gate),
            meter: agent.life.meter(),
            limits: limits.clone(),
            before: agent.used.clone(),
            last: None,
            refused: Vec::new(),
        }
    }

    /// Waits for a limit that ends the run.
    pub(crate) async fn until_reached(&mut self) -> DenialCode {
        let (gate, context) = (Arc::clone(&self.gate), Arc::clone(&self.context));
        tokio::select! {
            code = gate.flooded() => code,
            code = context.misconduct() => code,
            code = self.look_again_and_again() => code,
        }
    }

    /// Whether a limit was reached that does not end a run. Its sandbox is not fit for another.
    pub(crate) const fn is_worn(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Why a run failed that failed otherwise: what the kernel refused, if it refused anything.
    pub(crate) fn reason(&self) -> Option<DenialCode> {
        self.refused.first().copied()
    }

    /// A last look at the end of a turn; returns all that was used up to now.
    pub(crate) async fn finish(&mut self) -> Usage {
        if let Some(usage) = self.meter.read().await {
            let reached = self.note(usage).await;
            self.refused.extend(reached);
        }
        self.last.clone().unwrap_or_else(|| self.before.clone())
    }

    /// Why an agent ended, if a limit is the reason.
    pub(crate) async fn reason_of_end(&mut self, exit: &Exit) -> Option<DenialCode> {
        let reached = self.note(exit.usage.clone()).await;
        reached.or_else(|| self.reason())
    }

    async fn look_again_and_again(&mut self) -> DenialCode {
        loop {
            // An agent that has ended says so by its output.
            if let Some(usage) = self.meter.read().await
                && let Some(code) = self.note(usage).await
            {
                return code;
            }
            if self.context.idle_for() >= self.limits.idle {
                // One that can't go on for want of something is idle for that reason.
                return self.reason().unwrap_or(DenialCode::RunIdle);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Compares with what was before; returns a limit that ends the run.
    async fn note(&mut self, now: Usage) -> Option<DenialCode> {
        if self.last.is_none() {
            // What it used at rest, or before it belonged to anybody, is not this run's.
            self.before.cpu_us = now.cpu_us;
        }
        let before = &self.before;
        let more = |now: Option<u64>, before: Option<u64>| now.unwrap_or(0).saturating_sub(before.unwrap_or(0));
        let (killed, cpu_us) = (more(now.oom_kills, before.oom_kills), more(now.cpu_us, before.cpu_us));
        let refused = more(now.forks_refused, before.forks_refused);
        if refused > 0 {
            self.tell_once(DenialCode::AgentProcesses, &format!("{refused} processes or threads more")).await;
        }
        if !now.full.is_empty() {
            self.tell_once(DenialCode::AgentDisk, &format!("more in {}", now.full.join(", "))).await;
        }
        self.last = Some(now);
        if killed > 0 {
            return Some(DenialCode::AgentMemory);
        }
        (Duration::from_micros(cpu_us) >= self.limits.cpu).then_some(DenialCode::AgentCpu)
    }

    /// For the operator's log, the audit log and the page.
    async fn tell_once(&mut self, code: DenialCode, wanted: &str) {
        if self.refused.contains(&code) {
            return;
        }
        self.refused.push(code);
        tracing::warn!(run = %self.context.run, sandbox = %self.gate.sandbox, %code, wanted, "a sandbox has reached a limit");
        self.proxy.write_down(&self.context, Denial::new(code, wanted)).await;
    }
}

/// Waits until an agent at rest does what it has no reason for: floods its listeners, or uses processors without end.
pub(crate) async fn restless(gate: &Gate, meter: &Meter, cpu: Duration) -> DenialCode {
    /// Between two looks at an agent that should do nothing.
    const PAUSE: Duration = Duration::from_secs(5);
    let busy = async {
        let used = async || Duration::from_micros(meter.read().await.and_then(|usage| usage.cpu_us).unwrap_or(0));
        let before = used().await;
        while used().await.saturating_sub(before) < cpu {
            tokio::time::sleep(PAUSE).await;
        }
        DenialCode::AgentCpu
    };
    tokio::select! {
        code = gate.flooded() => code,
        code = busy => code,
    }
}

/// A conversation whose prompts are longer does not go on with the same agent; the smallest models take 200,000 tokens.
const PROMPT_TOKENS_KEPT: u64 = 120_000;

/// Whether the conversation of this run's agent may go on with it. The agent does not summarise: where a conversation gets long,
/// the next message goes to another one, which is told the recent past.
pub(crate) fn has_room(context: &RunContext) -> bool {
    let limit = context.context_tokens_max().map_or(PROMPT_TOKENS_KEPT, |tokens| PROMPT_TOKENS_KEPT.min(tokens / 2));
    context.prompt_tokens() <= limit
}

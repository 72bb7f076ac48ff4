//! What runs may take, and how agents are kept.

use crate::{AgentLimits, QueueSettings};
use policy::{Microusd, RateRules};
use std::time::Duration;

/// The limits of runs. Money is in micro-dollars.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// What one run may cost.
    pub run_budget: Microusd,
    /// How long one run may take.
    pub wall_clock: Duration,
    /// Runs at the same time.
    pub concurrent_max: usize,
    /// Who waits for one of these places.
    pub queue: QueueSettings,
    /// How many messages may be sent.
    pub rates: RateRules,
    /// How long an agent is kept for a follow-up message.
    pub idle: Duration,
    /// Agents kept at the same time.
    pub idle_agents_max: usize,
    /// Agents started ahead of need at most; 0 starts each with its message.
    pub warm_agents_max: usize,
    /// When agents without work are given up.
    pub keeping: Keeping,
    /// Whether an agent may run although this host can't enforce all of its sandbox's rules. Never in production.
    pub danger_accept_downgrades: bool,
    /// Whether agents are told where the model is; otherwise they dial the provider's name and are intercepted.
    pub tell_base_url: bool,
    /// What one agent may use.
    pub limits: AgentLimits,
    /// How long a call waits for a person's yes before the agent is told that it does.
    pub confirmation_wait: Duration,
}

/// When agents without work are given up before their time.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// How old one may become that was started ahead of need: what it was told at its start may not be true any more.
    pub age_max: Duration,
    /// What must be left of the host's memory beside agents without work.
    pub memory_bytes_left_min: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { age_max: Duration::from_secs(600), memory_bytes_left_min: 1 << 30 }
    }
}

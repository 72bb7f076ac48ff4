//! `[runs]`: how many runs at the same time, who waits for a place, which agents are kept.

use super::rates::within;
use super::{Faults, File, dollars};
use proxy::confirm::CONFIRMATION_WAIT;
use runs::{Keeping, QueueSettings, RunSettings};
use serde::Deserialize;
use std::time::Duration;

const CONCURRENT_MAX: usize = 10_000;
const WAITING_MAX: usize = 10_000;
const WAIT_SECS_MAX: u64 = 3600;
const CONFIRMATION_WAIT_SECS_MAX: u64 = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RunsFile {
    pub(super) wall_clock_secs: u64,
    pub(super) concurrent_max: usize,
    pub(super) queue_max: usize,
    pub(super) queue_wait_secs: u64,
    pub(super) idle_secs: u64,
    pub(super) idle_agents_max: usize,
    pub(super) warm_agents_max: usize,
    pub(super) confirmation_wait_secs: u64,
}

impl Default for RunsFile {
    fn default() -> Self {
        Self {
            wall_clock_secs: 300,
            concurrent_max: 16,
            queue_max: 100,
            queue_wait_secs: 60,
            idle_secs: 600,
            idle_agents_max: 16,
            warm_agents_max: 4,
            confirmation_wait_secs: CONFIRMATION_WAIT.as_secs(),
        }
    }
}

impl RunsFile {
    /// Agents give a call up after a minute, and what they say of that is not what happened.
    pub(super) fn confirmation_wait(&self, faults: &mut Faults) -> Duration {
        if self.confirmation_wait_secs > CONFIRMATION_WAIT_SECS_MAX {
            let most = format!("is {} and must be at most {CONFIRMATION_WAIT_SECS_MAX}", self.confirmation_wait_secs);
            faults.add("runs.confirmation_wait_secs", &most);
        }
        Duration::from_secs(self.confirmation_wait_secs)
    }

    pub(super) fn queue(&self, faults: &mut Faults) -> QueueSettings {
        if self.queue_max > WAITING_MAX {
            faults.add("runs.queue_max", &format!("is {} and must be at most {WAITING_MAX}", self.queue_max));
        }
        within("runs.queue_wait_secs", self.queue_wait_secs, WAIT_SECS_MAX, faults);
        let wait = Duration::from_secs(self.queue_wait_secs);
        QueueSettings { waiting_max: self.queue_max, wait, ..QueueSettings::default() }
    }
}

/// The limits of runs.
pub(super) fn settings(file: &File, production: bool, faults: &mut Faults) -> RunSettings {
    let runs = &file.runs;
    if runs.wall_clock_secs == 0 {
        faults.add("runs.wall_clock_secs", "must not be 0");
    }
    if !(1..=CONCURRENT_MAX).contains(&runs.concurrent_max) {
        faults.add("runs.concurrent_max", &format!("must be between 1 and {CONCURRENT_MAX}"));
    }
    RunSettings {
        run_budget: dollars("budget.run_usd", file.budget.run_usd, faults),
        wall_clock: Duration::from_secs(runs.wall_clock_secs),
        concurrent_max: runs.concurrent_max,
        queue: runs.queue(faults),
        rates: super::rates::read(&file.rates, faults),
        idle: Duration::from_secs(runs.idle_secs),
        idle_agents_max: runs.idle_agents_max,
        warm_agents_max: runs.warm_agents_max,
        keeping: Keeping::default(),
        danger_accept_downgrades: !production,
        tell_base_url: file.agent.base_url.unwrap_or(true),
        limits: super::limits::read(&file.limits, faults),
        confirmation_wait: runs.confirmation_wait(faults),
    }
}

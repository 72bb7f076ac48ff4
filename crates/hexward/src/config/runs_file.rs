//! `[runs]`: how many runs at the same time, who waits for a place, which agents are kept.

use super::Faults;
use super::rates::within;
use runs::QueueSettings;
use serde::Deserialize;
use std::time::Duration;

const WAITING_MAX: usize = 10_000;
const WAIT_SECS_MAX: u64 = 3600;

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
        }
    }
}

impl RunsFile {
    pub(super) fn queue(&self, faults: &mut Faults) -> QueueSettings {
        if self.queue_max > WAITING_MAX {
            faults.add("runs.queue_max", &format!("is {} and must be at most {WAITING_MAX}", self.queue_max));
        }
        within("runs.queue_wait_secs", self.queue_wait_secs, WAIT_SECS_MAX, faults);
        let wait = Duration::from_secs(self.queue_wait_secs);
        QueueSettings { waiting_max: self.queue_max, wait, ..QueueSettings::default() }
    }
}

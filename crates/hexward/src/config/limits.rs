//! `[limits]`: what one run's agent may use of the gateway. What its sandbox has of the host is in the profile.

use super::Faults;
use proxy::TrafficLimits;
use runs::AgentLimits;
use serde::Deserialize;
use std::time::Duration;

const DAY_SECS: u64 = 86_400;
const OUTPUT_MB_MAX: u64 = 4096;
/// Each is a file descriptor of the gateway's.
const CONNECTIONS_MAX: u32 = 1024;
const PER_MINUTE_MAX: u32 = 1_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    inactive_secs: u64,
    cpu_secs: u64,
    output_mb: u64,
    connections_max: u32,
    connections_per_minute: u32,
    requests_per_minute: u32,
}

impl Default for LimitsFile {
    fn default() -> Self {
        let AgentLimits { idle, cpu, output_bytes, traffic } = AgentLimits::default();
        Self {
            inactive_secs: idle.as_secs(),
            cpu_secs: cpu.as_secs(),
            output_mb: output_bytes >> 20,
            connections_max: traffic.connections_max,
            connections_per_minute: traffic.connections_per_minute_max,
            requests_per_minute: traffic.requests_per_minute_max,
        }
    }
}

pub(super) fn read(file: &LimitsFile, faults: &mut Faults) -> AgentLimits {
    let bounds = [
        ("limits.inactive_secs", file.inactive_secs, DAY_SECS),
        ("limits.cpu_secs", file.cpu_secs, DAY_SECS),
        ("limits.output_mb", file.output_mb, OUTPUT_MB_MAX),
        ("limits.connections_max", file.connections_max.into(), CONNECTIONS_MAX.into()),
        ("limits.connections_per_minute", file.connections_per_minute.into(), PER_MINUTE_MAX.into()),
        ("limits.requests_per_minute", file.requests_per_minute.into(), PER_MINUTE_MAX.into()),
    ];
    for (name, value, max) in bounds {
        if !(1..=max).contains(&value) {
            faults.add(name, &format!("is {value} and must be between 1 and {max}"));
        }
    }
    AgentLimits {
        idle: Duration::from_secs(file.inactive_secs),
        cpu: Duration::from_secs(file.cpu_secs),
        output_bytes: file.output_mb.min(OUTPUT_MB_MAX) << 20,
        traffic: TrafficLimits {
            connections_max: file.connections_max,
            connections_per_minute_max: file.connections_per_minute,
            requests_per_minute_max: file.requests_per_minute,
        },
    }
}

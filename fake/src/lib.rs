//! A stand-in for the Anthropic API on the loopback interface: it speaks the real protocol, bytes and mistakes
//! included, so that the real agent can be driven in the demo, in tests and in benchmarks without a key or a network.
//!
//! It is not a model. What it answers comes from scenario files or from a small set of rules that understand the
//! demo's requests ([`understand`]); both are pure and know nothing of sockets. It never opens a connection itself,
//! and it must never be reachable by strangers: whoever holds the configured key may fill its memory.

mod answer;
mod builtin;
mod gzip;
mod history;
mod ids;
mod limits;
mod models;
mod record;
mod request;
mod scenario;
mod script;
mod server;
mod socket;
mod turn;
pub mod understand;
mod wire;

use std::path::PathBuf;

pub use history::{Call, History};
pub use record::Exchange;
pub use request::{Block as RequestBlock, InputUsage, Invalid, Message, MessagesRequest, Role};
pub use scenario::Scenarios;
pub use server::{Fake, serve};
pub use turn::Block;

/// Pause between two pieces of a streamed answer that lets a person see it being written.
const EVENT_DELAY_MS: u64 = 12;

/// How a fake behaves.
#[derive(Debug, Clone)]
pub struct FakeConfig {
    /// The only key that is accepted, as `x-api-key` or as bearer token.
    pub key: String,
    /// Folders with further scenarios; a file replaces an earlier scenario of its name.
    pub scenario_dirs: Vec<PathBuf>,
    /// The scenario of every request that does not name one itself.
    pub scenario: Option<String>,
    /// Pause before each piece of streamed content.
    pub event_delay_ms: u64,
    /// Keep requests and the bytes sent for [`Fake::requests`].
    pub record: bool,
    /// Makes ids repeat from run to run.
    pub seed: Option<u64>,
}

impl FakeConfig {
    /// A fake for people: it writes at a speed that can be read, and records nothing.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            scenario_dirs: Vec::new(),
            scenario: None,
            event_delay_ms: EVENT_DELAY_MS,
            record: false,
            seed: None,
        }
    }

    /// A fake for tests: no pauses, everything recorded.
    #[must_use]
    pub fn for_tests(key: impl Into<String>) -> Self {
        Self { event_delay_ms: 0, record: true, ..Self::new(key) }
    }

    /// A fake for benchmarks: no pauses, nothing recorded, one fixed answer.
    #[must_use]
    pub fn for_benchmarks(key: impl Into<String>, scenario: impl Into<String>) -> Self {
        Self { event_delay_ms: 0, scenario: Some(scenario.into()), ..Self::new(key) }
    }
}

/// Why a fake can't start or went away. All of them are the operator's to solve.
#[derive(Debug, thiserror::Error)]
pub enum FakeError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}:{column}: {message}", path.display())]
    Scenario { path: PathBuf, line: usize, column: usize, message: String },
    #[error("no scenario is named {0:?}")]
    NoScenario(String),
    #[error("the key must not be empty")]
    EmptyKey,
    #[error("listening: {0}")]
    Listen(#[source] std::io::Error),
}

//! Runs agents: one sandbox each, its listeners handed out, its streams spoken to.
//!
//! A [`Driver`] starts an [`AgentSpec`] and returns a [`Sandbox`]: listeners that capture whatever it dials, its standard
//! streams, and the only handle that keeps it alive. This crate knows nothing of users, money or databases, and what an agent
//! prints is never more than a hint to it.

mod apply;
mod changes;
mod checking;
mod claude;
mod danger;
mod driver;
mod error;
mod hooked;
mod host;
mod jailed;
mod jailer;
mod lines;
mod profile;
mod program;
mod runtime;
mod script;
mod seal;
mod stock;
mod supervise;
mod template;
mod transcript;
mod verdict;

pub use apply::{Applied, apply};
pub use changes::{Change, Changes, Kind, What, collect};
pub use claude::{AgentEvent, Claude, ClaudeOptions, NATIVE_PACKAGE, TurnResult};
pub use danger::Dangers;
pub use driver::{AgentSpec, Driver, Ending, Exit, HookedListener, Life, Listeners, Meter, Network, Sandbox};
pub use error::SandboxError;
pub use host::memory_available_bytes;
pub use jail::{Check, Checked, Usage, close_inherited_files, leave_session};
pub use jailed::{JailedDriver, JailedPaths, Mode};
pub use profile::{Profile, ProfileError};
pub use program::{Program, ProgramEnd, ProgramLife, ProgramProfile, ProgramSpec};
pub use runtime::{CodeRuntime, Link, Programs, Runtime, Tree};
pub use seal::Seal;
pub use transcript::PastMessage;
pub use verdict::{Awaited, Verdict};

/// Users of the host that belong to sandboxes, as far as root makes them: agents, programs of `hexward run`, and 100 000 above
/// each its sandbox's first process.
pub const HOST_USERS: std::ops::Range<u32> = jail::HOST_UID_FIRST..jail::HOST_UID_FIRST + 200_000;

/// The runtime that every driver has: the agent's executable alone.
pub const AGENT: &str = "agent";

//! Runs agents: one sandbox each, its listeners handed out, its streams spoken to.
//!
//! A [`Driver`] starts an [`AgentSpec`] and returns a [`Sandbox`]: listeners that capture whatever it dials, its standard
//! streams, and the only handle that keeps it alive. This crate knows nothing of users, money or databases, and what an agent
//! prints is never more than a hint to it.

mod claude;
mod driver;
mod error;
mod host;
mod jailed;
mod lines;
mod profile;
mod runtime;
mod seal;
mod supervise;
mod transcript;

pub use claude::{AgentEvent, Claude, ClaudeOptions, TurnResult};
pub use driver::{AgentSpec, Driver, Ending, Exit, Life, Listeners, Sandbox};
pub use error::SandboxError;
pub use host::memory_available_bytes;
pub use jailed::{JailedDriver, JailedPaths, Mode};
pub use profile::{Profile, ProfileError};
pub use runtime::{CodeRuntime, Link, Programs, Tree};
pub use seal::Seal;
pub use transcript::PastMessage;

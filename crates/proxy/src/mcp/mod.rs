//! Tools. [`front`] is the door agents knock on: it reads strictly, answers for what needs no tool and hands everything else to
//! a [`front::ToolHost`], which decides and journals. [`upstream`] is how the gateway itself calls the servers that have the tools.
//!
//! Nothing an agent sent is ever forwarded as bytes: what passes is a value that was parsed here and is written anew.

mod asked;
pub mod assertion;
mod back;
mod capped;
pub mod credential;
mod era;
mod failure;
pub mod front;
mod host;
mod lookups;
mod marked;
mod mirror;
mod notices;
pub mod parse;
mod picture;
mod plain;
mod prompts;
mod sentinel;
mod session;
mod sse;
mod state;
pub mod stdio;
#[cfg(test)]
mod stdio_tests;
mod streamed;
#[cfg(test)]
mod tests;
mod transport;
pub mod upstream;
#[cfg(test)]
mod upstream_tests;
mod user;
mod wire;

pub use back::Back;
pub(crate) use back::{asks, passed_on};
pub(crate) use capped::{bounded, capped};
pub use marked::DATA_MARK;
pub(crate) use marked::marked;
pub use notices::Notices;
pub(crate) use plain::{plain, visible};
pub(crate) use state::{Kept, StateSeal};
pub(crate) use streamed::stream;

/// The revision without handshake and sessions.
pub const MODERN: &str = "2026-07-28";

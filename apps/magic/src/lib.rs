//! The Magic assistant: an app that lets an agent look up cards and rules, and work out what a deck does.
//!
//! It is an MCP server over what an operator imported (or over a small invented set that comes with it), reached through the
//! tool interface only. It reads: no tool changes anything, and it asks nobody on the network. It knows nothing of the person it
//! answers, so nothing can be mixed up between two.

mod arguments;
pub mod card;
pub mod catalog;
pub mod deck;
mod definitions;
pub mod formats;
pub mod import;
mod index;
pub mod library;
mod near;
pub mod notices;
pub mod rules;
mod server;
mod text;
mod tools;

pub use import::{Counts, ImportError, Imported, import};
pub use library::{Library, SetRow};
pub use server::{PATH, ServerConfig, USER_HEADER, serve};

use store::{Migration, Schema};

/// The app's id: in the manifest, in table names.
pub const APP: &str = "magic";
/// What the operator may change about the app.
pub const MANIFEST: &str = include_str!("../app.toml");
/// What the agent is told about its work.
pub const PROMPT: &str = include_str!("../prompt.md");

/// The tables of what was imported.
pub static SCHEMA: Schema = Schema {
    name: APP,
    sqlite: &[Migration { number: 1, name: "sets", sql: include_str!("../migrations/sqlite/0001_sets.sql") }],
    postgres: &[Migration { number: 1, name: "sets", sql: include_str!("../migrations/postgres/0001_sets.sql") }],
    statements: &[library::STATEMENTS],
};

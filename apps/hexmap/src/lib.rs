//! The hexagonal map: an app that lets an agent keep a person's thoughts as tiles on a map of hexagons.
//!
//! It is an MCP server over its own tables, reached through the tool interface only, like any foreign server. It decides
//! nothing about permissions: who may call which tool is the gateway's business. It never shows one user's map to another.

mod arguments;
pub mod coord;
mod listing;
pub mod map;
mod people;
mod resources;
mod server;
pub mod tile;
mod tools;

pub use map::{erase, export, seal};
pub use server::{ACTOR_HEADER, PATH, ServerConfig, TIER_HEADER, USER_HEADER, USER_NAME_HEADER, serve, serve_within};

use store::{Migration, Schema};

/// The app's id: in the manifest, in announcements, in table names.
pub const APP: &str = "hexmap";
/// What the operator may change about the app.
pub const MANIFEST: &str = include_str!("../app.toml");
/// What the agent is told about its work.
pub const PROMPT: &str = include_str!("../prompt.md");

/// The tables of the map.
pub static SCHEMA: Schema = Schema {
    name: APP,
    sqlite: &[
        Migration { number: 1, name: "tiles", sql: include_str!("../migrations/sqlite/0001_tiles.sql") },
        Migration { number: 2, name: "changes", sql: include_str!("../migrations/sqlite/0002_changes.sql") },
        Migration { number: 3, name: "versions", sql: include_str!("../migrations/sqlite/0003_versions.sql") },
        Migration { number: 4, name: "sealed", sql: include_str!("../migrations/sqlite/0004_sealed.sql") },
    ],
    postgres: &[
        Migration { number: 1, name: "tiles", sql: include_str!("../migrations/postgres/0001_tiles.sql") },
        Migration { number: 2, name: "changes", sql: include_str!("../migrations/postgres/0002_changes.sql") },
        Migration { number: 3, name: "versions", sql: include_str!("../migrations/postgres/0003_versions.sql") },
        Migration { number: 4, name: "sealed", sql: include_str!("../migrations/postgres/0004_sealed.sql") },
    ],
    statements: &[
        map::READS,
        map::CHANGES,
        map::EFFECTS,
        map::MOVES,
        map::RECORDS,
        map::UNDOS,
        map::LIMITS,
        map::ATTENTION,
        map::VERSIONS,
        map::ATLAS,
        map::VIEWS,
        map::TRANSFER,
        map::SEALED,
        map::EXPORT,
    ],
};

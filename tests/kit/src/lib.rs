//! What the tests of several rooms need and no room should depend on: a PostgreSQL server of their own.
//!
//! It knows none of our crates, so every one of them can use it for its tests. It never talks to a server it did not start.

mod machine;
mod postgres;

pub use postgres::Postgres;

//! What the tests of the whole gateway share. The gateway is driven as people, agents and attackers drive it.

pub use testkit::Postgres;

//! Stories of the whole gateway: the real wiring, the real agent in real sandboxes, both databases.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod agent;
mod behaviour;
mod bodies;
mod callers;
mod ceilings;
mod chat;
mod clients;
mod clients_agents;
mod code;
mod confirmations;
mod doors;
mod egress;
mod failures;
mod fairness;
mod faults;
mod hands;
mod harness;
mod hooked;
mod hostile;
mod installing;
mod integrity;
mod interception;
mod keys;
mod kills;
mod life;
mod limits;
mod magic;
mod model;
mod money;
mod people;
mod pool;
mod privileges;
mod providers;
mod queue;
mod rates;
mod redteam;
mod runtime;
mod smuggling;
mod stopping;
mod undo;
mod undo_apps;
mod writes;

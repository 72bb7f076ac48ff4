//! Stories of the whole gateway: the real wiring, the real agent in real sandboxes, both databases.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod callers;
mod chat;
mod hostile;
mod model;
mod people;
mod writes;

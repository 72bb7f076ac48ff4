//! The door of a sandbox, driven by real clients over real connections against a real host on loopback. What the kernel would
//! say of a captured connection, the wanted address, is given by the test; everything after that is the real way.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod attacks;
mod house;
mod passing;
mod upstream;

//! What the tests of the whole gateway share. The gateway is driven as people, agents and attackers drive it.
//!
//! A [`TestGate`] is the real wiring in this process: a real database, real sandboxes, the real agent, and the fake of the
//! provider on loopback. When it is finished it checks what must hold after everything, whatever the test was about.
//! A [`Program`] is the same as a process of its own, to be signalled and killed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::missing_panics_doc, reason = "a test fails by panicking")]

mod back_end;
mod checks;
pub mod clients;
mod code_app;
mod ear;
mod finish;
mod gate;
mod logs;
mod person;
mod places;
mod processes;
mod program;
mod script;
mod suite_questions;
mod suite_server;
mod tool_server;
mod watch;
mod wire;

pub use back_end::{BackEnd, HOST_SECRET, HostUser, events_of, host, sign};
pub use checks::{Call, Database};
pub use clients::mcp_tool;
pub use code_app::{CodeApp, code_runtime};
pub use ear::Ear;
pub use gate::{MASTER_KEY, Setup, TestGate};
pub use logs::contain as logged;
pub use person::{Person, Stream};
pub use places::{agent, agent_folder, chatterer, hexward, jail, probe, red_probe, repository};
pub use processes::{Process, control_group_of, control_groups, descendants};
pub use program::{Program, ProgramSetup};
pub use script::{Probe, reversed};
pub use suite_server::{SUITE_CREDENTIAL, Speaks, SuiteServer};
pub use testkit::Postgres;
pub use tool_server::ToolServer;
pub use wire::{Answer, exchange, request};

use std::future::Future;
use std::time::{Duration, Instant};

/// Waits until something holds; panics with `what` when it does not in time: when somebody who looks no sooner than `within` does not
/// find it so. How long a look takes does not count.
pub async fn eventually<F, R>(what: &str, within: Duration, mut holds: F)
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let began = Instant::now();
    loop {
        let looked = began.elapsed();
        if holds().await {
            return;
        }
        assert!(looked < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

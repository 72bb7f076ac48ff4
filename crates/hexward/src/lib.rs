//! Wires. The `hexward` program: its commands, configuration and background work. No business rules live here.
//!
//! A library, so that the tests of the whole gateway start the same wiring that the program starts.

mod agent;
mod app_files;
mod apps;
mod arguments;
pub mod clock;
pub mod config;
mod demo;
mod fake_command;
pub mod gateway;
mod once;
mod pinned;
mod redteam;
mod run;
mod runtime;
mod secrets;
mod serve;

pub use agent::CURRENT_EXECUTABLE;
pub use arguments::Cli;
pub(crate) use arguments::{DemoArgs, FakeArgs, RunArgs, ServeArgs};

use anyhow::Result;
use arguments::Command;
use std::process::ExitCode;

/// Carries out a command.
///
/// # Errors
/// What happened, whose fault it is and what to do, one cause after the other.
pub async fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve::serve(args).await,
        Command::Demo(args) => demo::demo(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Agent(args) => agent::command(args).await,
        Command::Runtime(args) => runtime::build(&args),
        Command::Fake(args) => fake_command::serve(args).await,
        Command::Redteam(args) => redteam::redteam(args).await,
    }
}

//! Wires. The `hexward` program: its commands, configuration and background work. No business rules live here.
//!
//! A library, so that the tests of the whole gateway start the same wiring that the program starts.

mod agent;
mod app_files;
mod apps;
mod arguments;
mod builtin;
mod cards;
pub mod clock;
pub mod config;
mod config_command;
mod data_key;
mod demo;
mod fake_command;
pub mod gateway;
mod host_api;
mod init;
mod key;
mod once;
mod pinned;
mod prices_command;
mod provider_command;
pub mod provider_keys;
mod redteam;
mod run;
mod runtime;
mod say;
mod secrets;
mod serve;
mod step_down;
mod tool_process;
mod tools_command;
mod trust;
mod undo;
mod webhooks_command;

pub(crate) use redteam::SANDBOX_RUNTIME;

pub use agent::CURRENT_EXECUTABLE;
pub use arguments::Cli;
pub(crate) use arguments::{DemoArgs, FakeArgs, RunArgs, ServeArgs};
pub use data_key::MasterKeys;

use anyhow::Result;
use arguments::Command;
use std::io::Write;
use std::process::ExitCode;

/// Carries out a command. The caller has one thread: rights are given up before there are more.
///
/// # Errors
/// What happened, whose fault it is and what to do, one cause after the other.
pub fn run(cli: Cli) -> Result<ExitCode> {
    if let (Command::Serve(_) | Command::Demo(_), true) = (&cli.command, rustix::process::geteuid().is_root()) {
        // What root's shell had open is nobody's who comes after root.
        sandbox::close_inherited_files()?;
    }
    match cli.command {
        Command::Serve(args) => serve::serve(args),
        Command::Demo(args) => demo::demo(&args),
        Command::Init(args) => init::command(args),
        Command::Config(args) => config_command::command(args),
        Command::Run(args) => in_threads(run::run(args)),
        Command::Cards(args) => in_threads(cards::command(args)),
        Command::Key(args) => in_threads(key::command(args)),
        Command::DataKey(args) => in_threads(data_key::command(args)),
        Command::Tools(args) => in_threads(tools_command::command(args)),
        Command::Webhooks(args) => in_threads(webhooks_command::command(args)),
        Command::Agent(args) => in_threads(agent::command(args)),
        Command::Runtime(args) => runtime::build(&args),
        Command::Fake(args) => in_threads(fake_command::serve(args)),
        Command::Prices(args) => prices_command::prices(&args),
        Command::Provider(args) => provider_command::provider(&args),
        Command::Undo(args) => in_threads(undo::command(args)),
        Command::OpenApi => print_openapi(),
        Command::Redteam(args) => in_threads(redteam::redteam(args)),
    }
}

fn print_openapi() -> Result<ExitCode> {
    std::io::stdout().write_all(web::openapi().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the threads that everything else runs on.
fn in_threads<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

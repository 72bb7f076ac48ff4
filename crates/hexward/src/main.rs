//! Wires. The `hexward` program: its commands, configuration and background work. No business rules live here.

mod clock;
mod config;
mod demo;
mod fake_command;
mod gateway;
mod once;
mod secrets;
mod serve;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Puts a Claude agent in front of strangers without losing keys, data, budget or sleep.
#[derive(Parser)]
#[command(name = "hexward", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway as configured.
    Serve(ServeArgs),
    /// Runs everything on loopback with a scripted model: no key, no network.
    Demo(DemoArgs),
    /// Runs the scripted model API alone.
    Fake(FakeArgs),
}

#[derive(Args)]
struct Common {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the database and the gateway's own small files are.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state")]
    state_dir: PathBuf,
    /// The agent's executable.
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

#[derive(Args)]
struct ServeArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct DemoArgs {
    #[command(flatten)]
    common: Common,
    /// Uses the real provider with `ANTHROPIC_API_KEY`, under caps of $1 a run and $5 a day.
    #[arg(long)]
    real: bool,
    /// Sends one message down the whole path without a browser, prints the run's events as NDJSON and ends.
    #[arg(long, value_name = "TEXT")]
    once: Option<String>,
    /// Which app.
    #[arg(long, default_value = "hexmap")]
    app: String,
    /// Whether the agent may change things.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    writes: bool,
    /// Where people connect.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// A scenario of the scripted model for every request.
    #[arg(long, value_name = "NAME", conflicts_with = "real")]
    scenario: Option<String>,
    /// Lets the agent dial the provider's built-in address, to show that it is intercepted.
    #[arg(long)]
    no_base_url: bool,
}

#[derive(Args)]
struct FakeArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:7413")]
    listen: SocketAddr,
    /// Folders with further scenarios.
    #[arg(long, value_name = "DIR")]
    scenarios: Vec<PathBuf>,
    /// The scenario of every request that does not name one itself.
    #[arg(long)]
    scenario: Option<String>,
    /// Pause before each piece of streamed content, in milliseconds.
    #[arg(long, default_value_t = 12)]
    event_delay_ms: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("HEXWARD_LOG").unwrap_or_else(|_| EnvFilter::new("warn,hexward=info,runs=info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::serve(args).await,
        Command::Demo(args) => demo::demo(args).await,
        Command::Fake(args) => fake_command::serve(args).await,
    }
}

/// Every error says what happened, whose fault it is and what to do; it goes to standard error, one line a cause.
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("hexward: {error:#}");
    ExitCode::FAILURE
}

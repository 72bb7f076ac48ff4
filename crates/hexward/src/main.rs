//! The `hexward` program: a thin shell around the library of the same name.

use clap::Parser;
use hexward::Cli;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A model call makes and drops some two hundred small things, on the thread that serves it: a tenth of its time with glibc's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("HEXWARD_LOG").unwrap_or_else(|_| EnvFilter::new("warn,hexward=info,runs=info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would tell of a log that can't be written on standard error, which is the log: and panic as that can't be written either.
        .log_internal_errors(false)
        .init();
    // What this program writes is its own: databases and secrets are made readable for nobody else.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    raise_file_limit();
    match hexward::run(cli) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// A gateway holds a few descriptors for each sandbox and connection; the usual soft limit is meant for smaller programs.
fn raise_file_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Every error says what happened, whose fault it is and what to do; it goes to standard error, one line a cause.
fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "hexward: {error:#}");
    ExitCode::FAILURE
}

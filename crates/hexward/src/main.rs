//! The `hexward` program: a thin shell around the library of the same name.

use clap::Parser;
use hexward::Cli;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

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
    match runtime.block_on(hexward::run(cli)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Every error says what happened, whose fault it is and what to do; it goes to standard error, one line a cause.
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("hexward: {error:#}");
    ExitCode::FAILURE
}

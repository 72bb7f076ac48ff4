//! `hexward agent`: gets the agent, pins it, builds its runtime image, tries it in a real sandbox, and keeps the one before.
//!
//! Below the agent's folder: `versions/VERSION/image` is what a sandbox sees, `versions/VERSION/agent.lock` the digests of it,
//! `current` and `previous` are links. A new version is made in `staging` and moved as a whole: at any moment `current` is either
//! the old one or the new one.

mod fetch;
mod image;
mod install;
mod lock;
mod probe;

pub use lock::{Candidate, Installed};

use crate::arguments::{AgentArgs, AgentCommand};
use anyhow::{Context, Result, bail};
use install::Shelf;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Where the executable stands in an image, as it appears in a sandbox.
pub const EXECUTABLE: &str = "opt/agent/agent";
/// The agent that a gateway runs when nobody says otherwise, below the agent's folder.
pub const CURRENT_EXECUTABLE: &str = "current/image/opt/agent/agent";
const LOCK: &str = "agent.lock";
/// Folders in which an agent without a lock is a broken one.
const PLACES: [&str; 2] = ["versions", "staging"];
/// The version this gateway was tested with.
const PINNED: &str = include_str!("../../../../scripts/agent.version");
/// Digests that are known: version, machine, SHA-256 of the executable.
const KNOWN: &str = include_str!("../../../../scripts/agent.sha256");

/// Carries out one of the commands.
pub async fn command(args: AgentArgs) -> Result<ExitCode> {
    let shelf = Shelf::open(&args.folder)?;
    match args.command {
        AgentCommand::Install { again, package } => install(&shelf, PINNED.trim(), package.as_deref(), again).await,
        AgentCommand::Upgrade { version, package } => {
            install(&shelf, version.as_deref().unwrap_or(PINNED.trim()), package.as_deref(), false).await
        }
        AgentCommand::Rollback => {
            let version = shelf.roll_back()?;
            say(&format!("the agent {version} is in use again; restart the gateway"))?;
            Ok(ExitCode::SUCCESS)
        }
        AgentCommand::Check => check(&shelf).await,
    }
}

/// Nothing to do when this version is in use and is what its lock says.
async fn install(shelf: &Shelf, version: &str, package: Option<&Path>, again: bool) -> Result<ExitCode> {
    fetch::check_version(version)?;
    if !again && shelf.is_current(version) {
        say(&format!("the agent {version} is installed"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let staged = shelf.stage(version, package).await?;
    if !try_out(&staged.installed).await? {
        bail!("the agent {version} failed its checks and is not used; what was in use stays in use");
    }
    shelf.switch(staged)?;
    say(&format!("the agent {version} is in use; a gateway that runs must be restarted"))?;
    Ok(ExitCode::SUCCESS)
}

/// Compares what is in use with its lock, and tries it.
async fn check(shelf: &Shelf) -> Result<ExitCode> {
    let installed = shelf.current()?;
    say(&format!("ok    lock: {} files of {} are what was installed", installed.lock.files.len(), installed.lock.version))?;
    Ok(if try_out(&installed).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what each check saw; whether all passed.
async fn try_out(installed: &Installed) -> Result<bool> {
    say(&format!("trying the agent {} in a sandbox, with a scripted model ...", installed.lock.version))?;
    let checks = probe::probe(installed).await.context("the agent could not be tried")?;
    for check in &checks {
        say(&format!("{} {}: {}", if check.passed { "ok   " } else { "FAIL " }, check.name, check.evidence))?;
    }
    Ok(checks.iter().all(|check| check.passed))
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output is closed")
}

//! `hexward config`: whether a configuration is good, what is in force and from where, and what there is to say.

use crate::config::{self, Shown};
use crate::demo;
use anyhow::Result;
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
    /// The configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Where the database and the gateway's own small files are.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state", global = true)]
    pub(crate) state_dir: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Says every fault with its place, or that there is none. Opens no port and writes nothing.
    Check,
    /// Shows every value in force and where it comes from; of secrets only whether they are set.
    Show,
    /// Lists every key with its type, default and bounds, as Markdown.
    Reference,
}

/// Carries the command out. It opens no port, writes nothing and prints no secret.
pub(crate) fn command(args: ConfigArgs) -> Result<ExitCode> {
    let mut out = std::io::stdout();
    if matches!(args.command, ConfigCommand::Reference) {
        write!(out, "{}", config::reference())?;
        return Ok(ExitCode::SUCCESS);
    }
    let environment = demo::environment()?;
    let shown = Shown::of(args.config.as_deref(), &environment, demo::defaults(args.state_dir)?)?;
    if matches!(args.command, ConfigCommand::Show) {
        write!(out, "{}", shown.text())?;
    } else {
        environment.effects().iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    if let Some(faults) = shown.faults {
        return Err(faults.into());
    }
    if matches!(args.command, ConfigCommand::Check) {
        writeln!(out, "the configuration is good")?;
    }
    Ok(ExitCode::SUCCESS)
}

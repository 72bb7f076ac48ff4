//! `hexward config`: whether a configuration is good, what is in force and from where, and what there is to say.

use crate::arguments::{ConfigArgs, ConfigCommand};
use crate::config::{self, Shown};
use crate::demo;
use anyhow::Result;
use std::io::Write;
use std::process::ExitCode;

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

//! `hexward init`: the configuration and the secrets of a new installation, as two files that are whole or not there.
//!
//! Invariant: a secret is made or read here and written to one file that only its owner can read. It is in no argument, in nothing
//! that is printed and in no error.

mod answers;
mod files;
mod terminal;
mod text;

use crate::config::{self, Environment};
use crate::demo;
use answers::Answers;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// The configuration's name in its folder.
const CONFIG: &str = "hexward.toml";
/// The secrets', which `hexward` reads in the folder that it is started in.
const SECRETS: &str = ".env.local";

#[derive(Args)]
pub(crate) struct InitArgs {
    /// The folder; it is made, closed to others. In it `hexward serve` is started.
    #[arg(long, value_name = "DIR", default_value = "hexward")]
    dir: PathBuf,
    /// Asks nothing: what is not said is as it is by default.
    #[arg(long)]
    yes: bool,
    /// Writes the configuration anew where there is one. The old one is kept beside it, and no secret that is there is replaced.
    #[arg(long)]
    force: bool,
    /// Whether strangers are let in.
    #[arg(long, value_enum)]
    deployment: Option<Deployment>,
    /// The address that people will use, like https://map.example.org.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Where people connect.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The database, without a password: sqlite:PATH or postgres://HOST/NAME. Left out: a file in the state folder.
    #[arg(long, value_name = "URL", conflicts_with = "database_file")]
    database: Option<String>,
    /// Reads the database's address from a file, password and all; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    database_file: Option<PathBuf>,
    /// Reads the model provider's key from a file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// What everybody together may spend in a UTC day, in dollars.
    #[arg(long, value_name = "DOLLARS")]
    day_usd: Option<f64>,
    /// A web application with users of its own, which talks to the gateway for them.
    #[arg(long, value_name = "URL")]
    host_app: Option<String>,
    /// What it is called here.
    #[arg(long, value_name = "ID", requires = "host_app")]
    host_id: Option<String>,
}

/// Whether strangers are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Deployment {
    #[default]
    Development,
    Production,
}

/// Carries the command out.
pub(crate) fn command(args: InitArgs) -> Result<ExitCode> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !args.yes && !is_terminal {
        bail!(
            "nobody can be asked here, because this is not a terminal. Say --yes to take the defaults, with --deployment, \
             --public-url, --database or --database-file, --api-key-file, --day-usd and --host-app where they are not yours"
        );
    }
    // Before anybody answers questions for nothing.
    files::check(&args.dir, args.force)?;
    let answers = Answers::of(&args, !args.yes)?;
    let secrets = text::secrets(&answers)?;
    let config = text::config(&answers);
    let needs_key = usable(&config, &secrets)?;
    let kept = files::write(&args.dir, args.force, &config, &secrets)?;
    report(&args, &answers, needs_key, kept)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks what would be written as a start would. True if all that is missing is the provider's key.
fn usable(config: &str, secrets: &str) -> Result<bool> {
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let file = folder.path().join(CONFIG);
    std::fs::write(&file, config)?;
    std::fs::write(folder.path().join(SECRETS), secrets)?;
    let environment = config::load_environment(folder.path(), std::iter::empty())?;
    let process = demo::environment()?;
    let set = |environment: &Environment| {
        ["ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY_ORIGINAL"].iter().any(|name| environment.secret(name).is_some())
    };
    let needs_key = !set(&environment) && !set(&process);
    let environment = environment.or("ANTHROPIC_API_KEY", "sk-ant-api03-stands-in".to_owned());
    config::load(Some(&file), &environment, demo::defaults(folder.path().join("state"))?)
        .map_err(|faults| anyhow::anyhow!("nothing was written, because {faults}"))?;
    Ok(needs_key)
}

fn report(args: &InitArgs, answers: &Answers, needs_key: bool, kept: bool) -> Result<()> {
    let mut out = std::io::stdout();
    let dir = args.dir.display();
    writeln!(out, "{dir}/{CONFIG}: the configuration")?;
    writeln!(out, "{dir}/{SECRETS}: the secrets, for nobody's eyes but yours and the gateway's (mode 600)")?;
    if kept {
        writeln!(out, "{dir}/{CONFIG}.old: the configuration that was there; secrets that were there are kept")?;
    }
    if rustix::process::geteuid().is_root() {
        writeln!(
            out,
            "A gateway that root starts becomes another user, who can't enter {dir}: give it a --state-dir of its own"
        )?;
    }
    if needs_key {
        writeln!(out, "Still missing: ANTHROPIC_API_KEY. Write it into {dir}/{SECRETS}, in single quotes.")?;
    }
    if let Some(host) = &answers.host {
        writeln!(out, "{} needs {} from {dir}/{SECRETS} in its own environment, and a key:", host.url, host.secret_env())?;
        let id = &host.id;
        writeln!(
            out,
            "  hexward key create {id} --purpose service --host {id} --app hexmap --action runs --action read --action confirm --action undo"
        )?;
    }
    writeln!(
        out,
        "Then, in {dir}: hexward agent install; hexward config --config {CONFIG} check; hexward serve --config {CONFIG}"
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;

//! Where the master key comes from, and `hexward data-key`: its rotation.

use crate::config::{self, Environment};
use crate::gateway::ledger_folder;
use crate::{demo, key};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::{Masters, Store};

/// What wraps the data keys.
pub(crate) const MASTER_KEY: &str = "HEXWARD_MASTER_KEY";
/// What wrapped them before, while a rotation goes on.
pub(crate) const MASTER_KEYS_OLD: &str = "HEXWARD_MASTER_KEYS_OLD";

/// Read as if it were not there, it would be a key that nobody misses until something does not open.
pub(crate) const OLD_ALONE: &str =
    "is set without HEXWARD_MASTER_KEY, so nothing would use it; set both, or neither for the key in the state folder";

/// The master keys that the environment gives.
pub struct MasterKeys {
    /// 64 hexadecimal characters.
    pub current: SecretString,
    /// Former ones, separated by commas.
    pub old: SecretString,
}

impl MasterKeys {
    /// None where the environment has none: then there is a file.
    pub(crate) fn given(environment: &Environment) -> Option<Self> {
        let old = environment.secret(MASTER_KEYS_OLD).unwrap_or_else(|| SecretString::from(""));
        environment.secret(MASTER_KEY).map(|current| Self { current, old })
    }

    /// Understood, or why not.
    pub(crate) fn parse(&self) -> Result<Masters, store::StoreError> {
        Masters::parse(self.current.expose_secret(), self.old.expose_secret())
    }
}

/// The given ones, or those of the state folder.
pub(crate) fn masters(given: Option<&MasterKeys>, state_dir: &Path) -> Result<Masters> {
    match given {
        Some(keys) => keys.parse().context(MASTER_KEY),
        None => Ok(Masters::kept_in(state_dir)?),
    }
}

/// The gateway's own database, with what people wrote in it.
pub(crate) async fn open(state_dir: &Path) -> Result<Store> {
    let store = key::open(state_dir).await?;
    let environment = demo::environment()?;
    let given = MasterKeys::given(&environment);
    if given.is_none() && environment.secret(MASTER_KEYS_OLD).is_some() {
        bail!("{MASTER_KEYS_OLD} {OLD_ALONE}");
    }
    let store = store.with_masters(masters(given.as_ref(), state_dir)?).await.context("what is sealed can't be read")?;
    hexmap::seal(&store).await.context("the map can't be sealed")?;
    Ok(store)
}

#[derive(Args)]
pub(crate) struct DataKeyArgs {
    #[command(subcommand)]
    command: DataKeyCommand,
    /// The gateway's state folder, where its database and its master key are unless the environment says otherwise.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state", global = true)]
    state_dir: PathBuf,
}

#[derive(Subcommand)]
enum DataKeyCommand {
    /// Wraps every user's data key by the current master key. With a key from the environment: put the new one into
    /// `HEXWARD_MASTER_KEY` and the former one into `HEXWARD_MASTER_KEYS_OLD` at every gateway first. With the one of the state folder a
    /// new one is made; the gateway must be stopped.
    Rotate,
}

/// Carries the command out.
pub(crate) async fn command(args: DataKeyArgs) -> Result<ExitCode> {
    let DataKeyCommand::Rotate = args.command;
    let environment = demo::environment()?;
    let (rewrapped, next) = match MasterKeys::given(&environment) {
        Some(keys) => {
            let store = key::open(&args.state_dir).await?.with_masters(keys.parse().context(MASTER_KEY)?).await?;
            (store.rewrap().await?, "remove HEXWARD_MASTER_KEYS_OLD at every gateway")
        }
        None => {
            if environment.secret(MASTER_KEYS_OLD).is_some() {
                bail!("{MASTER_KEYS_OLD} {OLD_ALONE}");
            }
            if !config::database_url(&environment, &args.state_dir).expose_secret().starts_with("sqlite:") {
                bail!("a shared database needs a shared master key: set {MASTER_KEY} (and the former one in {MASTER_KEYS_OLD})");
            }
            // A running gateway would go on with the former key alone.
            let _lock = crate::gateway::lock(&args.state_dir)?;
            if store::journal_is_sealed(&ledger_folder(&args.state_dir))? {
                bail!(
                    "the last gateway did not end in order, and its journal is sealed under the former key: start the gateway, stop it, \
                     and rotate then"
                );
            }
            let before = Masters::kept_in(&args.state_dir)?;
            let store = key::open(&args.state_dir).await?.with_masters(before).await?;
            drop(store);
            let store = key::open(&args.state_dir).await?.with_masters(Masters::renew_in(&args.state_dir)?).await?;
            let rewrapped = store.rewrap().await?;
            Masters::forget_old_in(&args.state_dir)?;
            (rewrapped, "start the gateway; a backup of before needs the former key")
        }
    };
    writeln!(std::io::stderr(), "{rewrapped} data keys are wrapped by the current master key; now {next}")?;
    Ok(ExitCode::SUCCESS)
}

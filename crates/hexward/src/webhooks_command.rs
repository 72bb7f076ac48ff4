//! `hexward webhooks`: what host applications were not told yet, and trying again what was given up.

use crate::clock::SystemClock;
use crate::key;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use policy::Clock;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use store::DeliveryRow;

#[derive(Args)]
pub(crate) struct WebhooksArgs {
    #[command(subcommand)]
    pub(crate) command: WebhooksCommand,
    /// Where the database is, unless `DATABASE_URL` names one.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state", global = true)]
    pub(crate) state_dir: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum WebhooksCommand {
    /// Lists what waits and what was given up.
    List,
    /// Tries again what was given up.
    Retry {
        /// Which.
        id: Option<String>,
        /// All of them, a thousand at once.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// Carries the command out.
pub(crate) async fn command(args: WebhooksArgs) -> Result<ExitCode> {
    let store = key::open(&args.state_dir).await?;
    let mut out = std::io::stdout();
    match args.command {
        WebhooksCommand::List => write!(out, "{}", table(&store.webhook_deliveries().await?))?,
        WebhooksCommand::Retry { id: None, all: false } => bail!("say which, as `hexward webhooks list` names them, or --all"),
        WebhooksCommand::Retry { id, .. } => {
            let count = store.retry_webhooks(id.as_deref(), SystemClock.now()).await?;
            if let (0, Some(id)) = (count, id) {
                bail!("{id} was not given up, so there is nothing to try again; `hexward webhooks list` says what was");
            }
            writeln!(out, "{count} tried again; running gateways notice at once")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for each. What is told stays in the database: it is the users' own.
fn table(rows: &[DeliveryRow]) -> String {
    let mut text =
        format!("{:<37} {:<24} {:<22} {:<8} {:<6} {:<21} LAST\n", "ID", "ENDPOINT", "EVENT", "STATE", "TRIES", "SINCE");
    for row in rows {
        let endpoint = format!("{}/{}", row.host, row.endpoint);
        let (since, last) = (row.created_at.to_rfc3339(), row.last_error.as_deref().unwrap_or("not tried yet"));
        text.push_str(&format!(
            "{:<37} {endpoint:<24} {:<22} {:<8} {:<6} {since:<21} {last}\n",
            row.id, row.kind, row.state, row.attempts
        ));
    }
    if rows.is_empty() {
        text.push_str("nothing waits, and nothing was given up\n");
    }
    text
}

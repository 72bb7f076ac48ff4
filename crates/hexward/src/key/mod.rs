//! `hexward key`: keys for remote callers, made and ended in the database while gateways run.
//!
//! A token leaves through standard output once, when it is made; what is said about it goes to standard error.

mod arguments;
mod list;

pub(crate) use arguments::KeyArgs;

use crate::builtin::SCHEMAS;
use crate::clock::SystemClock;
use crate::secrets;
use crate::{config, demo};
use anyhow::{Context, Result, bail};
use arguments::{CreateArgs, KeyCommand};
use policy::{Clock, KeyId, KeyPurpose, KeyScope, Timestamp, UserId, key_digest, key_token};
use secrecy::ExposeSecret;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use store::{CLIENT_KEYS_MAX, ClientKeyError, KeyRow, KeySource, NewClientKey, NewKey, Store};

/// A person's key is good for so many days unless somebody says otherwise.
const PERSON_DAYS: i64 = 30;

/// Carries the command out.
pub(crate) async fn command(args: KeyArgs) -> Result<ExitCode> {
    if let KeyCommand::Create(wanted) = &args.command {
        check_apps(wanted, args.config.as_deref())?;
    }
    let (store, now) = (open(&args.state_dir).await?, SystemClock.now());
    match args.command {
        KeyCommand::Create(args) => create(&store, &args, now).await?,
        KeyCommand::List => write!(std::io::stdout(), "{}", list::table(&store.keys().await?.1, now))?,
        KeyCommand::Show { id } => {
            let row = find(&store, &id).await?;
            writeln!(std::io::stdout(), "{:#}", list::details(&row, now))?;
        }
        KeyCommand::Revoke { id } => revoke(&store, &id, now).await?,
        KeyCommand::Rotate { which, grace } => rotate(&store, &which, grace, now).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A key for an app that is not there would open nothing, and nobody would know why.
fn check_apps(args: &CreateArgs, config: Option<&Path>) -> Result<()> {
    let apps: Vec<String> = config::load_public(config)?.models.into_iter().map(|(id, _)| id).collect();
    let Some(unknown) = args.unknown_app(&apps) else { return Ok(()) };
    let more = if config.is_none() { "; those of your [[apps]] are known with --config FILE" } else { "" };
    bail!("there is no app {unknown:?}, so no key was made; there are: {}{more}", apps.join(", "));
}

/// The gateway's own database.
pub(crate) async fn open(state_dir: &Path) -> Result<Store> {
    let url = config::database_url(&demo::environment()?, state_dir);
    if let Some(path) = url.expose_secret().strip_prefix("sqlite:") {
        // A file that this user leaves beside the gateway's (a log of SQLite, say) the gateway could not open.
        let own = rustix::process::geteuid().as_raw();
        match std::fs::metadata(path.strip_prefix("//").unwrap_or(path)) {
            Ok(meta) if meta.uid() != own => bail!("the database belongs to user {}: run this as that user", meta.uid()),
            Ok(_) => {}
            Err(_) => secrets::private_folder(state_dir)?,
        }
    }
    Store::open(url.expose_secret(), &SCHEMAS).await.context("the gateway's database can't be opened")
}

async fn create(store: &Store, args: &CreateArgs, now: Timestamp) -> Result<()> {
    if let Some(fault) = args.fault() {
        bail!("{fault}");
    }
    if let (KeyPurpose::Mcp, Some(user)) = (args.purpose, args.user) {
        return create_for_person(store, args, user, now).await;
    }
    if let Some(host) = args.host.clone() {
        let expires_at = args.expires_days.map(|days| now.plus_secs(days.saturating_mul(86_400)));
        let (token, new) = fresh(host, args.name.clone(), args.scope(), expires_at)?;
        let row = store.create_service_key(new, now).await?;
        let apps = args.scope().apps.map_or_else(String::new, |apps| format!(" with the apps {}", apps.join(", ")));
        writeln!(std::io::stderr(), "it opens something only where [[hosts]] has id = {:?}{apps}", row.principal)?;
        return hand_over(&token, &row);
    }
    let principal = args.principal.clone().unwrap_or_else(|| args.name.clone());
    let expires_at = args.expires_days.map(|days| now.plus_secs(days.saturating_mul(86_400)));
    let (token, new) = fresh(principal, args.name.clone(), args.scope(), expires_at)?;
    let row = store.create_key(new, now).await?;
    hand_over(&token, &row)
}

/// A key for the tools of one app.
async fn create_for_person(store: &Store, args: &CreateArgs, user: UserId, now: Timestamp) -> Result<()> {
    let token = fresh_token()?;
    let expires_at = now.plus_secs(args.expires_days.unwrap_or(PERSON_DAYS).saturating_mul(86_400));
    let (digest, name, scope) = (key_digest(token.as_bytes()), args.name.clone(), args.scope());
    match store.create_client_key(NewClientKey { digest, user, name, scope, expires_at }, now).await {
        Ok(row) => hand_over(&token, &row),
        Err(ClientKeyError::NoUser) => bail!("there is no user {user}"),
        Err(ClientKeyError::TooMany) => bail!("user {user} has {CLIENT_KEYS_MAX} keys that are good; revoke one first"),
        Err(error @ (ClientKeyError::Ended | ClientKeyError::Store(_))) => Err(error.into()),
    }
}

async fn revoke(store: &Store, id: &str, now: Timestamp) -> Result<()> {
    let row = find(store, id).await?;
    let changed = store.revoke_key(row.id, now, now).await?;
    let said = if changed { "is revoked: running gateways refuse it within a second" } else { "was revoked before" };
    writeln!(std::io::stderr(), "key {} ({}) {said}", row.id, row.name)?;
    Ok(())
}

/// One new key in place of the old one, in one commit: callers that get the new token within the grace see no gap.
async fn rotate(store: &Store, which: &str, grace: i64, now: Timestamp) -> Result<()> {
    if let Some(id) = which.parse::<KeyId>().ok()
        && store.keys().await?.1.iter().any(|row| row.id == id && row.purpose == KeyPurpose::Service)
    {
        bail!("a host's key is not replaced in one step: make a second one, give it to the back end, then revoke {id}");
    }
    let old = to_rotate(store, which, now).await?;
    let Some(newest) = old.last() else {
        bail!("no live key is called {which:?}; `hexward key list` shows all. Make one with `hexward key create`");
    };
    let Some(scope) = newest.scope.clone() else { bail!("key {} has a scope that this version does not understand", newest.id) };
    if old.iter().any(|row| row.scope != newest.scope) {
        bail!("the keys of {which:?} have different scopes: name one of them by its id");
    }
    let lifetime = newest.expires_at.map(|end| end.0.saturating_sub(newest.created_at.0));
    let expires_at = lifetime.map(|micros| now.plus_micros(micros));
    let name = if newest.source == KeySource::Environment { newest.principal.clone() } else { newest.name.clone() };
    let (token, new) = fresh(newest.principal.clone(), name, scope, expires_at)?;
    let ids = old.iter().map(|row| row.id).collect();
    let row = store.rotate_keys(new, ids, now.plus_secs(grace), now).await?;
    hand_over(&token, &row)?;
    let mut out = std::io::stderr();
    let end = if grace == 0 { "is refused within a second".to_owned() } else { format!("is good for another {grace} seconds") };
    old.iter().try_for_each(|row| writeln!(out, "key {} ({}) {end}", row.id, row.name))?;
    if old.iter().any(|row| row.source == KeySource::Environment) {
        writeln!(
            out,
            "INTERNAL_PROXY_SECRET opens nothing any more. Before you remove it from the environment, set `enabled = true` \
             under [callers], so that the listener stays open"
        )?;
    }
    Ok(())
}

/// A key by its id, or all live ones of a principal.
async fn to_rotate(store: &Store, which: &str, now: Timestamp) -> Result<Vec<KeyRow>> {
    let (_, rows) = store.keys().await?;
    let id: Option<KeyId> = which.parse().ok();
    // A person's key is replaced by another one that they make.
    let meant = |row: &KeyRow| {
        row.purpose == KeyPurpose::Model && row.is_live(now) && id.map_or(row.principal == which, |id| row.id == id)
    };
    Ok(rows.into_iter().filter(meant).collect())
}

async fn find(store: &Store, id: &str) -> Result<KeyRow> {
    let id: KeyId = id.parse().map_err(|_| anyhow::anyhow!("{id:?} is not a key's id; `hexward key list` shows them"))?;
    let (_, rows) = store.keys().await?;
    rows.into_iter().find(|row| row.id == id).with_context(|| format!("there is no key {id}; `hexward key list` shows all"))
}

fn fresh(principal: String, name: String, scope: KeyScope, expires_at: Option<Timestamp>) -> Result<(String, NewKey)> {
    let token = fresh_token()?;
    let digest = key_digest(token.as_bytes());
    Ok((token, NewKey { digest, principal, name, scope, source: KeySource::Made, expires_at }))
}

fn fresh_token() -> Result<String> {
    let mut random = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("the system's random source failed"))?;
    Ok(key_token(&random))
}

/// The only time that a token is shown.
fn hand_over(token: &str, row: &KeyRow) -> Result<()> {
    writeln!(std::io::stdout(), "{token}")?;
    let (id, name, principal) = (row.id, &row.name, &row.principal);
    writeln!(std::io::stderr(), "key {id} ({name}) of {principal}: the token stands on standard output and is not shown again")?;
    Ok(())
}

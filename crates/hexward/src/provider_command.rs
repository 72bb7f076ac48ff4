//! `hexward provider`: which providers there are, and their keys' rotation.

use crate::arguments::{ProviderArgs, ProviderCommand};
use crate::config::{self, DEFAULT_PROVIDER};
use crate::{demo, provider_keys};
use anyhow::{Context, Result, bail};
use secrecy::{ExposeSecret, SecretString};
use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

/// Carries the command out.
pub fn provider(args: &ProviderArgs) -> Result<ExitCode> {
    let known = config::load_public(args.config.as_deref())?.providers;
    let check = |name: &str| match known.iter().any(|(other, ..)| other == name) {
        true => Ok(()),
        false => {
            let names: Vec<&str> = known.iter().map(|(name, ..)| name.as_str()).collect();
            bail!("there is no provider {name:?}; the configuration names {}", names.join(", "))
        }
    };
    let mut out = std::io::stdout();
    match &args.command {
        ProviderCommand::List => list(args, &known)?,
        ProviderCommand::Rotate { name, key_file } => {
            check(name)?;
            let key = match key_file {
                Some(path) => {
                    let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
                    provider_keys::from_reader(file)?
                }
                None => provider_keys::from_reader(std::io::stdin())?,
            };
            provider_keys::store(&args.state_dir, name, &key)?;
            writeln!(out, "{name}: key ...{} is used from the next call on; now revoke the old one", fingerprint(&key))?;
        }
        ProviderCommand::Forget { name } => {
            check(name)?;
            let was_there = provider_keys::forget(&args.state_dir, name)?;
            writeln!(out, "{name}: {}", if was_there { "back to the environment's keys" } else { "no key was stored" })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ProviderArgs, known: &[(String, String, Option<String>)]) -> Result<()> {
    let environment = demo::environment()?;
    let mut out = std::io::stdout();
    for (name, address, env) in known {
        let stored = provider_keys::read(&args.state_dir, name)?;
        let source = if stored.is_some() { "rotated" } else { "environment" };
        let key = stored.or_else(|| match env {
            Some(env) => environment.secret(env),
            None if name == DEFAULT_PROVIDER => {
                environment.secret("ANTHROPIC_API_KEY_ORIGINAL").or_else(|| environment.secret("ANTHROPIC_API_KEY"))
            }
            None => None,
        });
        let key = key.map_or_else(|| "none".to_owned(), |key| format!("...{} ({source})", fingerprint(&key)));
        writeln!(out, "{name:<32} {address:<40} {key}")?;
    }
    Ok(())
}

/// The last four hexadecimal digits of a key's SHA-256: enough to tell two apart, and nothing of the key.
fn fingerprint(key: &SecretString) -> String {
    let digest = data_encoding::HEXLOWER.encode(&policy::digest_bytes(key.expose_secret().as_bytes()));
    digest.chars().skip(digest.len().saturating_sub(4)).collect()
}

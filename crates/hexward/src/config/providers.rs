//! `[[model.providers]]`: who may answer, with which keys. Without any there is one, `default`: `model.upstream` with
//! `ANTHROPIC_API_KEY`.

use super::{Environment, Faults};
use proxy::messages::{ModelUpstream, Protocol, ProviderConfig, check_key};
use secrecy::SecretString;
use serde::Deserialize;

/// The provider that is there without being named.
pub(crate) const DEFAULT: &str = "default";
const NAME_CHARS_MAX: usize = 32;

/// One `[[model.providers]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderFile {
    pub(super) name: String,
    address: String,
    key_env: String,
    #[serde(default)]
    keys: Vec<KeyFile>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    order: u32,
    #[serde(default = "one")]
    weight: u32,
}

/// A further key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    env: String,
    #[serde(default = "one")]
    weight: u32,
}

const fn one() -> u32 {
    1
}

/// Checks all providers, and that their keys are there.
pub(super) fn read(files: &[ProviderFile], environment: &Environment, faults: &mut Faults) -> Vec<ProviderConfig> {
    let mut providers: Vec<ProviderConfig> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let place = |key: &str| format!("model.providers[{}]{key}", at + 1);
        if !is_name(&file.name) {
            faults.add(&place(".name"), "must be 1 to 32 of a-z, 0-9 and -, and not begin with -");
        }
        if providers.iter().any(|other| other.name == file.name) {
            faults.add(&place(".name"), "is another provider's too");
        }
        if let Err(error) = ModelUpstream::check(&file.address) {
            faults.add(&place(".address"), &error.to_string());
        }
        let first = KeyFile { env: file.key_env.clone(), weight: 1 };
        let keys = std::iter::once(&first).chain(&file.keys);
        let keys = keys.filter_map(|key| Some((secret(&key.env, &place(""), environment, faults)?, key.weight))).collect();
        providers.push(ProviderConfig {
            name: file.name.clone(),
            protocol: Protocol::Anthropic,
            address: file.address.clone(),
            keys,
            models: file.models.clone(),
            order: file.order,
            weight: file.weight,
        });
    }
    providers
}

fn secret(env: &str, place: &str, environment: &Environment, faults: &mut Faults) -> Option<SecretString> {
    let Some(key) = environment.secret(env) else {
        faults.add(env, &format!("is not set, but {place} names it"));
        return None;
    };
    if let Err(error) = check_key(&key) {
        faults.add(env, &error.to_string());
    }
    Some(key)
}

/// Names stand in files and commands.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    plain && (1..=NAME_CHARS_MAX).contains(&name.len()) && !name.starts_with('-')
}

/// Names and addresses without their keys, for commands that need none.
pub(super) fn listed(files: &[ProviderFile], upstream: &str) -> Vec<(String, String, Option<String>)> {
    if files.is_empty() {
        return vec![(DEFAULT.to_owned(), upstream.to_owned(), None)];
    }
    files.iter().map(|file| (file.name.clone(), file.address.clone(), Some(file.key_env.clone()))).collect()
}

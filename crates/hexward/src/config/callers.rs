//! `[callers]`: whether remote callers may connect, and what the principal `internal` may do.

use super::{Environment, Faults, File, dollars};
use policy::{KeyScope, Network};
use proxy::callers::{CallerSecret, CallerSettings};
use serde::Deserialize;
use std::net::SocketAddr;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CallersFile {
    /// Opens the listener also without `INTERNAL_PROXY_SECRET`.
    enabled: bool,
    internal_day_usd: Option<f64>,
    internal_networks: Option<Vec<String>>,
}

/// Where remote callers connect, if they may.
pub(super) fn read(file: &File, environment: &Environment, faults: &mut Faults) -> Option<(SocketAddr, CallerSettings)> {
    let mut secret = None;
    if let Some(text) = environment.secret("INTERNAL_PROXY_SECRET") {
        match CallerSecret::parse(&text) {
            Ok(good) => secret = Some(good),
            Err(error) => faults.add("INTERNAL_PROXY_SECRET", &error.to_string()),
        }
    }
    let own = &file.callers;
    let day_limit_microusd = own.internal_day_usd.map(|usd| dollars("callers.internal_day_usd", usd, faults));
    let networks = own.internal_networks.as_ref().map(|texts| networks(texts, faults));
    let internal = KeyScope { day_limit_microusd, networks, ..KeyScope::default() };
    (own.enabled || secret.is_some()).then_some((file.listen.callers, CallerSettings { secret, internal }))
}

fn networks(texts: &[String], faults: &mut Faults) -> Vec<Network> {
    if texts.is_empty() {
        faults.add("callers.internal_networks", "is empty, so nobody could use the secret; remove it to allow every address");
    }
    let mut networks = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(network) => networks.push(network),
            Err(error) => faults.add("callers.internal_networks", &format!("{text:?}: {error}")),
        }
    }
    networks
}

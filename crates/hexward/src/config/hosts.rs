//! `[[hosts]]`: host applications that may let users of their own in. None by default.

use super::environment::is_loopback;
use super::webhooks::WebhookFile;
use super::{Environment, Faults, dollars};
use policy::{AddressFault, AssertionAlgorithm, HostAccount, HostRules, Standing, is_key_name, vet_address};
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use web::{HostKeys, HostSettings};

/// A secret that can be guessed is none (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;
const TEXT_CHARS_MAX: usize = 300;
const MESSAGES_MAX: u64 = 1_000_000_000;

/// One `[[hosts]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostFile {
    pub(super) id: String,
    issuer: String,
    #[serde(default = "audience")]
    audience: String,
    jwks_url: Option<String>,
    secret_env: Option<String>,
    algorithms: Option<Vec<String>>,
    tier_claim: Option<String>,
    #[serde(default)]
    tiers: BTreeMap<String, String>,
    apps: Vec<String>,
    #[serde(default)]
    origins: Vec<String>,
    day_usd: Option<f64>,
    user_day_usd: Option<f64>,
    messages_per_hour: Option<u64>,
    #[serde(default)]
    pub(super) webhooks: Vec<WebhookFile>,
}

fn audience() -> String {
    "hexward".to_owned()
}

/// Checks all of them. `is_app` says whether there is an app of an id.
pub(super) fn read(
    files: &[HostFile],
    environment: &Environment,
    is_app: impl Fn(&str) -> bool,
    faults: &mut Faults,
) -> Vec<HostSettings> {
    let (mut ids, mut issuers, mut hosts) = (HashSet::new(), HashSet::new(), Vec::new());
    for (at, file) in files.iter().enumerate() {
        let place = |key: &str| format!("hosts[{}].{key}", at + 1);
        if !is_key_name(&file.id) {
            faults.add(&place("id"), "must be 1 to 64 letters, digits, `-`, `_` and `.`");
        }
        if !ids.insert(file.id.as_str()) {
            faults.add(&place("id"), "stands twice; give each host an id of its own");
        }
        if !issuers.insert(file.issuer.as_str()) {
            faults.add(
                &place("issuer"),
                "stands twice: two hosts would speak for each other's users; give each an issuer of its own",
            );
        }
        for (key, text) in [("issuer", &file.issuer), ("audience", &file.audience)] {
            if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
                faults.add(&place(key), "must have 1 to 300 characters");
            }
        }
        if file.apps.is_empty() {
            faults.add(&place("apps"), "is empty, so the host could do nothing; name the apps that its users have");
        }
        for app in file.apps.iter().filter(|app| !is_app(app)) {
            faults.add(&place("apps"), &format!("{app:?} is not the id of an app"));
        }
        for origin in file.origins.iter().filter(|origin| !is_origin(origin)) {
            let text = format!(
                "{origin:?} must be an origin like https://shop.example, without path or wildcard (http for loopback only)"
            );
            faults.add(&place("origins"), &text);
        }
        if file.messages_per_hour.is_some_and(|messages| !(1..=MESSAGES_MAX).contains(&messages)) {
            faults.add(&place("messages_per_hour"), &format!("must be between 1 and {MESSAGES_MAX}"));
        }
        if file.tier_claim.is_none() && !file.tiers.is_empty() {
            faults.add(&place("tiers"), "say nothing without tier_claim, the claim whose values they are");
        }
        let tiers = tiers(file, &place, faults);
        let keys = keys(file, environment, &place, faults);
        let algorithms = algorithms(file, &place, faults);
        let account = HostAccount {
            id: file.id.clone(),
            day: file.day_usd.map(|usd| dollars(&place("day_usd"), usd, faults)),
            user_day: file.user_day_usd.map(|usd| dollars(&place("user_day_usd"), usd, faults)),
            messages_per_hour: file.messages_per_hour,
        };
        let rules = HostRules {
            account,
            issuer: file.issuer.clone(),
            audience: file.audience.clone(),
            tier_claim: file.tier_claim.clone(),
            tiers,
            apps: file.apps.clone(),
            origins: file.origins.clone(),
        };
        hosts.extend(keys.map(|keys| HostSettings { rules, algorithms, keys }));
    }
    hosts
}

fn tiers(file: &HostFile, place: &impl Fn(&str) -> String, faults: &mut Faults) -> BTreeMap<String, Standing> {
    let mut tiers = BTreeMap::new();
    for (value, standing) in &file.tiers {
        match [Standing::Anonymous, Standing::SignedIn].into_iter().find(|known| known.as_str() == standing) {
            Some(known) => drop(tiers.insert(value.clone(), known)),
            None => faults.add(&place("tiers"), &format!("{standing:?} is no tier; there are anonymous and signed-in")),
        }
    }
    tiers
}

fn keys(file: &HostFile, environment: &Environment, place: &impl Fn(&str) -> String, faults: &mut Faults) -> Option<HostKeys> {
    match (&file.jwks_url, &file.secret_env) {
        (Some(url), None) if is_address(url) => match never_asked(url) {
            None => Some(HostKeys::Published(url.clone())),
            Some(fault) => {
                faults.add(&place("jwks_url"), &format!("is {fault}, and those are never asked over https; name a public host"));
                None
            }
        },
        (Some(_), None) => {
            faults.add(&place("jwks_url"), "must be an https address (http for loopback only), without credentials and fragment");
            None
        }
        (None, Some(name)) => match environment.secret(name) {
            Some(secret) if secret.expose_secret().len() >= SECRET_BYTES_MIN => Some(HostKeys::Secret(secret)),
            Some(_) => {
                faults.add(name, "must have at least 32 bytes; make one with: openssl rand -hex 32");
                None
            }
            None => {
                faults.add(&place("secret_env"), &format!("names {name}, which is not set; make one with: openssl rand -hex 32"));
                None
            }
        },
        (Some(_), Some(_)) | (None, None) => {
            faults.add(&place("jwks_url"), "exactly one of jwks_url and secret_env must say how assertions are signed");
            None
        }
    }
}

/// A public key taken for a secret would let everybody sign, so no host has both kinds.
fn algorithms(file: &HostFile, place: &impl Fn(&str) -> String, faults: &mut Faults) -> Vec<AssertionAlgorithm> {
    let published = file.jwks_url.is_some();
    let usable = || AssertionAlgorithm::ALL.into_iter().filter(|known| known.is_public() == published);
    let Some(names) = &file.algorithms else { return usable().collect() };
    if names.is_empty() {
        faults.add(&place("algorithms"), "is empty, so nothing could be signed; remove it to allow the usual ones");
    }
    let mut chosen = Vec::new();
    for name in names {
        match usable().find(|known| known.as_str() == name) {
            Some(known) => chosen.push(known),
            None => {
                let all: Vec<&str> = usable().map(AssertionAlgorithm::as_str).collect();
                faults.add(&place("algorithms"), &format!("{name:?} can't be used here; choose among {}", all.join(", ")));
            }
        }
    }
    chosen
}

/// As browsers write them, so that they can be compared as texts.
fn is_origin(text: &str) -> bool {
    let exact = url::Url::parse(text).is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text);
    // A star is a character of a name to the URL standard.
    exact && !text.contains('*') && (text.starts_with("https://") || (text.starts_with("http://") && is_loopback(text)))
}

/// Why an address is refused whenever it is asked, where that is known already; what a name leads to is not.
fn never_asked(text: &str) -> Option<AddressFault> {
    let url = url::Url::parse(text).ok().filter(|url| url.scheme() == "https")?;
    let address: IpAddr = match url.host()? {
        url::Host::Ipv4(address) => address.into(),
        url::Host::Ipv6(address) => address.into(),
        url::Host::Domain(_) => return None,
    };
    vet_address(address, &[]).err()
}

fn is_address(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none() && url.has_host();
    plain && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(text)))
}

//! What a command may reach: `--allow`, `--key` and `--danger-allow-private`, read as a whole before anything starts.

use super::OWN_FAILURE;
use super::place::{Developer, Refusal};
use crate::RunArgs;
use anyhow::{Result, anyhow};
use policy::{CredentialSlot, EgressRule, EgressRules, HostName, Scheme};
use proxy::egress::{Hosts, SECRET_BYTES_MIN};
use secrecy::{ExposeSecret, SecretString};
use std::collections::{BTreeMap, HashMap};

/// What the command finds instead of each secret.
const PLACEHOLDER: &str = "placeholder-of-hexward-run";

const PLACE_FORM: &str = "HOST, HOST:PORT, http://HOST[:PORT] or https://HOST[:PORT]; no address, wildcard or path";
const KEY_FORM: &str =
    "NAME=HOST[:PORT]:HEADER or NAME=HOST[:PORT]:HEADER:PREFIX, such as GITHUB_TOKEN=api.github.com:authorization:Bearer";

/// What was allowed, checked.
pub struct Allowed {
    /// The hosts, with the secrets.
    pub hosts: Hosts,
    /// Variables of the command's in which a secret would be looked for.
    pub placeholders: BTreeMap<String, String>,
    /// Hosts that may be at an address of this machine or of a private network.
    pub dangerous: Vec<String>,
    secrets: HashMap<String, SecretString>,
}

/// A host, one port of it, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    scheme: Scheme,
    host: HostName,
    port: u16,
}

/// One `--key`.
struct Key {
    name: String,
    place: Place,
    header: String,
    prefix: String,
}

/// Reads the flags and takes the secrets from the developer's environment.
///
/// # Errors
/// A [`Refusal`] that names every fault.
pub fn read(args: &RunArgs, developer: &Developer) -> Result<Allowed> {
    let mut faults = Vec::new();
    let private = hosts_of(&args.danger_allow_private, &mut faults);
    let keys: Vec<Key> = args.key.iter().filter_map(|text| noted(&mut faults, "--key", text, key(text))).collect();
    let places: Vec<Place> = args.allow.iter().filter_map(|text| noted(&mut faults, "--allow", text, place(text))).collect();
    let secrets = secrets(&keys, &args.env, developer, &mut faults);
    let rules = rules(keys, places, &private, &mut faults);
    for host in private.iter().filter(|host| !rules.iter().any(|rule| rule.host == **host)) {
        faults.push(format!("--danger-allow-private {host}: neither --allow nor --key names this host"));
    }
    let placeholders = secrets.keys().map(|name| (name.clone(), PLACEHOLDER.to_owned())).collect();
    match hosts(rules, &secrets, &mut faults) {
        Some(hosts) if faults.is_empty() => {
            let dangerous = private.iter().map(ToString::to_string).collect();
            Ok(Allowed { hosts, placeholders, dangerous, secrets })
        }
        Some(_) | None => Err(refusal(&faults)),
    }
}

impl Allowed {
    /// Whether no secret is told to the command in another way.
    ///
    /// # Errors
    /// A [`Refusal`] that says where it would be.
    pub fn keeps_secrets_from(&self, argv: &[String], environment: &BTreeMap<String, String>) -> Result<()> {
        let mut faults = Vec::new();
        for (name, secret) in &self.secrets {
            let secret = secret.expose_secret();
            if argv.iter().any(|argument| argument.contains(secret)) {
                faults.push(format!(
                    "the secret of {name} is among the command's arguments, so the command would see it. Leave it out: the header is \
                     added to each request without the command's help"
                ));
            }
            let told = environment.iter().filter(|(_, value)| value.contains(secret));
            faults.extend(told.map(|(variable, _)| format!("the secret of {name} is also in {variable}, which is passed on")));
        }
        if faults.is_empty() { Ok(()) } else { Err(refusal(&faults)) }
    }
}

fn refusal(faults: &[String]) -> anyhow::Error {
    let reason = match faults {
        [only] => only.clone(),
        several => format!("nothing was started:\n  {}", several.join("\n  ")),
    };
    anyhow!(Refusal { code: OWN_FAILURE, reason })
}

fn noted<T>(faults: &mut Vec<String>, flag: &str, text: &str, read: Result<T, String>) -> Option<T> {
    read.map_err(|fault| faults.push(format!("{flag} {text:?}: {fault}"))).ok()
}

fn hosts_of(texts: &[String], faults: &mut Vec<String>) -> Vec<HostName> {
    let host = |text: &String| HostName::parse(text).map_err(|_| "must be a host name alone, without scheme or port".to_owned());
    texts.iter().filter_map(|text| noted(faults, "--danger-allow-private", text, host(text))).collect()
}

fn place(text: &str) -> Result<Place, String> {
    let (scheme, rest) = scheme(text);
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    resolved(scheme, host, port).map_err(|fault| fault.unwrap_or_else(|| format!("must be {PLACE_FORM}")))
}

fn scheme(text: &str) -> (Option<Scheme>, &str) {
    match text.split_once("://") {
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some(_) | None => (None, text),
    }
}

/// The port decides where no scheme was written, and the other way round. No text in the error: it is of another form.
fn resolved(scheme: Option<Scheme>, host: &str, port: Option<&str>) -> Result<Place, Option<String>> {
    let host = HostName::parse(host).map_err(|_| None)?;
    let port = port.map(|port| port.parse::<u16>().map_err(|_| None)).transpose()?;
    let (scheme, port) = match (scheme, port) {
        (None, None) => (Scheme::Https, 443),
        (None, Some(80)) => (Scheme::Http, 80),
        (None, Some(port)) => (Scheme::Https, port),
        (Some(Scheme::Http), Some(443)) | (Some(Scheme::Https), Some(80)) => {
            return Err(Some("port 80 is always plain HTTP and port 443 always TLS".to_owned()));
        }
        (Some(scheme @ Scheme::Http), port) => (scheme, port.unwrap_or(80)),
        (Some(scheme @ Scheme::Https), port) => (scheme, port.unwrap_or(443)),
    };
    Ok(Place { scheme, host, port })
}

fn key(text: &str) -> Result<Key, String> {
    let form = || format!("must be {KEY_FORM}");
    let (name, rest) = text.split_once('=').ok_or_else(form)?;
    let is_name = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    if name.is_empty() || !is_name(name) {
        return Err(form());
    }
    let (scheme, rest) = scheme(rest);
    let (host, rest) = rest.split_once(':').ok_or_else(form)?;
    // No header's name is a number.
    let (port, rest) = match rest.split_once(':') {
        Some((port, rest)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (Some(port), rest),
        Some(_) | None => (None, rest),
    };
    let (header, prefix) = rest.split_once(':').unwrap_or((rest, ""));
    let header = header.trim().to_ascii_lowercase();
    if header.is_empty() || header.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(form());
    }
    let place = resolved(scheme, host, port).map_err(|fault| fault.unwrap_or_else(form))?;
    Ok(Key { name: name.to_owned(), place, header, prefix: before_secret(prefix.trim_start()) })
}

/// `Bearer` stands apart from what follows it, `Token token=` does not.
fn before_secret(prefix: &str) -> String {
    if prefix.ends_with(|c: char| c.is_ascii_alphanumeric()) { format!("{prefix} ") } else { prefix.to_owned() }
}

/// The secrets by their variables, none of which the command may get in another way.
fn secrets(keys: &[Key], passed_on: &[String], developer: &Developer, faults: &mut Vec<String>) -> HashMap<String, SecretString> {
    let names: std::collections::BTreeSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    let mut secrets = HashMap::new();
    for name in names {
        if passed_on.iter().any(|passed| passed == name) {
            faults.push(format!("{name} is named by --env and by --key: either the command may see it or not"));
        }
        if Developer::passes_on(name) {
            faults.push(format!("{name} is the sandbox's own variable and can't hold the secret of a --key"));
        }
        match developer.variable(name) {
            None => faults.push(format!("{name} is not set in your environment, but --key names it: export it first")),
            Some(secret) if secret.len() < SECRET_BYTES_MIN => {
                faults.push(format!(
                    "{name} must have at least {SECRET_BYTES_MIN} characters to be a secret that can be kept from the command"
                ));
            }
            Some(secret) => drop(secrets.insert(name.to_owned(), SecretString::from(secret))),
        }
    }
    secrets
}

/// Those with a secret first: the first rule that fits is taken.
fn rules(keys: Vec<Key>, places: Vec<Place>, private: &[HostName], faults: &mut Vec<String>) -> Vec<EgressRule> {
    let whole = |Place { scheme, host, port }: Place| {
        let danger_allow_private = private.contains(&host);
        EgressRule { danger_allow_private, ..EgressRule::whole_host(host, port, scheme) }
    };
    let mut rules: Vec<EgressRule> = Vec::new();
    for Key { name, place, header, prefix } in keys {
        let at = format!("{}:{}", place.host, place.port);
        if rules.iter().any(|rule| (&rule.host, rule.port) == (&place.host, place.port)) {
            faults.push(format!("--key {name}: a request to {at} has one secret, and another --key names it already"));
            continue;
        }
        let rule = whole(place);
        if rule.scheme == Scheme::Http && !rule.danger_allow_private {
            faults.push(format!("--key {name}: a secret can't travel to {at} without TLS; use https"));
        }
        rules.push(EgressRule { credential: Some(CredentialSlot { env: name, header, prefix }), ..rule });
    }
    rules.extend(places.into_iter().map(whole));
    rules
}

fn hosts(rules: Vec<EgressRule>, secrets: &HashMap<String, SecretString>, faults: &mut Vec<String>) -> Option<Hosts> {
    let names: Vec<String> = rules.iter().map(|rule| format!("{}:{}", rule.host, rule.port)).collect();
    let rules = match EgressRules::without_model(rules) {
        Ok(rules) => rules,
        Err((at, error)) => {
            faults.push(format!("{}: {error}", names.get(at).map_or("--allow and --key", String::as_str)));
            return None;
        }
    };
    // What is missing was told already.
    if !faults.is_empty() {
        return None;
    }
    Hosts::new(rules, secrets).map_err(|error| faults.push(error.to_string())).ok()
}

//! `[[hosts.webhooks]]`: where host applications are told what happened.

use super::hosts::HostFile;
use super::{Environment, Faults};
use policy::WebhookEvent;
use proxy::webhooks::{WebhookEndpoint, WebhookSecret, check_address};
use serde::Deserialize;

const ENDPOINTS_MAX: usize = 32;
const ID_CHARS_MAX: usize = 32;

/// One `[[hosts.webhooks]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookFile {
    id: String,
    url: String,
    secret_env: String,
    previous_secret_env: Option<String>,
    events: Vec<String>,
    #[serde(default)]
    danger_allow_private: bool,
}

/// All endpoints of all hosts.
pub(super) fn read(hosts: &[HostFile], environment: &Environment, production: bool, faults: &mut Faults) -> Vec<WebhookEndpoint> {
    let mut endpoints = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        let place = format!("hosts[{}]", at + 1);
        endpoints.extend(of_host(&host.id, &place, &host.webhooks, environment, production, faults));
    }
    if endpoints.len() > ENDPOINTS_MAX {
        faults.add("hosts", &format!("have {} webhooks together, and {ENDPOINTS_MAX} are the most", endpoints.len()));
    }
    endpoints
}

/// The endpoints of one host; `place` is where it stands.
pub(super) fn of_host(
    host: &str,
    place: &str,
    files: &[WebhookFile],
    environment: &Environment,
    production: bool,
    faults: &mut Faults,
) -> Vec<WebhookEndpoint> {
    let mut endpoints: Vec<WebhookEndpoint> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let place = format!("{place}.webhooks[{}]", at + 1);
        if !is_name(&file.id) || endpoints.iter().any(|other| other.id == file.id) {
            faults.add(&format!("{place}.id"), "must be 1 to 32 of a-z, 0-9 and -, and no other endpoint's of this host");
        }
        if file.danger_allow_private && production {
            let text = "can't be true in production: the gateway would speak to services of its own network. Remove it";
            faults.add(&format!("{place}.danger_allow_private"), text);
        }
        let url = check_address(&file.url, file.danger_allow_private);
        let url = url.map_err(|error| faults.add(&format!("{place}.url"), &error.to_string())).ok();
        let events = events(file, &place, faults);
        let names = std::iter::once(&file.secret_env).chain(&file.previous_secret_env);
        let secrets: Vec<_> = names.filter_map(|name| secret(name, &place, environment, faults)).collect();
        if let Some(url) = url {
            let (host, id, danger_allow_private) = (host.to_owned(), file.id.clone(), file.danger_allow_private);
            endpoints.push(WebhookEndpoint { host, id, url, secrets, events, danger_allow_private });
        }
    }
    endpoints
}

fn events(file: &WebhookFile, place: &str, faults: &mut Faults) -> Vec<WebhookEvent> {
    let known = || WebhookEvent::ALL.map(WebhookEvent::as_str).join(", ");
    if file.events.is_empty() {
        faults
            .add(&format!("{place}.events"), &format!("names none, so it would never be told anything; there are: {}", known()));
    }
    let mut events = Vec::new();
    for (at, name) in file.events.iter().enumerate() {
        match WebhookEvent::parse(name) {
            Some(event) if !events.contains(&event) => events.push(event),
            Some(_) => {}
            None => faults.add(&format!("{place}.events[{}]", at + 1), &format!("{name:?} is no event; there are: {}", known())),
        }
    }
    events
}

fn secret(name: &str, place: &str, environment: &Environment, faults: &mut Faults) -> Option<WebhookSecret> {
    let Some(text) = environment.secret(name) else {
        faults.add(name, &format!("is not set, but {place} names it"));
        return None;
    };
    WebhookSecret::parse(&text).map_err(|error| faults.add(name, &error.to_string())).ok()
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=ID_CHARS_MAX).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{fault, loaded};

    #[test]
    fn webhooks_are_checked_with_their_secrets() {
        let file = "[callers]\nenabled = true\n[[hosts]]\nid = 'shop'\nissuer = 'https://shop.example'\nsecret_env = 'SIGNS'\napps = ['hexmap']\n[[hosts.webhooks]]\nid = 'main'\nurl = 'https://shop.example/hooks'\nsecret_env = 'HOOK'\n\
                    events = ['run.finished', 'anomaly']\n";
        let (new, old) = (("HOOK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), ("OLD", "0123456789abcdef0123456789abcdef"));
        let signs = ("SIGNS", "0123456789abcdef0123456789abcdef");
        let hooks = loaded(file, &[new, signs]).expect("usable").webhooks.endpoints;
        assert_eq!(
            hooks.iter().map(|one| (one.host.as_str(), one.id.as_str(), one.events.len())).collect::<Vec<_>>(),
            [("shop", "main", 2)]
        );
        let both =
            loaded(&format!("{file}previous_secret_env = 'OLD'\n"), &[new, old, signs]).expect("usable").webhooks.endpoints;
        assert!(both.iter().all(|one| one.secrets.len() == 2), "while a secret changes");
        assert!(loaded("", &[]).expect("usable").webhooks.endpoints.is_empty());
        for (from, to, said) in [
            ("https://shop.example/", "http://shop.example/", "hosts[1].webhooks[1].url: must be https"),
            ("https://shop.example/", "https://u:p@shop.example/", "hosts[1].webhooks[1].url: must have no user"),
            ("'main'", "'Main'", "hosts[1].webhooks[1].id: must be"),
            ("'run.finished'", "'run.began'", "hosts[1].webhooks[1].events[1]: \"run.began\" is no event"),
            ("['run.finished', 'anomaly']", "[]", "hosts[1].webhooks[1].events: names none"),
            ("'HOOK'", "'NONE'", "NONE: is not set, but hosts[1].webhooks[1] names it"),
            ("'HOOK'", "'SHORT'", "SHORT: must have at least 24 bytes"),
        ] {
            let fault = fault(&file.replace(from, to), &[new, signs, ("SHORT", "short")]);
            assert!(fault.contains(said), "{said}: {fault}");
        }
        let private = format!("{file}danger_allow_private = true\n").replace("https://shop.example/", "http://127.0.0.1:9/");
        assert!(loaded(&private, &[new, signs]).is_ok());
        let production = fault(&format!("deployment = 'production'\n{private}"), &[new, signs]);
        assert!(production.contains("hosts[1].webhooks[1].danger_allow_private: can't be true in production"), "{production}");
        assert!(
            fault(&file.replace("id = 'main'", "id = 'main'\nsecret = 'x'"), &[new, signs])
                .contains("is no key that this version knows")
        );
    }
}

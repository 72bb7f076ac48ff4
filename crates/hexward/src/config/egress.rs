//! `[[egress]]`: what sandboxes may reach beside the model and their tools. Nothing by default.

use super::{Environment, Faults};
use policy::{CredentialSlot, EgressRule, EgressRules, HostName, PathPattern, Scheme};
use proxy::egress::SECRET_BYTES_MIN;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::HashMap;

/// Rules with the secrets they name.
#[derive(Default)]
pub struct Egress {
    /// What is allowed.
    pub rules: EgressRules,
    /// The credentials, by their variables.
    pub secrets: HashMap<String, SecretString>,
}

/// One `[[egress]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EgressFile {
    host: String,
    #[serde(default = "tls_port")]
    port: u16,
    scheme: Option<SchemeFile>,
    methods: Vec<String>,
    paths: Vec<String>,
    credential: Option<CredentialFile>,
    #[serde(default)]
    danger_allow_private: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SchemeFile {
    Http,
    Https,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialFile {
    env: String,
    #[serde(default = "authorization")]
    header: String,
    #[serde(default)]
    prefix: String,
}

const fn tls_port() -> u16 {
    443
}

fn authorization() -> String {
    "authorization".to_owned()
}

/// Checks all rules, and that their secrets are there.
pub(super) fn read(files: &[EgressFile], environment: &Environment, production: bool, faults: &mut Faults) -> Egress {
    let place = |at: usize, key: &str| format!("egress[{}]{key}", at + 1);
    let (mut rules, mut secrets) = (Vec::new(), HashMap::new());
    for (at, file) in files.iter().enumerate() {
        if file.danger_allow_private && production {
            let text = "can't be true in production: code in a sandbox could speak to this host's own services. Remove it";
            faults.add(&place(at, ".danger_allow_private"), text);
        }
        if let Some(credential) = &file.credential {
            match environment.secret(&credential.env) {
                Some(secret) if secret.expose_secret().len() >= SECRET_BYTES_MIN => {
                    secrets.insert(credential.env.clone(), secret);
                }
                Some(_) => {
                    faults.add(&credential.env, &format!("must have at least {SECRET_BYTES_MIN} characters to be a credential"))
                }
                None => faults.add(&credential.env, &format!("is not set, but {} names it", place(at, ".credential"))),
            }
        }
        match rule(file) {
            Ok(rule) => rules.push(rule),
            Err((key, text)) => faults.add(&place(at, key), &text),
        }
    }
    if rules.len() < files.len() {
        return Egress::default();
    }
    match EgressRules::new(rules) {
        Ok(rules) => Egress { rules, secrets },
        Err((at, error)) => {
            faults.add(&place(at, ""), &error.to_string());
            Egress::default()
        }
    }
}

fn rule(file: &EgressFile) -> Result<EgressRule, (&'static str, String)> {
    let host =
        HostName::parse(&file.host).map_err(|_| (".host", "must be a host name, without scheme, port or wildcard".to_owned()))?;
    let scheme = match (file.port, file.scheme) {
        (80, None | Some(SchemeFile::Http)) => Scheme::Http,
        (443, Some(SchemeFile::Http)) | (80, Some(SchemeFile::Https)) => {
            return Err((".scheme", "is fixed for ports 80 (http) and 443 (https)".to_owned()));
        }
        (_, Some(SchemeFile::Http)) => Scheme::Http,
        (_, None | Some(SchemeFile::Https)) => Scheme::Https,
    };
    let path = |text: &String| PathPattern::parse(text).map_err(|error| (".paths", format!("{text:?}: {error}")));
    let credential = file.credential.as_ref().map(|credential| CredentialSlot {
        env: credential.env.clone(),
        header: credential.header.to_ascii_lowercase(),
        prefix: credential.prefix.clone(),
    });
    if credential.is_some() && scheme == Scheme::Http && !file.danger_allow_private {
        return Err((".credential", "can't travel without TLS; remove it, or use https".to_owned()));
    }
    Ok(EgressRule {
        host,
        port: file.port,
        scheme,
        methods: file.methods.clone(),
        paths: file.paths.iter().map(path).collect::<Result<_, _>>()?,
        credential,
        danger_allow_private: file.danger_allow_private,
    })
}

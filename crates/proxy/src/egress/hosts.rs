//! The hosts an operator allowed: rules, secrets, and how TLS to them is verified. The only place where those secrets are held.

use super::headers::Inserted;
use super::redact::Redactor;
use http::{HeaderName, HeaderValue};
use policy::{CredentialSlot, EgressRule, EgressRules};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use std::collections::HashMap;
use std::sync::Arc;

/// A shorter secret would be found by chance in what a host answers, or guessed.
pub const SECRET_BYTES_MIN: usize = 16;

/// Why rules can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// A secret that is not there.
    #[error("{0} is not set, but an egress rule wants it as a credential")]
    SecretMissing(String),
    /// A secret that can't be protected.
    #[error("{0} must have at least {SECRET_BYTES_MIN} characters, all of which may stand in a header")]
    SecretForm(String),
    /// A header that is no credential's place.
    #[error("{0:?} can't be the header of a credential")]
    Header(String),
    /// Nobody could prove that it is the host.
    #[error(
        "no certificate authorities were found on this machine: install its ca-certificates, or name a file in SSL_CERT_FILE"
    )]
    NoRoots,
    /// TLS could not be set up.
    #[error("TLS for allowed hosts: {0}")]
    Tls(#[from] rustls::Error),
}

/// Headers that say what a message is and where it goes; a credential there would change that.
const NOT_FOR_CREDENTIALS: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "accept-encoding",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "range",
];

/// A credential, ready to be put in its place.
struct Credential {
    name: HeaderName,
    value: HeaderValue,
    redactor: Redactor,
}

/// The hosts of one gateway. All its apps share them.
pub struct Hosts {
    pub(crate) rules: EgressRules,
    credentials: HashMap<String, Credential>,
    pub(super) tls: Arc<ClientConfig>,
}

impl Hosts {
    /// Rules with their secrets by the names of their variables. Hosts are verified against the platform's roots.
    ///
    /// # Errors
    /// [`HostsError`].
    pub fn new(rules: EgressRules, secrets: &HashMap<String, SecretString>) -> Result<Self, HostsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() && rules.use_tls() {
            return Err(HostsError::NoRoots);
        }
        Self::with_roots(rules, secrets, roots)
    }

    /// The same with other roots.
    ///
    /// # Errors
    /// [`HostsError`].
    pub fn with_roots(
        rules: EgressRules,
        secrets: &HashMap<String, SecretString>,
        roots: RootCertStore,
    ) -> Result<Self, HostsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut credentials = HashMap::new();
        for slot in rules.credential_slots() {
            credentials.insert(key(slot), credential(slot, secrets)?);
        }
        Ok(Self { rules, credentials, tls: Arc::new(tls) })
    }

    /// Ports beside 80 and 443 that sandboxes must have listeners for.
    #[must_use]
    pub fn extra_ports(&self) -> Vec<u16> {
        self.rules.extra_ports()
    }

    /// What a rule adds to a request, and what then searches the answer for it.
    pub(super) fn credential(&self, rule: &EgressRule) -> Option<(Inserted, Redactor)> {
        let credential = self.credentials.get(&key(rule.credential.as_ref()?))?;
        let inserted = Inserted { name: credential.name.clone(), value: credential.value.clone() };
        Some((inserted, credential.redactor.again()))
    }
}

/// One for each place and secret.
fn key(slot: &CredentialSlot) -> String {
    format!("{}\n{}\n{}", slot.env, slot.header, slot.prefix)
}

fn credential(slot: &CredentialSlot, secrets: &HashMap<String, SecretString>) -> Result<Credential, HostsError> {
    let secret = secrets.get(&slot.env).ok_or_else(|| HostsError::SecretMissing(slot.env.clone()))?.expose_secret();
    let wrong = || HostsError::Header(slot.header.clone());
    let name = HeaderName::from_bytes(slot.header.as_bytes()).map_err(|_| wrong())?;
    if NOT_FOR_CREDENTIALS.contains(&name.as_str()) {
        return Err(wrong());
    }
    let form = || HostsError::SecretForm(slot.env.clone());
    if secret.len() < SECRET_BYTES_MIN {
        return Err(form());
    }
    let mut value = HeaderValue::from_str(&format!("{}{secret}", slot.prefix)).map_err(|_| form())?;
    value.set_sensitive(true);
    Ok(Credential { name, value, redactor: Redactor::new(secret.as_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_can_t_be_protected_are_not_taken() {
        let rules = |header: &str| {
            let slot = CredentialSlot { env: "K".to_owned(), header: header.to_owned(), prefix: "Bearer ".to_owned() };
            let rule = EgressRule {
                host: policy::HostName::parse("a.example").expect("a name"),
                port: 443,
                scheme: policy::Scheme::Https,
                methods: vec!["GET".to_owned()],
                paths: vec![policy::PathPattern::parse("/*").expect("a path")],
                credential: Some(slot),
                danger_allow_private: false,
            };
            EgressRules::new(vec![rule]).expect("rules")
        };
        let made = |header: &str, secret: Option<&str>| {
            let secrets = secret.map(|secret| ("K".to_owned(), SecretString::from(secret))).into_iter().collect();
            Hosts::with_roots(rules(header), &secrets, RootCertStore::empty()).map(|_| ())
        };
        let good = "0123456789abcdef";
        assert!(made("authorization", Some(good)).is_ok());
        assert!(matches!(made("authorization", None), Err(HostsError::SecretMissing(_))));
        for bad in ["short", "0123456789abcde\n", ""] {
            assert!(matches!(made("authorization", Some(bad)), Err(HostsError::SecretForm(_))), "{bad:?}");
        }
        for bad in ["host", "content-length", "a b", "", "transfer-encoding"] {
            assert!(matches!(made(bad, Some(good)), Err(HostsError::Header(_))), "{bad:?}");
        }
    }
}

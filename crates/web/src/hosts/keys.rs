//! The keys with which hosts sign: a secret, or a published set (RFC 7517) that is fetched when it is needed and kept for a while.
//!
//! Invariant: a key is used with the algorithm of its own kind only. A set is fetched from the configured address, at most once in
//! [`PAUSE`], and what can't be fetched opens nothing that was not known a moment ago.

use super::HostKeys;
use super::assertion::Parsed;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey};
use policy::AssertionAlgorithm;
use secrecy::ExposeSecret;
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a set is used before it is fetched again.
const FRESH: Duration = Duration::from_secs(600);
/// How long it is used when it can't be fetched again.
const STALE_MAX: Duration = Duration::from_secs(3600);
/// Between two attempts, whatever unknown keys are named.
const PAUSE: Duration = Duration::from_secs(10);
const KEYS_MAX: usize = 64;

/// What came of fetching a set: its bytes, or one sentence for the operator.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;

/// Fetches a published set of keys, within bounds.
pub trait FetchKeys: Send + Sync {
    /// From the configured address of a host.
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a>;
}

/// What a signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
    NoKey,
    Unavailable,
}

pub(super) enum Keys {
    Secret(DecodingKey),
    Published { url: String, fetch: Arc<dyn FetchKeys>, set: Mutex<Set> },
}

#[derive(Default)]
pub(super) struct Set {
    keys: Arc<[Named]>,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
}

/// A key that can check signatures of one kind.
pub(super) struct Named {
    id: Option<String>,
    /// What the set says it is for; none is every algorithm of its kind.
    algorithm: Option<String>,
    kind: Kind,
    key: DecodingKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    P256,
    Ed25519,
    Rsa,
}

impl Keys {
    pub(super) fn new(keys: HostKeys, fetch: &Arc<dyn FetchKeys>) -> Self {
        match keys {
            HostKeys::Secret(secret) => Self::Secret(DecodingKey::from_secret(secret.expose_secret().as_bytes())),
            HostKeys::Published(url) => Self::Published { url, fetch: Arc::clone(fetch), set: Mutex::default() },
        }
    }

    /// Checks the signature of a token.
    pub(super) async fn verify(&self, parsed: &Parsed<'_>) -> Verdict {
        match self {
            Self::Secret(key) if parsed.algorithm == AssertionAlgorithm::Hs256 => check(parsed, key),
            Self::Secret(_) => Verdict::NoKey,
            Self::Published { url, fetch, set } => {
                let mut set = set.lock().await;
                let (known, now) = (set.verify(parsed), Instant::now());
                if set.is_within(FRESH, now) && known != Verdict::NoKey {
                    return known;
                }
                if set.may_try(now) {
                    set.tried_at = Some(now);
                    match fetch.fetch(url).await.and_then(|bytes| read(&bytes)) {
                        Ok(keys) => (set.keys, set.fetched_at) = (keys, Some(now)),
                        Err(error) => tracing::warn!(url, error, "a host's keys could not be fetched"),
                    }
                }
                if set.is_within(STALE_MAX, now) { set.verify(parsed) } else { Verdict::Unavailable }
            }
        }
    }
}

impl Set {
    fn is_within(&self, age: Duration, now: Instant) -> bool {
        self.fetched_at.is_some_and(|at| now.duration_since(at) < age)
    }

    fn may_try(&self, now: Instant) -> bool {
        self.tried_at.is_none_or(|at| now.duration_since(at) >= PAUSE)
    }

    /// With the key that the token names, or where it names none with the only one that it can be.
    fn verify(&self, parsed: &Parsed<'_>) -> Verdict {
        let mut fitting = self.keys.iter().filter(|key| key.fits(parsed));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => check(parsed, &only.key),
            _ => Verdict::NoKey,
        }
    }
}

impl Named {
    fn fits(&self, parsed: &Parsed<'_>) -> bool {
        let is_named = parsed.key_id.is_none() || parsed.key_id == self.id;
        let kind = match parsed.algorithm {
            AssertionAlgorithm::Hs256 => None,
            AssertionAlgorithm::Es256 => Some(Kind::P256),
            AssertionAlgorithm::EdDsa => Some(Kind::Ed25519),
            AssertionAlgorithm::Rs256 | AssertionAlgorithm::Ps256 => Some(Kind::Rsa),
        };
        // A key for EdDSA may also be named after its curve (RFC 9864).
        let said = self.algorithm.as_deref().map(|said| if said == "Ed25519" { "EdDSA" } else { said });
        is_named && kind == Some(self.kind) && said.is_none_or(|said| said == parsed.algorithm.as_str())
    }
}

fn check(parsed: &Parsed<'_>, key: &DecodingKey) -> Verdict {
    let algorithm = match parsed.algorithm {
        AssertionAlgorithm::Hs256 => Algorithm::HS256,
        AssertionAlgorithm::Es256 => Algorithm::ES256,
        AssertionAlgorithm::EdDsa => Algorithm::EdDSA,
        AssertionAlgorithm::Rs256 => Algorithm::RS256,
        AssertionAlgorithm::Ps256 => Algorithm::PS256,
    };
    match jsonwebtoken::crypto::verify(parsed.signature, parsed.message.as_bytes(), key, algorithm) {
        Ok(true) => Verdict::Good,
        Ok(false) | Err(_) => Verdict::Bad,
    }
}

/// The keys of a set that are for signatures and of a kind that is known; others are left out.
fn read(bytes: &[u8]) -> Result<Arc<[Named]>, String> {
    let set: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or("it is not a set of keys (RFC 7517): it has no list `keys`")?;
    if keys.len() > KEYS_MAX {
        return Err(format!("it has {} keys, and at most {KEYS_MAX} are read", keys.len()));
    }
    Ok(keys.iter().filter_map(named).collect())
}

fn named(key: &Value) -> Option<Named> {
    let text = |name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let (id, algorithm) = (text("kid"), text("alg"));
    // What it says about itself was read above; names of algorithms that the library does not know must not cost the key.
    let mut bare = key.as_object()?.clone();
    ["alg", "key_ops", "use"].iter().for_each(|name| drop(bare.remove(*name)));
    let jwk: Jwk = serde_json::from_value(Value::Object(bare)).ok()?;
    let kind = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Kind::P256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Kind::Ed25519,
        AlgorithmParameters::RSA(_) => Kind::Rsa,
        _ => return None,
    };
    Some(Named { id, algorithm, kind, key: DecodingKey::from_jwk(&jwk).ok()? })
}

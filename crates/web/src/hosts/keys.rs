//! The keys with which hosts sign: a secret, or a published set (RFC 7517) that is fetched when it is needed and kept for a while.
//!
//! Invariant: a key is used with the algorithm of its own kind only. A set is fetched from the configured address, at most once in
//! [`PAUSE_SECS`], and what can't be fetched opens nothing that was not known a moment ago.

use super::HostKeys;
use super::assertion::Parsed;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::Mutex;
use policy::{AssertionAlgorithm, Timestamp};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// How long a set is used before it is fetched again.
const FRESH_SECS: i64 = 600;
/// How long it is used when it can't be fetched again.
const STALE_SECS_MAX: i64 = 3600;
/// Between two attempts, whatever unknown keys are named.
const PAUSE_SECS: i64 = 60;
/// The same after one that failed.
const PAUSE_AFTER_FAILURE_SECS: i64 = 5;
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
    Published(Arc<Published>),
}

/// What a host publishes. A set that is kept is used while another one is fetched.
pub(super) struct Published {
    url: String,
    fetch: Arc<dyn FetchKeys>,
    set: Mutex<Arc<Set>>,
    /// Whoever holds it fetches, or waits for who does.
    fetching: tokio::sync::Mutex<()>,
}

struct Set {
    keys: Arc<[Named]>,
    /// When these were fetched.
    fetched_at: Option<Timestamp>,
    /// From when on it may be tried again.
    next_at: Timestamp,
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
            HostKeys::Published(url) => {
                let (fetch, set, fetching) = (Arc::clone(fetch), Mutex::default(), tokio::sync::Mutex::default());
                Self::Published(Arc::new(Published { url, fetch, set, fetching }))
            }
        }
    }

    /// Checks the signature of a token.
    pub(super) async fn verify(&self, parsed: &Parsed<'_>, now: Timestamp) -> Verdict {
        match self {
            Self::Secret(key) if parsed.algorithm == AssertionAlgorithm::Hs256 => check(parsed, key),
            Self::Secret(_) => Verdict::NoKey,
            Self::Published(published) => published.verify(parsed, now).await,
        }
    }
}

impl Published {
    async fn verify(self: &Arc<Self>, parsed: &Parsed<'_>, now: Timestamp) -> Verdict {
        let set = Arc::clone(&self.set.lock());
        let known = if set.is_within(STALE_SECS_MAX, now) { set.verify(parsed) } else { Verdict::Unavailable };
        match known {
            Verdict::Good | Verdict::Bad => {
                if !set.is_within(FRESH_SECS, now) && now >= set.next_at {
                    let published = Arc::clone(self);
                    tokio::spawn(async move { published.refresh(now).await });
                }
                known
            }
            // Only who needs another key waits for it.
            Verdict::NoKey | Verdict::Unavailable => {
                self.refresh(now).await;
                let set = Arc::clone(&self.set.lock());
                if set.is_within(STALE_SECS_MAX, now) { set.verify(parsed) } else { Verdict::Unavailable }
            }
        }
    }

    /// Fetches the set, unless that was tried a moment ago or is done meanwhile.
    async fn refresh(&self, now: Timestamp) {
        let _fetching = self.fetching.lock().await;
        let before = Arc::clone(&self.set.lock());
        if now < before.next_at {
            return;
        }
        let after = match self.fetch.fetch(&self.url).await.and_then(|bytes| read(&bytes)) {
            Ok(keys) => Set { keys, fetched_at: Some(now), next_at: now.plus_secs(PAUSE_SECS) },
            Err(error) => {
                tracing::warn!(url = self.url, error, "a host's keys could not be fetched");
                let next_at = now.plus_secs(PAUSE_AFTER_FAILURE_SECS);
                Set { keys: Arc::clone(&before.keys), fetched_at: before.fetched_at, next_at }
            }
        };
        *self.set.lock() = Arc::new(after);
    }
}

impl Default for Set {
    fn default() -> Self {
        Self { keys: Arc::default(), fetched_at: None, next_at: Timestamp(0) }
    }
}

impl Set {
    fn is_within(&self, age_secs: i64, now: Timestamp) -> bool {
        self.fetched_at.is_some_and(|at| now < at.plus_secs(age_secs))
    }

    /// With the key that the token names, or where it names none with the only one that it can be.
    fn verify(&self, parsed: &Parsed<'_>) -> Verdict {
        let mut fitting = self.keys.iter().filter(|key| key.fits(parsed));
        let first = fitting.next();
        first.filter(|_| fitting.next().is_none()).map_or(Verdict::NoKey, |only| check(parsed, &only.key))
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
    let kind = if let AlgorithmParameters::RSA(_) = &jwk.algorithm {
        Kind::Rsa
    } else if let AlgorithmParameters::EllipticCurve(curve) = &jwk.algorithm
        && curve.curve == EllipticCurve::P256
    {
        Kind::P256
    } else if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm
        && pair.curve == EllipticCurve::Ed25519
    {
        Kind::Ed25519
    } else {
        return None;
    };
    Some(Named { id, algorithm, kind, key: DecodingKey::from_jwk(&jwk).ok()? })
}

#[cfg(test)]
mod tests {
    use super::super::assertion::parse;
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use data_encoding::BASE64URL_NOPAD;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Publishes what it is told, and counts who asks.
    #[derive(Default)]
    struct House {
        published: Mutex<Option<Value>>,
        asked: AtomicUsize,
    }

    impl FetchKeys for House {
        fn fetch<'a>(&'a self, _: &'a str) -> Fetched<'a> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let published = self.published.lock().clone();
            Box::pin(async move { published.map(|set| set.to_string().into_bytes()).ok_or_else(|| "closed".to_owned()) })
        }
    }

    fn pair() -> EcdsaKeyPair {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).expect("the same key")
    }

    fn jwk(id: &str, pair: &EcdsaKeyPair) -> Value {
        let point = pair.public_key().as_ref();
        let part = |range| BASE64URL_NOPAD.encode(point.get(range).expect("an uncompressed point"));
        json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "use": "sig", "x": part(1..33), "y": part(33..65)})
    }

    fn token(id: Option<&str>, pair: &EcdsaKeyPair) -> String {
        let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let header = id.map_or_else(|| json!({"alg": "ES256"}), |id| json!({"alg": "ES256", "kid": id}));
        let claims = json!({"iss": "i", "aud": "a", "sub": "s", "jti": "1", "iat": 1, "exp": 2});
        let message = format!("{}.{}", part(header), part(claims));
        let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    async fn verdict(keys: &Keys, token: &str, secs: i64) -> Verdict {
        let parsed = parse(token, &AssertionAlgorithm::ALL, None).expect("a token");
        keys.verify(&parsed, Timestamp(secs * 1_000_000)).await
    }

    #[tokio::test]
    async fn a_set_is_kept_and_another_key_is_looked_for_once_a_minute() {
        let house = Arc::new(House::default());
        let fetch: Arc<dyn FetchKeys> = house.clone();
        let keys = Keys::new(HostKeys::Published("https://shop.example/keys".to_owned()), &fetch);
        let (old, new) = (pair(), pair());
        let asked = || house.asked.load(Ordering::SeqCst);
        assert_eq!(verdict(&keys, &token(Some("old"), &old), 1_000).await, Verdict::Unavailable);
        assert_eq!(
            (verdict(&keys, &token(Some("old"), &old), 1_004).await, asked()),
            (Verdict::Unavailable, 1),
            "not at once again"
        );
        *house.published.lock() = Some(json!({"keys": [jwk("old", &old), {"kty": "nonsense"}, 7]}));
        assert_eq!((verdict(&keys, &token(Some("old"), &old), 1_005).await, asked()), (Verdict::Good, 2));
        assert_eq!(verdict(&keys, &token(None, &old), 1_006).await, Verdict::Good, "there is only one");
        assert_eq!(verdict(&keys, &token(Some("old"), &new), 1_006).await, Verdict::Bad);
        *house.published.lock() = Some(json!({"keys": [jwk("old", &old), jwk("new", &new)]}));
        assert_eq!(
            (verdict(&keys, &token(Some("new"), &new), 1_064).await, asked()),
            (Verdict::NoKey, 2),
            "a minute has not passed"
        );
        assert_eq!((verdict(&keys, &token(Some("new"), &new), 1_065).await, asked()), (Verdict::Good, 3));
        assert_eq!(verdict(&keys, &token(None, &new), 1_066).await, Verdict::NoKey, "which of two, it must say");
        *house.published.lock() = None;
        assert_eq!(
            verdict(&keys, &token(Some("new"), &new), 1_065 + STALE_SECS_MAX - 1).await,
            Verdict::Good,
            "kept while it is closed"
        );
        tokio::task::yield_now().await;
        assert_eq!(
            verdict(&keys, &token(Some("new"), &new), 1_065 + STALE_SECS_MAX + 60).await,
            Verdict::Unavailable,
            "but not for ever"
        );
    }

    #[tokio::test]
    async fn a_key_is_for_its_own_kind_and_a_public_one_is_no_secret() {
        let house = Arc::new(House::default());
        let fetch: Arc<dyn FetchKeys> = house.clone();
        let pair = pair();
        let published = jwk("k", &pair);
        let signed = token(Some("k"), &pair);
        for (change, verdict_then) in [
            (json!({}), Verdict::Good),
            (json!({"use": "enc"}), Verdict::NoKey),
            (json!({"alg": "ES384"}), Verdict::NoKey),
            (json!({"alg": "HS256"}), Verdict::NoKey),
            (json!({"kty": "oct", "k": "AAAA"}), Verdict::NoKey),
            (json!({"kid": "other"}), Verdict::NoKey),
        ] {
            let mut key = published.clone();
            key.as_object_mut().expect("a key").extend(change.as_object().expect("a change").clone());
            *house.published.lock() = Some(json!({"keys": [key]}));
            let keys = Keys::new(HostKeys::Published("https://shop.example/keys".to_owned()), &fetch);
            assert_eq!(verdict(&keys, &signed, 1_000).await, verdict_then, "{change}");
        }
        // Signed with the public key's own bytes as if they were a secret.
        *house.published.lock() = Some(json!({"keys": [published]}));
        let keys = Keys::new(HostKeys::Published("https://shop.example/keys".to_owned()), &fetch);
        let secret = jsonwebtoken::EncodingKey::from_secret(pair.public_key().as_ref());
        let header = jsonwebtoken::Header { kid: Some("k".to_owned()), ..jsonwebtoken::Header::new(Algorithm::HS256) };
        let claims = json!({"iss": "i", "aud": "a", "sub": "s", "jti": "1", "iat": 1, "exp": 2});
        let confused = jsonwebtoken::encode(&header, &claims, &secret).expect("a token");
        assert_eq!(verdict(&keys, &confused, 1_000).await, Verdict::NoKey);
        let secret = Keys::new(HostKeys::Secret("s".repeat(32).into()), &fetch);
        assert_eq!(verdict(&secret, &signed, 1_000).await, Verdict::NoKey);
    }
}

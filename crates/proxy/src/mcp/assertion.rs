//! Whose request it is, signed: a server that trusts the gateway's key need not trust whoever else can reach it, and can't use what it
//! was sent for one call for another. A JSON Web Token (RFC 7519, EdDSA of RFC 8037), good for a minute.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use policy::{Clock, canonical_digest};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// The header that holds it.
pub(super) const HEADER: &str = "x-hexward-assertion";
const GOOD_FOR_SECS: i64 = 60;
const MICROS: i64 = 1_000_000;

/// A key that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the key for assertions can't be made or read")]
pub struct AssertionKeyError;

/// The gateway's key for assertions.
#[derive(Clone)]
pub struct AssertionKey {
    pair: Arc<Ed25519KeyPair>,
    id: String,
}

impl AssertionKey {
    /// A new one, to be kept as a secret (PKCS #8).
    ///
    /// # Errors
    /// [`AssertionKeyError`] when the system's random source failed.
    pub fn generate() -> Result<Vec<u8>, AssertionKeyError> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| AssertionKeyError)?;
        Ok(made.as_ref().to_vec())
    }

    /// One that was kept.
    ///
    /// # Errors
    /// [`AssertionKeyError`] for anything else.
    pub fn read(pkcs8: &[u8]) -> Result<Self, AssertionKeyError> {
        let pair = Arc::new(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| AssertionKeyError)?);
        // RFC 7638: the members that count, in order.
        let public = BASE64URL_NOPAD.encode(pair.public_key().as_ref());
        let thumb = format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{public}\"}}");
        let id = BASE64URL_NOPAD.encode(digest(&SHA256, thumb.as_bytes()).as_ref());
        Ok(Self { pair, id })
    }

    /// What servers check with (RFC 7517).
    #[must_use]
    pub fn public(&self) -> Value {
        let x = BASE64URL_NOPAD.encode(self.pair.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.id, "x": x}]})
    }
}

/// Makes assertions for one server.
pub struct Assertions {
    key: AssertionKey,
    audience: String,
    clock: Arc<dyn Clock>,
}

impl Assertions {
    /// `audience` is what the server knows itself by.
    #[must_use]
    pub fn new(key: AssertionKey, audience: String, clock: Arc<dyn Clock>) -> Self {
        Self { key, audience, clock }
    }

    /// For this user's request with this body.
    pub(super) fn sign(&self, user: &str, body: &Value) -> String {
        let now = self.clock.now().0.div_euclid(MICROS);
        let params = body.get("params");
        let own = || Value::from(Uuid::now_v7().to_string());
        let call = params.and_then(|params| params.pointer("/_meta/hexward~1call")).cloned();
        let mut claims = Map::from_iter([
            ("iss".to_owned(), json!("hexward")),
            ("aud".to_owned(), json!(self.audience)),
            ("sub".to_owned(), json!(user)),
            ("iat".to_owned(), json!(now)),
            ("exp".to_owned(), json!(now.saturating_add(GOOD_FOR_SECS))),
            ("jti".to_owned(), own()),
            ("txn".to_owned(), call.unwrap_or_else(own)),
        ]);
        claims.extend(body.get("method").map(|method| ("method".to_owned(), method.clone())));
        claims.extend(params.and_then(|params| params.get("name")).map(|name| ("tool".to_owned(), name.clone())));
        let arguments = params.and_then(|params| params.get("arguments")).and_then(canonical_digest);
        claims.extend(arguments.map(|digest| ("args_sha256".to_owned(), json!(HEXLOWER.encode(&digest)))));
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.key.id});
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&Value::Object(claims)));
        let signature = self.key.pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use policy::Timestamp;

    struct Then;

    impl Clock for Then {
        fn now(&self) -> Timestamp {
            Timestamp(1_800_000_000_500_000)
        }
    }

    fn part(text: &str) -> Value {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64")).expect("JSON")
    }

    #[test]
    fn an_assertion_is_bound_to_user_server_call_and_minute() {
        let kept = AssertionKey::generate().expect("a key");
        let key = AssertionKey::read(&kept).expect("the same");
        let public = key.public();
        let assertions = Assertions::new(key, "tools".to_owned(), Arc::new(Then));
        let call = json!({"method": "tools/call", "params": {"name": "look", "arguments": {"b": 1, "a": 2}, "_meta": {"hexward/call": "c-1"}}});
        let token = assertions.sign("ada", &call);
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { panic!("{token}") };
        assert_eq!((&part(header)["alg"], &part(header)["kid"]), (&json!("EdDSA"), &public["keys"][0]["kid"]));
        let claims_read = part(claims);
        for (name, value) in [
            ("iss", json!("hexward")),
            ("aud", json!("tools")),
            ("sub", json!("ada")),
            ("iat", json!(1_800_000_000)),
            ("exp", json!(1_800_000_060)),
            ("txn", json!("c-1")),
            ("method", json!("tools/call")),
            ("tool", json!("look")),
        ] {
            assert_eq!(claims_read[name], value, "{name}");
        }
        let digest = canonical_digest(&json!({"a": 2, "b": 1})).expect("a digest");
        assert_eq!(claims_read["args_sha256"], json!(HEXLOWER.encode(&digest)));
        let x = BASE64URL_NOPAD.decode(public["keys"][0]["x"].as_str().expect("x").as_bytes()).expect("base64");
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64");
        let signed = format!("{header}.{claims}");
        let checks = UnparsedPublicKey::new(&ED25519, &x);
        checks.verify(signed.as_bytes(), &signature).expect("the gateway's signature");
        assert!(checks.verify(signed.replace("ey", "fy").as_bytes(), &signature).is_err());
        let again = assertions.sign("ada", &json!({"method": "tools/list"}));
        let again = part(again.split('.').nth(1).expect("claims"));
        assert!(again["jti"] != claims_read["jti"] && again.get("args_sha256").is_none() && again["txn"].is_string());
        assert!(AssertionKey::read(b"no key").is_err());
    }
}

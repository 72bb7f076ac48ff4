//! What a server keeps in a client between two rounds of one call. It goes out sealed: it comes back from the same key, for the same
//! app, method, name and arguments, unchanged and within its time, or not at all.

use super::back::STATE_BYTES_MAX;
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use policy::{KeyId, Timestamp, UserId};

/// How long a person may think.
const KEPT_SECS: i64 = 600;
/// What the key is for, so that the secret that it is made of does nothing else here.
const PURPOSE: &[u8] = b"hexward: what a tool server keeps in a client";
const VERSION: &str = "1";

/// Seals and opens.
pub(crate) struct StateSeal(hmac::Key);

/// The call that something is kept for.
pub(crate) struct Kept {
    key: KeyId,
    user: UserId,
    app: String,
    method: &'static str,
    name: String,
    arguments: [u8; 32],
}

impl Kept {
    /// For a call with arguments of this canonical digest.
    pub(crate) fn new(
        (key, user): (KeyId, UserId),
        app: &str,
        (method, name): (&'static str, &str),
        arguments: [u8; 32],
    ) -> Self {
        Self { key, user, app: app.to_owned(), method, name: name.to_owned(), arguments }
    }

    /// All of it with its end and what is kept, each part with its length: no two calls have the same.
    fn bytes(&self, until: &str, state: &str) -> Vec<u8> {
        let (key, user) = (self.key.to_string(), self.user.to_string());
        let parts = [VERSION, until, &key, &user, &self.app, self.method, &self.name, state];
        let mut bytes = self.arguments.to_vec();
        for part in parts {
            bytes.extend(part.len().to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes
    }
}

impl StateSeal {
    /// Of a secret that all gateways of a deployment share.
    pub(crate) fn of(secret: &[u8]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// As it goes out: `1.UNTIL.STATE.SEAL`.
    pub(crate) fn seal(&self, kept: &Kept, state: &str, now: Timestamp) -> String {
        let until = now.plus_secs(KEPT_SECS).0.to_string();
        let seal = hmac::sign(&self.0, &kept.bytes(&until, state));
        let (state, seal) = (BASE64URL_NOPAD.encode(state.as_bytes()), BASE64URL_NOPAD.encode(seal.as_ref()));
        format!("{VERSION}.{until}.{state}.{seal}")
    }

    /// What the server said; none where this is not what was given out for this call, or its time is over.
    pub(crate) fn open(&self, kept: &Kept, sealed: &str, now: Timestamp) -> Option<String> {
        let mut parts = sealed.split('.');
        let (version, until, state, seal) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version != VERSION || parts.next().is_some() || state.len() > STATE_BYTES_MAX * 2 {
            return None;
        }
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let state = String::from_utf8(decode(state)?).ok()?;
        hmac::verify(&self.0, &kept.bytes(until, &state), &decode(seal)?).ok()?;
        (until.parse::<i64>().ok()? > now.0).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::canonical_digest;
    use serde_json::{Map, Value, json};

    #[test]
    fn what_is_kept_comes_back_for_its_own_call_unchanged_and_in_time() {
        let (seal, other) = (StateSeal::of(b"one secret"), StateSeal::of(b"another"));
        let (key, user, now) = (KeyId::random(), UserId::random(), Timestamp(1_000_000));
        let arguments = json!({"a": 1}).as_object().cloned().unwrap_or_default();
        let of = |key, user, app, method, name, arguments: &Map<String, Value>| {
            let digest = canonical_digest(&arguments).expect("it has a form");
            Kept::new((key, user), app, (method, name), digest)
        };
        let mine = of(key, user, "notes", "tools/call", "look", &arguments);
        let sealed = seal.seal(&mine, "the server's \u{e9}", now);
        assert_eq!(seal.open(&mine, &sealed, now).as_deref(), Some("the server's \u{e9}"));
        assert_eq!(
            StateSeal::of(b"one secret").open(&mine, &sealed, now).as_deref(),
            Some("the server's \u{e9}"),
            "another gateway"
        );
        assert_eq!(other.open(&mine, &sealed, now), None);
        assert_eq!(seal.open(&mine, &sealed, now.plus_secs(KEPT_SECS)), None, "its time is over");
        for foreign in [
            of(KeyId::random(), user, "notes", "tools/call", "look", &arguments),
            of(key, UserId::random(), "notes", "tools/call", "look", &arguments),
            of(key, user, "note", "stools/call", "look", &arguments),
            of(key, user, "notes", "prompts/get", "look", &arguments),
            of(key, user, "notes", "tools/call", "send", &arguments),
            of(key, user, "notes", "tools/call", "look", &Map::new()),
        ] {
            assert_eq!(seal.open(&foreign, &sealed, now), None, "it is another call's");
        }
        let (head, rest) = sealed.split_once('.').expect("parts");
        let (until, rest) = rest.split_once('.').expect("parts");
        let longer = until.parse::<i64>().expect("a time") + 1;
        for changed in [
            format!("{sealed}-TAMPERED"),
            format!("{head}.{longer}.{rest}"),
            format!("2.{until}.{rest}"),
            format!("{sealed}."),
            String::new(),
        ] {
            assert_eq!(seal.open(&mine, &changed, now), None, "{changed}");
        }
    }
}

//! Arguments compared as JavaScript would read them: RFC 8785 (JCS), so that `1.0` and `1` are the same and the order of keys
//! does not matter. Parsing keeps the last of duplicate keys, as JavaScript does.

use aws_lc_rs::digest;

/// SHA-256 of the canonical form of a JSON value; `None` for what has none (numbers JavaScript can't hold).
#[must_use]
pub fn canonical_digest<T: serde::Serialize>(value: &T) -> Option<[u8; 32]> {
    serde_json_canonicalizer::to_vec(value).ok().map(|bytes| digest_bytes(&bytes))
}

/// SHA-256.
#[must_use]
pub fn digest_bytes(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javascript_equal_values_have_one_digest() {
        let of = |text: &str| canonical_digest(&serde_json::from_str::<serde_json::Value>(text).expect("a test value"));
        assert_eq!(of(r#"{"a":1.0,"b":[2]}"#), of(r#"{"b":[2.00],"a":1}"#));
        assert_eq!(of(r#"{"a":1,"a":2}"#), of(r#"{"a":2}"#));
        assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":"1"}"#));
        assert_ne!(of(r#"{"a":[1,2]}"#), of(r#"{"a":[2,1]}"#));
    }
}

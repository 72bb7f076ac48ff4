//! What JSON says, whatever it looks like: values are turned into bytes while they are parsed, so that equal values have equal
//! bytes with any white space, escapes and spelling of numbers. No tree is built. The order of keys stays, because a client
//! that says the same thing again says it in the same order, and whoever doesn't is only not recognised.

use policy::digest_bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// A longer text stands as its digest, so that what is gathered stays small.
const INLINE_BYTES_MAX: usize = 128;
/// What a value weighs beside its text, more than the punctuation it can be written with.
const PUNCTUATION: u64 = 8;
/// Up to here whole numbers are the same to a reader who knows only floating point.
const EXACT_MAX: u64 = 1 << 53;

/// Values on their way to a digest.
#[derive(Debug, Default)]
pub(crate) struct Canon {
    bytes: Vec<u8>,
    /// Bytes of all that was written, as text: no less than it has tokens.
    weight: u64,
    /// How what is equal here was written where a reader may tell it apart.
    spelling: Vec<u8>,
}

impl Canon {
    pub(crate) fn tag(&mut self, tag: u8) {
        self.bytes.push(tag);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.weigh(text.len());
        if text.len() > INLINE_BYTES_MAX {
            return self.digest(&digest_bytes(text.as_bytes()));
        }
        // Shorter than 256, by the line above.
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        self.bytes.extend_from_slice(&[b's', length]);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A text whose digest is known already; its weight is not counted again.
    pub(crate) fn digest(&mut self, digest: &Digest) {
        self.bytes.push(b'S');
        self.bytes.extend_from_slice(digest);
    }

    /// So many bytes of text beside what is digested.
    pub(crate) fn weigh(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.weight = self.weight.saturating_add(bytes).saturating_add(PUNCTUATION);
    }

    /// What is said here was written like this.
    pub(crate) fn spell(&mut self, written: &[u8]) {
        self.spelling.extend_from_slice(written);
    }

    /// A part that was digested by itself was written like this.
    pub(crate) fn spell_as(&mut self, part: &mut Self) {
        self.spelling.append(&mut part.spelling);
    }

    /// The digest of how all since the last time was written.
    pub(crate) fn take_spelling(&mut self) -> Digest {
        let digest = digest_bytes(&self.spelling);
        self.spelling.clear();
        digest
    }

    fn number(&mut self, tag: u8, bits: [u8; 8]) {
        self.weigh(24);
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&bits);
    }

    /// The digest of all since the last time, and its weight.
    pub(crate) fn take(&mut self) -> (Digest, u64) {
        let digest = digest_bytes(&self.bytes);
        self.bytes.clear();
        (digest, std::mem::take(&mut self.weight))
    }
}

/// Parses a value into its canonical bytes.
pub(crate) struct Into<'a>(pub(crate) &'a mut Canon);

impl<'de> DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.weigh(4);
        self.0.tag(b'n');
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.weigh(5);
        self.0.tag(if value { b't' } else { b'f' });
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match exact(value) {
            Some(float) => {
                self.0.spell(b"i");
                self.visit_f64(float)
            }
            None => {
                self.0.number(b'u', value.to_le_bytes());
                Ok(())
            }
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match exact(value.unsigned_abs()) {
            Some(float) => {
                self.0.spell(b"i");
                self.visit_f64(if value < 0 { -float } else { float })
            }
            None => {
                self.0.number(b'i', value.to_le_bytes());
                Ok(())
            }
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.spell(b"n");
        self.0.number(b'd', value.to_bits().to_le_bytes());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.tag(b'[');
        while items.next_element_seed(Into(&mut *self.0))?.is_some() {}
        self.0.tag(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.0.tag(b'{');
        while entries.next_key_seed(Key(|key: &str| self.0.text(key)))?.is_some() {
            entries.next_value_seed(Into(&mut *self.0))?;
        }
        self.0.tag(b'}');
        Ok(())
    }
}

/// A whole number that floating point has exactly.
fn exact(value: u64) -> Option<f64> {
    let (high, low) = (u32::try_from(value >> 32).ok()?, u32::try_from(value & 0xffff_ffff).ok()?);
    (value <= EXACT_MAX).then(|| f64::from(high).mul_add(4_294_967_296.0, f64::from(low)))
}

/// Lends a key to a function; nothing is copied.
pub(crate) struct Key<F>(pub(crate) F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Key<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Key<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, key: &str) -> Result<T, E> {
        Ok((self.0)(key))
    }
}

/// A text to keep.
pub(crate) fn boxed(text: &str) -> Box<str> {
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(json: &str) -> (Digest, u64) {
        let mut canon = Canon::default();
        let mut parser = serde_json::Deserializer::from_str(json);
        Into(&mut canon).deserialize(&mut parser).expect("JSON");
        canon.take()
    }

    #[test]
    fn what_it_looks_like_makes_no_difference() {
        let plain = of(r#"{"a":[1,true,null,-5],"é":"x/y"}"#);
        assert_eq!(of("{ \"\\u0061\" : [1.0, true, null,\n-5e0], \"\\u00e9\":\"x\\/y\"}"), plain);
        let long = "x".repeat(1000);
        assert_eq!(of(&format!("\"{long}\"")), of(&format!("\"\\u0078{}\"", &long[1..])));
        assert_ne!(of("9007199254740993").0, of("9007199254740992").0, "beyond what floating point can tell apart");
        assert_ne!(of("-1").0, of("1").0);
    }

    #[test]
    fn what_it_says_makes_one() {
        let texts = [
            "null",
            "false",
            "true",
            "0",
            "1",
            "\"\"",
            "\"1\"",
            "[]",
            "{}",
            "[[]]",
            "[[],[]]",
            "[1,2]",
            "[2,1]",
            "[\"a\",\"b\"]",
            "[\"ab\"]",
            "[\"a\",\"\"]",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"["a",1]"#,
            r#"[{"a":1}]"#,
            r#"{"a":{"a":1}}"#,
        ];
        for (number, one) in texts.iter().enumerate() {
            for other in texts.iter().skip(number + 1) {
                assert_ne!(of(one).0, of(other).0, "{one} and {other}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_weighs_less_than_its_bytes(text in "\\PC{0,300}", number in any::<i64>()) {
            let value = serde_json::json!({"k": [text, number, {"x": null}]});
            let json = value.to_string();
            let decoded = text.len() + number.to_string().len();
            prop_assert!(of(&json).1 >= u64::try_from(decoded).unwrap_or(u64::MAX) + 20);
            let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
            prop_assert_eq!(of(&json), of(&pretty));
        }
    }
}

//! `INTERNAL_PROXY_SECRET`: the one key that comes from the environment.

use secrecy::{ExposeSecret, SecretString};

const SECRET_HEX_MIN: usize = 64;

/// Why a secret is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// Too short or not hexadecimal.
    #[error("INTERNAL_PROXY_SECRET must be at least 64 hexadecimal characters; make one with: openssl rand -hex 32")]
    Form,
    /// Hexadecimal, but plainly not random.
    #[error("INTERNAL_PROXY_SECRET is not random (it repeats itself); make one with: openssl rand -hex 32")]
    Weak,
}

/// `INTERNAL_PROXY_SECRET`: only its digest is kept.
pub struct CallerSecret([u8; 32]);

impl CallerSecret {
    /// Checks a secret; there is no default one.
    ///
    /// # Errors
    /// [`SecretError`] when it could be guessed.
    pub fn parse(secret: &SecretString) -> Result<Self, SecretError> {
        let text = secret.expose_secret();
        if !(SECRET_HEX_MIN..=super::index::TOKEN_BYTES_MAX).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Err(SecretError::Form);
        }
        let distinct =
            (b'0'..=b'9').chain(b'a'..=b'f').filter(|digit| text.bytes().any(|b| b.to_ascii_lowercase() == *digit)).count();
        let repeats = (1..=16).any(|period| text.bytes().zip(text.bytes().skip(period)).all(|(a, b)| a == b));
        if distinct < 8 || repeats {
            return Err(SecretError::Weak);
        }
        Ok(Self(policy::key_digest(text.as_bytes())))
    }

    pub(super) const fn digest(&self) -> [u8; 32] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_refused() {
        let parse = |text: &str| CallerSecret::parse(&SecretString::from(text)).map(|_| ());
        assert_eq!(parse("change-me-in-production"), Err(SecretError::Form));
        assert_eq!(parse(&"0123456789abcdef".repeat(3)), Err(SecretError::Form), "48 characters");
        assert_eq!(parse(&"0".repeat(64)), Err(SecretError::Weak));
        assert_eq!(parse(&"0123456789abcdef".repeat(4)), Err(SecretError::Weak));
        assert_eq!(parse(&"z".repeat(64)), Err(SecretError::Form));
        assert_eq!(parse("8f3b1c0d9e7a62541f0e3d2c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"), Ok(()));
    }
}

//! Signatures as Standard Webhooks wants them (standardwebhooks.com, version 1.0.0): HMAC-SHA256 over id, time and body.

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use secrecy::{ExposeSecret, SecretBox, SecretString};

/// What the specification wants at least.
pub const SECRET_BYTES_MIN: usize = 24;
const PREFIX: &str = "whsec_";

/// Why a secret can't sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// After the prefix there must be base64.
    #[error("begins with whsec_, so the rest must be base64")]
    Form,
    /// It could be guessed.
    #[error("must have at least {SECRET_BYTES_MIN} bytes; make one with: echo whsec_$(openssl rand -base64 32)")]
    Short,
}

/// What an endpoint and the gateway share.
pub struct WebhookSecret(SecretBox<Vec<u8>>);

impl Clone for WebhookSecret {
    fn clone(&self) -> Self {
        Self(SecretBox::new(Box::new(self.0.expose_secret().clone())))
    }
}

impl WebhookSecret {
    /// `whsec_` and base64, as libraries of the standard want it, or any text whose bytes are the secret.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn parse(text: &SecretString) -> Result<Self, SecretError> {
        let text = text.expose_secret();
        let bytes = match text.strip_prefix(PREFIX) {
            Some(rest) => BASE64.decode(rest.as_bytes()).map_err(|_| SecretError::Form)?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(SecretError::Short);
        }
        Ok(Self(SecretBox::new(Box::new(bytes))))
    }

    fn sign(&self, id: &str, seconds: i64, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose_secret());
        let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", BASE64.encode(tag.as_ref()))
    }
}

/// One signature for each secret, between spaces.
pub(super) fn signatures(secrets: &[WebhookSecret], id: &str, seconds: i64, body: &str) -> String {
    secrets.iter().map(|secret| secret.sign(id, seconds, body)).collect::<Vec<_>>().join(" ")
}

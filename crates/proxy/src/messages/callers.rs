//! The callers' listener: back ends elsewhere that show a secret. Own port, no cookies, no CORS; off unless a secret is set.

use super::{Caller, Service, handle, headers};
use crate::answer::{self, Body};
use crate::{Proxy, serve_http};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use policy::{BudgetLine, DenialCode, Microusd, RunId, RunView, UserId};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use store::{CallNotes, Purse};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "/api/anthropic-proxy";
/// Connections of all remote callers together.
const CONNECTIONS_MAX: usize = 1024;
const SECRET_HEX_MIN: usize = 64;
const OUTPUT_TOKENS_MAX: u64 = 64_000;
const CALL_SECS_MAX: i64 = 600;

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

/// `INTERNAL_PROXY_SECRET`: only its digest is kept for comparing.
pub struct CallerSecret([u8; 32]);

impl CallerSecret {
    /// Checks a secret; there is no default one.
    ///
    /// # Errors
    /// [`SecretError`] when it could be guessed.
    pub fn parse(secret: &SecretString) -> Result<Self, SecretError> {
        let text = secret.expose_secret();
        if text.len() < SECRET_HEX_MIN || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SecretError::Form);
        }
        let distinct =
            (b'0'..=b'9').chain(b'a'..=b'f').filter(|digit| text.bytes().any(|b| b.to_ascii_lowercase() == *digit)).count();
        let repeats = (1..=16).any(|period| text.bytes().zip(text.bytes().skip(period)).all(|(a, b)| a == b));
        if distinct < 8 || repeats {
            return Err(SecretError::Weak);
        }
        Ok(Self(policy::digest_bytes(text.as_bytes())))
    }

    /// Compares digests in constant time, so that neither time nor length tells how close a guess was.
    fn matches(&self, presented: &[u8]) -> bool {
        policy::digest_bytes(presented).ct_eq(&self.0).into()
    }
}

/// The remote callers: one service principal with a budget of its own.
struct Callers {
    proxy: Arc<Proxy>,
    secret: CallerSecret,
    purse: Purse,
    notes: CallNotes,
    day_limit: Microusd,
}

/// Serves the callers' listener until `stop`. `day_limit` bounds what all remote callers spend in a UTC day, within the
/// gateway's own.
pub async fn serve_callers(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    secret: CallerSecret,
    principal: UserId,
    day_limit: Microusd,
    stop: CancellationToken,
) {
    let purse = proxy.purse(RunId::random(), principal);
    let notes = CallNotes { app: "internal".into(), ..CallNotes::default() };
    let callers = Arc::new(Callers { proxy, secret, purse, notes, day_limit });
    serve_http(listener, CONNECTIONS_MAX, stop, move |request| {
        let callers = Arc::clone(&callers);
        async move { callers.answer(request).await }
    })
    .await;
}

impl Callers {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let Some(path) = path.strip_prefix(PREFIX).filter(|rest| rest.starts_with('/')) else {
            return answer::error(
                StatusCode::NOT_FOUND,
                "not_found_error",
                "There is nothing here. The model API is below /api/anthropic-proxy.",
            );
        };
        if !self.is_authentic(&request) {
            return answer::error(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key");
        }
        if request.headers().contains_key(headers::HOP) {
            return answer::error(
                StatusCode::LOOP_DETECTED,
                "api_error",
                "This request has passed the gateway before: its provider address points at itself.",
            );
        }
        let service = Service { view: self.view(), purse: self.purse.clone(), notes: self.notes.clone() };
        handle(&self.proxy, Caller::Service(service), path, request).await
    }

    /// `x-api-key` and `Authorization: Bearer` alike; whichever stands there must be right, and one must.
    fn is_authentic(&self, request: &Request<Incoming>) -> bool {
        let keys = request.headers().get_all("x-api-key").iter().map(http::HeaderValue::as_bytes);
        let bearers = request.headers().get_all(header::AUTHORIZATION).iter().map(|value| {
            let value = value.as_bytes();
            value.strip_prefix(b"Bearer ").or_else(|| value.strip_prefix(b"bearer ")).unwrap_or(b"")
        });
        let mut presented = keys.chain(bearers).peekable();
        presented.peek().is_some() && presented.all(|key| self.secret.matches(key))
    }

    fn view(&self) -> RunView {
        let now = self.proxy.clock.now();
        let own = BudgetLine {
            scope: format!("user:{}", self.purse.user()),
            period: now.utc_day(),
            limit: self.day_limit,
            exhausted: DenialCode::BudgetDay,
        };
        RunView {
            run: self.purse.run(),
            user: self.purse.user(),
            model: None,
            turns_used: 0,
            turns_max: u32::MAX,
            output_tokens_max: OUTPUT_TOKENS_MAX,
            deadline: now.plus_secs(CALL_SECS_MAX),
            writes: false,
            budgets: vec![own, self.proxy.day_budget(now)].into(),
        }
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

    #[test]
    fn only_the_whole_secret_matches() {
        let text = "8f3b1c0d9e7a62541f0e3d2c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";
        let secret = CallerSecret::parse(&SecretString::from(text)).expect("a good secret");
        assert!(secret.matches(text.as_bytes()));
        for wrong in ["", &text[..63], &format!("{text}0"), &text.to_uppercase()] {
            assert!(!secret.matches(wrong.as_bytes()), "{wrong}");
        }
    }
}

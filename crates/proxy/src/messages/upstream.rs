//! The client that speaks to providers. Address and key of each call come from its [`Attempt`], and are added here only.

use super::providers::{Attempt, Protocol, ProviderConfig, ProviderError, Providers};
use super::{headers, models};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::Full;
use policy::ModelRequest;
use secrecy::SecretString;
use store::OpenModelCall;

/// Why an upstream can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The address is wrong.
    #[error("provider address {0:?} must be https://HOST, or http:// on loopback, without path or query")]
    Address(String),
    /// The key can't be sent in a header.
    #[error("the provider key has characters that can't stand in a header")]
    Key,
    /// TLS could not be set up.
    #[error("TLS for the provider: {0}")]
    Tls(#[from] rustls::Error),
}

/// The way to the providers.
pub struct ModelUpstream {
    providers: Providers,
}

impl ModelUpstream {
    /// Sets up the way to the only provider there is. Plain HTTP is for loopback only.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn new(base: &str, key: SecretString) -> Result<Self, ProviderError> {
        Self::of(vec![ProviderConfig::only(base, key)])
    }

    /// Sets up the way to several.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn of(providers: Vec<ProviderConfig>) -> Result<Self, ProviderError> {
        Ok(Self { providers: Providers::new(providers)? })
    }

    /// Who may answer.
    #[must_use]
    pub const fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Whether an address may be the provider's.
    ///
    /// # Errors
    /// [`UpstreamError::Address`].
    pub fn check(base: &str) -> Result<Uri, UpstreamError> {
        let wrong = || UpstreamError::Address(base.to_owned());
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        let loopback =
            uri.host().is_some_and(|host| host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()));
        let scheme_fits = uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && loopback);
        if !scheme_fits || uri.path() != "/" || uri.query().is_some() {
            return Err(wrong());
        }
        Ok(uri)
    }
}

/// An opened call as it leaves one way. Using up its bytes is what allows the key to be added.
pub(super) fn request(
    open: &mut OpenModelCall,
    attempt: &Attempt,
    query: Option<&str>,
    client_headers: &HeaderMap,
) -> Request<Full<Bytes>> {
    let body = open.take_body();
    addressed(attempt, open.permit().request(), query, client_headers, body)
}

fn addressed(
    attempt: &Attempt,
    asked: &ModelRequest,
    query: Option<&str>,
    client_headers: &HeaderMap,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    let (method, path) = models::target(asked);
    *request.method_mut() = method;
    *request.uri_mut() = headers::joined(attempt.base(), &path, query);
    *request.headers_mut() = headers::to_provider(client_headers);
    request.headers_mut().insert(headers::HOP, HeaderValue::from_static("1"));
    match attempt.protocol() {
        Protocol::Anthropic => request.headers_mut().insert("x-api-key", attempt.key()),
    };
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_addresses_are_taken() {
        let made = |base: &str| ModelUpstream::new(base, SecretString::from("k")).is_ok();
        assert!(made("https://api.anthropic.com") && made("http://127.0.0.1:9") && made("http://localhost:9/"));
        for bad in ["http://api.anthropic.com", "https://x/path", "https://x/?q=1", "ftp://x", "", "api.anthropic.com"] {
            assert!(!made(bad), "{bad}");
        }
        assert!(ModelUpstream::new("https://x", SecretString::from("a\nb")).is_err());
    }

    #[test]
    fn the_key_replaces_whatever_the_client_sent() {
        let upstream = ModelUpstream::new("http://127.0.0.1:9", SecretString::from("real")).expect("an upstream");
        let client: HeaderMap = [("x-api-key", "fake"), ("authorization", "Bearer fake")]
            .map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v)))
            .into_iter()
            .collect();
        let attempt = upstream.providers().attempts("m").next(0, policy::Timestamp(0)).expect("an attempt");
        let asked = ModelRequest { path: policy::ModelPath::Messages, ..models::asked("/v1/models") };
        let request = addressed(&attempt, &asked, Some("beta=true"), &client, Bytes::new());
        assert_eq!(request.uri(), "http://127.0.0.1:9/v1/messages?beta=true");
        assert_eq!(request.headers().get_all("x-api-key").iter().collect::<Vec<_>>(), ["real"]);
        assert!(!request.headers().contains_key("authorization"));
        assert!(request.headers().contains_key(headers::HOP), "a gateway that is its own provider notices");
    }
}

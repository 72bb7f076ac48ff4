//! Which headers pass. Everything the provider or its clients know passes; credentials and what belongs to one hop do not.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Uri, header};

/// Says that a request has passed a gateway; one that comes back would turn in circles.
pub(crate) const HOP: &str = "x-hexward-hop";

/// What belongs to one connection (RFC 9110, 7.6.1), and what is set anew for the next one.
const ONE_HOP: &[HeaderName] = &[
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
];

/// What a client may not choose: credentials are ours, and a compressed answer could not be metered.
const NOT_FROM_CLIENTS: &[&str] =
    &["x-api-key", "authorization", "cookie", "accept-encoding", "expect", "forwarded", "keep-alive", "proxy-connection", "via"];

/// What tells one tenant about the others, or sets state that is nobody's.
const NOT_FROM_PROVIDER: &[&str] =
    &["anthropic-organization-id", "anthropic-workspace-id", "set-cookie", "keep-alive", "proxy-connection"];

/// Where a request goes: a base that was checked, and the rest of a valid request's target.
pub(crate) fn joined(base: &Uri, path: &str, query: Option<&str>) -> Uri {
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = base.clone().into_parts();
    parts.path_and_query = PathAndQuery::from_maybe_shared(Bytes::from(target)).ok();
    Uri::from_parts(parts).unwrap_or_else(|_| base.clone())
}

/// What leaves for the provider; the key is added after this.
pub(crate) fn to_provider(client: &HeaderMap) -> HeaderMap {
    let named = connection_names(client);
    pass(client, |name| {
        let name = name.as_str();
        !NOT_FROM_CLIENTS.contains(&name)
            && !name.starts_with("x-forwarded-")
            && !name.starts_with("x-hexward-")
            && !named.iter().any(|other| other == name)
    })
}

/// What returns to the client.
pub(crate) fn to_client(provider: &HeaderMap) -> HeaderMap {
    let named = connection_names(provider);
    pass(provider, |name| {
        let name = name.as_str();
        !NOT_FROM_PROVIDER.contains(&name)
            && !name.starts_with("anthropic-ratelimit-")
            && !named.iter().any(|other| other == name)
    })
}

/// What the provider says of when to come back. A date instead of seconds is none of its kind.
pub(super) fn retry_after_secs(provider: &HeaderMap) -> Option<u64> {
    provider.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

fn pass(from: &HeaderMap, allowed: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    from.iter()
        .filter(|(name, _)| !ONE_HOP.contains(name) && allowed(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Headers that the sender itself declares to be of one hop.
pub(crate) fn connection_names(headers: &HeaderMap) -> Vec<String> {
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn credentials_and_hops_stay_behind_and_the_rest_passes() {
        let out = to_provider(&map(&[
            ("x-api-key", "stolen"),
            ("authorization", "Bearer stolen"),
            ("cookie", "a=b"),
            ("connection", "x-secret-hop, close"),
            ("x-secret-hop", "1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "new-thing-2030-01-01"),
            ("x-stainless-lang", "js"),
        ]));
        let mut names: Vec<&str> = out.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["anthropic-beta", "anthropic-version", "x-stainless-lang"]);
    }

    #[test]
    fn what_belongs_to_the_operator_does_not_return() {
        let back = to_client(&map(&[
            ("anthropic-organization-id", "org"),
            ("anthropic-ratelimit-requests-remaining", "3"),
            ("request-id", "req_1"),
            ("retry-after", "5"),
            ("content-type", "text/event-stream"),
        ]));
        assert!(!back.contains_key("anthropic-organization-id") && !back.contains_key("anthropic-ratelimit-requests-remaining"));
        assert!(back.contains_key("request-id") && back.contains_key("retry-after") && back.contains_key("content-type"));
    }
}

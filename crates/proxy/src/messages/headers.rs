//! Which headers pass. Everything the provider or its clients know passes; credentials and what belongs to one hop do not.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri, header};

/// Says that a request has passed a gateway; one that comes back would turn in circles.
pub(crate) const HOP: &str = "x-hexward-hop";

/// Headers that are added to those that pass.
const ADDED: usize = 4;

/// What belongs to one connection (RFC 9110, 7.6.1), and what is set anew for the next one.
const ONE_HOP: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a client may not choose: credentials are the gateway's, and a compressed answer could not be metered.
const NOT_FROM_CLIENTS: &[&str] = &["x-api-key", "authorization", "cookie", "accept-encoding", "expect", "forwarded", "via"];
const NOT_FROM_CLIENTS_BEGIN: &[&str] = &["x-forwarded-", "x-hexward-"];

/// What tells one tenant about the others, or sets state that is nobody's.
const NOT_FROM_PROVIDER: &[&str] = &["anthropic-organization-id", "anthropic-workspace-id", "set-cookie"];
const NOT_FROM_PROVIDER_BEGIN: &[&str] = &["anthropic-ratelimit-"];

/// Where a request goes: a base that was checked, and the rest of a valid request's target.
pub(crate) fn joined(base: &Uri, path: &str, query: Option<&str>) -> Uri {
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = base.clone().into_parts();
    parts.path_and_query = PathAndQuery::from_maybe_shared(Bytes::from(target)).ok();
    Uri::from_parts(parts).unwrap_or_else(|_| base.clone())
}

/// What leaves for the provider; the key is added after this.
pub(crate) fn to_provider(client: &HeaderMap) -> HeaderMap {
    let mut headers = pass(client, NOT_FROM_CLIENTS, NOT_FROM_CLIENTS_BEGIN);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// What returns to the client.
pub(crate) fn to_client(provider: &HeaderMap) -> HeaderMap {
    pass(provider, NOT_FROM_PROVIDER, NOT_FROM_PROVIDER_BEGIN)
}

/// What the provider says of when to come back. A date instead of seconds is none of its kind.
pub(super) fn retry_after_secs(provider: &HeaderMap) -> Option<u64> {
    provider.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Whether an answer is anything but its own bytes.
pub(super) fn is_compressed(provider: &HeaderMap) -> bool {
    let encodings = provider.get_all(header::CONTENT_ENCODING).iter();
    encodings
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .any(|one| !one.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

fn pass(from: &HeaderMap, without: &[&str], without_beginning: &[&str]) -> HeaderMap {
    let named = connection_names(from);
    let passes = |name: &str| {
        !ONE_HOP.contains(&name)
            && !without.contains(&name)
            && !without_beginning.iter().any(|begin| name.starts_with(begin))
            && !named.iter().any(|other| other == name)
    };
    // With room for what is added afterwards, so that it grows at no time.
    let mut passing = HeaderMap::with_capacity(from.len() + ADDED);
    for (name, value) in from.iter().filter(|(name, _)| passes(name.as_str())) {
        passing.append(name.clone(), value.clone());
    }
    passing
}

/// Headers that the sender itself declares to be of one hop.
pub(crate) fn connection_names(headers: &HeaderMap) -> Vec<String> {
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
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
        assert_eq!(names, ["accept-encoding", "anthropic-beta", "anthropic-version", "x-stainless-lang"]);
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

    /// Collecting appends: one value of several must not be lost.
    #[test]
    fn a_header_that_stands_twice_passes_twice() {
        let client =
            map(&[("anthropic-beta", "a"), ("anthropic-beta", "b"), ("accept-encoding", "gzip"), ("accept-encoding", "br")]);
        let out = to_provider(&client);
        assert_eq!(out.get_all("anthropic-beta").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(out.get_all("accept-encoding").iter().collect::<Vec<_>>(), ["identity"]);
    }

    #[test]
    fn the_documented_list_is_the_one_that_holds() {
        let quoted = |names: &[&str], end: &str| names.iter().map(|name| format!("`{name}{end}`")).collect::<Vec<_>>().join(", ");
        let rows = [
            ("of one hop, both ways", quoted(ONE_HOP, "")),
            ("removed from requests", format!("{}, {}", quoted(NOT_FROM_CLIENTS, ""), quoted(NOT_FROM_CLIENTS_BEGIN, "*"))),
            ("removed from answers", format!("{}, {}", quoted(NOT_FROM_PROVIDER, ""), quoted(NOT_FROM_PROVIDER_BEGIN, "*"))),
        ];
        let page = include_str!("../../../../docs/api.md");
        for (what, names) in rows {
            let row = format!("| {what} | {names} |");
            assert!(page.contains(&row), "docs/api.md has no such row:\n{row}");
        }
    }
}

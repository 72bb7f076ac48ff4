//! Whether somebody put a proxy in front. In direct mode an agent can read whatever the developer can, so nobody else may be
//! let in, and who comes by a proxy may be anybody.

use axum::http::HeaderMap;

/// Headers that proxies add and browsers don't. Whoever sends one without a proxy is refused just the same.
const NAMES: &[&str] = &[
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-host",
    "x-original-forwarded-for",
    "true-client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "cdn-loop",
    "client-ip",
    "proxy-connection",
    "x-proxyuser-ip",
    "tailscale-user-login",
];
const PREFIXES: &[&str] =
    &["x-forwarded", "cf-", "x-envoy-", "x-amzn-", "x-amz-cf-", "x-appengine-", "x-vercel-", "x-arr-", "x-azure-"];

/// The first header that only a proxy sends.
pub(crate) fn trace_of_a_proxy(headers: &HeaderMap) -> Option<&str> {
    let names = headers.keys().map(axum::http::HeaderName::as_str);
    names.into_iter().find(|name| NAMES.contains(name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    #[test]
    fn a_proxy_is_known_by_what_it_adds() {
        let said = |name: &'static str| {
            let own = [("host", "localhost:7410"), ("user-agent", "x"), ("cookie", "a=b"), ("sec-fetch-site", "same-origin")];
            let all = own.into_iter().chain([(name, "1.2.3.4")]);
            let headers = all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
            trace_of_a_proxy(&headers).map(str::to_owned)
        };
        for name in
            ["x-forwarded-for", "x-forwarded-proto", "x-forwarded", "forwarded", "via", "x-real-ip", "cf-connecting-ip", "cf-ray"]
        {
            assert_eq!(said(name).as_deref(), Some(name));
        }
        for name in
            ["origin", "accept", "referer", "upgrade-insecure-requests", "dnt", "if-none-match", "last-event-id", "priority"]
        {
            assert_eq!(said(name), None, "{name}");
        }
    }
}

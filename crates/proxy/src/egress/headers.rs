//! Which headers pass to a host that a rule names, and back. Credentials of the sandbox's own never do: with somebody else's
//! key an allowed host would be a letter box. The operator's goes into one header, after everything else was removed.

use super::redact::Redactor;
use crate::messages::headers::connection_names;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What belongs to one connection (RFC 9110, 7.6.1) or is set anew for the next one.
const ONE_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
/// What would say to the host who asks from where, or wait for an answer of its own.
const NOT_OUT: &[&str] = &["host", "expect", "forwarded", "via", "x-real-ip", "alt-used"];
/// Words in a header's name, between hyphens, that make it a credential.
const CREDENTIAL_WORDS: &[&str] = &[
    "authorization",
    "auth",
    "apikey",
    "token",
    "secret",
    "credential",
    "credentials",
    "password",
    "passwd",
    "cookie",
    "cookie2",
    "jwt",
    "subscription",
    "signature",
];
/// With a credential in the request: parts of an answer could be asked for until the secret is read in pieces, and a
/// compressed one could not be searched for it.
const NOT_OUT_WITH_CREDENTIAL: &[&str] = &["range", "if-range", "accept-encoding", "sec-websocket-extensions"];
/// Sessions made with the operator's credential are the operator's; another address or protocol is for no sandbox.
const NOT_BACK: &[&str] = &["set-cookie", "set-cookie2", "alt-svc", "clear-site-data"];

/// The operator's credential for one request: a header and its value.
pub(super) struct Inserted {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

/// What leaves for a host, without its Host.
pub(super) fn to_host(client: &HeaderMap, inserted: Option<&Inserted>) -> HeaderMap {
    let named = connection_names(client);
    let stays = |name: &str| {
        ONE_HOP.contains(&name)
            || NOT_OUT.contains(&name)
            || name.starts_with("x-forwarded-")
            || name.starts_with("x-hexward-")
            || is_credential(name)
            || named.iter().any(|other| other == name)
            || inserted.is_some_and(|inserted| inserted.name == name || NOT_OUT_WITH_CREDENTIAL.contains(&name))
    };
    let mut out: HeaderMap = copy(client.iter().filter(|(name, _)| !stays(name.as_str())));
    if let Some(Inserted { name, value }) = inserted {
        out.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        out.insert(name, value.clone());
    }
    out
}

/// What returns from a host.
pub(super) fn to_client(host: &HeaderMap, redactor: Option<&Redactor>) -> HeaderMap {
    let named = connection_names(host);
    let passes = |name: &str| {
        !ONE_HOP.contains(&name)
            && !NOT_BACK.contains(&name)
            && !name.starts_with("x-hexward-")
            && !named.iter().any(|other| other == name)
    };
    let mut back: HeaderMap = copy(host.iter().filter(|(name, _)| passes(name.as_str())));
    if let Some(redactor) = redactor {
        back.values_mut().for_each(|value| *value = redactor.value(value));
    }
    back
}

fn copy<'a>(pairs: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    pairs.for_each(|(name, value)| {
        map.append(name.clone(), value.clone());
    });
    map
}

/// Whether a header carries a credential, by its name.
fn is_credential(name: &str) -> bool {
    let words = name.split(['-', '_']).any(|word| CREDENTIAL_WORDS.contains(&word));
    words || name.contains("api-key") || name.contains("access-key") || name.contains("private-key") || name.contains("api_key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn no_credential_of_a_sandbox_leaves_it() {
        let credentials = [
            "authorization",
            "proxy-authorization",
            "cookie",
            "x-api-key",
            "api-key",
            "apikey",
            "x-goog-api-key",
            "x-auth-token",
            "x-amz-security-token",
            "private-token",
            "job-token",
            "x-gitlab-token",
            "x-vault-token",
            "ocp-apim-subscription-key",
            "x-aws-access-key-id",
            "x-hub-signature",
            "anthropic-auth",
            "dd-api-key",
        ];
        let mut client = map(&[("accept", "a"), ("content-type", "b"), ("x-author", "c"), ("user-agent", "d"), ("range", "e")]);
        for name in credentials {
            client.insert(HeaderName::from_static(name), HeaderValue::from_static("stolen"));
        }
        let out = to_host(&client, None);
        assert_eq!(names(&out), ["accept", "content-type", "range", "user-agent", "x-author"]);
    }

    #[test]
    fn the_operator_s_credential_has_one_place_and_answers_stay_readable() {
        let client = map(&[
            ("authorization", "Bearer stolen"),
            ("x-custom", "theirs"),
            ("range", "bytes=0-3"),
            ("accept-encoding", "br, gzip"),
            ("connection", "x-custom, authorization"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-hexward-hop", "1"),
            ("te", "trailers"),
        ]);
        let inserted =
            Inserted { name: HeaderName::from_static("x-custom"), value: HeaderValue::from_static("Bearer real-secret") };
        let out = to_host(&client, Some(&inserted));
        assert_eq!(names(&out), ["accept-encoding", "x-custom"]);
        assert_eq!(out.get_all("x-custom").iter().collect::<Vec<_>>(), ["Bearer real-secret"]);
        assert_eq!(out.get("accept-encoding"), Some(&HeaderValue::from_static("identity")));
    }

    #[test]
    fn sessions_and_reflected_secrets_do_not_return() {
        let host = map(&[
            ("set-cookie", "operator=1"),
            ("alt-svc", "h3=\":443\""),
            ("x-hexward-denial", "egress.host"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("x-echo", "Bearer real-secret-0123"),
        ]);
        let back = to_client(&host, Some(&Redactor::new(b"real-secret-0123")));
        assert_eq!(names(&back), ["content-length", "x-echo"]);
        assert_eq!(back.get("x-echo"), Some(&HeaderValue::from_static("Bearer ****************")));
    }
}

//! What a request wants: the name it says in every place where it says one, and where that leads. Pure: heads in, decisions out.

use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, header};
use policy::{Denial, DenialCode, Destination, EgressRules, HostName, Scheme, classify};
use std::net::SocketAddr;

/// How a request arrived: what the kernel and the TLS handshake say of it.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// The address that was dialled.
    pub(super) dialled: SocketAddr,
    /// Plain or over TLS.
    pub(super) scheme: Scheme,
    /// The server name of the TLS handshake.
    pub(super) server_name: Option<HostName>,
}

/// Where a request leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// The model or the tools.
    Own(Destination),
    /// A host that a rule names.
    Host(HostName),
}

/// Headers by which servers take a request for another one than it is.
const OTHER_REQUEST: &[&str] =
    &["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-original-uri"];

/// Decides where a request leads.
///
/// # Errors
/// The status and the refusal.
pub(super) fn destination(
    way: &Way,
    method: &Method,
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    rules: &EgressRules,
) -> Result<To, (StatusCode, Denial)> {
    let no = |status, code, wanted: &str| Err((status, Denial::new(code, wanted)));
    let wanted = wanted_host(version, uri, headers);
    if let Some(what) = ambiguous(method, headers) {
        return no(StatusCode::FORBIDDEN, DenialCode::EgressProtocol, &format!("{what} to {wanted}"));
    }
    let Ok(name) = HostName::parse_authority(&wanted, way.dialled.port()) else {
        return no(StatusCode::FORBIDDEN, DenialCode::EgressHost, &wanted);
    };
    if let Some(server_name) = way.server_name.as_ref().filter(|server_name| **server_name != name) {
        return no(StatusCode::MISDIRECTED_REQUEST, DenialCode::EgressHost, &format!("{wanted} over TLS for {server_name}"));
    }
    let standard_port = [80, 443].contains(&way.dialled.port());
    let named = rules.names(&name, way.dialled.port(), way.scheme);
    // A rule can name the provider only where no model is behind that name.
    let own = classify(&name).filter(|_| standard_port && !named);
    // The provider's own name may have been resolved anywhere: its addresses are compiled into programs.
    let any_address = name.as_str() == Destination::PROVIDER_NAME && own.is_some();
    if own.is_none() && !named {
        return no(StatusCode::FORBIDDEN, DenialCode::EgressHost, &wanted);
    }
    let address = rules.address_of(&name).map(std::net::IpAddr::V4);
    if !any_address && address != Some(way.dialled.ip().to_canonical()) {
        let wanted = format!("{wanted} at {}", way.dialled.ip().to_canonical());
        return no(StatusCode::MISDIRECTED_REQUEST, DenialCode::EgressHost, &wanted);
    }
    Ok(own.map_or(To::Host(name), To::Own))
}

/// Whether a request wants to become a WebSocket (RFC 6455, 4.1). No other protocol is switched to; asking for one is ignored, as
/// HTTP allows.
pub(super) fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let has = |name: header::HeaderName, word: &str| {
        let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        lists.flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
    };
    request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
}

/// The one name a request says; anything else than one is nowhere.
fn wanted_host(version: Version, uri: &Uri, headers: &HeaderMap) -> String {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let host = match (first.map(|host| host.to_str()), second) {
        (Some(Ok(host)), None) => Some(host),
        (None, None) => None,
        _ => return "(no single Host header)".to_owned(),
    };
    match (uri.authority(), host) {
        (Some(authority), Some(host)) if authority.as_str() != host => format!("{host} as {authority}"),
        (_, Some(host)) => host.to_owned(),
        // HTTP/2 has the authority instead.
        (Some(authority), None) if version == Version::HTTP_2 => authority.as_str().to_owned(),
        (Some(_) | None, None) => "(no single Host header)".to_owned(),
    }
}

/// What makes a request two requests, or none of HTTP's own.
fn ambiguous(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    if *method == Method::CONNECT {
        return Some("CONNECT");
    }
    if *method == Method::TRACE {
        return Some("TRACE");
    }
    // Of a length beside chunks nothing is left to see: the server side believes the chunks, and what leaves is framed anew.
    if headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
        return Some("a body of two lengths");
    }
    OTHER_REQUEST.iter().copied().find(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use policy::{EgressRule, PathPattern};
    use proptest::prelude::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text).expect("a name")
    }

    fn rules() -> EgressRules {
        let rule = |host: &str, port, scheme| EgressRule {
            host: name(host),
            port,
            scheme,
            methods: vec!["GET".to_owned()],
            paths: vec![PathPattern::parse("/*").expect("a path")],
            credential: None,
            danger_allow_private: false,
        };
        EgressRules::new(vec![
            rule("a.example", 443, Scheme::Https),
            rule("b.example", 443, Scheme::Https),
            rule("a.example", 80, Scheme::Http),
        ])
        .expect("rules")
    }

    fn way(dialled: &str, server_name: Option<&str>) -> Way {
        let scheme = if server_name.is_some() { Scheme::Https } else { Scheme::Http };
        Way { dialled: dialled.parse().expect("an address"), scheme, server_name: server_name.map(name) }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value")))
            .collect()
    }

    fn led(way: &Way, uri: &str, pairs: &[(&'static str, &str)]) -> Result<To, (u16, &'static str)> {
        let version = if pairs.is_empty() { Version::HTTP_2 } else { Version::HTTP_11 };
        let uri = uri.parse().expect("a uri");
        destination(way, &Method::GET, version, &uri, &headers(pairs), &rules())
            .map_err(|(status, denial)| (status.as_u16(), denial.code.as_str()))
    }

    #[test]
    fn name_server_name_and_address_must_be_the_same_host() {
        let tls = |address: &str, sni: &str, host: &str| led(&way(address, Some(sni)), "/", &[("host", host)]);
        let (a, b) = (To::Host(name("a.example")), To::Host(name("b.example")));
        assert_eq!(tls("198.18.1.0:443", "a.example", "a.example"), Ok(a.clone()));
        assert_eq!(tls("[::ffff:198.18.1.0]:443", "a.example", "A.example.:443"), Ok(a.clone()));
        assert_eq!(tls("198.18.1.1:443", "b.example", "b.example"), Ok(b));
        let misdirected = Err((421, "egress.host"));
        assert_eq!(tls("198.18.1.0:443", "a.example", "b.example"), misdirected, "fronting");
        assert_eq!(tls("198.18.1.1:443", "a.example", "a.example"), misdirected, "another host's address");
        assert_eq!(tls("93.184.216.34:443", "a.example", "a.example"), misdirected, "an address of its own choice");
        assert_eq!(tls("198.18.1.0:443", "a.example", "api.anthropic.com"), misdirected);
        assert_eq!(tls("198.18.1.0:443", "a.example", "a.example:80"), Err((403, "egress.host")), "another port");
        assert_eq!(tls("198.18.1.0:443", "a.example", "198.18.1.0"), Err((403, "egress.host")));
        assert_eq!(led(&way("198.18.1.0:80", None), "/", &[("host", "a.example")]), Ok(a));
        assert_eq!(led(&way("198.18.1.1:80", None), "/", &[("host", "b.example")]), Err((403, "egress.host")), "only over TLS");
        assert_eq!(led(&way("198.18.1.0:8443", Some("a.example")), "/", &[("host", "a.example")]), Err((403, "egress.host")));
    }

    #[test]
    fn our_own_names_have_their_addresses_and_the_provider_s_any() {
        let plain = |address: &str, host: &str| led(&way(address, None), "/", &[("host", host)]);
        assert_eq!(plain("198.18.0.10:80", "model.hexward.internal"), Ok(To::Own(Destination::Model)));
        assert_eq!(plain("198.18.0.11:80", "tools.hexward.internal"), Ok(To::Own(Destination::Tools)));
        assert_eq!(plain("198.18.0.10:80", "tools.hexward.internal"), Err((421, "egress.host")));
        assert_eq!(plain("169.254.169.254:80", "model.hexward.internal"), Err((421, "egress.host")));
        for address in ["160.79.104.10:443", "[2607:6bc0::10]:443", "198.18.0.12:443"] {
            let led = led(&way(address, Some("api.anthropic.com")), "/v1/messages", &[("host", "api.anthropic.com")]);
            assert_eq!(led, Ok(To::Own(Destination::Model)), "{address}");
        }
        assert_eq!(plain("160.79.104.10:80", "api.anthropic.com"), Ok(To::Own(Destination::Model)));
        assert_eq!(plain("160.79.104.10:5000", "api.anthropic.com"), Err((403, "egress.host")));
    }

    #[test]
    fn the_provider_is_a_host_where_a_rule_may_name_it() {
        let whole = EgressRule::whole_host(name("api.anthropic.com"), 443, Scheme::Https);
        let rules = EgressRules::without_model(vec![whole]).expect("rules");
        let led = |dialled: &str, sni: Option<&str>, path: &str| {
            let (uri, headers) = (path.parse().expect("a path"), headers(&[("host", "api.anthropic.com")]));
            destination(&way(dialled, sni), &Method::GET, Version::HTTP_11, &uri, &headers, &rules)
                .map_err(|(status, denial)| (status.as_u16(), denial.code.as_str()))
        };
        let (provider, sni) = (name("api.anthropic.com"), Some("api.anthropic.com"));
        assert_eq!(led("198.18.0.12:443", sni, "/v1/files"), Ok(To::Host(provider)));
        assert_eq!(led("160.79.104.10:443", sni, "/v1/files"), Err((421, "egress.host")), "an address of its own choice");
        assert_eq!(led("198.18.0.12:80", None, "/v1/files"), Ok(To::Own(Destination::Model)), "only what the rule names");
    }

    #[test]
    fn a_name_is_said_once_or_alike() {
        let way = way("198.18.1.0:443", Some("a.example"));
        let (good, none) = (Ok(To::Host(name("a.example"))), Err((403, "egress.host")));
        assert_eq!(led(&way, "https://a.example/", &[]), good, ":authority alone");
        assert_eq!(led(&way, "https://b.example/", &[]), Err((421, "egress.host")), "another :authority on the same connection");
        assert_eq!(led(&way, "https://a.example/", &[("host", "a.example")]), good, "absolute form that agrees");
        assert_eq!(led(&way, "https://b.example/", &[("host", "a.example")]), none);
        assert_eq!(led(&way, "https://a.example/", &[("host", "b.example")]), none);
        assert_eq!(led(&way, "/", &[("host", "a.example"), ("host", "b.example")]), none);
        assert_eq!(led(&way, "/", &[("host", "a.example"), ("host", "a.example")]), none, "even if they agree");
        assert_eq!(led(&way, "/", &[("host", "")]), none);
        assert_eq!(led(&way, "/", &[("host", "x@a.example")]), none);
        assert_eq!(led(&way, "/", &[("accept", "*/*")]), none);
    }

    #[test]
    fn what_could_be_another_request_is_refused() {
        let way = way("198.18.1.0:443", Some("a.example"));
        for pairs in [
            [("host", "a.example"), ("x-http-method-override", "DELETE")],
            [("host", "a.example"), ("x-original-url", "/admin")],
            [("host", "a.example"), ("x-rewrite-url", "/admin")],
        ] {
            assert_eq!(led(&way, "/", &pairs), Err((403, "egress.protocol")), "{pairs:?}");
        }
        let smuggled = [("host", "a.example"), ("content-length", "3"), ("content-length", "3")];
        assert_eq!(led(&way, "/", &smuggled), Err((403, "egress.protocol")));
        let uri = "a.example:443".parse().expect("an authority");
        let all = headers(&[("host", "a.example:443")]);
        for method in [Method::CONNECT, Method::TRACE] {
            let refused = destination(&way, &method, Version::HTTP_11, &uri, &all, &rules()).expect_err("refused");
            assert_eq!(refused.1.code, DenialCode::EgressProtocol);
        }
    }

    proptest! {
        /// Whatever is said as a name, only the host of the handshake and of the address is reached.
        #[test]
        fn no_spelling_of_a_name_leads_elsewhere(host in "[ -~]{0,40}", sni in 0..2_usize, ip in 0..4_u8) {
            let server_name = if sni == 0 { "a.example" } else { "b.example" };
            let way = way(&format!("198.18.1.{ip}:443"), Some(server_name));
            if let Ok(to) = led(&way, "/", &[("host", &host)]) {
                prop_assert_eq!(to, To::Host(name(server_name)));
                prop_assert_eq!(usize::from(ip), sni);
                prop_assert!(host.to_ascii_lowercase().starts_with(server_name));
            }
        }
    }
}

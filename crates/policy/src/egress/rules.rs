//! What an operator allows beyond the model and the tools: hosts, ports, methods, paths. Nothing by default.

use super::{Destination, HostName};
use crate::{Denial, DenialCode};
use core::net::Ipv4Addr;

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

/// One rule: what may be asked of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRule {
    /// The host.
    pub host: HostName,
    /// The port, the same inside and outside.
    pub port: u16,
    /// Plain or over TLS.
    pub scheme: Scheme,
    /// Methods, upper case.
    pub methods: Vec<String>,
    /// Paths.
    pub paths: Vec<PathPattern>,
    /// Where the operator's credential goes, if there is one.
    pub credential: Option<CredentialSlot>,
    /// Whether addresses of this host and of private networks may be dialled for it.
    pub danger_allow_private: bool,
}

/// The one place for the operator's credential: a header, never a body or a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSlot {
    /// The variable that holds the secret; the secret itself is not known here.
    pub env: String,
    /// The header, lower case.
    pub header: String,
    /// What stands before the secret.
    pub prefix: String,
}

/// Paths, as they are written in a request, without the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// This one.
    Exact(String),
    /// All that begin so; ends with a slash.
    Below(String),
    /// Every path, also one that can be read in two ways: where all are allowed, there is no other to be reached by that.
    Every,
}

/// Why a rule can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not a path.
    #[error("a path must begin with /, may end with /*, and must not have *, ?, #, // or parts that can be read in two ways")]
    Path,
    /// Not a method that may be allowed.
    #[error("a method must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
    Method,
    /// A port that the sandbox's own name server has, or none.
    #[error("a port must be from 1 to 65535, and not 53")]
    Port,
    /// More than a sandbox can have.
    #[error("more than 1,000 rules, or rules for more than 16 ports beside 80 and 443")]
    TooMany,
    /// One of our own names.
    #[error("this host is the gateway's own or the model provider's, which no rule may name")]
    Reserved,
    /// The same port of a host, once plain and once over TLS, or once private and once not.
    #[error("rules for the same host and port must agree in scheme and danger_allow_private")]
    Contradiction,
}

/// Methods that a rule may name. CONNECT would make a tunnel and TRACE an echo of the credential.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const RULES_MAX: usize = 1000;
/// As many as a sandbox may have further listeners.
const EXTRA_PORTS_MAX: usize = 16;
/// The benchmarking range (RFC 2544) is routed nowhere, so its addresses can't be taken for a real host's.
const OWN_ADDRESSES: [(&str, Ipv4Addr); 3] = [
    (Destination::MODEL_NAME, Ipv4Addr::new(198, 18, 0, 10)),
    (Destination::TOOLS_NAME, Ipv4Addr::new(198, 18, 0, 11)),
    (Destination::PROVIDER_NAME, Ipv4Addr::new(198, 18, 0, 12)),
];
/// Those of the operator's hosts begin here.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);

impl PathPattern {
    /// Reads a pattern: `/exact` or `/below/*`.
    ///
    /// # Errors
    /// [`RuleError::Path`].
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let (path, below) = match text.strip_suffix('*') {
            Some(path) if path.ends_with('/') => (path, true),
            Some(_) => return Err(RuleError::Path),
            None => (text, false),
        };
        if path.contains(['*', '?', '#']) || !is_plain_path(path) {
            return Err(RuleError::Path);
        }
        Ok(if below { Self::Below(path.to_owned()) } else { Self::Exact(path.to_owned()) })
    }

    fn allows(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact && is_plain_path(path),
            Self::Below(start) => path.starts_with(start.as_str()) && is_plain_path(path),
            Self::Every => path.starts_with('/'),
        }
    }
}

impl EgressRule {
    /// Everything that can be asked of a host on one port, without a credential, at an address of the internet.
    #[must_use]
    pub fn whole_host(host: HostName, port: u16, scheme: Scheme) -> Self {
        let methods = METHODS.iter().map(|&method| method.to_owned()).collect();
        Self { host, port, scheme, methods, paths: vec![PathPattern::Every], credential: None, danger_allow_private: false }
    }
}

/// Whether a path means the same to everybody: no dot segments, no doubled or hidden separators, nothing but printable ASCII.
#[must_use]
pub fn is_plain_path(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    // Twice encoded: some servers decode twice.
    let hidden = ["%2e", "%2f", "%5c", "%00", "%252e", "%252f", "%255c"].iter().any(|hidden| lower.contains(hidden));
    // A parameter in a segment (`..;x`) hides dots from some servers.
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !path.contains("//")
        && !hidden
        && !path.split('/').any(dots)
        && percent_is_whole(path)
}

fn percent_is_whole(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
}

/// What is wanted of a host.
#[derive(Clone, Copy, Debug)]
pub struct EgressRequest<'a> {
    /// Plain or over TLS.
    pub scheme: Scheme,
    /// Its name: of the TLS connection and of the request, which agree.
    pub host: &'a HostName,
    /// The port it arrived at.
    pub port: u16,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
}

/// All rules, checked.
#[derive(Clone, Debug, Default)]
pub struct EgressRules {
    pub(super) rules: Vec<EgressRule>,
    /// Each host once, in the order of its synthetic address.
    hosts: Vec<HostName>,
}

impl EgressRules {
    /// Checks the rules together.
    ///
    /// # Errors
    /// The number of the rule that can't be taken, and why.
    pub fn new(rules: Vec<EgressRule>) -> Result<Self, (usize, RuleError)> {
        let provider = |rule: &EgressRule| rule.host.as_str() == Destination::PROVIDER_NAME;
        if let Some(at) = rules.iter().position(provider) {
            return Err((at, RuleError::Reserved));
        }
        Self::without_model(rules)
    }

    /// The same where no model is behind the provider's name: it may be a host like any other.
    ///
    /// # Errors
    /// The number of the rule that can't be taken, and why.
    pub fn without_model(rules: Vec<EgressRule>) -> Result<Self, (usize, RuleError)> {
        let mut hosts: Vec<HostName> = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            check(rule).map_err(|error| (at, error))?;
            let before = rules.iter().take(at).filter(|other| (&other.host, other.port) == (&rule.host, rule.port));
            for other in before {
                if other.scheme != rule.scheme || other.danger_allow_private != rule.danger_allow_private {
                    return Err((at, RuleError::Contradiction));
                }
            }
            if !hosts.contains(&rule.host) {
                hosts.push(rule.host.clone());
            }
        }
        let all = Self { rules, hosts };
        if all.rules.len() > RULES_MAX || all.extra_ports().len() > EXTRA_PORTS_MAX {
            return Err((all.rules.len().saturating_sub(1), RuleError::TooMany));
        }
        Ok(all)
    }

    /// Ports beside 80 and 443 that a sandbox must have listeners for.
    #[must_use]
    pub fn extra_ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.rules.iter().map(|rule| rule.port).filter(|port| ![80, 443].contains(port)).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The address that stands for a name inside a sandbox, each name's own; none for what is not there.
    #[must_use]
    pub fn address_of(&self, host: &HostName) -> Option<Ipv4Addr> {
        if let Some((_, address)) = OWN_ADDRESSES.iter().find(|(name, _)| *name == host.as_str()) {
            return Some(*address);
        }
        let at = self.hosts.iter().position(|known| known == host)?;
        let offset = u32::try_from(at).ok()?;
        Some(Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits() + offset))
    }

    /// Whether any rule names this host on this port, so that a connection may go on to say what it wants.
    #[must_use]
    pub fn names(&self, host: &HostName, port: u16, scheme: Scheme) -> bool {
        self.rules.iter().any(|rule| rule.host == *host && rule.port == port && rule.scheme == scheme)
    }

    /// Whether addresses of this host and of private networks may be dialled; none for what no rule names.
    #[must_use]
    pub fn private_allowed(&self, host: &HostName, port: u16) -> Option<bool> {
        // Rules for one host and port agree in this.
        self.rules.iter().find(|rule| rule.host == *host && rule.port == port).map(|rule| rule.danger_allow_private)
    }

    /// Whether any rule is for TLS.
    #[must_use]
    pub fn use_tls(&self) -> bool {
        self.rules.iter().any(|rule| rule.scheme == Scheme::Https)
    }

    /// Where credentials go.
    #[must_use]
    pub fn credential_slots(&self) -> Vec<&CredentialSlot> {
        self.rules.iter().filter_map(|rule| rule.credential.as_ref()).collect()
    }

    /// The decision about one request.
    ///
    /// # Errors
    /// A refusal.
    pub fn decide(&self, asked: &EgressRequest<'_>) -> Result<&EgressRule, Denial> {
        let wanted = || format!("{} {}:{}{}", asked.method, asked.host, asked.port, asked.path);
        if !self.names(asked.host, asked.port, asked.scheme) {
            return Err(Denial::new(DenialCode::EgressHost, &wanted()));
        }
        let fits = |rule: &&EgressRule| {
            rule.host == *asked.host
                && rule.port == asked.port
                && rule.scheme == asked.scheme
                && rule.methods.iter().any(|method| method == asked.method)
                && rule.paths.iter().any(|path| path.allows(asked.path))
        };
        self.rules.iter().find(fits).ok_or_else(|| Denial::new(DenialCode::EgressRule, &wanted()))
    }
}

fn check(rule: &EgressRule) -> Result<(), RuleError> {
    if rule.host.as_str().ends_with(Destination::OWN_SUFFIX) {
        return Err(RuleError::Reserved);
    }
    if [0, 53].contains(&rule.port) {
        return Err(RuleError::Port);
    }
    if rule.methods.is_empty() || !rule.methods.iter().all(|method| METHODS.contains(&method.as_str())) {
        return Err(RuleError::Method);
    }
    if rule.paths.is_empty() { Err(RuleError::Path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text).expect("a name")
    }

    fn rule(host: &str, port: u16, methods: &[&str], paths: &[&str]) -> EgressRule {
        EgressRule {
            host: name(host),
            port,
            scheme: if port == 80 { Scheme::Http } else { Scheme::Https },
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            paths: paths.iter().map(|path| PathPattern::parse(path).expect("a path")).collect(),
            credential: None,
            danger_allow_private: false,
        }
    }

    fn decide(rules: &EgressRules, scheme: Scheme, host: &str, port: u16, method: &str, path: &str) -> Option<DenialCode> {
        let host = name(host);
        rules.decide(&EgressRequest { scheme, host: &host, port, method, path }).err().map(|denial| denial.code)
    }

    #[test]
    fn only_what_a_rule_says_is_allowed() {
        let rules = EgressRules::new(vec![
            rule("api.example.com", 443, &["GET"], &["/v1/*", "/status"]),
            rule("api.example.com", 443, &["POST"], &["/v1/items"]),
            rule("plain.example.com", 80, &["GET"], &["/*"]),
            rule("api.example.com", 8443, &["PUT"], &["/*"]),
        ])
        .expect("good rules");
        let https = |host: &str, port, method: &str, path: &str| decide(&rules, Scheme::Https, host, port, method, path);
        for (method, path) in [("GET", "/v1/"), ("GET", "/v1/a/b"), ("GET", "/status"), ("POST", "/v1/items"), ("GET", "/v1/%41")]
        {
            assert_eq!(https("api.example.com", 443, method, path), None, "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/v1"),
            ("GET", "/v2/x"),
            ("GET", "/status/"),
            ("GET", "/statusx"),
            ("get", "/status"),
            ("POST", "/v1/items/1"),
            ("DELETE", "/v1/items"),
            ("PUT", "/v1/items"),
            ("GET", "/v1/../admin"),
            ("GET", "/v1/..;/admin"),
            ("GET", "/v1/%2e%2e/admin"),
            ("GET", "/v1/%2E./admin"),
            ("GET", "/v1/..%2fadmin"),
            ("GET", "/v1/%252e%252e%252fadmin"),
            ("GET", "/v1//admin"),
            ("GET", "/v1/..\\admin"),
            ("GET", "/v1/%00"),
            ("GET", "/v1/%zz"),
            ("GET", "/v1/%"),
            ("GET", "*"),
            ("GET", ""),
        ] {
            assert_eq!(https("api.example.com", 443, method, path), Some(DenialCode::EgressRule), "{method} {path}");
        }
        assert_eq!(https("api.example.com", 8443, "PUT", "/x"), None);
        for (scheme, host, port) in [
            (Scheme::Https, "api.example.com", 444),
            (Scheme::Http, "api.example.com", 443),
            (Scheme::Https, "plain.example.com", 80),
            (Scheme::Https, "x.api.example.com", 443),
            (Scheme::Https, "example.com", 443),
            (Scheme::Https, "api.example.com.evil.example", 443),
        ] {
            assert_eq!(decide(&rules, scheme, host, port, "GET", "/status"), Some(DenialCode::EgressHost), "{host}:{port}");
        }
        assert_eq!(rules.extra_ports(), [8443]);
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let rules = EgressRules::default();
        assert_eq!(decide(&rules, Scheme::Https, "example.com", 443, "GET", "/"), Some(DenialCode::EgressHost));
        assert!(rules.address_of(&name("example.com")).is_none() && rules.extra_ports().is_empty());
    }

    #[test]
    fn a_whole_host_is_every_path_of_it_and_nothing_else() {
        let whole = |host: &str| EgressRule::whole_host(name(host), 443, Scheme::Https);
        let rules = EgressRules::without_model(vec![whole("a.example"), whole("api.anthropic.com")]).expect("good rules");
        for (method, path) in [("GET", "/"), ("PUT", "/@types%2fnode"), ("DELETE", "/a//b"), ("OPTIONS", "/x/../y")] {
            assert_eq!(decide(&rules, Scheme::Https, "a.example", 443, method, path), None, "{method} {path}");
        }
        for (method, path) in [("CONNECT", "/"), ("TRACE", "/"), ("GET", "*"), ("GET", "")] {
            let refused = decide(&rules, Scheme::Https, "a.example", 443, method, path);
            assert_eq!(refused, Some(DenialCode::EgressRule), "{method} {path}");
        }
        assert_eq!(decide(&rules, Scheme::Https, "a.example", 8443, "GET", "/"), Some(DenialCode::EgressHost));
        assert_eq!(decide(&rules, Scheme::Https, "api.anthropic.com", 443, "GET", "/v1/files"), None);
        for own in ["model.hexward.internal", "tools.hexward.internal"] {
            assert_eq!(EgressRules::without_model(vec![whole(own)]).err(), Some((0, RuleError::Reserved)), "{own}");
        }
    }

    #[test]
    fn each_host_has_an_address_of_its_own() {
        let rules = EgressRules::new(vec![
            rule("a.example", 443, &["GET"], &["/*"]),
            rule("b.example", 443, &["GET"], &["/*"]),
            rule("a.example", 80, &["GET"], &["/*"]),
        ])
        .expect("good rules");
        let (a, b) = (rules.address_of(&name("a.example")), rules.address_of(&name("b.example")));
        let own =
            ["api.anthropic.com", "model.hexward.internal", "tools.hexward.internal"].map(|own| rules.address_of(&name(own)));
        let all: std::collections::HashSet<_> = own.into_iter().chain([a, b]).flatten().collect();
        assert_eq!(all.len(), 5, "each name has one and no two have the same");
        assert_eq!(rules.address_of(&name("A.example.")), a);
        assert_eq!(rules.address_of(&name("c.example")), None);
    }

    #[test]
    fn bad_rules_are_not_taken() {
        for bad in ["", "x", "*", "/a*", "/a/*/b", "/a/../b", "/a?b", "/a#b", "//", "/a//b", "/%2e", "/ä", "/a b", "/a/**"] {
            assert_eq!(PathPattern::parse(bad), Err(RuleError::Path), "{bad:?}");
        }
        let refused = |rules: Vec<EgressRule>| EgressRules::new(rules).err();
        for host in ["api.anthropic.com", "model.hexward.internal", "tools.hexward.internal", "x.hexward.internal"] {
            assert_eq!(refused(vec![rule(host, 443, &["GET"], &["/*"])]), Some((0, RuleError::Reserved)), "{host}");
        }
        for method in ["CONNECT", "TRACE", "get", "*", "PRI"] {
            assert_eq!(refused(vec![rule("a.example", 443, &[method], &["/*"])]), Some((0, RuleError::Method)), "{method}");
        }
        assert_eq!(refused(vec![rule("a.example", 53, &["GET"], &["/*"])]), Some((0, RuleError::Port)));
        assert_eq!(refused(vec![rule("a.example", 443, &[], &["/*"])]), Some((0, RuleError::Method)));
        assert_eq!(refused(vec![rule("a.example", 443, &["GET"], &[])]), Some((0, RuleError::Path)));
        let ports = (0..17).map(|at| rule("a.example", 1000 + at, &["GET"], &["/*"])).collect();
        assert_eq!(refused(ports), Some((16, RuleError::TooMany)));
        let plain = EgressRule { scheme: Scheme::Http, ..rule("a.example", 8443, &["GET"], &["/*"]) };
        let mixed = vec![rule("a.example", 8443, &["GET"], &["/*"]), plain];
        assert_eq!(refused(mixed), Some((1, RuleError::Contradiction)));
    }
}

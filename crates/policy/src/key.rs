//! Keys of remote callers: what one may be used for, and whether it is good at this moment.
//!
//! Invariant: a scope only ever narrows. Nothing in it adds a path, a model, a token or a dollar to what the callers' listener
//! allows anyway, and [`KeyScope::narrowed`] of two scopes allows only what both do. What a key does not have unless somebody said so
//! (`writes`, `sessions`) is in neither.

use crate::{HostAction, KeyId, Microusd, Timestamp, digest_bytes};
use core::net::IpAddr;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What every key that the gateway makes begins with, so that people and scanners recognise one that leaked.
pub const KEY_PREFIX: &str = "hxw_";
/// What a name of a key or a principal may have.
const NAME_CHARS_MAX: usize = 64;

/// The token of a key, out of 256 random bits: the prefix and 64 hexadecimal characters.
#[must_use]
pub fn key_token(random: &[u8; 32]) -> String {
    random.iter().fold(KEY_PREFIX.to_owned(), |token, byte| format!("{token}{byte:02x}"))
}

/// What is kept of a token. It has 256 random bits, so a plain digest can't be turned back by guessing.
#[must_use]
pub fn key_digest(token: &[u8]) -> [u8; 32] {
    digest_bytes(token)
}

/// Names are written into scopes of the ledger, lists and logs: letters, digits, `-`, `_` and `.`.
#[must_use]
pub fn is_key_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// What a key opens. One of one purpose opens nothing of another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyPurpose {
    /// The model API, for a service.
    #[default]
    Model,
    /// The tools of one app, for a person's own client.
    Mcp,
    /// The same for one request of an agent that runs elsewhere: minutes, and dead at the request's end.
    McpSession,
    /// The API of a host application's back end, for users that it asserts. Its principal is the host.
    Service,
}

impl KeyPurpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Model, Self::Mcp, Self::McpSession, Self::Service];

    /// Its name in commands and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Mcp => "mcp",
            Self::McpSession => "mcp-session",
            Self::Service => "service",
        }
    }

    /// The purpose of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == name)
    }
}

/// A network in CIDR notation, IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is not a network.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be a network like 10.1.0.0/16 or 2001:db8::/32, with no bit set behind the prefix, or an address")]
pub struct NetworkError;

impl Network {
    /// The address as a number that fills 128 bits from the left, and how many bits it has.
    fn left_aligned(address: IpAddr) -> (u128, u8) {
        match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        }
    }

    fn covers(self, address: IpAddr, bits: u8) -> bool {
        let ((own, width), (other, other_width)) = (Self::left_aligned(self.address), Self::left_aligned(address));
        let differing = own ^ other;
        width == other_width && self.bits <= bits && differing.leading_zeros() >= u32::from(self.bits)
    }

    /// Whether an address is in it. An IPv4 address that a socket for both shows as IPv6 counts as what it is.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.covers(address.to_canonical(), u8::MAX)
    }
}

impl std::str::FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let (number, width) = Self::left_aligned(address);
        let plain = |bits: &&str| bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = match bits {
            None => width,
            Some(text) => Some(text).filter(plain).and_then(|text| text.parse().ok()).ok_or(NetworkError)?,
        };
        let behind = number.checked_shl(u32::from(bits)).unwrap_or(0);
        // A mapped address would never match, because peers are compared in their own form.
        if bits > width || behind != 0 || address != address.to_canonical() {
            return Err(NetworkError);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

/// A part of the model API that a key may be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPath {
    /// `/v1/messages`.
    Messages,
    /// `/v1/messages/count_tokens`.
    CountTokens,
    /// `/v1/models` and what is below.
    Models,
}

impl KeyPath {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Messages, Self::CountTokens, Self::Models];

    /// Its name in commands and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Models => "models",
        }
    }

    fn covers(self, path: &str) -> bool {
        match self {
            Self::Messages => path == "/v1/messages",
            Self::CountTokens => path == "/v1/messages/count_tokens",
            Self::Models => path.strip_prefix("/v1/models").is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

/// What a key may be used for. `None` and the empty default mean: what the listener allows. An unknown field in a stored scope
/// is an error: a limit that this version does not know must not be ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyScope {
    /// The models it may name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// The paths it may ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<KeyPath>>,
    /// Output tokens of one call at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_max: Option<u64>,
    /// What its principal may have spent in a UTC day for this key to be good for another call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_limit_microusd: Option<Microusd>,
    /// Requests of its principal in a UTC hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_hour: Option<u32>,
    /// The app its model calls are counted for: a label, no authority. Of a key for tools, the one app whose tools it opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The tools it may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Whether it may ask for changes. Each waits for its person's confirmation all the same.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub writes: bool,
    /// Whether it may make keys of the purpose `mcp-session`, for users of its own principal.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub sessions: bool,
    /// Of a host's key, the apps it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<String>>,
    /// Of a host's key, what it may be used for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<HostAction>>,
    /// Where it may be used from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Network>>,
}

impl KeyScope {
    /// Whether a path of the model API is in it.
    #[must_use]
    pub fn allows_path(&self, path: &str) -> bool {
        self.paths.as_ref().is_none_or(|paths| paths.iter().any(|known| known.covers(path)))
    }

    /// Whether a tool is in it.
    #[must_use]
    pub fn allows_tool(&self, tool: &str) -> bool {
        self.tools.as_ref().is_none_or(|tools| tools.iter().any(|known| known == tool))
    }

    /// Whether a host's key is for an app.
    #[must_use]
    pub fn allows_app(&self, app: &str) -> bool {
        self.apps.as_ref().is_none_or(|apps| apps.iter().any(|known| known == app))
    }

    /// Whether a host's key may be used for this.
    #[must_use]
    pub fn allows_action(&self, action: HostAction) -> bool {
        self.actions.as_ref().is_none_or(|actions| actions.contains(&action))
    }

    /// Whether a peer is in its networks. An unknown peer is in none.
    #[must_use]
    pub fn allows_peer(&self, peer: Option<IpAddr>) -> bool {
        let within = |networks: &Vec<Network>| peer.is_some_and(|peer| networks.iter().any(|network| network.contains(peer)));
        self.networks.as_ref().is_none_or(within)
    }

    /// Only what both allow.
    #[must_use]
    pub fn narrowed(&self, other: &Self) -> Self {
        let both = |one: &Vec<Network>, two: &Vec<Network>| {
            let inside = |a: &[Network], b: &[Network]| -> Vec<Network> {
                a.iter().filter(|a| b.iter().any(|b| b.covers(a.address, a.bits))).copied().collect()
            };
            let (mut networks, more) = (inside(one, two), inside(two, one));
            networks.extend(more.into_iter().filter(|network| !one.contains(network)));
            networks
        };
        Self {
            models: either(&self.models, &other.models, |a, b| a.iter().filter(|model| b.contains(model)).cloned().collect()),
            paths: either(&self.paths, &other.paths, |a, b| a.iter().filter(|path| b.contains(path)).copied().collect()),
            output_tokens_max: either(&self.output_tokens_max, &other.output_tokens_max, |a, b| *a.min(b)),
            day_limit_microusd: either(&self.day_limit_microusd, &other.day_limit_microusd, |a, b| *a.min(b)),
            requests_per_hour: either(&self.requests_per_hour, &other.requests_per_hour, |a, b| *a.min(b)),
            app: self.app.clone().or_else(|| other.app.clone()),
            tools: either(&self.tools, &other.tools, |a, b| a.iter().filter(|tool| b.contains(tool)).cloned().collect()),
            writes: self.writes && other.writes,
            sessions: self.sessions && other.sessions,
            apps: either(&self.apps, &other.apps, |a, b| a.iter().filter(|app| b.contains(app)).cloned().collect()),
            actions: either(&self.actions, &other.actions, |a, b| {
                a.iter().filter(|action| b.contains(action)).copied().collect()
            }),
            networks: either(&self.networks, &other.networks, both),
        }
    }
}

/// The only limit there is, or what both leave.
fn either<T: Clone>(one: &Option<T>, two: &Option<T>, both: impl Fn(&T, &T) -> T) -> Option<T> {
    match (one, two) {
        (Some(one), Some(two)) => Some(both(one, two)),
        (one, two) => one.clone().or_else(|| two.clone()),
    }
}

/// Which key a call was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub id: KeyId,
    /// The app its calls are counted for.
    pub app: Option<String>,
}

/// Why a caller was not let in. The caller is told none of it; log and audit log are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// No key was shown.
    Missing,
    /// There is no such key.
    Unknown,
    /// Several were shown, and they are not one.
    Differing,
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
    /// It was used from elsewhere.
    Network,
    /// It is a key, but not for this.
    Purpose,
}

impl KeyFault {
    /// A stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Differing => "differing",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Network => "network",
            Self::Purpose => "purpose",
        }
    }
}

/// Whether a key is good at this moment and from there. A moment of revocation in the future is the end of a rotation's grace.
///
/// # Errors
/// The first [`KeyFault`].
pub fn judge_key(
    scope: &KeyScope,
    expires: Option<Timestamp>,
    revoked: Option<Timestamp>,
    peer: Option<IpAddr>,
    now: Timestamp,
) -> Result<(), KeyFault> {
    let over = |moment: Option<Timestamp>| moment.is_some_and(|moment| now >= moment);
    match () {
        () if over(revoked) => Err(KeyFault::Revoked),
        () if over(expires) => Err(KeyFault::Expired),
        () if !scope.allows_peer(peer) => Err(KeyFault::Network),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    fn peer(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_contains_what_shares_its_prefix() {
        for (net, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.3", "10.2.0.0"),
            ("10.1.0.0/16", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            assert!(network(net).contains(peer(inside)), "{net} {inside}");
            assert!(!network(net).contains(peer(outside)), "{net} {outside}");
            assert_eq!(network(&network(net).to_string()), network(net));
        }
        for bad in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "x/8",
            "::/129",
            "::ffff:10.0.0.0/104",
            "10.0.0/8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NetworkError), "{bad}");
        }
    }

    #[test]
    fn two_scopes_allow_only_what_both_do() {
        let wide = KeyScope::default();
        let one = KeyScope {
            models: Some(vec!["a".to_owned(), "b".to_owned()]),
            output_tokens_max: Some(100),
            day_limit_microusd: Some(Microusd(5)),
            networks: Some(vec![network("10.0.0.0/8"), network("192.0.2.0/24")]),
            ..KeyScope::default()
        };
        let two = KeyScope {
            models: Some(vec!["b".to_owned(), "c".to_owned()]),
            paths: Some(vec![KeyPath::Messages]),
            output_tokens_max: Some(200),
            requests_per_hour: Some(9),
            networks: Some(vec![network("10.1.0.0/16"), network("2001:db8::/32")]),
            ..KeyScope::default()
        };
        assert_eq!((one.narrowed(&wide), wide.narrowed(&one)), (one.clone(), one.clone()));
        let both = one.narrowed(&two);
        assert_eq!((both.models.as_deref(), both.output_tokens_max), (Some(["b".to_owned()].as_slice()), Some(100)));
        assert_eq!((both.day_limit_microusd, both.requests_per_hour), (Some(Microusd(5)), Some(9)));
        assert_eq!(both.networks, Some(vec![network("10.1.0.0/16")]), "the narrower of two nested networks");
        assert_eq!(one.narrowed(&one), one, "nothing is doubled");
        let apart = KeyScope { networks: Some(vec![network("198.51.100.0/24")]), ..KeyScope::default() };
        assert!(!one.narrowed(&apart).allows_peer(Some(peer("10.1.2.3"))), "networks without a common part let nobody in");
        assert!(!one.narrowed(&apart).allows_peer(Some(peer("198.51.100.1"))));
    }

    #[test]
    fn what_a_key_is_not_given_it_has_not() {
        let given = KeyScope { tools: Some(vec!["look".to_owned()]), writes: true, sessions: true, ..KeyScope::default() };
        let none = KeyScope::default();
        assert!(!none.writes && !none.sessions && none.allows_tool("anything"));
        assert!(given.allows_tool("look") && !given.allows_tool("Look") && !given.allows_tool(""));
        let both = given.narrowed(&none);
        assert!(!both.writes && !both.sessions && !both.allows_tool("other"), "two scopes allow only what both do");
        for purpose in KeyPurpose::ALL {
            assert_eq!(KeyPurpose::parse(purpose.as_str()), Some(purpose));
        }
        assert_eq!((KeyPurpose::parse("Mcp"), KeyPurpose::parse("")), (None, None));
    }

    #[test]
    fn a_scope_that_is_not_fully_known_is_refused() {
        let read = |text: &str| serde_json::from_str::<KeyScope>(text);
        assert_eq!(read("{}").expect("an open scope"), KeyScope::default());
        assert!(read(r#"{"writes":1}"#).is_err() && read(r#"{"budget":1}"#).is_err() && read(r#"{"paths":["files"]}"#).is_err());
        let scope = KeyScope { paths: Some(KeyPath::ALL.to_vec()), networks: Some(vec![network("::1")]), ..KeyScope::default() };
        assert_eq!(read(&serde_json::to_string(&scope).expect("JSON")).expect("the same"), scope);
        for path in KeyPath::ALL {
            assert_eq!(serde_json::to_string(&path).expect("JSON"), format!("\"{}\"", path.as_str()));
        }
    }

    #[test]
    fn paths_are_exact() {
        let scope = |path| KeyScope { paths: Some(vec![path]), ..KeyScope::default() };
        let allowed = |path| {
            ["/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/v1/models/x", "/v1/modelsx", "/v1/messages/"]
                .into_iter()
                .filter(|asked| scope(path).allows_path(asked))
                .collect::<Vec<_>>()
        };
        assert_eq!(allowed(KeyPath::Messages), ["/v1/messages"]);
        assert_eq!(allowed(KeyPath::CountTokens), ["/v1/messages/count_tokens"]);
        assert_eq!(allowed(KeyPath::Models), ["/v1/models", "/v1/models/x"]);
        assert!(KeyScope::default().allows_path("/v1/messages"));
    }

    #[test]
    fn a_key_is_good_until_it_is_not() {
        let scope = KeyScope { networks: Some(vec![network("10.0.0.0/8")]), ..KeyScope::default() };
        let judged = |expires: Option<i64>, revoked: Option<i64>, from: Option<&str>| {
            judge_key(&scope, expires.map(Timestamp), revoked.map(Timestamp), from.map(peer), Timestamp(100))
        };
        assert_eq!(judged(None, None, Some("10.0.0.1")), Ok(()));
        assert_eq!(judged(Some(101), Some(101), Some("10.0.0.1")), Ok(()), "a grace that is not over");
        assert_eq!(judged(Some(100), None, Some("10.0.0.1")), Err(KeyFault::Expired));
        assert_eq!(judged(Some(1), Some(100), Some("10.0.0.1")), Err(KeyFault::Revoked));
        assert_eq!(judged(None, None, Some("11.0.0.1")), Err(KeyFault::Network));
        assert_eq!(judged(None, None, None), Err(KeyFault::Network), "who is not known is nowhere");
    }

    #[test]
    fn tokens_are_recognised_and_names_are_plain() {
        let token = key_token(&[0xab; 32]);
        assert_eq!((token.len(), token.starts_with("hxw_abab")), (68, true));
        assert_ne!(key_digest(token.as_bytes()), key_digest(token.to_uppercase().as_bytes()));
        assert!(is_key_name("internal") && is_key_name("a-b_c.9"));
        for bad in ["", "a b", "a/b", "ä", "a\n", "x'; --", &"a".repeat(65)] {
            assert!(!is_key_name(bad), "{bad}");
        }
    }
}

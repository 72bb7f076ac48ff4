//! Where a sandbox may connect: one canonical host name type, one decision about names, one about requests, one about addresses.

mod address;
mod endpoints;
mod rules;

pub use address::{AddressFault, vet_address};
pub use endpoints::Endpoint;
pub use rules::{CredentialSlot, EgressRequest, EgressRule, EgressRules, PathPattern, RuleError, Scheme, is_plain_path};

use std::fmt;

/// A host name in its one canonical form: lower case, no trailing dot, letters, digits, hyphens and dots only.
///
/// Every layer takes this type, so that no two of them can read a name differently.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(String);

/// Not a host name (an address, a port without a name, control characters, a zone id ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host name")]
pub struct HostNameError;

const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

impl HostName {
    /// Parses a name as it stands in DNS, SNI or a Host header without its port.
    ///
    /// # Errors
    /// [`HostNameError`] for everything that is not plainly a name.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= LABEL_BYTES_MAX
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let all_numeric_end = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > NAME_BYTES_MAX || all_numeric_end || !name.split('.').all(label) {
            return Err(HostNameError);
        }
        Ok(Self(name))
    }

    /// Parses a Host header or `:authority`: a name, optionally with the one port it was sent to.
    ///
    /// # Errors
    /// [`HostNameError`] for another port and for everything that is not plainly a name.
    pub fn parse_authority(text: &str, port: u16) -> Result<Self, HostNameError> {
        match text.split_once(':') {
            None => Self::parse(text),
            Some((name, given)) if given == port.to_string() => Self::parse(name),
            Some(_) => Err(HostNameError),
        }
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What of ours answers to a name inside a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The model proxy: the gateway's own name for it, and the provider's real one.
    Model,
    /// The app's tools.
    Tools,
}

impl Destination {
    /// The name under which the agent is told to find the model proxy (plain HTTP, never leaves the machine).
    pub const MODEL_NAME: &str = "model.hexward.internal";
    /// The name under which the agent is told to find its tools.
    pub const TOOLS_NAME: &str = "tools.hexward.internal";
    /// What all of the gateway's own names end with.
    pub const OWN_SUFFIX: &str = ".hexward.internal";
    /// The name compiled into agents.
    pub const PROVIDER_NAME: &str = "api.anthropic.com";
}

/// The decision about names that need no rule. Beyond them only [`EgressRules`] allow anything.
#[must_use]
pub fn classify(name: &HostName) -> Option<Destination> {
    match name.as_str() {
        Destination::MODEL_NAME | Destination::PROVIDER_NAME => Some(Destination::Model),
        Destination::TOOLS_NAME => Some(Destination::Tools),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_names() {
        for good in ["api.anthropic.com", "API.Anthropic.COM.", "a-b.c1.example"] {
            assert!(HostName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "127.0.0.1",
            "0x7f.1",
            "[::1]",
            "::1",
            "a b",
            "a\0.google.com",
            "a%25",
            "ünïcode.de",
            "a/b",
            "a@b",
            "a_b.c",
            &long,
        ] {
            assert_eq!(HostName::parse(bad), Err(HostNameError), "{bad:?}");
        }
        assert!(HostName::parse_authority("api.anthropic.com:443", 443).is_ok());
        assert!(HostName::parse_authority("api.anthropic.com:80", 443).is_err());
        assert!(HostName::parse_authority("api.anthropic.com:", 443).is_err());
    }

    #[test]
    fn three_names_are_reachable_and_no_neighbour_of_them() {
        let to = |name: &str| HostName::parse(name).ok().as_ref().and_then(classify);
        assert_eq!(to("api.anthropic.com"), Some(Destination::Model));
        assert_eq!(to("API.ANTHROPIC.COM."), Some(Destination::Model));
        assert_eq!(to("tools.hexward.internal"), Some(Destination::Tools));
        for other in ["anthropic.com", "x.api.anthropic.com", "api.anthropic.com.evil.example", "metadata.google.internal"] {
            assert_eq!(to(other), None, "{other}");
        }
    }
}

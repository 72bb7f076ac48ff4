//! Everything that a sandbox may connect to, as a list, for where nothing answers name questions.

use super::{Destination, EgressRules, HostName, Scheme};
use core::net::Ipv4Addr;

/// One name and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name.
    pub host: HostName,
    /// The address that stands for it.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// Plain or over TLS.
    pub scheme: Scheme,
}

const OWN: [(&str, u16, Scheme); 4] = [
    (Destination::MODEL_NAME, 80, Scheme::Http),
    (Destination::TOOLS_NAME, 80, Scheme::Http),
    (Destination::PROVIDER_NAME, 80, Scheme::Http),
    (Destination::PROVIDER_NAME, 443, Scheme::Https),
];

impl EgressRules {
    /// The gateway's own names, the provider's, and those of the rules, each once.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let own = OWN.into_iter().filter_map(|(name, port, scheme)| Some((HostName::parse(name).ok()?, port, scheme)));
        let ruled = self.rules.iter().map(|rule| (rule.host.clone(), rule.port, rule.scheme));
        let mut all: Vec<Endpoint> = Vec::new();
        for (host, port, scheme) in own.chain(ruled) {
            let Some(address) = self.address_of(&host) else { continue };
            let one = Endpoint { host, address, port, scheme };
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EgressRule, PathPattern};

    #[test]
    fn each_name_and_port_is_listed_once() {
        let rule = |port, path: &str| EgressRule {
            host: HostName::parse("a.example").expect("a name"),
            port,
            scheme: Scheme::Https,
            methods: vec!["GET".to_owned()],
            paths: vec![PathPattern::parse(path).expect("a path")],
            credential: None,
            danger_allow_private: false,
        };
        let none = EgressRules::default().endpoints();
        assert_eq!(none.iter().map(|one| one.port).collect::<Vec<_>>(), [80, 80, 80, 443]);
        let rules = EgressRules::new(vec![rule(443, "/a"), rule(443, "/b"), rule(8443, "/*")]).expect("good rules");
        let more: Vec<_> = rules.endpoints().split_off(4).into_iter().map(|one| (one.host.to_string(), one.port)).collect();
        assert_eq!(more, [("a.example".to_owned(), 443), ("a.example".to_owned(), 8443)]);
    }
}

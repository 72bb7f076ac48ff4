//! Which limits apply to whom: a message of a person, a model call of a caller elsewhere.

use crate::rate::{RateCheck, RateLimit, UNIT_MILLIS};
use crate::{BehaviourRules, DenialCode, HostAccount, ModelPath, Standing, Throttle, UserId};
use core::net::IpAddr;

/// Tokens of a prompt that add one unit to a model call.
const TOKENS_A_UNIT: u64 = 50_000;
/// A token has at least so many bytes, as a rule of thumb.
const BYTES_A_TOKEN: u64 = 4;
/// What a body is taken to have that does not say how long it is.
const UNKNOWN_BODY_BYTES: u64 = 1 << 20;

/// Requests of one user to undo something, in a minute. Each may stand for many calls, but only for such as an agent made.
const UNDOS_PER_MINUTE: u64 = 30;

/// Limits of people with one standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierRules {
    /// Messages of one user in an hour.
    pub user_per_hour: u64,
    /// Messages of all users of this standing in a minute.
    pub together_per_minute: u64,
    /// Its share while messages wait for a place, against those of others.
    pub weight: u32,
}

/// All limits. Each is a number of messages, or of model calls of callers elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateRules {
    /// Messages from one address (IPv4 /32, IPv6 /64) in a minute.
    pub address_per_minute: u64,
    /// The same in an hour.
    pub address_per_hour: u64,
    /// The same in a day.
    pub address_per_day: u64,
    /// How many times as much may come from an IPv6 /56.
    pub network56_times: u64,
    /// How many times as much may come from an IPv6 /48.
    pub network48_times: u64,
    /// People without a name.
    pub anonymous: TierRules,
    /// People who signed in.
    pub signed_in: TierRules,
    /// Messages of everybody in a minute.
    pub messages_per_minute: u64,
    /// Tool calls of one user's agents in an hour.
    pub tool_calls_per_hour: u64,
    /// Model calls with one key in an hour, unless the key says otherwise.
    pub key_per_hour: u64,
    /// Model calls of all callers elsewhere in a minute.
    pub calls_per_minute: u64,
    /// What one person changes in an app's page by themselves in a minute.
    pub edits_per_minute: u64,
    /// What is looked up from one address in apps' pages in a minute, without a message to an agent.
    pub lookups_per_minute: u64,
    /// What agents may do at once, beside how often.
    pub behaviour: BehaviourRules,
}

impl Default for RateRules {
    fn default() -> Self {
        Self {
            address_per_minute: 10,
            address_per_hour: 100,
            address_per_day: 1000,
            network56_times: 4,
            network48_times: 16,
            anonymous: TierRules { user_per_hour: 100, together_per_minute: 200, weight: 1 },
            signed_in: TierRules { user_per_hour: 200, together_per_minute: 300, weight: 2 },
            messages_per_minute: 300,
            tool_calls_per_hour: 200,
            key_per_hour: 10_000,
            calls_per_minute: 3_000,
            edits_per_minute: 240,
            lookups_per_minute: 300,
            behaviour: BehaviourRules::default(),
        }
    }
}

impl RateRules {
    /// So much that nobody reaches it: for a program that only its own user reaches.
    #[must_use]
    pub const fn unreachable() -> Self {
        const MANY: u64 = 1_000_000;
        const TIER: TierRules = TierRules { user_per_hour: MANY, together_per_minute: MANY, weight: 1 };
        Self {
            address_per_minute: MANY,
            address_per_hour: MANY,
            address_per_day: MANY,
            network56_times: 1,
            network48_times: 1,
            anonymous: TIER,
            signed_in: TIER,
            messages_per_minute: MANY,
            tool_calls_per_hour: MANY,
            key_per_hour: MANY * 1000,
            calls_per_minute: MANY,
            edits_per_minute: MANY,
            lookups_per_minute: MANY,
            behaviour: BehaviourRules::indifferent(),
        }
    }

    /// What holds for people of a standing.
    #[must_use]
    pub const fn tier(&self, standing: Standing) -> &TierRules {
        match standing {
            Standing::Anonymous => &self.anonymous,
            Standing::SignedIn => &self.signed_in,
        }
    }

    /// What a message is checked against. Without an address it was not sent over a network.
    #[must_use]
    pub fn of_message(&self, user: UserId, standing: Standing, address: Option<IpAddr>) -> Vec<RateCheck> {
        let tier = self.tier(standing);
        let one = |name: String, limit, code| RateCheck { name, limit, weight_millis: UNIT_MILLIS, code };
        let mut checks = vec![
            one("messages".to_owned(), RateLimit::per_minute(self.messages_per_minute), DenialCode::RateGlobal),
            one(
                format!("messages:{}", standing.as_str()),
                RateLimit::per_minute(tier.together_per_minute),
                DenialCode::RateGlobal,
            ),
            one(format!("user:{user}"), RateLimit::per_hour(tier.user_per_hour), DenialCode::RateUser),
        ];
        for (network, times) in address.map(|address| self.networks(address)).unwrap_or_default() {
            let windows = [
                ("minute", RateLimit::per_minute(self.address_per_minute)),
                ("hour", RateLimit::per_hour(self.address_per_hour)),
                ("day", RateLimit::per_day(self.address_per_day)),
            ];
            checks.extend(
                windows.into_iter().map(|(window, limit)| {
                    one(format!("address:{network}:{window}"), limit.times(times), DenialCode::RateAddress)
                }),
            );
        }
        checks
    }

    /// What a message of a host application's user is checked against beside that.
    #[must_use]
    pub fn of_host(host: &HostAccount) -> Option<RateCheck> {
        host.messages_per_hour.map(|units| RateCheck {
            name: format!("host:{}", host.id),
            limit: RateLimit::per_hour(units),
            weight_millis: UNIT_MILLIS,
            code: DenialCode::RateHost,
        })
    }

    /// What a person's own call of an app's tool is checked against.
    #[must_use]
    pub fn of_edit(&self, user: UserId) -> Vec<RateCheck> {
        let limit = RateLimit::per_minute(self.edits_per_minute);
        vec![RateCheck { name: format!("edits:{user}"), limit, weight_millis: UNIT_MILLIS, code: DenialCode::RateEdits }]
    }

    /// What a person's own look-up in an app's page is checked against: where it comes from, because whoever wants to be another person
    /// only has to forget a cookie. Without an address it was not sent over a network, and counts like a change.
    #[must_use]
    pub fn of_lookup(&self, user: UserId, address: Option<IpAddr>) -> Vec<RateCheck> {
        let Some(address) = address else { return self.of_edit(user) };
        let limit = RateLimit::per_minute(self.lookups_per_minute);
        let of = |(network, times)| RateCheck {
            name: format!("lookups:{network}"),
            limit: limit.times(times),
            weight_millis: UNIT_MILLIS,
            code: DenialCode::RateLookups,
        };
        self.networks(address).into_iter().map(of).collect()
    }

    /// What a tool call of one user's agents is checked against, wherever they run.
    #[must_use]
    pub fn of_tool_call(&self, user: UserId) -> RateCheck {
        RateCheck {
            name: format!("tools:{user}"),
            limit: RateLimit::per_hour(self.tool_calls_per_hour),
            weight_millis: UNIT_MILLIS,
            code: DenialCode::RateTools,
        }
    }

    /// What a request to undo something is checked against: each leaves its lines in the journal and the audit log for good.
    #[must_use]
    pub fn of_undo(user: UserId) -> Vec<RateCheck> {
        let limit = RateLimit::per_minute(UNDOS_PER_MINUTE);
        vec![RateCheck { name: format!("undo:{user}"), limit, weight_millis: UNIT_MILLIS, code: DenialCode::UndoRate }]
    }

    /// What a model call of a caller elsewhere is checked against. `per_hour` is the key's own limit, if it has one. Near the end
    /// of a budget a call weighs more for its key, and no more for everybody.
    #[must_use]
    pub fn of_call(&self, key: &str, per_hour: Option<u64>, weight_millis: u64, throttle: Throttle) -> Vec<RateCheck> {
        let own = RateLimit::per_hour(per_hour.unwrap_or(self.key_per_hour));
        let own_weight = weight_millis.saturating_mul(u64::from(throttle.weight()));
        vec![
            RateCheck { name: format!("key:{key}"), limit: own, weight_millis: own_weight, code: DenialCode::RateKey },
            RateCheck {
                name: "calls".to_owned(),
                limit: RateLimit::per_minute(self.calls_per_minute),
                weight_millis,
                code: DenialCode::RateGlobal,
            },
        ]
    }

    /// What a request of a person's own client to their tools is checked against: the person's own agents and clients together, and the
    /// key's limit, if it has one.
    #[must_use]
    pub fn of_tools(&self, user: UserId, key: &str, per_hour: Option<u64>) -> Vec<RateCheck> {
        let own = per_hour.map(|units| RateCheck {
            name: format!("key:{key}"),
            limit: RateLimit::per_hour(units),
            weight_millis: UNIT_MILLIS,
            code: DenialCode::RateKey,
        });
        std::iter::once(self.of_tool_call(user)).chain(own).collect()
    }

    /// The networks that an address counts for, each with how many times an address's messages it may send. Who has an IPv6
    /// address has at least 2^64 of them, and often many networks of that size.
    fn networks(&self, address: IpAddr) -> Vec<(String, u64)> {
        match address.to_canonical() {
            IpAddr::V4(address) => vec![(address.to_string(), 1)],
            IpAddr::V6(address) => [(64, 1), (56, self.network56_times), (48, self.network48_times)]
                .into_iter()
                .map(|(bits, times)| {
                    let network = core::net::Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits)));
                    (format!("{network}/{bits}"), times)
                })
                .collect(),
        }
    }
}

/// What a model call weighs, in thousandths, by its path and the length of its body: none is a body that does not say.
#[must_use]
pub const fn call_weight_millis(path: Option<ModelPath>, body_bytes: Option<u64>) -> u64 {
    let bytes = match body_bytes {
        Some(bytes) => bytes,
        None => UNKNOWN_BODY_BYTES,
    };
    match path {
        Some(ModelPath::CountTokens | ModelPath::Models) => UNIT_MILLIS / 10,
        Some(ModelPath::Messages) | None => (1 + bytes / BYTES_A_TOKEN / TOKENS_A_UNIT) * UNIT_MILLIS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn names(address: &str) -> HashSet<String> {
        let checks = RateRules::default().of_message(UserId::random(), Standing::Anonymous, Some(address.parse().expect("one")));
        let of_addresses = checks.into_iter().filter(|check| check.code == DenialCode::RateAddress);
        of_addresses.map(|check| check.name).collect()
    }

    #[test]
    fn look_ups_count_for_their_network_and_changes_for_their_person() {
        let (rules, user) = (RateRules::default(), UserId::random());
        let names = |address: Option<&str>| {
            let address = address.map(|address| address.parse().expect("an address"));
            rules.of_lookup(user, address).into_iter().map(|check| check.name).collect::<Vec<_>>()
        };
        assert_eq!(names(Some("192.0.2.7")), ["lookups:192.0.2.7"]);
        assert_eq!(names(Some("::ffff:192.0.2.7")), ["lookups:192.0.2.7"], "the same written otherwise");
        let networks = ["lookups:2001:db8:1:2::/64", "lookups:2001:db8:1::/56", "lookups:2001:db8:1::/48"];
        assert_eq!(names(Some("2001:db8:1:2:3::4")), networks);
        assert_eq!(names(None), [format!("edits:{user}")], "what has no address counts for its person");
    }

    #[test]
    fn an_address_is_itself_or_its_network() {
        assert_eq!(names("192.0.2.7"), names("::ffff:192.0.2.7"), "the same address, written otherwise");
        assert!(names("192.0.2.7").is_disjoint(&names("192.0.2.8")));
        let mine = names("2001:db8:1:2:3:4:5:6");
        assert_eq!(mine, names("2001:db8:1:2::1"), "one /64 is one address");
        assert_eq!(mine.len(), 9, "three networks, three windows");
        assert_eq!(mine.intersection(&names("2001:db8:1:3::1")).count(), 6, "another /64 of the same /56");
        assert_eq!(mine.intersection(&names("2001:db8:1:ff00::1")).count(), 3, "another /56 of the same /48");
        assert!(mine.is_disjoint(&names("2001:db8:2:2::1")));
    }

    #[test]
    fn a_message_is_checked_against_everything_that_bounds_it() {
        let (rules, user) = (RateRules::default(), UserId::random());
        let anonymous = rules.of_message(user, Standing::Anonymous, Some("192.0.2.7".parse().expect("one")));
        let limits: Vec<(&str, u64)> = anonymous.iter().map(|check| (check.code.as_str(), check.limit.burst)).collect();
        assert_eq!(
            limits,
            [
                ("rate.global", 300),
                ("rate.global", 200),
                ("rate.user", 100),
                ("rate.address", 10),
                ("rate.address", 100),
                ("rate.address", 1000)
            ]
        );
        assert!(anonymous.iter().all(|check| check.weight_millis == 1000));
        let signed_in = rules.of_message(user, Standing::SignedIn, None);
        assert_eq!(signed_in.len(), 3, "no address");
        assert!(signed_in.iter().any(|check| check.name == format!("user:{user}") && check.limit.burst == 200));
        let wide = rules.of_message(user, Standing::Anonymous, Some("2001:db8::1".parse().expect("one")));
        let widest = wide.iter().filter(|check| check.name.contains("/48:minute"));
        assert_eq!(widest.map(|check| check.limit.burst).collect::<Vec<_>>(), [160]);
    }

    #[test]
    fn a_call_weighs_by_its_path_and_its_prompt() {
        let messages = |bytes| call_weight_millis(Some(ModelPath::Messages), bytes);
        assert_eq!((messages(Some(0)), messages(Some(199_999)), messages(Some(200_000))), (1000, 1000, 2000));
        assert_eq!(messages(Some(32 << 20)), 168_000);
        assert_eq!(messages(None), 6000, "who does not say is taken to send a MiB");
        assert_eq!(call_weight_millis(Some(ModelPath::CountTokens), Some(32 << 20)), 100);
        assert_eq!(call_weight_millis(None, Some(u64::MAX)), messages(Some(u64::MAX)));
        let weights = |throttle| {
            let checks = RateRules::default().of_call("k1", None, 1100, throttle);
            checks.into_iter().map(|check| (check.code, check.weight_millis)).collect::<Vec<_>>()
        };
        assert_eq!(weights(Throttle::Open), [(DenialCode::RateKey, 1100), (DenialCode::RateGlobal, 1100)]);
        assert_eq!(weights(Throttle::Near), [(DenialCode::RateKey, 4400), (DenialCode::RateGlobal, 1100)], "others don't pay");
        let own = RateRules::default().of_call("k1", Some(7), 1000, Throttle::Open);
        assert_eq!(own.iter().map(|check| check.limit.burst).collect::<Vec<_>>(), [7, 3000]);
    }
}

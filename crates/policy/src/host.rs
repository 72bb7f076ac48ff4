//! Host applications: who may let users of their own in, what the assertion of such a user must say, and what a service key of
//! the host is for.
//!
//! Invariant: a user of a host is (the host's own issuer, the subject), so two hosts never share a user, whatever they assert.

use crate::{KeyId, KeyScope, Microusd, Standing, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Before a host's id, the issuer of its users.
pub const HOST_ISSUER: &str = "hexward:host:";
/// How far a host's clock may be from ours.
pub const ASSERTION_LEEWAY_SECS: i64 = 60;
/// How long an assertion may be good.
pub const ASSERTION_LIFE_SECS_MAX: i64 = 300;
/// What a subject, and what an assertion's id, may have.
const NAME_CHARS_MAX: usize = 200;

/// What a service key may be used for. A key without a list may do all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAction {
    /// Begin, stop and answer runs, and use apps' tools for people.
    Runs,
    /// Read what a user has.
    Read,
    /// Hand a user's confirmation over to their browser.
    Confirm,
    /// Undo what was done for a user, and do it again.
    Undo,
    /// Export and delete what a user has.
    Users,
}

impl HostAction {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Runs, Self::Read, Self::Confirm, Self::Undo, Self::Users];

    /// Its name in commands and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Read => "read",
            Self::Confirm => "confirm",
            Self::Undo => "undo",
            Self::Users => "users",
        }
    }

    /// The action of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// How an assertion may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionAlgorithm {
    /// HMAC with SHA-256, with a secret that both have.
    Hs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA, PKCS #1 version 1.5, with SHA-256.
    Rs256,
    /// RSA-PSS with SHA-256.
    Ps256,
}

impl AssertionAlgorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Hs256, Self::Es256, Self::EdDsa, Self::Rs256, Self::Ps256];

    /// Its name in headers of tokens and in configurations (RFC 7518, section 3.1; RFC 8037, section 3.1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Whether it is checked with a public key.
    #[must_use]
    pub const fn is_public(self) -> bool {
        !matches!(self, Self::Hs256)
    }
}

/// What stands before a ticket for a run's events, so that nobody takes it for a key.
pub const TICKET_PREFIX: &str = "hxt_";

/// A key of a host's back end that is good.
#[derive(Debug)]
pub struct HostKey {
    /// The key.
    pub id: KeyId,
    /// The host.
    pub host: String,
    /// What it may be used for.
    pub scope: KeyScope,
}

/// Whose key a request of a back end shows.
#[derive(Clone, Debug)]
pub enum ShownKey {
    /// A host's.
    Good(Arc<HostKey>),
    /// None that is good: which of all things is wrong with it is nobody's business.
    None,
    /// It can't be looked up right now.
    Unavailable,
}

/// What a host's users may spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAccount {
    /// The host; its account is `host:<id>`.
    pub id: String,
    /// All of its users together on one day.
    pub day: Option<Microusd>,
    /// Each of them.
    pub user_day: Option<Microusd>,
    /// Messages of all of them in an hour.
    pub messages_per_hour: Option<u64>,
}

/// What a host may let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRules {
    /// Its account.
    pub account: HostAccount,
    /// Who signs its assertions.
    pub issuer: String,
    /// For whom they are signed.
    pub audience: String,
    /// The claim that says a user's tier; without it, everybody has signed in at the host.
    pub tier_claim: Option<String>,
    /// What the claim's values mean.
    pub tiers: BTreeMap<String, Standing>,
    /// The apps that its users have.
    pub apps: Vec<String>,
    /// Whose pages may read a run's events with a ticket.
    pub origins: Vec<String>,
}

impl HostRules {
    /// The issuer of its users.
    #[must_use]
    pub fn user_issuer(&self) -> String {
        format!("{HOST_ISSUER}{}", self.account.id)
    }
}

/// What the payload of an assertion says, as it was signed. The signature is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionClaims {
    /// `iss`
    pub issuer: String,
    /// `aud`, which may be several.
    pub audiences: Vec<String>,
    /// `sub`
    pub subject: String,
    /// `jti`
    pub id: String,
    /// `iat`, in seconds.
    pub issued_at: i64,
    /// `exp`, in seconds.
    pub expires_at: i64,
    /// `nbf`, in seconds, where it says one.
    pub not_before: Option<i64>,
    /// The host's claim for tiers.
    pub tier: Option<String>,
}

/// What is wrong with an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionFault {
    /// There is none, or several.
    Missing,
    /// It is no JSON Web Token with what must be in it.
    Malformed,
    /// Its algorithm, or its header, is not what the host uses.
    Algorithm,
    /// The host has no such key.
    Key,
    /// It was not signed with that key.
    Signature,
    /// Somebody else signs so.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// It is over, from the future, or good for too long.
    Time,
    /// It was used before.
    Replayed,
}

impl AssertionFault {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> crate::DenialCode {
        use crate::DenialCode;
        match self {
            Self::Missing => DenialCode::AssertionMissing,
            Self::Malformed => DenialCode::AssertionMalformed,
            Self::Algorithm => DenialCode::AssertionAlgorithm,
            Self::Key => DenialCode::AssertionKey,
            Self::Signature => DenialCode::AssertionSignature,
            Self::Issuer => DenialCode::AssertionIssuer,
            Self::Audience => DenialCode::AssertionAudience,
            Self::Time => DenialCode::AssertionTime,
            Self::Replayed => DenialCode::AssertionReplayed,
        }
    }
}

/// Who is asserted: a host's user with a standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// As the host calls them.
    pub subject: String,
    /// Whether they count as signed in.
    pub standing: Standing,
    /// Until when the assertion is good, the leeway included.
    pub until: Timestamp,
}

/// Judges the claims of an assertion whose signature is good.
///
/// # Errors
/// The first [`AssertionFault`].
pub fn judge_assertion(rules: &HostRules, claims: &AssertionClaims, now: Timestamp) -> Result<Asserted, AssertionFault> {
    let named = |text: &str| (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let secs = now.0.div_euclid(1_000_000);
    let life = claims.expires_at.saturating_sub(claims.issued_at);
    match () {
        () if claims.issuer != rules.issuer => Err(AssertionFault::Issuer),
        () if !claims.audiences.contains(&rules.audience) => Err(AssertionFault::Audience),
        () if !named(&claims.subject) || !named(&claims.id) => Err(AssertionFault::Malformed),
        () if !(1..=ASSERTION_LIFE_SECS_MAX).contains(&life) => Err(AssertionFault::Time),
        () if secs >= claims.expires_at.saturating_add(ASSERTION_LEEWAY_SECS) => Err(AssertionFault::Time),
        () if claims.issued_at.max(claims.not_before.unwrap_or(i64::MIN)) > secs.saturating_add(ASSERTION_LEEWAY_SECS) => {
            Err(AssertionFault::Time)
        }
        () => Ok(Asserted {
            subject: claims.subject.clone(),
            standing: standing(rules, claims.tier.as_deref()),
            until: Timestamp(claims.expires_at.saturating_add(ASSERTION_LEEWAY_SECS).saturating_mul(1_000_000)),
        }),
    }
}

/// A tier that the host does not say, or that nobody configured, is the least.
fn standing(rules: &HostRules, tier: Option<&str>) -> Standing {
    match (&rules.tier_claim, tier) {
        (None, _) => Standing::SignedIn,
        (Some(_), tier) => tier.and_then(|tier| rules.tiers.get(tier)).copied().unwrap_or(Standing::Anonymous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> HostRules {
        HostRules {
            account: HostAccount { id: "shop".to_owned(), day: None, user_day: None, messages_per_hour: None },
            issuer: "https://shop.example".to_owned(),
            audience: "hexward".to_owned(),
            tier_claim: Some("tier".to_owned()),
            tiers: BTreeMap::from([("gold".to_owned(), Standing::SignedIn)]),
            apps: Vec::new(),
            origins: Vec::new(),
        }
    }

    fn claims() -> AssertionClaims {
        AssertionClaims {
            issuer: "https://shop.example".to_owned(),
            audiences: vec!["other".to_owned(), "hexward".to_owned()],
            subject: "ada".to_owned(),
            id: "1".to_owned(),
            issued_at: 1_000,
            expires_at: 1_300,
            not_before: None,
            tier: Some("gold".to_owned()),
        }
    }

    const fn at(secs: i64) -> Timestamp {
        Timestamp(secs * 1_000_000)
    }

    #[test]
    fn a_good_assertion_names_a_user_for_a_while() {
        let judged = judge_assertion(&rules(), &claims(), at(1_100)).expect("it is good");
        assert_eq!((judged.subject.as_str(), judged.standing, judged.until), ("ada", Standing::SignedIn, at(1_360)));
        for moment in [940, 1_000, 1_300, 1_359] {
            assert!(judge_assertion(&rules(), &claims(), at(moment)).is_ok(), "{moment}");
        }
        for moment in [0, 939, 1_360, i64::MAX / 1_000_000] {
            assert_eq!(judge_assertion(&rules(), &claims(), at(moment)), Err(AssertionFault::Time), "{moment}");
        }
    }

    #[test]
    fn what_an_assertion_must_say_is_looked_at_whole() {
        type Change = fn(&mut AssertionClaims);
        let cases: [(Change, AssertionFault); 11] = [
            (|claims| claims.not_before = Some(1_161), AssertionFault::Time),
            (|claims| claims.issuer.push('/'), AssertionFault::Issuer),
            (|claims| claims.audiences.truncate(1), AssertionFault::Audience),
            (|claims| claims.audiences.clear(), AssertionFault::Audience),
            (|claims| claims.subject.clear(), AssertionFault::Malformed),
            (|claims| claims.subject = "a".repeat(201), AssertionFault::Malformed),
            (|claims| claims.subject = "a\u{0}b".to_owned(), AssertionFault::Malformed),
            (|claims| claims.id.clear(), AssertionFault::Malformed),
            (|claims| claims.expires_at = 1_301, AssertionFault::Time),
            (|claims| claims.expires_at = 1_000, AssertionFault::Time),
            (|claims| (claims.issued_at, claims.expires_at) = (i64::MIN, i64::MAX), AssertionFault::Time),
        ];
        for (change, fault) in cases {
            let mut changed = claims();
            change(&mut changed);
            assert_eq!(judge_assertion(&rules(), &changed, at(1_100)), Err(fault), "{changed:?}");
        }
    }

    #[test]
    fn a_tier_that_nobody_knows_is_the_least() {
        let standing = |rules: &HostRules, tier: Option<&str>| {
            let claims = AssertionClaims { tier: tier.map(str::to_owned), ..claims() };
            judge_assertion(rules, &claims, at(1_100)).map(|judged| judged.standing)
        };
        let without = HostRules { tier_claim: None, ..rules() };
        assert_eq!(standing(&rules(), Some("gold")), Ok(Standing::SignedIn));
        assert_eq!(
            (standing(&rules(), Some("Gold")), standing(&rules(), None)),
            (Ok(Standing::Anonymous), Ok(Standing::Anonymous))
        );
        assert_eq!(standing(&without, None), Ok(Standing::SignedIn));
    }

    #[test]
    fn actions_have_one_name() {
        for action in HostAction::ALL {
            assert_eq!(HostAction::parse(action.as_str()), Some(action));
            assert_eq!(serde_json::to_string(&action).expect("a name"), format!("\"{}\"", action.as_str()));
        }
        assert_eq!(HostAction::parse("Runs"), None);
    }
}

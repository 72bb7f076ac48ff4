//! Who shows what: every live key in memory. The hot path is one digest, one look-up and one comparison in constant time.

use crate::messages::prefixes::Prefixes;
use crate::messages::rooms::{Rooms, Share};
use http::{HeaderMap, header};
use parking_lot::Mutex;
use policy::{BudgetLine, KeyFault, KeyId, KeyScope, KeyUse, Microusd, RunId, Timestamp, UserId, judge_key, key_digest};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use store::{CallNotes, KeyRow, KeySource, Ledger, Purse};
use subtle::ConstantTimeEq;

/// No token is longer; a longer one is not even digested.
pub(super) const TOKEN_BYTES_MAX: usize = 1024;
/// Credentials in one request; more are no honest client's.
const PRESENTED_MAX: usize = 8;
const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// What all keys of one service principal share.
pub(super) struct Principal {
    /// Stands for its calls in the ledger, where an agent's run would.
    pub(super) window: RunId,
    /// What was measured of its conversations.
    pub(super) prefixes: Arc<Prefixes>,
    share: OnceLock<Arc<Share>>,
    /// The hour (low 32 bits of its number) and the requests in it.
    requests: AtomicU64,
    purse: OnceLock<Purse>,
    /// The budgets of a UTC day, the same list for every call in it.
    budgets: Mutex<Option<(i64, Arc<[BudgetLine]>)>>,
}

impl Principal {
    fn new() -> Self {
        Self {
            window: RunId::random(),
            prefixes: Arc::default(),
            share: OnceLock::new(),
            requests: AtomicU64::new(0),
            purse: OnceLock::new(),
            budgets: Mutex::new(None),
        }
    }

    /// What it holds of the budgets above it.
    pub(super) fn purse(&self, ledger: &Ledger, user: UserId) -> Purse {
        self.purse.get_or_init(|| ledger.purse(self.window, user)).clone()
    }

    /// How much of everybody's room it may take up.
    pub(super) fn share(&self, rooms: &Rooms) -> Arc<Share> {
        Arc::clone(self.share.get_or_init(|| Arc::new(rooms.share())))
    }

    /// The budgets of this UTC day, made when the first call of the day comes or a limit has changed.
    pub(super) fn budgets(&self, today: i64, lines: [(Microusd, &dyn Fn() -> BudgetLine); 2]) -> Arc<[BudgetLine]> {
        let mut kept = self.budgets.lock();
        if let Some((day, budgets)) = kept.as_ref()
            && *day == today
            && budgets.iter().map(|line| line.limit).eq(lines.iter().map(|(limit, _)| *limit))
        {
            return Arc::clone(budgets);
        }
        let made: Arc<[BudgetLine]> = lines.iter().map(|(_, line)| line()).collect();
        *kept = Some((today, Arc::clone(&made)));
        made
    }

    /// Counts a request in this UTC hour, unless there were `max` already.
    pub(super) fn take_request(&self, max: u32, now: Timestamp) -> bool {
        let hour = u64::try_from(now.0.div_euclid(MICROS_PER_HOUR)).unwrap_or(0) & u64::from(u32::MAX);
        let next = |kept: u64| {
            let used = if kept >> 32 == hour { kept & u64::from(u32::MAX) } else { 0 };
            (used < u64::from(max)).then_some((hour << 32) | (used + 1))
        };
        self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// A key as the listener knows it.
pub(super) struct Known {
    pub(super) id: KeyId,
    pub(super) user: UserId,
    pub(super) scope: KeyScope,
    pub(super) principal: Arc<Principal>,
    /// How it stands in the log of calls: its principal's app, its id.
    pub(super) notes: CallNotes,
    digest: [u8; 32],
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    used_at: Arc<AtomicI64>,
}

impl Known {
    /// How it appears in decisions.
    pub(super) fn use_of(&self) -> KeyUse {
        KeyUse { id: self.id, app: self.scope.app.clone() }
    }
}

/// Why somebody was not let in, and the key it was about, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) fault: KeyFault,
    pub(super) key: Option<KeyId>,
}

/// What the gateway itself says about keys, beside the database.
pub struct Local {
    /// The digest of the environment's secret. Another gateway's is good there only.
    pub(super) environment: Option<[u8; 32]>,
    /// What all keys of the principal `internal` are narrowed to.
    pub(super) internal: KeyScope,
}

/// Every key there is, by the first bytes of its digest.
#[derive(Default)]
pub(super) struct Index {
    keys: HashMap<[u8; 8], Vec<Arc<Known>>>,
    principals: HashMap<UserId, Arc<Principal>>,
}

impl Index {
    /// Made anew whenever keys changed; what was counted in the one before goes on. Ended keys stay in it, so that the log can
    /// tell a revoked key from a guess.
    pub(super) fn new(rows: Vec<KeyRow>, local: &Local, before: &Self) -> Self {
        let mut index = Self { keys: HashMap::new(), principals: before.principals.clone() };
        let mut used: HashMap<KeyId, Arc<AtomicI64>> = before.all().map(|known| (known.id, Arc::clone(&known.used_at))).collect();
        for row in rows {
            let foreign = row.source == KeySource::Environment && local.environment != Some(row.digest);
            // A limit that this version can't read must not be ignored, so neither is the key taken.
            let (false, Some(scope)) = (foreign, row.scope) else { continue };
            let scope = if row.principal == super::INTERNAL { scope.narrowed(&local.internal) } else { scope };
            let principal = Arc::clone(index.principals.entry(row.user).or_insert_with(|| Arc::new(Principal::new())));
            let app = scope.app.as_deref().unwrap_or(&row.principal).into();
            let notes = CallNotes { app, caller_key: row.id.to_string().into(), ..CallNotes::default() };
            let known = Known {
                id: row.id,
                user: row.user,
                scope,
                principal,
                notes,
                digest: row.digest,
                expires_at: row.expires_at,
                revoked_at: row.revoked_at,
                used_at: used.remove(&row.id).unwrap_or_default(),
            };
            index.keys.entry(start_of(&row.digest)).or_default().push(Arc::new(known));
        }
        index
    }

    /// The key that a request shows in `x-api-key` or as `Authorization: Bearer`. Whatever stands there must be right, and all
    /// must name the same key.
    pub(super) fn authenticate(&self, headers: &HeaderMap, peer: Option<IpAddr>, now: Timestamp) -> Result<Arc<Known>, Refused> {
        let refused = |fault, key| Refused { fault, key };
        let keys = headers.get_all("x-api-key").iter().map(http::HeaderValue::as_bytes);
        let bearers = headers.get_all(header::AUTHORIZATION).iter().map(|value| bearer(value.as_bytes()));
        let mut found: Option<Arc<Known>> = None;
        for (count, token) in keys.chain(bearers).enumerate() {
            let known = if count < PRESENTED_MAX { self.find(token) } else { None };
            let Some(known) = known else {
                let fault = if found.is_some() { KeyFault::Differing } else { KeyFault::Unknown };
                return Err(refused(fault, found.map(|first| first.id)));
            };
            match &found {
                Some(first) if first.id != known.id => return Err(refused(KeyFault::Differing, Some(first.id))),
                Some(_) => {}
                None => found = Some(known),
            }
        }
        let Some(known) = found else { return Err(refused(KeyFault::Missing, None)) };
        judge_key(&known.scope, known.expires_at, known.revoked_at, peer, now).map_err(|fault| refused(fault, Some(known.id)))?;
        known.used_at.store(now.0, Ordering::Relaxed);
        Ok(known)
    }

    /// The map gives candidates by a part of the digest; which one it is, and whether it is one, a comparison in constant time
    /// says. What an attacker could learn from the look-up is about digests, which can't be chosen.
    fn find(&self, token: &[u8]) -> Option<Arc<Known>> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let digest = key_digest(token);
        let candidates = self.keys.get(&start_of(&digest))?;
        candidates.iter().find(|known| bool::from(known.digest.ct_eq(&digest))).cloned()
    }

    /// When keys were used after `since`.
    pub(super) fn used_since(&self, since: Timestamp) -> Vec<(KeyId, Timestamp)> {
        let at = |known: &Arc<Known>| (known.id, Timestamp(known.used_at.load(Ordering::Relaxed)));
        self.all().map(at).filter(|(_, at)| *at > since).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.keys.values().flatten()
    }
}

/// The scheme's name has no case (RFC 9110, section 11.1). Another scheme's credential is a wrong one.
pub(super) fn bearer(value: &[u8]) -> &[u8] {
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
        Some(_) | None => b"",
    }
}

fn start_of(digest: &[u8; 32]) -> [u8; 8] {
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use policy::Network;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
    const TOKEN: &str = "hxw_8f3b1c0d9e7a62541f0e3d2c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";

    fn row(token: &str) -> KeyRow {
        KeyRow {
            id: KeyId::random(),
            user: UserId::random(),
            principal: "shop".to_owned(),
            digest: key_digest(token.as_bytes()),
            name: "n".to_owned(),
            scope: Some(KeyScope::default()),
            source: KeySource::Made,
            created_at: NOW,
            expires_at: None,
            revoked_at: None,
            used_at: None,
            purpose: policy::KeyPurpose::Model,
            made_by: None,
            generation: 0,
        }
    }

    fn index(rows: Vec<KeyRow>) -> Index {
        Index::new(rows, &Local { environment: None, internal: KeyScope::default() }, &Index::default())
    }

    fn shown(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }

    fn judged(index: &Index, pairs: &[(&'static str, &str)]) -> Result<KeyId, KeyFault> {
        let peer = "192.0.2.1".parse().ok();
        index.authenticate(&shown(pairs), peer, NOW).map(|known| known.id).map_err(|refused| refused.fault)
    }

    #[test]
    fn only_the_whole_token_matches() {
        let key = row(TOKEN);
        let (id, index) = (key.id, index(vec![key, row("another")]));
        let bearer = format!("Bearer {TOKEN}");
        for pairs in [
            vec![("x-api-key", TOKEN)],
            vec![("authorization", bearer.as_str())],
            vec![("x-api-key", TOKEN), ("authorization", &bearer)],
            vec![("authorization", &*format!("bEARER {TOKEN}"))],
        ] {
            assert_eq!(judged(&index, &pairs), Ok(id), "{pairs:?}");
        }
        let longer = format!("{TOKEN}0");
        let padded = format!("Bearer  {TOKEN}");
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        for wrong in ["", &TOKEN[..67], &longer, &TOKEN.to_uppercase(), &long, "' OR '1'='1", "hxw_%", &format!("{TOKEN}' --")] {
            assert_eq!(judged(&index, &[("x-api-key", wrong)]), Err(KeyFault::Unknown), "{wrong}");
        }
        for wrong in [TOKEN, "Bearer", "Bearer ", &padded, &format!("Basic {TOKEN}"), &format!("Bearer\t{TOKEN}")] {
            assert_eq!(judged(&index, &[("authorization", wrong)]), Err(KeyFault::Unknown), "{wrong}");
        }
        assert_eq!(judged(&index, &[("cookie", TOKEN)]), Err(KeyFault::Missing));
    }

    #[test]
    fn what_is_shown_twice_is_the_same() {
        let index = index(vec![row(TOKEN), row("another")]);
        for pairs in [
            [("x-api-key", TOKEN), ("x-api-key", "another")],
            [("x-api-key", TOKEN), ("authorization", "Bearer another")],
            [("x-api-key", TOKEN), ("authorization", "Bearer nobody")],
            [("x-api-key", TOKEN), ("x-api-key", "")],
        ] {
            assert_eq!(judged(&index, &pairs), Err(KeyFault::Differing), "{pairs:?}");
        }
        assert_eq!(judged(&index, &[("x-api-key", "nobody"), ("x-api-key", TOKEN)]), Err(KeyFault::Unknown));
        assert!(judged(&index, &[("x-api-key", TOKEN); 8]).is_ok());
        assert!(judged(&index, &[("x-api-key", TOKEN); 9]).is_err(), "no honest client sends nine");
    }

    #[test]
    fn an_ended_key_is_told_from_a_guess_in_the_log_only() {
        let with = |change: &dyn Fn(&mut KeyRow)| {
            let mut key = row(TOKEN);
            change(&mut key);
            judged(&index(vec![key]), &[("x-api-key", TOKEN)]).map(|_| ())
        };
        assert_eq!(with(&|key| key.revoked_at = Some(NOW)), Err(KeyFault::Revoked));
        assert_eq!(with(&|key| key.revoked_at = Some(NOW.plus_secs(1))), Ok(()), "within the grace");
        assert_eq!(with(&|key| key.expires_at = Some(NOW)), Err(KeyFault::Expired));
        let network = |text: &str| Some(vec![text.parse::<Network>().expect("a network")]);
        let from = |text: &'static str| {
            move |key: &mut KeyRow| key.scope = Some(KeyScope { networks: network(text), ..KeyScope::default() })
        };
        assert_eq!(with(&from("192.0.2.0/24")), Ok(()));
        assert_eq!(with(&from("10.0.0.0/8")), Err(KeyFault::Network));
        assert_eq!(with(&|key| key.scope = None), Err(KeyFault::Unknown), "a scope that is not understood");
        assert_eq!(with(&|key| key.source = KeySource::Environment), Err(KeyFault::Unknown), "another gateway's");
    }

    #[test]
    fn the_environment_s_key_is_narrowed_by_the_configuration() {
        let internal = KeyScope { output_tokens_max: Some(7), ..KeyScope::default() };
        let local = Local { environment: Some(key_digest(TOKEN.as_bytes())), internal };
        let key = KeyRow { source: KeySource::Environment, principal: "internal".to_owned(), ..row(TOKEN) };
        let wide = KeyScope { output_tokens_max: Some(9), ..KeyScope::default() };
        let rotated = KeyRow { user: key.user, principal: "internal".to_owned(), scope: Some(wide), ..row("rotated") };
        let index = Index::new(vec![key, rotated, row("shop")], &local, &Index::default());
        let limit =
            |token| index.authenticate(&shown(&[("x-api-key", token)]), None, NOW).ok().map(|key| key.scope.output_tokens_max);
        assert_eq!((limit(TOKEN), limit("rotated"), limit("shop")), (Some(Some(7)), Some(Some(7)), Some(None)));
    }

    #[test]
    fn what_was_counted_goes_on_when_keys_change() {
        let (key, mut second) = (row(TOKEN), row("second"));
        second.user = key.user;
        let local = Local { environment: None, internal: KeyScope::default() };
        let first = index(vec![key.clone()]);
        let known = first.authenticate(&shown(&[("x-api-key", TOKEN)]), None, NOW).unwrap_or_else(|_| panic!("it is known"));
        assert!(known.principal.take_request(1, NOW));
        let next = Index::new(vec![key.clone(), second], &local, &first);
        let other = next.authenticate(&shown(&[("x-api-key", "second")]), None, NOW).unwrap_or_else(|_| panic!("it is known"));
        assert_eq!(other.principal.window, known.principal.window, "one principal, one window");
        assert!(!other.principal.take_request(1, NOW), "its requests are counted together");
        assert!(other.principal.take_request(2, NOW) && !other.principal.take_request(2, NOW));
        assert!(other.principal.take_request(1, NOW.plus_secs(3600)), "a new hour");
        assert_eq!(next.used_since(Timestamp(NOW.0 - 1)).len(), 2);
        assert_eq!(next.used_since(NOW), []);
    }
}

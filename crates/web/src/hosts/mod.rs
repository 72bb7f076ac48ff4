//! The door for host applications: their back ends show a service key (which `proxy` looked up) and an assertion of the user for whom
//! they ask. What is answered then is what people's pages are answered, by the same functions.
//!
//! Invariant: a request comes past this door with one user of one host, for one action, or not at all. No cookie passes it.

mod admit;
mod assertion;
pub(crate) mod confirm;
mod keys;
pub(crate) mod tickets;

pub use keys::{FetchKeys, Fetched};

pub(crate) use admit::{Entry, admit, keyed};
pub(crate) use confirm::{link, listed, random_token};
pub(crate) use tickets::{Tickets, door as ticket_door, issue as issue_ticket, preflight};

use crate::user_data::{AppData, EXPORTS_MAX, NoApps};
use keys::Keys;
use parking_lot::Mutex;
use policy::{AssertionAlgorithm, HostAccount, HostKey, HostRules, KeyId, Timestamp};
use secrecy::SecretString;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Semaphore;

/// Whose signature an assertion must have.
pub enum HostKeys {
    /// A secret that host and gateway have.
    Secret(SecretString),
    /// The keys that the host publishes here.
    Published(String),
}

/// A host application as it is configured.
pub struct HostSettings {
    /// What it may let in.
    pub rules: HostRules,
    /// How its assertions are signed.
    pub algorithms: Vec<AssertionAlgorithm>,
    /// By whom.
    pub keys: HostKeys,
}

/// One host application.
pub(crate) struct Host {
    pub(crate) rules: HostRules,
    pub(crate) account: Arc<HostAccount>,
    algorithms: Vec<AssertionAlgorithm>,
    keys: Keys,
    /// Documents of its users that may be written: each host's are its own, so that none waits for another's.
    pub(crate) exports: Arc<Semaphore>,
}

/// All of them.
pub(crate) struct Hosts {
    by_id: HashMap<String, Arc<Host>>,
    written: Mutex<HashMap<KeyId, (i64, u64)>>,
    pub(crate) tickets: Tickets,
    /// What apps keep of users.
    pub(crate) data: Arc<dyn AppData>,
    /// Whether somebody tries to cut the database's log off, for users who were erased.
    pub(crate) scrub_owed: AtomicBool,
}

/// On behalf of whom, and with which key, a host asks.
#[derive(Clone)]
pub(crate) struct HostUse {
    pub(crate) host: Arc<Host>,
    pub(crate) key: Arc<HostKey>,
    pub(crate) subject: Arc<str>,
}

/// Refusals of one key that are told apart from each other this long.
const WRITTEN_EACH_MICROS: i64 = 60_000_000;
const KEYS_MAX: usize = 10_000;

impl Hosts {
    pub(crate) fn new(settings: Vec<HostSettings>, fetch: &Arc<dyn FetchKeys>, data: Arc<dyn AppData>) -> Self {
        let host = |settings: HostSettings| {
            let HostSettings { rules, algorithms, keys } = settings;
            let (account, keys) = (Arc::new(rules.account.clone()), Keys::new(keys, fetch));
            let exports = Arc::new(Semaphore::new(EXPORTS_MAX));
            (rules.account.id.clone(), Arc::new(Host { rules, account, algorithms, keys, exports }))
        };
        Self { by_id: settings.into_iter().map(host).collect(), data, ..Self::none() }
    }

    /// At people's door there are none.
    pub(crate) fn none() -> Self {
        Self {
            by_id: HashMap::new(),
            written: Mutex::default(),
            tickets: Tickets::default(),
            data: Arc::new(NoApps),
            scrub_owed: AtomicBool::new(false),
        }
    }

    /// Whether a page of this origin may read anything with a ticket of some host.
    fn knows_origin(&self, origin: &str) -> bool {
        self.by_id.values().any(|host| host.has_origin(origin))
    }

    pub(crate) fn host(&self, id: &str) -> Option<&Arc<Host>> {
        self.by_id.get(id)
    }

    /// Whether a refusal of this key should be written down, and how many before it were not: one in a minute is.
    fn is_written(&self, key: KeyId, now: Timestamp) -> Option<u64> {
        let mut written = self.written.lock();
        if written.len() >= KEYS_MAX && !written.contains_key(&key) {
            written.clear();
        }
        let (next, unwritten) = written.entry(key).or_default();
        if now.0 < *next {
            *unwritten = unwritten.saturating_add(1);
            return None;
        }
        *next = now.0.saturating_add(WRITTEN_EACH_MICROS);
        Some(std::mem::take(unwritten))
    }
}

impl Host {
    /// Whether a page is one of the host's.
    pub(crate) fn has_origin(&self, origin: &str) -> bool {
        self.rules.origins.iter().any(|known| known == origin)
    }
}

impl HostUse {
    /// Whether the host has this app, and its key is for it. `key` may name a skill of it.
    pub(crate) fn allows_app(&self, key: &str) -> bool {
        let app = key.split_once('/').map_or(key, |(app, _)| app);
        self.host.rules.apps.iter().any(|known| known == app) && self.key.scope.allows_app(app)
    }

    /// The app that is meant where none is named: the only one there is.
    pub(crate) fn only_app(&self) -> Option<&str> {
        let mut apps = self.host.rules.apps.iter().filter(|app| self.key.scope.allows_app(app));
        apps.next().filter(|_| apps.next().is_none()).map(String::as_str)
    }
}

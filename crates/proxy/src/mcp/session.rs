//! Handshakes with servers of the old era. A server's session belongs to one user and is never used for another.

use super::parse::LegacyVersion;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Users whose handshakes are remembered; when there are more, any may have to shake hands again.
const SESSIONS_MAX: usize = 1024;

/// What a handshake led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) version: LegacyVersion,
    /// What the server wants to see in every request, if anything.
    pub(crate) id: Option<String>,
}

/// The handshakes made so far, by user.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Session>>);

impl Sessions {
    pub(crate) fn of(&self, user: &str) -> Option<Session> {
        self.0.lock().get(user).cloned()
    }

    pub(crate) fn keep(&self, user: &str, session: Session) {
        let mut sessions = self.0.lock();
        if sessions.len() >= SESSIONS_MAX && !sessions.contains_key(user) {
            let any = sessions.keys().next().cloned();
            any.map(|any| sessions.remove(&any));
        }
        sessions.insert(user.to_owned(), session);
    }

    pub(crate) fn forget(&self, user: &str) {
        self.0.lock().remove(user);
    }
}

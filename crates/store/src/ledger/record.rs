//! What the journal says of a call: one line when it is opened, one when it has ended ([`super::line`] is how they are written).

use policy::{CallId, Microusd, RunId, SliceId, Usage, UserId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One line of the journal. As JSON, a former version wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// A call is about to leave.
    Opened(Opened),
    /// It is settled.
    Ended(Ended),
}

/// A call that is about to leave, with what was set aside for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub id: CallId,
    pub slice: SliceId,
    pub run: RunId,
    pub user: UserId,
    pub path: Arc<str>,
    pub model: Arc<str>,
    pub reserved: Microusd,
    pub at: i64,
    pub until: i64,
    pub notes: CallNotes,
}

/// Whose call it is and where it goes, for the log of calls. Labels are what a client says of itself: never authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallNotes {
    /// The app, or the remote caller's principal.
    pub app: Arc<str>,
    /// The id of the remote caller's key; empty for a run.
    pub caller_key: Arc<str>,
    /// What the client calls itself, bounded and printable.
    pub labels: Arc<str>,
    /// The provider's name.
    pub provider: Arc<str>,
}

impl Default for CallNotes {
    fn default() -> Self {
        let empty: Arc<str> = Arc::from("");
        Self { app: Arc::clone(&empty), caller_key: Arc::clone(&empty), labels: Arc::clone(&empty), provider: empty }
    }
}

/// A call that is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub id: CallId,
    pub slice: SliceId,
    pub run: RunId,
    pub reserved: Microusd,
    pub cost: Microusd,
    pub outcome: Box<str>,
    pub usage: Usage,
    pub at: i64,
    pub end: CallEnd,
}

/// How a call went, for the log of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEnd {
    /// The provider's status code; 0 when there was none.
    pub status: u16,
    /// Microseconds until the provider's first byte.
    pub first_byte_us: Option<i64>,
    /// Microseconds until the end.
    pub total_us: i64,
    /// What went wrong, in one line.
    pub error: Option<String>,
}

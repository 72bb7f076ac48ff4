//! What the journal says of a call, of a model or of a tool that reads: one line when it is opened, one when it has ended
//! ([`super::line`] is how they are written).

use crate::ToolState;
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
    /// A read is about to be answered.
    #[serde(skip)]
    Read(ReadOpened),
    /// What came of it.
    #[serde(skip)]
    ReadEnded(ReadEnded),
}

impl Record {
    /// Whether its line holds what people wrote.
    pub(super) const fn is_sealed(&self) -> bool {
        matches!(self, Self::Read(_) | Self::ReadEnded(_))
    }
}

/// A tool call that only reads, and is permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadOpened {
    pub id: CallId,
    pub run: RunId,
    pub user: UserId,
    pub app: Box<str>,
    pub tool: Box<str>,
    /// As the model named the call; empty where nobody but the gateway does.
    pub tool_use_id: Box<str>,
    /// Of the canonical arguments, hexadecimal.
    pub digest: Box<str>,
    pub arguments: Box<str>,
    pub at: i64,
}

/// How it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadEnded {
    pub id: CallId,
    pub state: ToolState,
    pub result: Box<str>,
    pub at: i64,
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

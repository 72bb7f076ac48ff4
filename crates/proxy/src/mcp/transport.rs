//! By which way a server is reached.

use super::failure::UpstreamError;
use super::notices::Notices;
use super::stdio::Stdio;
use super::upstream::UserRef;
use super::wire::{Reply, Wire};
use serde_json::Value;

/// The way to one server.
pub(super) enum Transport {
    Http(Box<Wire>),
    Stdio(Stdio),
}

impl Transport {
    /// Sends a message for a user; waits for the answer with this id, or for none.
    pub(super) async fn exchange(
        &self,
        user: &UserRef,
        headers: &[(String, String)],
        body: &Value,
        id: Option<u64>,
        notices: Option<&Notices>,
    ) -> Result<Reply, UpstreamError> {
        match self {
            Self::Http(wire) => wire.exchange(user, headers, body, id, notices).await,
            Self::Stdio(stdio) => {
                let session = headers.iter().find(|(name, _)| name == "mcp-session-id").map(|(_, session)| session.as_str());
                stdio.exchange(user, session, body, id, notices).await
            }
        }
    }

    /// Under whose name handshakes are kept.
    pub(super) fn owner<'a>(&self, user: &'a str) -> &'a str {
        match self {
            Self::Http(_) => user,
            Self::Stdio(stdio) => stdio.owner(user),
        }
    }
}

//! Why a tool's server gave no result, and what is known of it.

use super::host::HostError;
use super::parse::code;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: nothing was sent.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The server refused the request before looking at it.
    #[error("refused with HTTP status {0}")]
    Refused(u16),
    /// The server broke while it worked on the request.
    #[error("failed with HTTP status {0}")]
    Failed(u16),
    /// The server answered with a JSON-RPC error. The text is the server's: for logs only.
    #[error("error {code}: {message}")]
    Rpc {
        /// The error's code.
        code: i64,
        /// What the server says about it.
        message: String,
    },
    /// The server needs something of its caller that was not offered to it: here, what it is.
    #[error("the server needs what its caller did not offer: {0}")]
    Needs(serde_json::Value),
    /// The answer is longer than allowed.
    #[error("the answer is too large")]
    TooLarge,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke after the request was sent.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// The answer is not what the protocol allows.
    #[error("not a valid answer: {0}")]
    Protocol(String),
}

impl UpstreamError {
    /// Whether the request may have taken effect all the same. A write that failed like this must not be repeated.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Refused(_) | Self::Needs(_) => false,
            Self::Rpc { code, .. } => *code == code::INTERNAL,
            Self::Failed(_) | Self::TooLarge | Self::Timeout | Self::Interrupted(_) | Self::Protocol(_) => true,
        }
    }
}

/// What failed before the request itself was sent: whatever it was, the request had no effect.
pub(super) fn unsent(error: UpstreamError) -> UpstreamError {
    if error.outcome_unknown() { UpstreamError::Unreachable(error.to_string()) } else { error }
}

impl From<UpstreamError> for HostError {
    fn from(error: UpstreamError) -> Self {
        if let UpstreamError::Needs(needed) = error {
            return Self::Needs(needed);
        }
        let unknown = matches!(&error, UpstreamError::Rpc { code: code::PARAMS | code::METHOD | code::RESOURCE, .. });
        match (unknown, error.outcome_unknown()) {
            (true, _) => Self::Unknown,
            (false, true) => Self::Uncertain(error.to_string()),
            (false, false) => Self::Upstream(error.to_string()),
        }
    }
}

//! Names of things. Each kind is a type of its own, so that a run can't be passed where a user is meant.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// A text that is not an id.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an id of this kind")]
pub struct IdError;

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new one: UUID v7, so that ids sort by the time they were made.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::now_v7())
            }

            /// Its text, in a buffer of the caller's.
            pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
                self.0.as_hyphenated().encode_lower(buffer)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.encode(&mut [0; 36]))
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            /// Only the canonical lower-case hyphenated form, so that one id has one spelling.
            fn from_str(text: &str) -> Result<Self, IdError> {
                let id = Uuid::try_parse(text).map_err(|_| IdError)?;
                if id.as_hyphenated().to_string() == text { Ok(Self(id)) } else { Err(IdError) }
            }
        }
    };
}

id!(
    /// A person, or a service principal.
    UserId
);
id!(
    /// A chat: messages, runs and what they changed.
    ConversationId
);
id!(
    /// One user message from its arrival to its end.
    RunId
);
id!(
    /// One sandbox.
    SandboxId
);
id!(
    /// One model call or one tool call.
    CallId
);
id!(
    /// What one run or one remote caller's window has taken out of the budgets above it.
    SliceId
);
id!(
    /// A question whether a run shall go on.
    ChallengeId
);
id!(
    /// A key of a remote caller.
    KeyId
);
id!(
    /// A question that waits for a person's yes.
    ConfirmationId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = RunId::random();
        assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<RunId>(), Err(IdError));
        assert_eq!(id.to_string().replace('-', "").parse::<RunId>(), Err(IdError));
        assert_eq!("../etc/passwd".parse::<RunId>(), Err(IdError));
    }
}

//! A user's message, checked once at the door.

/// Characters, not bytes (row M9). Longer things have fields of their own.
pub const MESSAGE_CHARS_MAX: usize = 2000;

/// Text from a person: not empty, bounded, without control characters except line breaks and tabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMessage(String);

/// Why a message was not taken: a stable code and a public sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Nothing but blanks.
    #[error("{}", self.sentence())]
    Empty,
    /// More than [`MESSAGE_CHARS_MAX`].
    #[error("{}", self.sentence())]
    TooLong,
    /// NUL and the like.
    #[error("{}", self.sentence())]
    Control,
}

impl MessageError {
    /// The public sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Empty => "The message is empty. Write something first.",
            Self::TooLong => "The message is longer than 2,000 characters. Shorten it or send it in parts.",
            Self::Control => "The message has control characters that are not text. Remove them and send it again.",
        }
    }

    /// The code as it stands on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "message.empty",
            Self::TooLong => "message.too_long",
            Self::Control => "message.control",
        }
    }
}

impl UserMessage {
    /// Checks a text; line breaks stay as they are (a pasted deck list keeps its lines).
    ///
    /// # Errors
    /// [`MessageError`] with the sentence for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        if text.trim().is_empty() {
            return Err(MessageError::Empty);
        }
        if text.chars().count() > MESSAGE_CHARS_MAX {
            return Err(MessageError::TooLong);
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return Err(MessageError::Control);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded_and_keep_their_lines() {
        assert_eq!(UserMessage::parse(" \n\t"), Err(MessageError::Empty));
        assert_eq!(UserMessage::parse(&"ä".repeat(2001)), Err(MessageError::TooLong));
        assert!(UserMessage::parse(&"ä".repeat(2000)).is_ok());
        assert_eq!(UserMessage::parse("a\0b"), Err(MessageError::Control));
        assert_eq!(UserMessage::parse("4 Bolt\r\n2 Bear\n").map(|m| m.as_str().to_owned()), Ok("4 Bolt\r\n2 Bear\n".to_owned()));
    }
}

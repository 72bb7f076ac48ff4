//! What a client says of itself: labels for the call log, never authority.

use std::fmt;

/// Characters of a label at most; a longer one is no label.
const CHARS_MAX: usize = 128;

/// The agent's own words about which of its conversations and agents a call belongs to. Anybody can write anything there, so
/// nothing is ever decided by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// `x-claude-code-session-id`.
    pub session: Option<String>,
    /// `x-claude-code-agent-id`.
    pub agent: Option<String>,
    /// `x-claude-code-parent-agent-id`.
    pub parent_agent: Option<String>,
}

impl Labels {
    /// Reads them out of headers, which `header` looks up by their name. What is not 1 to 128 printable ASCII characters is
    /// left out.
    #[must_use]
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let label = |name: &str| {
            let bytes = header(name)?;
            let printable = (1..=CHARS_MAX).contains(&bytes.len()) && bytes.iter().all(|b| (b' '..=b'~').contains(b));
            std::str::from_utf8(bytes).ok().filter(|_| printable).map(str::to_owned)
        };
        Self {
            session: label("x-claude-code-session-id"),
            agent: label("x-claude-code-agent-id"),
            parent_agent: label("x-claude-code-parent-agent-id"),
        }
    }
}

impl fmt::Display for Labels {
    /// As one line of the call log: only what was said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [("session", &self.session), ("agent", &self.agent), ("parent", &self.parent_agent)];
        let said = all.iter().filter_map(|(name, label)| label.as_ref().map(|label| (name, label)));
        for (at, (name, label)) in said.enumerate() {
            write!(f, "{}{name}={label}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_printable() {
        let read = |value: &'static [u8]| Labels::read(move |name| name.ends_with("session-id").then_some(value)).session;
        assert_eq!(read(b"7f3a-x").as_deref(), Some("7f3a-x"));
        static LONG: [u8; 129] = [b'a'; 129];
        assert!(read(LONG.split_last().expect("not empty").1).is_some(), "128 are a label");
        for bad in [&LONG[..], b"", b"a\tb", b"a\x1b[31m", "\u{e4}".as_bytes(), b"\xff"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(Labels::read(|_| None), Labels::default());
        let all = Labels::read(|name| Some(if name.contains("parent") { b"p" } else { b"a" }));
        assert_eq!((all.agent.as_deref(), all.parent_agent.as_deref()), (Some("a"), Some("p")));
        assert_eq!(all.to_string(), "session=a agent=a parent=p");
        assert_eq!(Labels::default().to_string(), "");
    }
}

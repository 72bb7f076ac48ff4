//! Which revisions of the protocol are served, and by which rules each is read.

/// The revisions with a handshake that are still served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LegacyVersion {
    /// 2025-03-26: what is assumed of a client that names none.
    V20250326,
    /// 2025-06-18.
    V20250618,
    /// 2025-11-25.
    V20251125,
}

impl LegacyVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V20250326, Self::V20250618, Self::V20251125];

    /// The date that names it.
    #[must_use]
    pub const fn date(self) -> &'static str {
        match self {
            Self::V20250326 => "2025-03-26",
            Self::V20250618 => "2025-06-18",
            Self::V20251125 => "2025-11-25",
        }
    }

    pub(super) fn from_date(date: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.date() == date)
    }
}

/// By which rules a request is read and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Every request says all about itself.
    Modern,
    /// There was, or will be, a handshake. We keep nothing of it.
    Legacy(LegacyVersion),
}

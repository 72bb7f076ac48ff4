//! Scryfall's `rulings`: an array of `{oracle_id, source, published_at, comment}`.

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(super) struct RawRuling {
    oracle_id: String,
    published_at: String,
    comment: String,
}

/// A ruling as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptRuling {
    /// The card's id.
    pub id: String,
    /// `2026-09-01`
    pub date: String,
    /// The sentence.
    pub text: String,
}

impl RawRuling {
    pub(super) fn kept(self) -> KeptRuling {
        KeptRuling { id: self.oracle_id, date: self.published_at, text: self.comment }
    }
}

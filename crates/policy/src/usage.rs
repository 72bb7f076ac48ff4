//! What a model call used, as the provider reports it.

use serde::{Deserialize, Serialize};

/// Tokens by kind. The kinds are disjoint: `input` is what was neither read from nor written to the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Uncached prompt tokens.
    pub input: u64,
    /// Output tokens, thinking included.
    pub output: u64,
    /// Prompt tokens read from the cache.
    pub cache_read: u64,
    /// Prompt tokens written to the five-minute cache.
    pub cache_write_5m: u64,
    /// Prompt tokens written to the one-hour cache, and written ones whose kind was not said (the dearer rate).
    pub cache_write_1h: u64,
}

impl Usage {
    /// The size of the prompt, which decides the price tier.
    #[must_use]
    pub const fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write_5m).saturating_add(self.cache_write_1h)
    }
}

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
    /// Prompt tokens written to the one-hour cache. Written ones of a kind that was not said are of the dearest that was allowed.
    pub cache_write_1h: u64,
    /// What makes a call dearer than its tokens.
    #[serde(default, skip_serializing_if = "Extras::is_none")]
    pub extras: Extras,
}

/// What the provider says of a call beside its tokens, as far as it costs something. All of it is refused when it is asked for;
/// what happens nevertheless is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// The inference stayed in the United States (or, not being said to be global, may have been anywhere dear).
    pub us: bool,
    /// The fast mode answered.
    pub fast: bool,
    /// Searches of the web that the provider made.
    pub web_searches: u64,
    /// Uses of other tools of the provider's, code execution among them.
    pub other_server_tools: u64,
}

impl Extras {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// No model reads or writes as many tokens in one call; a report of more is an error of the provider's.
const TOKENS_MAX: u64 = 100_000_000;
/// Nor are so many tools used.
const TOOLS_MAX: u64 = 10_000;

impl Usage {
    /// The size of the prompt, which decides the price tier.
    #[must_use]
    pub const fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write_5m).saturating_add(self.cache_write_1h)
    }

    /// Whether a call can have used this. What is not plausible is no measure.
    #[must_use]
    pub const fn is_plausible(&self) -> bool {
        self.prompt() <= TOKENS_MAX
            && self.output <= TOKENS_MAX
            && self.extras.web_searches <= TOOLS_MAX
            && self.extras.other_server_tools <= TOOLS_MAX
    }
}

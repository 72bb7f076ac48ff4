//! The shape of a model request: what it says, as far as decisions need it, without its bytes.

use super::canon::Digest;
use std::ops::Range;

/// How much of a request is looked at. Digests cost time, so who doesn't compare conversations doesn't ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What admission needs.
    Facts,
    /// Also which messages there are, by their digests.
    Digests,
}

/// What a request looks like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// Where the number of `max_tokens` stands in the body: the only bytes of it that anybody ever replaces.
    pub(crate) max_tokens_at: Option<Range<usize>>,
    /// How the model may think.
    pub(crate) thinking: Thinking,
    /// The provider is asked to leave out parts of what was said, so that what it counts may be less than what is there.
    pub(crate) edits_context: bool,
    /// What was said, where it was asked for.
    pub(crate) said: Option<Said>,
}

/// How the model may think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// Nothing said, or not at all.
    #[default]
    Off,
    /// Up to so many of the output tokens; they must be fewer than `max_tokens`.
    Enabled(u64),
    /// As the model sees fit.
    Adaptive,
    /// A kind that is not known here.
    Other,
}

impl Shape {
    /// The tokens that thinking may take, where the request says how many.
    pub(crate) const fn thinking_budget(&self) -> Option<u64> {
        match self.thinking {
            Thinking::Enabled(budget) => Some(budget),
            Thinking::Off | Thinking::Adaptive | Thinking::Other => None,
        }
    }
}

/// What was said, by digests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// Model, thinking, tool choice and every other setting that could change how the rest is counted.
    pub(crate) settings: Digest,
    /// The system prompt, if there is one.
    pub(crate) system: Option<Message>,
    /// The tools.
    pub(crate) tools: Vec<Tool>,
    /// The messages.
    pub(crate) messages: Vec<Message>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The application, for the person or a tool.
    User,
    /// The model.
    Assistant,
    /// The operator; also of the system prompt itself.
    System,
    /// Nobody that is known here.
    Other,
}

/// A message, or the system prompt.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Of role and blocks, without `cache_control`, which moves from call to call. A text alone and a block with it are equal.
    pub(crate) digest: Digest,
    /// How it was written, as far as equal messages may still differ in tokens: kinds of numbers, bytes of arguments.
    pub(crate) spelling: Digest,
    /// Bytes of all it says, no fewer than its tokens but for `extra_tokens` and what the provider wraps around it.
    pub(crate) weight: u64,
    /// What images and documents may have in tokens beyond their bytes.
    pub(crate) extra_tokens: u64,
    /// How much of `weight` is thinking, which the provider counts in some calls and leaves out in others.
    pub(crate) thinking_weight: u64,
    /// Blocks, those inside others included.
    pub(crate) block_count: u64,
}

/// A tool that the model is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Of all that is said of it, without `cache_control`.
    pub(crate) digest: Digest,
    /// How it was written, as in a message.
    pub(crate) spelling: Digest,
}

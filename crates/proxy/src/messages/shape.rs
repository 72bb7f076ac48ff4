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
    /// Also what was said, message by message.
    Conversation,
}

/// What a request looks like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// Where the number of `max_tokens` stands in the body: the only bytes of it that anybody ever replaces.
    pub(crate) max_tokens_at: Option<Range<usize>>,
    /// Whether a stream is asked for.
    #[allow(dead_code, reason = "read by whoever compares conversations")]
    pub(crate) stream: bool,
    /// How the model may think.
    pub(crate) thinking: Thinking,
    /// Whether the model has to call a tool.
    #[allow(dead_code, reason = "read by whoever compares conversations")]
    pub(crate) tool_choice: ToolChoice,
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

/// Whether the model has to call a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    /// Nothing said.
    #[default]
    Absent,
    /// As the model sees fit.
    Auto,
    /// Some tool.
    Any,
    /// This tool.
    Tool,
    /// None.
    None,
    /// A kind that is not known here.
    Other,
}

/// What was said.
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
    /// Who speaks.
    #[allow(dead_code, reason = "read by whoever compares conversations")]
    pub(crate) role: Role,
    /// Of role and blocks, without `cache_control`, which moves from call to call. A text alone and a block with it are equal.
    pub(crate) digest: Digest,
    /// Bytes of all it says, no fewer than its tokens but for `extra_tokens` and what the provider wraps around it.
    pub(crate) weight: u64,
    /// What images and documents may have in tokens beyond their bytes.
    pub(crate) extra_tokens: u64,
    /// How much of `weight` is thinking, which the provider counts in some calls and leaves out in others.
    pub(crate) thinking_weight: u64,
    /// How it was written, as far as equal messages may still differ in tokens: kinds of numbers, bytes of arguments.
    pub(crate) spelling: Digest,
    /// Blocks, those inside others included.
    pub(crate) block_count: u64,
    /// Its blocks, unless only digests were asked for.
    #[allow(dead_code, reason = "read by whoever compares conversations")]
    pub(crate) blocks: Vec<Block>,
    /// It has fields beside role and content.
    #[allow(dead_code, reason = "read by whoever compares conversations")]
    pub(crate) more_fields: bool,
}

/// A block of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// What it is.
    pub(crate) kind: BlockKind,
    /// It has fields beside those that its kind says here (and `cache_control`).
    pub(crate) more_fields: bool,
}

/// What a block is and says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// Text.
    Text {
        /// Of the text alone.
        digest: Digest,
        /// The text, unless the model said it.
        text: Box<str>,
    },
    /// A call of a tool.
    ToolUse {
        /// Its id.
        id: Box<str>,
        /// The tool, as the model names it.
        name: Box<str>,
        /// [`policy::canonical_digest`]; none for arguments that have none.
        arguments: Option<Digest>,
    },
    /// What a tool answered.
    ToolResult {
        /// Of the call.
        tool_use_id: Box<str>,
        /// Whether it failed.
        is_error: bool,
        /// What it says: texts and images.
        content: Vec<Block>,
    },
    /// Thinking, in the open or not.
    Thinking {
        /// Of the text (or the data).
        digest: Digest,
        /// Of the signature; empty for data, which is its own.
        signature: Digest,
    },
    /// An image, a document or whatever else.
    Other {
        /// The kind.
        kind: Box<str>,
        /// Of the data of an image or document.
        data: Digest,
    },
}

/// A tool that the model is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Its name.
    pub(crate) name: Box<str>,
    /// Of all that is said of it, without `cache_control`.
    pub(crate) digest: Digest,
    /// Of the description's text.
    pub(crate) description: Digest,
    /// Of the arguments' schema, by its canonical bytes.
    pub(crate) schema: Digest,
    /// How it was written, as in a message.
    pub(crate) spelling: Digest,
    /// It says more than name, description and schema.
    pub(crate) more_fields: bool,
}

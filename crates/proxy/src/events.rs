//! What the gateway saw of a run, as it happens. Pages and history come from this, never from the agent's own output.

use policy::{CallId, ChallengeId, Denial, Microusd, Usage};
use serde_json::Value;
use store::Confirmation;

/// One thing that was seen pass.
#[derive(Clone, Debug)]
pub enum RunEvent {
    /// A model call left.
    ModelCallBegan,
    /// Text the model said.
    TextDelta {
        /// The next piece of it.
        text: String,
        /// Whether it is no part of the conversation with the person: something in the sandbox had it said.
        induced: bool,
    },
    /// The model begins to ask for a tool.
    ToolCallStarted {
        /// The `tool_use` id.
        call_id: String,
        /// The tool, without the server's prefix.
        tool: String,
    },
    /// The model asked for a tool, completely.
    ToolCall {
        /// The `tool_use` id.
        call_id: String,
        /// The tool, without the server's prefix.
        tool: String,
        /// The arguments.
        arguments: Value,
        /// Whether it is no tool of the app's server: the agent does it in its sandbox, and no result passes here.
        inside: bool,
        /// Whether that is no part of the conversation with the person.
        induced: bool,
    },
    /// A tool answered, or the call was refused.
    ToolResult {
        /// The `tool_use` id.
        call_id: String,
        /// The tool.
        tool: String,
        /// Whether the tool did it.
        ok: bool,
        /// What it said, as text.
        result: String,
        /// The refusal, if it was one.
        denial: Option<Denial>,
        /// The journal's entry, if what it did can be undone.
        undo: Option<CallId>,
        /// Whether nothing was done yet, because it waits for the person.
        waits: bool,
    },
    /// The person is asked whether a call may be made.
    ConfirmationAsked {
        /// The `tool_use` id.
        call_id: String,
        /// What they are asked.
        confirmation: Box<Confirmation>,
    },
    /// A model call is settled.
    ModelCallEnded {
        /// The model.
        model: String,
        /// What it used; none when that is not known.
        usage: Option<Usage>,
        /// What was charged.
        cost: Microusd,
        /// The provider's status code.
        status: u16,
        /// The provider's error, or ours, in one line.
        error: Option<String>,
    },
    /// What the agent does is unusual, so its tools wait until the person says whether it shall go on.
    Challenged {
        /// The question.
        challenge: ChallengeId,
        /// How many zero bits the SHA-256 of `CHALLENGE:NONCE` has to begin with.
        bits: u32,
    },
    /// The question is over.
    ChallengeEnded {
        /// The question.
        challenge: ChallengeId,
        /// Whether the run goes on.
        goes_on: bool,
    },
    /// Something was refused.
    Denied {
        /// The refusal.
        denial: Denial,
    },
}

//! What a page sees of a run: one flat JSON object an event.

use policy::{CallId, ChallengeId, ConfirmationId, ConversationId, RunId};
use serde::Serialize;
use serde_json::Value;
use store::Confirmation;
use utoipa::ToSchema;

/// A numbered event; numbers begin with 1 and have no gaps.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Event {
    /// Its number in the run.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// A refusal as pages see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Denial)]
pub struct DenialView {
    /// The stable code.
    pub code: &'static str,
    /// The public sentence.
    pub message: &'static str,
}

/// How a change can be undone, as pages see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = UndoOfCall)]
pub struct UndoView {
    /// The journal's entry of the call.
    #[schema(value_type = String, format = "uuid")]
    pub call: CallId,
    /// Its run.
    #[schema(value_type = String, format = "uuid")]
    pub run: RunId,
    /// `possible`; the history says how it stands later.
    pub state: &'static str,
}

/// A question as pages see it: everything that a person needs to say yes or no.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Confirmation)]
pub struct ConfirmationView {
    /// Which.
    #[schema(value_type = String, format = "uuid")]
    pub id: ConfirmationId,
    /// Where it stands.
    pub state: &'static str,
    /// The app.
    pub app: String,
    /// The tool.
    pub tool: String,
    /// The exact arguments.
    pub arguments: Value,
    /// What it does, as the application told the gateway; none if it can't say.
    #[schema(required)]
    pub summary: Option<String>,
    /// `write destructive` and the like.
    pub class: String,
    /// The name of the client that asks, where it is not the agent of a run.
    #[schema(required)]
    pub asked_by: Option<String>,
    /// The run.
    #[schema(value_type = String, format = "uuid")]
    pub run_id: RunId,
    /// Its conversation; a client elsewhere has none.
    #[schema(value_type = Option<String>, format = "uuid", required)]
    pub conversation_id: Option<ConversationId>,
    /// When it is over, in milliseconds since 1970.
    pub expires_at_ms: i64,
}

impl From<&Confirmation> for ConfirmationView {
    fn from(row: &Confirmation) -> Self {
        Self {
            id: row.id,
            state: row.state.as_str(),
            app: row.app.clone(),
            tool: row.tool.clone(),
            arguments: serde_json::from_str(&row.arguments).unwrap_or_default(),
            summary: row.summary.clone(),
            class: row.class.clone(),
            asked_by: row.asked_by.clone(),
            run_id: row.run,
            conversation_id: row.conversation,
            expires_at_ms: row.times.expires_at.as_millis(),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody {
    /// The run began.
    RunStarted {
        /// The run.
        #[schema(value_type = String, format = "uuid")]
        run_id: RunId,
        /// Its conversation.
        #[schema(value_type = String, format = "uuid")]
        conversation_id: ConversationId,
    },
    /// All places for runs are taken: how many go before this one, and it.
    Queued {
        /// From 1.
        position: usize,
    },
    /// What the run is doing: `starting`, `thinking`, `answering`, `calling_tool`.
    State {
        /// Which.
        state: &'static str,
    },
    /// Text the model said.
    TextDelta {
        /// The next piece.
        text: String,
    },
    /// The model begins to ask for a tool.
    ToolCallStarted {
        /// The call.
        call_id: String,
        /// The tool.
        tool: String,
    },
    /// The model asked for a tool.
    ToolCall {
        /// The call.
        call_id: String,
        /// The tool.
        tool: String,
        /// Its arguments.
        arguments: Value,
        /// Whether the agent does it in its sandbox: then no result follows.
        inside: bool,
    },
    /// A tool answered, or was refused.
    ToolResult {
        /// The call.
        call_id: String,
        /// The tool.
        tool: String,
        /// Whether it did it.
        ok: bool,
        /// What it said.
        result: String,
        /// The refusal, if it was one.
        #[schema(required)]
        denial: Option<DenialView>,
        /// Whether what it did can be undone.
        #[schema(required)]
        undo: Option<UndoView>,
        /// Whether nothing was done yet, because it waits for the person.
        waits: bool,
    },
    /// The person is asked whether a call may be made.
    Confirmation {
        /// The call.
        call_id: String,
        /// What they are asked.
        confirmation: ConfirmationView,
    },
    /// The person has answered, and a yes was carried out.
    ConfirmationEnded {
        /// Which question.
        #[schema(value_type = String, format = "uuid")]
        id: ConfirmationId,
        /// The call.
        call_id: String,
        /// `denied`, `done`, `failed` or `uncertain`.
        state: &'static str,
        /// What the tool said.
        #[schema(required)]
        result: Option<String>,
    },
    /// A model call is settled.
    ModelCall {
        /// The model.
        model: String,
        /// Prompt tokens of all kinds; 0 when not known.
        input_tokens: u64,
        /// Output tokens; 0 when not known.
        output_tokens: u64,
        /// What was charged.
        cost_microusd: i64,
    },
    /// The agent does unusually much: its tools wait until the person says whether it shall go on.
    Challenge {
        /// The question.
        #[schema(value_type = String, format = "uuid")]
        challenge_id: ChallengeId,
        /// How many zero bits the SHA-256 of `CHALLENGE_ID:NONCE` has to begin with.
        bits: u32,
    },
    /// The question is over.
    ChallengeEnded {
        /// The question.
        #[schema(value_type = String, format = "uuid")]
        challenge_id: ChallengeId,
        /// Whether the run goes on.
        goes_on: bool,
    },
    /// Something was refused.
    Denied {
        /// The stable code.
        code: &'static str,
        /// The public sentence.
        message: &'static str,
        /// What was wanted.
        wanted: String,
    },
    /// The run is over. Nothing follows.
    RunEnded {
        /// `finished`, `failed` or `stopped`.
        outcome: &'static str,
        /// The code of a failure.
        #[schema(required)]
        code: Option<String>,
        /// The public sentence of a failure.
        #[schema(required)]
        message: Option<String>,
        /// What the run cost.
        cost_microusd: i64,
        /// Model calls made.
        turns: u32,
        /// How long it took.
        duration_ms: u64,
    },
}

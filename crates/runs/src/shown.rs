//! What of a run is shown as it happens, and what is remembered for the sentence that it ends with.

use crate::Feed;
use crate::event::{DenialView, EventBody, UndoView};
use policy::RunId;
use proxy::RunEvent;
use store::UndoStanding;

/// Why the model path failed last, for the sentence of a failed run.
pub(crate) struct Failed {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Remembers the last reason.
pub(crate) fn note(event: &RunEvent, failed: &mut Option<Failed>) {
    match event {
        RunEvent::Denied { denial } => {
            *failed = Some(Failed { code: denial.code.as_str().to_owned(), message: denial.message().to_owned() })
        }
        RunEvent::ModelCallEnded { status, error: Some(_), .. } => {
            let message = match status {
                0 => "The model provider can't be reached. Nothing was charged; try again in a moment.",
                401 | 403 => "The model provider refused the gateway's key. The operator has to check it.",
                429 => "The model provider is limiting requests right now. Try again in a minute.",
                200..=299 => "The model's answer was cut off. Try again in a moment.",
                500..=599 => "The model provider is overloaded or failing right now. Try again in a moment.",
                _ => "The model provider refused the request. Try again, or start a new conversation.",
            };
            *failed = Some(Failed { code: "model.failed".to_owned(), message: message.to_owned() });
        }
        RunEvent::ModelCallEnded { error: None, .. } => *failed = None,
        RunEvent::ModelCallBegan
        | RunEvent::TextDelta { .. }
        | RunEvent::ToolCallStarted { .. }
        | RunEvent::ToolCall { .. }
        | RunEvent::ToolResult { .. }
        | RunEvent::ConfirmationAsked { .. }
        | RunEvent::Challenged { .. }
        | RunEvent::ChallengeEnded { .. } => {}
    }
}

/// Puts what was seen on the page.
pub(crate) fn show(feed: &Feed, run: RunId, event: RunEvent) {
    match event {
        RunEvent::ModelCallBegan => feed.push(EventBody::State { state: "thinking" }),
        RunEvent::TextDelta { text, .. } => feed.push(EventBody::TextDelta { text }),
        RunEvent::ToolCallStarted { call_id, tool } => {
            feed.push(EventBody::State { state: "calling_tool" });
            feed.push(EventBody::ToolCallStarted { call_id, tool });
        }
        RunEvent::ToolCall { call_id, tool, arguments, inside, .. } => {
            feed.push(EventBody::ToolCall { call_id, tool, arguments, inside });
        }
        RunEvent::ToolResult { call_id, tool, ok, result, denial, waits, undo } => {
            let denial = denial.map(|denial| DenialView { code: denial.code.as_str(), message: denial.message() });
            let undo = undo.map(|call| UndoView { call, run, state: UndoStanding::Possible.as_str() });
            feed.push(EventBody::ToolResult { call_id, tool, ok, result, denial, waits, undo });
        }
        RunEvent::ConfirmationAsked { call_id, confirmation } => {
            feed.push(EventBody::Confirmation { call_id, confirmation: (&*confirmation).into() });
        }
        RunEvent::ModelCallEnded { model, usage, cost, .. } => {
            let (input_tokens, output_tokens) = usage.map_or((0, 0), |usage| (usage.prompt(), usage.output));
            feed.push(EventBody::ModelCall { model, input_tokens, output_tokens, cost_microusd: cost.0 });
        }
        RunEvent::Challenged { challenge, bits } => feed.push(EventBody::Challenge { challenge_id: challenge, bits }),
        RunEvent::ChallengeEnded { challenge, goes_on } => {
            feed.push(EventBody::ChallengeEnded { challenge_id: challenge, goes_on });
        }
        RunEvent::Denied { denial } => {
            feed.push(EventBody::Denied { code: denial.code.as_str(), message: denial.message(), wanted: denial.wanted });
        }
    }
}

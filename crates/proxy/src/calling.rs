//! The call of a tool itself, and the journal's second half. Whoever comes here holds an open call, so it was decided and written
//! down before.

use crate::Proxy;
use crate::context::App;
use crate::mcp::asks;
use crate::mcp::upstream::UpstreamError;
use crate::offer::user_ref;
use crate::way_back;
use policy::{CallId, ToolEffect};
use serde_json::{Map, Value};
use store::{Change, Inverse, OpenToolCall, StoreError, ToolState};

/// What of a result goes to the page and into the history.
const RESULT_CHARS_SHOWN: usize = 20_000;
pub(crate) const UNCERTAIN: &str =
    "The tool's answer was lost, so nobody knows whether it took effect. Look before you ask for it again.";
pub(crate) const UNREACHABLE: &str =
    "The application's tools can't be reached right now, and nothing was done. Try again in a moment.";

/// Of one that could not be journaled.
pub(crate) const UNWRITTEN: &str =
    "This could not be written down, so there is no answer, and nothing was changed. Try again in a moment.";

/// Of a round that ended with a question: the answer is another call.
const ASKED: &str = "It asked its caller for more before it goes on.";

/// How a call that was journaled came out.
pub(crate) struct Outcome {
    pub(crate) result: Result<Value, UpstreamError>,
    pub(crate) state: ToolState,
    /// For people and the history.
    pub(crate) text: String,
    /// The journal's entry, if what it did can be undone.
    pub(crate) undo: Option<CallId>,
}

/// Calls a tool and journals the way back; using up the open call is what allows it. `meta` goes along to the tool's server.
pub(crate) async fn carry_out(
    proxy: &Proxy,
    app: &App,
    open: OpenToolCall,
    arguments: Map<String, Value>,
    mut meta: Map<String, Value>,
) -> Outcome {
    let (user, tool) = (open.permit().user(), open.permit().request().tool.clone());
    meta.extend(way_back::naming(open.id()));
    let mut result = match &app.upstream {
        Some(upstream) => upstream.call_with(&user_ref(user), &tool, arguments, meta).await,
        // A manifest without a server has no tools, so nothing was admitted.
        None => Err(UpstreamError::Unreachable("the app has no server".to_owned())),
    };
    // Before anybody sees the result: what the app says to the gateway is not for the agent.
    let said = result.as_mut().map(way_back::take).unwrap_or_default();
    let (state, text) = outcome(&result);
    let inverse = said.inverse(&app.manifest, &tool).filter(|_| state == ToolState::Done);
    let undo = match settle(proxy, &open, state, &text, inverse).await {
        Ok(reversible) => reversible.then(|| open.id()),
        Err(error) => {
            tracing::error!(%error, call = %open.id(), "a tool call could not be settled; it will be shown as uncertain");
            None
        }
    };
    if open.permit().effect() == ToolEffect::Write && state != ToolState::Failed {
        proxy.store.announce(Change::App { user: user.to_string(), app: app.manifest.id.clone() });
    }
    Outcome { result, state, text, undo }
}

/// How a call came out, and what people and history get of it.
pub(crate) fn outcome(result: &Result<Value, UpstreamError>) -> (ToolState, String) {
    match result {
        Ok(result) if result.as_object().is_some_and(asks) => (ToolState::Done, ASKED.to_owned()),
        Ok(result) if is_error(result) => (ToolState::Failed, shown(result)),
        Ok(result) => (ToolState::Done, shown(result)),
        // What the server or the system said is for the log; people and history get a fixed sentence.
        Err(error) if error.outcome_unknown() => (ToolState::Uncertain, UNCERTAIN.to_owned()),
        Err(_) => (ToolState::Failed, UNREACHABLE.to_owned()),
    }
}

/// Journals how the call came out; true where it can be undone.
async fn settle(
    proxy: &Proxy,
    open: &OpenToolCall,
    state: ToolState,
    text: &str,
    way_back: Option<Inverse>,
) -> Result<bool, StoreError> {
    let (call, text, now) = (open.id(), text.to_owned(), proxy.clock.now());
    match way_back {
        Some(inverse) => proxy.store.settle_reversible_call(call, text, inverse, now).await.map(|()| true),
        None => proxy.store.settle_tool_call(call, state, text, now).await.map(|()| false),
    }
}

pub(crate) fn is_error(result: &Value) -> bool {
    result.get("isError").and_then(Value::as_bool).unwrap_or(false)
}

/// The text of a result, bounded.
pub(crate) fn shown(result: &Value) -> String {
    let blocks = result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let texts = blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str));
    let mut text = texts.collect::<Vec<_>>().join("\n");
    // No text has more characters than bytes.
    if text.len() > RESULT_CHARS_SHOWN
        && let Some((end, _)) = text.char_indices().nth(RESULT_CHARS_SHOWN)
    {
        text.truncate(end);
    }
    text
}

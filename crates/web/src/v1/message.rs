//! A message as conversations are answered with it. What is stored passes as it is, so that this only describes it.

use serde_json::Value;
use utoipa::ToSchema;

/// What was said, or a call of a tool and what came of it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "nobody makes one: what is stored passes as it is")]
pub(crate) struct Message {
    /// `user`, `assistant` or `tool`.
    role: String,
    /// What was said; not where a tool was called.
    text: Option<String>,
    /// The call.
    call_id: Option<String>,
    tool: Option<String>,
    arguments: Option<Value>,
    /// Whether the tool did it.
    ok: Option<bool>,
    /// What it answered.
    result: Option<String>,
    /// Why the call was refused.
    #[schema(value_type = Option<runs::DenialView>)]
    denial: Option<Value>,
    /// Whether the agent did it in its sandbox: what came of it did not pass the gateway.
    inside: Option<bool>,
    /// Whether nothing was done yet, because the call waited for the person.
    waits: Option<bool>,
    /// How it can be undone: `possible`, `undone`, `final`, `pending`, `uncertain` or `no_way_back`.
    #[schema(value_type = Option<runs::UndoView>)]
    undo: Option<Value>,
    /// The question whose answer this is.
    #[schema(value_type = Option<Object>)]
    confirmation: Option<Value>,
}

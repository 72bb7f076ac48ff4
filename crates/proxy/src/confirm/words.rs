//! What whoever asked is told of a confirmation: a normal result of the tool, so that any agent understands it.

use crate::calling::shown;
use crate::mcp::marked;
use policy::{CallId, ConfirmationState, DenialCode};
use serde_json::{Value, json};
use store::Confirmation;

/// What to tell the caller, and what people see of it.
pub(crate) struct Answer {
    /// A `CallToolResult`.
    pub(crate) result: Value,
    /// Whether the tool did it.
    pub(crate) ok: bool,
    /// Whether it waits for the person still.
    pub(crate) waits: bool,
    /// For people and the history.
    pub(crate) text: String,
    /// The code, where it was not done because of the person.
    pub(crate) code: Option<DenialCode>,
    /// The journal's entry, if what it did can be undone.
    pub(crate) undo: Option<CallId>,
}

impl Answer {
    /// The application says that it could not be done.
    pub(super) fn failed(result: Value) -> Self {
        Self { ok: false, waits: false, text: shown(&result), code: None, undo: None, result: as_data(result) }
    }

    /// Where a confirmation stands.
    pub(super) fn of(row: &Confirmation) -> Self {
        match row.state {
            ConfirmationState::Pending => Self::waiting(&pending(row)),
            ConfirmationState::Approved | ConfirmationState::Executing => Self::waiting(EXECUTING),
            ConfirmationState::Denied => Self::refused(DenialCode::ConfirmationDenied),
            ConfirmationState::Expired => Self::refused(DenialCode::ConfirmationExpired),
            ConfirmationState::Done => match known(row) {
                Some(result) => Self { ok: true, undo: row.undo, ..Self::failed(result) },
                None => Self { ok: true, undo: row.undo, ..Self::said(DONE, false, "confirmation.done") },
            },
            ConfirmationState::Failed => known(row).map_or_else(|| Self::said(FAILED, true, "confirmation.failed"), Self::failed),
            ConfirmationState::Uncertain => Self::said(UNCERTAIN, true, "tool.uncertain"),
        }
    }

    fn waiting(text: &str) -> Self {
        Self { waits: true, ..Self::said(text, false, "confirmation.pending") }
    }

    fn refused(code: DenialCode) -> Self {
        Self { code: Some(code), ..Self::said(code.sentence(), true, code.as_str()) }
    }

    fn said(text: &str, is_error: bool, reason: &str) -> Self {
        let result =
            json!({"content": [{"type": "text", "text": text}], "isError": is_error, "_meta": {"hexward/reason": reason}});
        Self { result, ok: false, waits: false, text: text.to_owned(), code: None, undo: None }
    }
}

/// What an application said is marked; what the gateway says has a reason of its own, which no application can give itself.
fn as_data(result: Value) -> Value {
    if result.pointer("/_meta/hexward~1reason").is_some() { result } else { marked(result) }
}

/// The tool's own result, if it was kept.
fn known(row: &Confirmation) -> Option<Value> {
    serde_json::from_str(row.result.as_deref()?).ok()
}

const EXECUTING: &str = "The person confirmed this, and it is being done right now. What comes of it is not known yet. Don't repeat the \
    call; look at the present state before you say anything about it.";
const DONE: &str = "The person confirmed this, and it was done.";
const FAILED: &str = "The person confirmed this, but it could not be done, and nothing was changed. Say so; ask for it again only if they \
    still want it.";
const UNCERTAIN: &str = "The person confirmed this, but nobody knows whether it took effect. Look at the present state before you say \
    anything about it, and don't repeat the call.";

fn pending(row: &Confirmation) -> String {
    let effect = row.summary.as_ref().map(|summary| format!(" What it would do: {summary}")).unwrap_or_default();
    format!(
        "This was not done yet. It can't be undone or reaches others, so the person has to confirm it themselves; the question is on \
         their screen and waits for five minutes.{effect} Don't repeat the call and don't look for another way. Say what waits for \
         their confirmation, and end your turn."
    )
}

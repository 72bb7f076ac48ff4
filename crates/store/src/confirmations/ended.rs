//! How a confirmation ends: state, audit entry and what the conversation is told, in one commit.

use super::row::{Confirmation, ConfirmationEnd};
use super::{END, TABLE};
use crate::conversations::{self, Role};
use crate::{Place, StoreError, Tx, audit};
use policy::{AuditEvent, CallId, ConfirmationState, DenialCode, Timestamp};
use serde_json::{Value as Json, json};

pub(super) fn expire(tx: &mut dyn Tx, row: &Confirmation, now: Timestamp) -> Result<(), StoreError> {
    let code = DenialCode::ConfirmationExpired;
    let (state, text) = (ConfirmationState::Expired, code.sentence().to_owned());
    finish(tx, row, &ConfirmationEnd { state, result: None, text, denial: Some(code), undo: None }, now)
}

/// The one way to an end: state, audit entry and what the conversation is told in one commit.
pub(super) fn finish(tx: &mut dyn Tx, row: &Confirmation, end: &ConfirmationEnd, now: Timestamp) -> Result<(), StoreError> {
    let key = tx.key_of(&row.user.to_string(), Some(now))?;
    let result = key.seal_opt(Place::new(TABLE, "result", &row.id.to_string()), end.result.as_deref())?;
    let params =
        [row.key(), row.state.as_str().into(), end.state.as_str().into(), result.into(), now.0.into(), end.undo.is_some().into()];
    expect_one(tx.execute(END, &params)?)?;
    tell(tx, row, end.state, None, now)?;
    let (true, Some(conversation)) = (row.late, row.conversation) else { return Ok(()) };
    conversations::append(tx, conversation, row.run, Role::Tool, &told(row, end).to_string(), now)
}

/// A row of the history: the call, once more, with what came of it. Its id is its own, because the call's has an answer already.
fn told(row: &Confirmation, end: &ConfirmationEnd) -> Json {
    let arguments: Json = serde_json::from_str(&row.arguments).unwrap_or_default();
    let mut told = json!({
        "call_id": format!("confirmed_{}", row.id), "tool": row.tool, "arguments": arguments,
        "ok": end.state == ConfirmationState::Done, "result": end.text,
        "denial": end.denial.map(|code| json!({"code": code.as_str(), "message": code.sentence()})),
        "confirmation": {"id": row.id, "state": end.state.as_str(), "call_id": row.tool_use_id, "summary": row.summary},
    });
    if let (Some(call), Some(fields)) = (end.undo, told.as_object_mut()) {
        fields.insert("undo".to_owned(), json!({"call": call, "run": row.run}));
    }
    told
}

pub(super) fn tell(
    tx: &mut dyn Tx,
    row: &Confirmation,
    state: ConfirmationState,
    call: Option<CallId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    audit::append(tx, &AuditEvent::ConfirmationEnded { confirmation: row.id, run: row.run, state: state.as_str(), call }, now)
}

/// Another transaction got there first: this one is tried again, and sees it.
pub(super) const fn expect_one(changed: u64) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict(1)) }
}

//! A person's answer, and what follows from a yes: decided once more, journaled, made once, told.

use super::{EXPECTED_META, record};
use crate::Proxy;
use crate::calling::{Outcome, UNREACHABLE, carry_out};
use crate::context::App;
use crate::mcp::capped;
use crate::offer::user_ref;
use policy::{ConfirmationFault, ConfirmationId, ConfirmationState, Denial, DenialCode, ToolListed, UserId, admit_confirmed};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use store::{AnswerError, Confirmation, ConfirmationEnd, OpenError, StoreError, ToolState};

/// A longer result is kept as its text.
const RESULT_BYTES_MAX: usize = 256 << 10;

/// What became of a confirmation.
#[derive(Debug)]
pub struct Decided {
    /// As it stands now.
    pub confirmation: Confirmation,
    /// What came of the call, for people.
    pub text: Option<String>,
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The user has no such confirmation.
    #[error("no such confirmation")]
    NotFound,
    /// It can't be answered like this now.
    #[error(transparent)]
    Fault(#[from] ConfirmationFault),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gateway failed; what became of it is in the database.
    #[error("the call's task failed")]
    Task,
}

impl From<AnswerError> for DecideError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::NotFound => Self::NotFound,
            AnswerError::Fault(fault) => Self::Fault(fault),
            AnswerError::Store(error) => Self::Store(error),
        }
    }
}

/// Takes the owner's answer. A yes is carried out here, once, and this returns when it is: whoever waits may go, and it goes on.
///
/// # Errors
/// [`DecideError`].
pub async fn decide(
    proxy: &Arc<Proxy>,
    app_of: impl FnOnce(&str) -> Option<Arc<App>>,
    user: UserId,
    id: ConfirmationId,
    approve: bool,
) -> Result<Decided, DecideError> {
    let answered = proxy.store.answer_confirmation(user, id, approve, &proxy.gateway, proxy.clock.now()).await?;
    tracing::info!(confirmation = %id, approve, tool = answered.tool, "a person has answered");
    if answered.state != ConfirmationState::Approved {
        return Ok(Decided { confirmation: answered, text: None });
    }
    let app = app_of(&answered.app);
    let working = Arc::clone(proxy);
    // A task of its own: a page that goes away can't take the second half with it, and the gateway's end waits for it.
    let done = proxy.work.spawn(async move { execute(&working, app, &answered).await });
    Ok(done.await.map_err(|_| DecideError::Task)??)
}

/// Carries out what was approved, and writes down what came of it.
async fn execute(proxy: &Proxy, app: Option<Arc<App>>, confirmation: &Confirmation) -> Result<Decided, StoreError> {
    let end = match app {
        Some(app) => perform(proxy, &app, confirmation).await,
        None => refused(proxy, confirmation, Denial::new(DenialCode::ToolUnknown, &confirmation.tool)).await,
    };
    let text = end.text.clone();
    let confirmation = proxy.store.end_confirmation(confirmation.id, end, proxy.clock.now()).await?;
    Ok(Decided { confirmation, text: Some(text) })
}

async fn perform(proxy: &Proxy, app: &App, confirmation: &Confirmation) -> ConfirmationEnd {
    let (user, tool) = (user_ref(confirmation.user), &confirmation.tool);
    // What the server says of the tool right now, not a minute ago.
    let listed = match proxy.definitions.of(app, &user, tool, true).await {
        Ok(known) => known.map_or(ToolListed { held: true, ..ToolListed::default() }, |known| known.listed),
        Err(error) => {
            tracing::warn!(%error, app = app.manifest.id, tool, "a confirmed call could not be made");
            return failed(UNREACHABLE.to_owned(), None);
        }
    };
    let permit = match admit_confirmed(confirmation.call(), &app.manifest, listed) {
        Ok(permit) => permit,
        Err(denial) => return refused(proxy, confirmation, denial).await,
    };
    let open = match proxy.store.begin_confirmed(confirmation.id, permit, proxy.clock.now()).await {
        Ok(open) => open,
        Err(OpenError::Denied(denial) | OpenError::Short { denial, .. }) => return refused(proxy, confirmation, denial).await,
        Err(OpenError::Store(error)) => {
            tracing::error!(%error, "a confirmed call could not be journaled, so it was not made");
            return failed(UNREACHABLE.to_owned(), None);
        }
    };
    let arguments: Map<String, Value> = serde_json::from_str(&confirmation.arguments).unwrap_or_default();
    let meta = confirmation.effect_digest.iter().map(|digest| (EXPECTED_META.to_owned(), json!(digest))).collect();
    let Outcome { result, state, text, undo } = carry_out(proxy, app, open, arguments, meta).await;
    let state = match state {
        ToolState::Done => ConfirmationState::Done,
        ToolState::Failed => ConfirmationState::Failed,
        ToolState::Uncertain => ConfirmationState::Uncertain,
    };
    let kept = result.ok().map(|result| capped(result).to_string()).filter(|result| result.len() <= RESULT_BYTES_MAX);
    let as_text =
        || json!({"content": [{"type": "text", "text": text}], "isError": state != ConfirmationState::Done}).to_string();
    let result = (state != ConfirmationState::Uncertain).then(|| kept.unwrap_or_else(as_text));
    ConfirmationEnd { state, result, text, denial: None, undo }
}

async fn refused(proxy: &Proxy, confirmation: &Confirmation, denial: Denial) -> ConfirmationEnd {
    let code = denial.code;
    record(proxy, confirmation, denial).await;
    failed(code.sentence().to_owned(), Some(code))
}

fn failed(text: String, denial: Option<DenialCode>) -> ConfirmationEnd {
    let reason = denial.map_or("tool.unavailable", DenialCode::as_str);
    let result = json!({"content": [{"type": "text", "text": text}], "isError": true, "_meta": {"hexward/reason": reason}});
    ConfirmationEnd { state: ConfirmationState::Failed, result: Some(result.to_string()), text, denial, undo: None }
}

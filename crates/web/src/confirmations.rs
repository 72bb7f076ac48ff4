//! Questions that wait for the person, and their answers. This is the only way in which one can be answered: with a session, from
//! our own page.

use crate::Shared;
use crate::answer::Refusal;
use crate::body::StrictJson;
use crate::conversations::id_of;
use crate::session::Signed;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use policy::ConfirmationFault;
use runs::{ConfirmationView, DecideError, Decided};
use serde::Deserialize;
use serde_json::{Value, json};

/// `{"approve": true}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answered {
    approve: bool,
}

/// `GET /api/confirmations`: what waits for this person, the oldest first. Each counts as shown from now on.
pub(crate) async fn list(State(web): State<Shared>, Signed { user, .. }: Signed) -> Result<Json<Vec<ConfirmationView>>, Refusal> {
    let pending = web.store.pending_confirmations(user, web.clock.now()).await?;
    Ok(Json(pending.iter().map(ConfirmationView::from).collect()))
}

/// `POST /api/confirmations/{id}`: answers when a yes was carried out.
pub(crate) async fn answer(
    State(web): State<Shared>,
    Signed { user, .. }: Signed,
    Path(id): Path<String>,
    StrictJson(Answered { approve }): StrictJson<Answered>,
) -> Result<Json<Value>, Refusal> {
    let Decided { confirmation, text } = web.runs.decide(user, id_of(&id)?, approve).await?;
    Ok(Json(json!({"id": confirmation.id, "state": confirmation.state.as_str(), "result": text})))
}

impl From<DecideError> for Refusal {
    fn from(error: DecideError) -> Self {
        let conflict = |code, message| Self::new(StatusCode::CONFLICT, code, message);
        match error {
            DecideError::NotFound => Self::not_found(),
            DecideError::Fault(ConfirmationFault::Early) => conflict(
                "confirmation.early",
                "That was too quick to have been read, so it was not taken. Read it and answer again.",
            ),
            DecideError::Fault(ConfirmationFault::Expired) => conflict(
                "confirmation.expired",
                "This waited for longer than five minutes, so nothing was done. Ask for it again if you still want it.",
            ),
            DecideError::Fault(ConfirmationFault::Decided(_) | ConfirmationFault::Step) => conflict(
                "confirmation.decided",
                "This was answered before, and counts once. Reload the page to see what came of it.",
            ),
            DecideError::Store(error) => error.into(),
            DecideError::Task => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "The server failed while it did this. Look at the present state before you ask for it again.",
            ),
        }
    }
}

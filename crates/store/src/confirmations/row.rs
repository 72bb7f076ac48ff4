//! A confirmation as it stands in the database, and what changes it.

use super::TABLE;
use crate::{Place, Row, StoreError, Tx, Value};
use policy::{
    CallId, ConfirmationFault, ConfirmationId, ConfirmationState, ConfirmationTimes, ConfirmedCall, ConversationId, DenialCode,
    RunId, Timestamp, ToolQuestion, UserId,
};
use std::str::FromStr;

/// A call to be asked about.
#[derive(Debug)]
pub struct NewConfirmation {
    /// That it may be asked; used up by asking.
    pub question: ToolQuestion,
    /// The app.
    pub app: String,
    /// The `tool_use` id, or what stands for it.
    pub tool_use_id: String,
    /// The name of the client that asks, where it is not an agent of ours.
    pub asked_by: Option<String>,
    /// The arguments as JSON text, exactly as they will be sent.
    pub arguments: String,
    /// What the application said that it would do.
    pub summary: Option<String>,
    /// The digest of that.
    pub effect_digest: Option<String>,
    /// Which gateway asks.
    pub gateway: String,
}

/// A confirmation as it stands.
#[derive(Clone, Debug)]
pub struct Confirmation {
    /// Which.
    pub id: ConfirmationId,
    /// Whose.
    pub user: UserId,
    /// The run, or a remote caller's window.
    pub run: RunId,
    /// The run's conversation; a remote caller has none.
    pub conversation: Option<ConversationId>,
    /// The app.
    pub app: String,
    /// The tool.
    pub tool: String,
    /// The `tool_use` id.
    pub tool_use_id: String,
    /// The name of the client that asked, where it is not an agent of ours.
    pub asked_by: Option<String>,
    /// The arguments as JSON text.
    pub arguments: String,
    /// What the tool was when it was asked.
    pub class: String,
    /// What the application said that it would do.
    pub summary: Option<String>,
    /// The digest of that.
    pub effect_digest: Option<String>,
    /// Where it stands.
    pub state: ConfirmationState,
    /// The tool's result as JSON text, once there is one.
    pub result: Option<String>,
    /// Whether who asked was told that it waits.
    pub late: bool,
    /// The journal's entry, if what was done can be undone.
    pub undo: Option<CallId>,
    /// Its moments.
    pub times: ConfirmationTimes,
    pub(super) arguments_digest: [u8; 32],
    pub(super) definition: [u8; 32],
    pub(super) writes: bool,
}

impl Confirmation {
    /// What is decided about once more before the call is made.
    #[must_use]
    pub fn call(&self) -> ConfirmedCall {
        ConfirmedCall {
            run: self.run,
            user: self.user,
            tool: self.tool.clone(),
            arguments_digest: self.arguments_digest,
            class: self.class.clone(),
            definition: self.definition,
            writes: self.writes,
        }
    }

    pub(super) fn of(tx: &mut dyn Tx, row: &Row) -> Result<Self, StoreError> {
        let (id, user) = (row.text(0)?, row.text(1)?);
        let key = tx.key_of(&user, None)?;
        let open = |column, index| key.open_opt(Place::new(TABLE, column, &id), row.opt_text(index)?.as_deref());
        let digest = |index| {
            let broken = |_| StoreError::Statement("a digest in confirmations has another length".to_owned());
            <[u8; 32]>::try_from(row.blob(index)?).map_err(broken)
        };
        let state = row.text(14)?;
        Ok(Self {
            id: id_of(&id)?,
            user: id_of(&user)?,
            run: id_of(&row.text(2)?)?,
            app: row.text(3)?,
            tool: row.text(4)?,
            tool_use_id: row.text(5)?,
            asked_by: row.opt_text(6)?,
            arguments: key.open(Place::new(TABLE, "arguments", &id), &row.text(7)?)?,
            arguments_digest: digest(8)?,
            class: row.text(9)?,
            definition: digest(10)?,
            writes: row.bool(11)?,
            summary: open("summary", 12)?,
            effect_digest: row.opt_text(13)?,
            state: ConfirmationState::from_word(&state)
                .ok_or_else(|| StoreError::Statement(format!("{state:?} is no state of a confirmation")))?,
            result: open("result", 15)?,
            late: row.bool(16)?,
            times: ConfirmationTimes {
                created_at: Timestamp(row.int(17)?),
                shown_at: row.opt_int(18)?.map(Timestamp),
                expires_at: Timestamp(row.int(19)?),
            },
            conversation: row.opt_text(20)?.map(|id| id_of(&id)).transpose()?,
            undo: row.opt_text(21)?.map(|id| id_of(&id)).transpose()?,
        })
    }

    pub(super) fn key(&self) -> Value {
        self.id.to_string().into()
    }
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The user has no such confirmation.
    #[error("no such confirmation")]
    NotFound,
    /// It can't be answered like this now.
    #[error(transparent)]
    Fault(#[from] ConfirmationFault),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of a call that was confirmed.
#[derive(Clone, Debug)]
pub struct ConfirmationEnd {
    /// Done, failed or uncertain.
    pub state: ConfirmationState,
    /// The tool's result as JSON text.
    pub result: Option<String>,
    /// The same as people read it.
    pub text: String,
    /// Why it was not made after all.
    pub denial: Option<DenialCode>,
    /// The journal's entry, if what was done can be undone.
    pub undo: Option<CallId>,
}

fn id_of<T: FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Statement(format!("{text:?} is not an id")))
}

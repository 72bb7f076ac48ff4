//! Undoing what agents did, for a person.
//!
//! Not while an agent changes things in the same conversation: it would go on from what it saw, and what it does next would be mixed
//! with what is taken back. Elsewhere things may go on changing; there the app's own conflicts decide.

use crate::Runs;
use policy::{Clock, Direction, RateRefusal, RateRules, UndoneBy, UserId};
use proxy::{App, UndoReport, Undoing};
use std::sync::Arc;
use store::{RateError, StoreError, UndoPlan, UndoScope};

/// Why nothing was undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The user has no such call, run or app.
    #[error("there is nothing of this user's to undo")]
    Nothing,
    /// An agent is changing things there.
    #[error("an agent is changing things there")]
    Active,
    /// Something of the user's is being undone already.
    #[error("something of this user's is being undone")]
    Busy,
    /// As much as may was undone.
    #[error("{}", .0.code.sentence())]
    Rate(RateRefusal),
    /// The gateway is being stopped.
    #[error("the gateway is stopping")]
    Stopping,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One undo at a time for each person; given back by being dropped.
struct Turn {
    runs: Arc<Runs>,
    user: UserId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.runs.undoing.lock().remove(&self.user);
    }
}

impl Runs {
    /// Undoes what agents did for this user, or does it again, as far as it goes. What was begun is finished, also if nobody waits for
    /// the answer any more.
    ///
    /// # Errors
    /// [`UndoError`]; then nothing was undone, or the journal failed and says how far it came.
    pub async fn undo(self: &Arc<Self>, user: UserId, scope: UndoScope, direction: Direction) -> Result<UndoReport, UndoError> {
        if self.stopping.is_cancelled() {
            return Err(UndoError::Stopping);
        }
        if !self.undoing.lock().insert(user) {
            return Err(UndoError::Busy);
        }
        let turn = Turn { runs: Arc::clone(self), user };
        match self.parts.rates.admit(RateRules::of_undo(user), self.parts.clock.now()).await {
            Ok(_) => {}
            Err(RateError::Refused(refusal)) => return Err(UndoError::Rate(refusal)),
            Err(RateError::Store(error)) => return Err(UndoError::Store(error)),
        }
        let plan = self.parts.store.undo_plan(user, scope, direction).await?.ok_or(UndoError::Nothing)?;
        let app = Arc::clone(&self.parts.apps.get(&plan.app).ok_or(UndoError::Nothing)?.app);
        if plan.active {
            return Err(UndoError::Active);
        }
        let carrying = self.tasks.spawn(carry_out(turn, app, plan, direction));
        carrying.await.map_err(|_| UndoError::Stopping)?.map_err(Into::into)
    }
}

async fn carry_out(turn: Turn, app: Arc<App>, plan: UndoPlan, direction: Direction) -> Result<UndoReport, StoreError> {
    let parts = &turn.runs.parts;
    let clock: &dyn Clock = parts.clock.as_ref();
    let undoing = Undoing { store: &parts.store, clock, gateway: Some(&parts.gateway), direction, by: UndoneBy::Person };
    undoing.carry_out(&app, plan).await
}

//! Where rooms meet: who writes announces, who cares subscribes. Within one gateway; a slow subscriber misses, never blocks.

use crate::{BudgetAlert, Store};
use policy::{ConversationId, UserId};
use tokio::sync::broadcast;

const KEPT: usize = 1024;

/// Something others may want to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An app's data of one user changed: pages showing it read it again.
    App {
        /// Whose data.
        user: String,
        /// Which app.
        app: String,
    },
    /// What was done in a conversation was undone, or done again.
    Undo {
        /// Whose conversation.
        user: UserId,
        /// Which.
        conversation: ConversationId,
    },
    /// A question waits for a person, or what waited was answered or done.
    Confirmation {
        /// Whose.
        user: String,
    },
    /// A share of a budget was used up for the first time in its period.
    BudgetAlert(BudgetAlert),
}

pub(crate) fn channel() -> broadcast::Sender<Change> {
    broadcast::channel(KEPT).0
}

impl Store {
    /// Everything announced from now on. A receiver that lags is told so and should read everything again.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Tells the others. Nobody listening is fine.
    pub fn announce(&self, change: Change) {
        let _ = self.changes.send(change);
    }
}

//! What whoever reads or erases what is kept of a user needs of the ledger: the database lags a moment behind its journal.

use crate::Runs;
use store::StoreError;

impl Runs {
    /// Moves the calls of this moment into the database.
    ///
    /// # Errors
    /// [`StoreError`]; it is tried again.
    pub async fn flush_calls(&self) -> Result<(), StoreError> {
        self.parts.proxy.ledger().flush().await
    }

    /// The same, and leaves nothing of them in the ledger's journal.
    ///
    /// # Errors
    /// As [`Runs::flush_calls`].
    pub async fn empty_journal(&self) -> Result<(), StoreError> {
        self.parts.proxy.ledger().empty().await
    }
}

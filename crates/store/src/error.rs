//! One closed error type for everything that can go wrong between a room and its database.

/// What a store operation can fail with. The text is for operators and logs; it never reaches a client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is busy or locked by another process for longer than the bounded wait.
    #[error("database busy: {0}. Another process holds it; stop that process or try again")]
    Busy(String),
    /// The database can't be reached or was lost.
    #[error("database unavailable: {0}. Check DATABASE_URL and that the server is running")]
    Unavailable(String),
    /// Two transactions touched the same rows and this one lost every retry.
    #[error("transaction conflict after {0} attempts")]
    Conflict(u32),
    /// A row that must be unique exists already.
    #[error("unique constraint violated: {0}")]
    Duplicate(String),
    /// A statement or the shape of a row is wrong: a bug of ours.
    #[error("statement failed: {0}")]
    Statement(String),
    /// A migration on disk differs from the one that was applied, or one failed.
    #[error("migration {schema}/{number}: {reason}")]
    Migration {
        /// The schema (`core`, or an app's name).
        schema: String,
        /// The migration's number.
        number: u32,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The configured database address can't be understood.
    #[error("DATABASE_URL: {0}")]
    Address(String),
    /// A sealed value can't be opened, or nothing can be sealed. It says why, and never what.
    #[error(
        "sealed data: {0}. If the master key or the database was changed or restored, put back the ones that belong together"
    )]
    Sealed(&'static str),
    /// The master key that was given is none.
    #[error("master key: {0}")]
    MasterKey(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// A failed statement is useless to a reader without its text.
    pub(crate) fn in_statement(self, sql: &str) -> Self {
        if let Self::Statement(text) = &self { Self::Statement(format!("{text} in: {sql}")) } else { self }
    }

    /// The same for each of those who shared one commit.
    pub(crate) fn copy(&self) -> Self {
        if let Self::Busy(text) = self { Self::Busy(text.clone()) } else { Self::Unavailable(self.to_string()) }
    }
}

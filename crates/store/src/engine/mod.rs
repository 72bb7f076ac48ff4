//! The two engines behind one door. Everything above speaks [`Statement`], [`Value`] and [`Tx`] only.

mod migrate;
mod postgres;
mod sqlite;

use crate::{Row, Schema, Statement, StoreError, UserKey, Value};
use policy::Timestamp;
use std::sync::Arc;

/// A transaction in progress. Reads see this transaction's own writes; an error rolls everything back.
pub trait Tx {
    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// What the database said, mapped to [`StoreError`].
    fn query(&mut self, statement: Statement, params: &[Value]) -> Result<Vec<Row>, StoreError>;

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As [`Tx::query`].
    fn execute(&mut self, statement: Statement, params: &[Value]) -> Result<u64, StoreError>;

    /// The database's clock: the server's where gateways share one, `ours` where the database is in this process.
    ///
    /// # Errors
    /// As [`Tx::query`].
    fn clock(&mut self, ours: Timestamp) -> Result<Timestamp, StoreError>;

    /// A user's data key. With a moment it is made if there is none; without, a missing one opens nothing.
    ///
    /// # Errors
    /// As [`Tx::query`], and [`StoreError::Sealed`] without a master key, with a wrong one, or for a user who was erased.
    fn key_of(&mut self, _user: &str, _made_at: Option<Timestamp>) -> Result<Arc<UserKey>, StoreError> {
        Err(StoreError::Sealed("this transaction has no master key"))
    }
}

impl dyn Tx + '_ {
    /// The first row, or none.
    ///
    /// # Errors
    /// As [`Tx::query`].
    pub fn query_opt(&mut self, statement: Statement, params: &[Value]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(statement, params)?.into_iter().next())
    }

    /// The only row a statement always returns.
    ///
    /// # Errors
    /// As [`Tx::query`], and when there is none.
    pub fn query_one(&mut self, statement: Statement, params: &[Value]) -> Result<Row, StoreError> {
        self.query_opt(statement, params)?.ok_or_else(|| StoreError::Statement(format!("no row from: {}", statement.0)))
    }
}

/// What a change survives once it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lasts {
    /// The end of this process, however it comes; not a loss of power, nor a crash of the database's server.
    Process,
    /// That too.
    Power,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write(Lasts),
    InTurns,
}

/// Which database, chosen by the address.
#[derive(Clone)]
pub(crate) enum Engine {
    Sqlite(Arc<sqlite::Sqlite>),
    Postgres(Arc<postgres::Postgres>),
}

impl Engine {
    /// Opens the database, migrates it and prepares every statement of the schemas.
    pub(crate) async fn open(url: &str, schemas: &[&'static Schema]) -> Result<Self, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path).to_owned();
            let schemas = schemas.to_vec();
            let opened = tokio::task::spawn_blocking(move || sqlite::Sqlite::open(&path, &schemas)).await;
            return Ok(Self::Sqlite(Arc::new(opened.map_err(|error| StoreError::Unavailable(error.to_string()))??)));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(Arc::new(postgres::Postgres::open(url, schemas).await?)));
        }
        Err(StoreError::Address("it must start with sqlite: (a path) or postgres:// (a server)".to_owned()))
    }

    pub(crate) async fn write<T, E, F>(&self, lasts: Lasts, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        match self {
            Self::Sqlite(engine) => engine.write(lasts, work).await,
            Self::Postgres(engine) => engine.transaction(Kind::Write(lasts), work).await,
        }
    }

    /// The same for work that locks every row it reads, in one order for everybody: on PostgreSQL it waits for others instead of
    /// losing to them.
    pub(crate) async fn write_in_turns<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        match self {
            Self::Sqlite(engine) => engine.write(Lasts::Power, work).await,
            Self::Postgres(engine) => engine.transaction(Kind::InTurns, work).await,
        }
    }

    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        match self {
            Self::Sqlite(engine) => engine.read(work).await,
            Self::Postgres(engine) => engine.transaction(Kind::Read, work).await,
        }
    }

    /// Overwrites what the database keeps of rows that are gone, as far as that is in its hands: `SQLite`'s log. A server does so by itself.
    pub(crate) async fn scrub(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.scrub().await,
            Self::Postgres(_) => Ok(()),
        }
    }
}

//! SQLite: one writer thread with group commit, a few reader connections.
//!
//! Invariant: an answer leaves the writer only after the commit that holds it. Commits are synchronous (FULL), so what
//! was answered survives a power loss; grouping makes many writers share one flush.

use super::{Tx, migrate};
use crate::schema::statements_of;
use crate::{Row, Schema, Statement, StoreError, Value};
use parking_lot::Mutex;
use policy::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, ffi};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

const GROUP_MAX: usize = 256;
const QUEUE_MAX: usize = 4096;
const READERS: usize = 4;
const BUSY_WAIT: Duration = Duration::from_secs(5);
const STATEMENTS_CACHED: usize = 256;
/// 16 MiB: what a group of commits changes is not read again in the middle of it.
const WRITER_CACHE: &str = "PRAGMA cache_size = -16384";

/// Runs inside the group's transaction (or not at all, when none could begin); returns how to answer once the commit is known.
type Job = Box<dyn FnOnce(Option<&Connection>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(crate) struct Sqlite {
    writer: mpsc::SyncSender<Job>,
    readers: Mutex<Vec<Connection>>,
    path: String,
}

impl Sqlite {
    pub(super) fn open(path: &str, schemas: &[&'static Schema]) -> Result<Self, StoreError> {
        if path.is_empty() || path == ":memory:" {
            return Err(StoreError::Address("sqlite: needs the path of a file".to_owned()));
        }
        let mut connection = connect(path)?;
        connection.execute_batch(WRITER_CACHE).map_err(|error| map(&error))?;
        migrate_all(&mut connection, schemas)?;
        for statement in statements_of(schemas) {
            connection.prepare_cached(statement.0).map_err(|error| describe(statement, &error))?;
        }
        let (writer, jobs) = mpsc::sync_channel::<Job>(QUEUE_MAX);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run_writer(&connection, &jobs))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { writer, readers: Mutex::new(Vec::new()), path: path.to_owned() })
    }

    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = connection.map_or_else(|| Err(StoreError::Closed.into()), |connection| in_savepoint(connection, &work));
            Box::new(move |committed: Result<(), StoreError>| {
                // The caller may have gone; what was committed stays committed.
                let _ = answer.send(committed.map_err(E::from).and(result));
            })
        });
        let writer = self.writer.clone();
        match writer.try_send(job) {
            Ok(()) => {}
            Err(mpsc::TrySendError::Full(job)) => {
                let sent = tokio::task::spawn_blocking(move || writer.send(job)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return Err(StoreError::Closed.into());
                }
            }
            Err(mpsc::TrySendError::Disconnected(_)) => return Err(StoreError::Closed.into()),
        }
        answered.await.map_err(|_| E::from(StoreError::Closed))?
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        let pooled = self.readers.lock().pop();
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || {
            let connection = match pooled {
                Some(connection) => connection,
                None => connect_reader(&path)?,
            };
            let result = in_savepoint(&connection, &work);
            Ok::<_, E>((connection, result))
        })
        .await
        .map_err(|error| E::from(StoreError::Unavailable(error.to_string())))?;
        let (connection, result) = done?;
        let mut readers = self.readers.lock();
        if readers.len() < READERS {
            readers.push(connection);
        }
        result
    }
}

fn connect(path: &str) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| StoreError::Unavailable(format!("{path}: {error}")))?;
    connection.busy_timeout(BUSY_WAIT).map_err(|error| map(&error))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; \
             PRAGMA secure_delete = ON; \
             PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4096;",
        )
        .map_err(|error| map(&error))?;
    Ok(connection)
}

/// A reader can't write, whatever the closure it is given says.
fn connect_reader(path: &str) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    connection.execute_batch("PRAGMA query_only = ON").map_err(|error| map(&error))?;
    Ok(connection)
}

/// How far the writer stands back where processors are short: what answers people and callers goes first. Who waits for a commit
/// waits a little longer then.
const NICE: i32 = 5;

/// Takes jobs as they come; everything that queued up while a commit ran shares the next one.
fn run_writer(connection: &Connection, jobs: &mpsc::Receiver<Job>) {
    // Of this thread alone (setpriority(2): a thread is what the kernel counts here). Refused, everything works all the same.
    let _ = rustix::process::setpriority_process(None, NICE);
    while let Ok(first) = jobs.recv() {
        let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| map(&error));
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            // A full disk or an I/O error ends the whole transaction: who comes after it must not commit on their own.
            let going = begun.is_ok() && !connection.is_autocommit();
            answers.push(job(going.then_some(connection)));
            if answers.len() < GROUP_MAX {
                next = jobs.try_recv().ok();
            }
        }
        let outcome = begun.and_then(|()| connection.execute_batch("COMMIT").map_err(|error| map(&error)));
        if outcome.is_err() && !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        for answer in answers {
            answer(outcome.as_ref().map(|&()| ()).map_err(StoreError::copy));
        }
    }
}

fn in_savepoint<T, E: From<StoreError>>(connection: &Connection, work: &dyn Fn(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
    connection.execute_batch("SAVEPOINT work").map_err(|error| map(&error))?;
    let result = work(&mut SqliteTx { connection });
    let end = if result.is_ok() { "RELEASE work" } else { "ROLLBACK TO work; RELEASE work" };
    connection.execute_batch(end).map_err(|error| map(&error))?;
    result
}

struct SqliteTx<'a> {
    connection: &'a Connection,
}

impl Tx for SqliteTx<'_> {
    fn query(&mut self, statement: Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut prepared = self.connection.prepare_cached(statement.0).map_err(|error| describe(statement, &error))?;
        let columns = prepared.column_count();
        let mut rows = prepared.query(rusqlite::params_from_iter(params)).map_err(|error| describe(statement, &error))?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(|error| describe(statement, &error))? {
            let values: Result<Vec<Value>, _> = (0..columns).map(|index| row.get_ref(index).map(to_value)).collect();
            out.push(Row(values.map_err(|error| describe(statement, &error))?));
        }
        Ok(out)
    }

    fn execute(&mut self, statement: Statement, params: &[Value]) -> Result<u64, StoreError> {
        let mut prepared = self.connection.prepare_cached(statement.0).map_err(|error| describe(statement, &error))?;
        let changed = prepared.execute(rusqlite::params_from_iter(params)).map_err(|error| describe(statement, &error))?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    fn clock(&mut self, ours: Timestamp) -> Result<Timestamp, StoreError> {
        Ok(ours)
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

fn to_value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        // No column of ours is REAL; one that appears is shown as text and fails where an integer was expected.
        ValueRef::Real(value) => Value::Text(value.to_string()),
        ValueRef::Text(value) => Value::Text(String::from_utf8_lossy(value).into_owned()),
        ValueRef::Blob(value) => Value::Blob(value.to_vec()),
    }
}

fn describe(statement: Statement, error: &rusqlite::Error) -> StoreError {
    map(error).in_statement(statement.0)
}

fn map(error: &rusqlite::Error) -> StoreError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(text),
        Some(ErrorCode::ConstraintViolation) if is_duplicate(error) => StoreError::Duplicate(text),
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::PermissionDenied,
        ) => StoreError::Unavailable(text),
        _ => StoreError::Statement(text),
    }
}

/// Other constraints (CHECK, NOT NULL, foreign keys) are bugs of ours, as on PostgreSQL.
fn is_duplicate(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    matches!(extended, Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY))
}

fn migrate_all(connection: &mut Connection, schemas: &[&'static Schema]) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(|error| map(&error))?;
    tx.execute_batch(migrate::BOOTSTRAP).map_err(|error| map(&error))?;
    for schema in schemas {
        let applied: Vec<(i64, String)> = {
            let mut prepared = tx.prepare(&format!("{}?1", migrate::APPLIED)).map_err(|error| map(&error))?;
            let rows = prepared.query_map([schema.name], |row| Ok((row.get(0)?, row.get(1)?))).map_err(|error| map(&error))?;
            rows.collect::<Result<_, _>>().map_err(|error| map(&error))?
        };
        for migration in migrate::pending(schema, schema.sqlite, &applied)? {
            let failed = |error: rusqlite::Error| StoreError::Migration {
                schema: schema.name.to_owned(),
                number: migration.number,
                reason: error.to_string(),
            };
            tx.execute_batch(migration.sql).map_err(failed)?;
            tx.execute(
                &format!("{}(?1, ?2, ?3, ?4)", migrate::RECORD),
                (schema.name, migration.number, migration.name, migrate::checksum(migration)),
            )
            .map_err(failed)?;
        }
    }
    tx.commit().map_err(|error| map(&error))
}

//! SQLite: one writer thread with group commit, a few reader connections.
//!
//! Invariant: an answer leaves the writer only after the commit that holds it. Commits are synchronous (FULL), so what
//! was answered survives a power loss; grouping makes many writers share one flush. A group in which nothing has to survive one is
//! not flushed: it survives the end of this process, and stands before whatever is flushed later.

use super::{Lasts, Tx, migrate};
use crate::schema::statements_of;
use crate::{Row, Schema, Statement, StoreError, Value};
use parking_lot::Mutex;
use policy::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, ffi};
use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

const GROUP_MAX: usize = 256;
const QUEUE_MAX: usize = 4096;
const READERS: usize = 4;
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// How long writers wait at most for a log that is cut off, how often that is tried, and what they have between.
const SCRUB_WAIT: Duration = Duration::from_millis(100);
const SCRUBS_MAX: u32 = 10;
const SCRUB_PAUSE: Duration = Duration::from_millis(300);
const STATEMENTS_CACHED: usize = 256;
/// 16 MiB: what a group of commits changes is not read again in the middle of it.
const WRITER_CACHE: &str = "PRAGMA cache_size = -16384";
/// 4 MiB: what one listing reads is more than the usual 2, and what does not fit is read anew for each row.
const READER_CACHE: &str = "PRAGMA cache_size = -4096";

/// Runs inside the group's transaction (or not at all, when none could begin); returns how to answer once the commit is known.
type Work = Box<dyn FnOnce(Option<&Connection>) -> Answer + Send>;

/// What the writer does.
struct Job {
    work: Work,
    lasts: Lasts,
}
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(crate) struct Sqlite {
    writer: mpsc::SyncSender<Job>,
    readers: Mutex<Vec<Connection>>,
    scrubbing: tokio::sync::Mutex<()>,
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
        Ok(Self { writer, readers: Mutex::new(Vec::new()), scrubbing: tokio::sync::Mutex::default(), path: path.to_owned() })
    }

    pub(super) async fn write<T, E, F>(&self, lasts: Lasts, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let result = connection.map_or_else(|| Err(StoreError::Closed.into()), |connection| in_savepoint(connection, &work));
            Box::new(move |committed: Result<(), StoreError>| {
                // The caller may have gone; what was committed stays committed.
                let _ = answer.send(committed.map_err(E::from).and(result));
            })
        });
        let job = Job { work, lasts };
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

    /// Empties the log into the file, where what was deleted is overwritten already, and cuts it off. While it waits for readers nobody
    /// writes, so it waits a moment only, and lets others write before it tries again.
    pub(super) async fn scrub(&self) -> Result<(), StoreError> {
        // Who comes after others waits for them, and no longer than it would take itself.
        let alone = tokio::time::timeout(BUSY_WAIT, self.scrubbing.lock()).await;
        let _alone = alone.map_err(|_| StoreError::Busy("others cut the log off".to_owned()))?;
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || {
            let connection = connect(&path)?;
            connection.busy_timeout(SCRUB_WAIT).map_err(|error| map(&error))?;
            for number in 0..SCRUBS_MAX {
                std::thread::sleep(SCRUB_PAUSE * number.min(1));
                let left = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
                match left.map_err(|error| map(&error)) {
                    Ok(0) => return Ok(()),
                    Ok(_) | Err(StoreError::Busy(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Err(StoreError::Busy("the log is being read".to_owned()))
        });
        done.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        let pooled = self.readers.lock().pop();
        let is_new = pooled.is_none();
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
            // Those alone that stay: there may be many more for a moment. What was read is answered whatever comes of that.
            if !is_new || connection.execute_batch(READER_CACHE).is_ok() {
                readers.push(connection);
            }
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
    let mut queue = VecDeque::new();
    // What the connection was opened with.
    let mut kept = Lasts::Power;
    loop {
        if queue.is_empty() {
            let Ok(first) = jobs.recv() else { return };
            queue.push_back(first);
        }
        queue.extend(jobs.try_iter().take(GROUP_MAX.saturating_sub(queue.len())));
        let lasts = queue.iter().map(|job: &Job| job.lasts).max().unwrap_or(Lasts::Power);
        run_group(connection, jobs, &mut queue, (&mut kept, lasts));
    }
}

/// Runs what is queued, and what comes meanwhile, in one transaction; leaves what has to last longer than the group will.
fn run_group(connection: &Connection, jobs: &mpsc::Receiver<Job>, queue: &mut VecDeque<Job>, (kept, lasts): (&mut Lasts, Lasts)) {
    let begun = keep(connection, kept, lasts).and_then(|()| control(connection, "BEGIN IMMEDIATE"));
    let mut answers = Vec::new();
    while answers.len() < GROUP_MAX {
        queue.extend(queue.is_empty().then(|| jobs.try_recv().ok()).flatten());
        let Some(job) = queue.pop_front_if(|job| job.lasts <= lasts) else { break };
        // A full disk or an I/O error ends the whole transaction: who comes after it must not commit on their own.
        let going = begun.is_ok() && !connection.is_autocommit();
        answers.push((job.work)(going.then_some(connection)));
    }
    let outcome = begun.and_then(|()| control(connection, "COMMIT"));
    if outcome.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    for answer in answers {
        answer(outcome.as_ref().map(|&()| ()).map_err(StoreError::copy));
    }
}

/// What the next commit waits for. It can't be changed within a transaction.
fn keep(connection: &Connection, kept: &mut Lasts, lasts: Lasts) -> Result<(), StoreError> {
    if *kept == lasts {
        return Ok(());
    }
    let synchronous = match lasts {
        Lasts::Process => "PRAGMA synchronous = NORMAL",
        Lasts::Power => "PRAGMA synchronous = FULL",
    };
    connection.execute_batch(synchronous).map_err(|error| map(&error))?;
    *kept = lasts;
    Ok(())
}

/// Begins and ends: a prepared statement, for there are several of them for each change.
fn control(connection: &Connection, sql: &'static str) -> Result<(), StoreError> {
    let done = connection.prepare_cached(sql).and_then(|mut prepared| prepared.execute([]));
    done.map(drop).map_err(|error| map(&error))
}

fn in_savepoint<T, E: From<StoreError>>(connection: &Connection, work: &dyn Fn(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
    control(connection, "SAVEPOINT work")?;
    let result = work(&mut SqliteTx { connection });
    if result.is_err() {
        control(connection, "ROLLBACK TO work")?;
    }
    control(connection, "RELEASE work")?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SYNCHRONOUS: Statement = Statement("PRAGMA synchronous");

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_a_group_in_which_nothing_has_to_survive_a_loss_of_power_is_not_flushed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db").display().to_string();
        let engine = Arc::new(Sqlite::open(&path, &[]).expect("a database"));
        let level = |lasts| {
            let engine = Arc::clone(&engine);
            async move {
                let read = move |tx: &mut dyn Tx| tx.query_one(SYNCHRONOUS, &[])?.int(0);
                engine.write::<_, StoreError, _>(lasts, read).await.expect("written")
            }
        };
        // 1 is NORMAL, which in WAL mode flushes nothing at a commit; 2 is FULL.
        assert_eq!((level(Lasts::Power).await, level(Lasts::Process).await, level(Lasts::Power).await), (2, 1, 2));
        let mut together = tokio::task::JoinSet::new();
        for number in 0..200 {
            let lasts = if number % 3 == 0 { Lasts::Power } else { Lasts::Process };
            let level = level(lasts);
            together.spawn(async move { (lasts, level.await) });
        }
        for (lasts, level) in together.join_all().await {
            assert!(lasts == Lasts::Process || level == 2, "{lasts:?} stood in a group that is not flushed");
        }
        assert_eq!(level(Lasts::Process).await, 1);
    }
}

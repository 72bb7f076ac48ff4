//! PostgreSQL: a bounded pool, serializable transactions, retried on conflict.
//!
//! The work of a transaction is the same synchronous closure that SQLite runs, so it runs on a blocking thread here.

use super::{Kind, Lasts, Tx, migrate};
use crate::schema::statements_of;
use crate::{Row, Schema, Statement, StoreError, Value};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use policy::Timestamp;
use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut};
use tokio_postgres::{IsolationLevel, Transaction};

const POOL_MAX: usize = 16;
const NOW: Statement = Statement("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)");
/// Of this transaction alone: the server answers its commit before its log is on the disk.
const UNFLUSHED: &str = "SET LOCAL synchronous_commit = off";
const ATTEMPTS_MAX: u32 = 40;
/// Who lost waits a little longer each time, so that gateways that share a hot row take turns.
const PAUSE_STEP: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(25);
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Any constant will do, as long as every gateway takes the same one while it migrates.
const MIGRATION_LOCK: i64 = 0x6865_7877_6172_6400;

pub(crate) struct Postgres {
    pool: Pool,
    rewritten: Arc<HashMap<&'static str, String>>,
    lane: Arc<RwLock<()>>,
}

impl Postgres {
    pub(super) async fn open(url: &str, schemas: &[&'static Schema]) -> Result<Self, StoreError> {
        let mut config: tokio_postgres::Config = url.parse().map_err(|error: tokio_postgres::Error| {
            StoreError::Address(format!(
                "not a PostgreSQL address: {}",
                error.source().map_or_else(String::new, ToString::to_string)
            ))
        })?;
        config.connect_timeout(CONNECT_WAIT).application_name("hexward");
        let manager = Manager::from_config(config, tls()?, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let waits = Timeouts { wait: Some(CONNECT_WAIT), create: Some(CONNECT_WAIT), recycle: Some(CONNECT_WAIT) };
        let pool = Pool::builder(manager)
            .max_size(POOL_MAX)
            .timeouts(waits)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let mut client = connect(&pool).await?;
        migrate_all(&mut client, schemas).await?;
        let mut rewritten = HashMap::new();
        for statement in statements_of(schemas) {
            let sql = statement.numbered();
            client.prepare(&sql).await.map_err(|error| describe(&sql, &error))?;
            rewritten.insert(statement.0, sql);
        }
        drop(client);
        Ok(Self { pool, rewritten: Arc::new(rewritten), lane: Arc::new(RwLock::new(())) })
    }

    pub(super) async fn transaction<T, E, F>(&self, kind: Kind, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        let (pool, rewritten, lane) = (self.pool.clone(), Arc::clone(&self.rewritten), Arc::clone(&self.lane));
        let handle = Handle::current();
        tokio::task::spawn_blocking(move || {
            for number in 0..ATTEMPTS_MAX {
                std::thread::sleep((PAUSE_STEP * number).min(PAUSE_MAX));
                let mut client = handle.block_on(connect(&pool))?;
                let _turn = matches!(kind, Kind::Write(_)).then(|| Turn::of(&lane, number));
                match attempt(&handle, &rewritten, &mut client, kind, &work) {
                    Attempt::Done(result) => return result,
                    Attempt::Conflict => {}
                }
            }
            Err(StoreError::Conflict(ATTEMPTS_MAX).into())
        })
        .await
        .map_err(|error| E::from(StoreError::Unavailable(error.to_string())))?
    }
}

/// First attempts run side by side. Who lost to another runs alone within this gateway, so that it can't lose to the same
/// crowd again and again: a hot row (the day's budget) is then taken in turns.
enum Turn<'a> {
    Together(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>),
    Alone(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'a, ()>),
}

impl<'a> Turn<'a> {
    fn of(lane: &'a RwLock<()>, attempt: u32) -> Self {
        if attempt == 0 { Self::Together(lane.read()) } else { Self::Alone(lane.write()) }
    }
}

enum Attempt<T, E> {
    Done(Result<T, E>),
    Conflict,
}

fn attempt<T, E: From<StoreError>>(
    handle: &Handle,
    rewritten: &HashMap<&'static str, String>,
    client: &mut Object,
    kind: Kind,
    work: &dyn Fn(&mut dyn Tx) -> Result<T, E>,
) -> Attempt<T, E> {
    // A reader needs one snapshot, not a place in the order of writers: it never conflicts and never makes others.
    let isolation = match kind {
        Kind::Read => IsolationLevel::RepeatableRead,
        Kind::Write(_) => IsolationLevel::Serializable,
        Kind::InTurns => IsolationLevel::ReadCommitted,
    };
    let begun = handle.block_on(client.build_transaction().isolation_level(isolation).read_only(kind == Kind::Read).start());
    let transaction = match begun {
        Ok(transaction) => transaction,
        Err(error) => return Attempt::Done(Err(map(&error).into())),
    };
    if kind == Kind::Write(Lasts::Process)
        && let Err(error) = handle.block_on(transaction.batch_execute(UNFLUSHED))
    {
        return Attempt::Done(Err(map(&error).into()));
    }
    let mut tx = PgTx { transaction: &transaction, handle, rewritten, conflict: false };
    let result = work(&mut tx);
    if tx.conflict {
        return Attempt::Conflict;
    }
    match result {
        Ok(value) => match handle.block_on(transaction.commit()) {
            Ok(()) => Attempt::Done(Ok(value)),
            Err(error) if is_conflict(&error) => Attempt::Conflict,
            Err(error) => Attempt::Done(Err(map(&error).into())),
        },
        Err(error) => {
            // A rollback that fails leaves a broken connection, which the pool throws away.
            let _ = handle.block_on(transaction.rollback());
            Attempt::Done(Err(error))
        }
    }
}

struct PgTx<'a> {
    transaction: &'a deadpool_postgres::Transaction<'a>,
    handle: &'a Handle,
    rewritten: &'a HashMap<&'static str, String>,
    conflict: bool,
}

impl PgTx<'_> {
    fn run(&mut self, statement: Statement, params: &[Value]) -> Result<(Vec<tokio_postgres::Row>, u64), StoreError> {
        let owned;
        let sql = match self.rewritten.get(statement.0) {
            Some(sql) => sql,
            None => {
                owned = statement.numbered();
                &owned
            }
        };
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let transaction: &Transaction<'_> = self.transaction;
        let done = self.handle.block_on(async {
            let prepared = self.transaction.prepare_cached(sql).await?;
            if prepared.columns().is_empty() {
                return transaction.execute(&prepared, &params).await.map(|changed| (Vec::new(), changed));
            }
            transaction.query(&prepared, &params).await.map(|rows| {
                let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
                (rows, count)
            })
        });
        done.map_err(|error| {
            self.conflict |= is_conflict(&error);
            describe(sql, &error)
        })
    }
}

impl Tx for PgTx<'_> {
    fn query(&mut self, statement: Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let (rows, _) = self.run(statement, params)?;
        rows.iter()
            .map(|row| {
                (0..row.len())
                    .map(|index| row.try_get::<_, Value>(index).map_err(|error| map(&error)))
                    .collect::<Result<_, _>>()
                    .map(Row)
            })
            .collect()
    }

    fn execute(&mut self, statement: Statement, params: &[Value]) -> Result<u64, StoreError> {
        self.run(statement, params).map(|(_, changed)| changed)
    }

    fn clock(&mut self, _ours: Timestamp) -> Result<Timestamp, StoreError> {
        <dyn Tx>::query_one(self, NOW, &[])?.int(0).map(Timestamp)
    }
}

type Boxed = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) if *ty == Type::INT4 => i32::try_from(*value)?.to_sql(ty, out),
            Self::Int(value) if *ty == Type::INT8 => value.to_sql(ty, out),
            // PostgreSQL has no place for a NUL in a text, and a provider's words may hold one.
            Self::Text(value) if *ty == Type::TEXT || *ty == Type::VARCHAR => value.replace('\0', "\u{fffd}").to_sql(ty, out),
            Self::Blob(value) if *ty == Type::BYTEA => value.to_sql(ty, out),
            Self::Int(_) | Self::Text(_) | Self::Blob(_) => Err(format!("{self:?} does not fit a parameter of type {ty}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        match *ty {
            Type::INT8 => i64::from_sql(ty, raw).map(Self::Int),
            Type::INT4 => i32::from_sql(ty, raw).map(|value| Self::Int(value.into())),
            Type::TEXT | Type::VARCHAR => String::from_sql(ty, raw).map(Self::Text),
            Type::BYTEA => Vec::<u8>::from_sql(ty, raw).map(Self::Blob),
            ref other => Err(format!("a column of type {other} is not used here").into()),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Boxed> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

async fn connect(pool: &Pool) -> Result<Object, StoreError> {
    pool.get().await.map_err(|error| {
        if let PoolError::Backend(error) = &error { map(error) } else { StoreError::Unavailable(error.to_string()) }
    })
}

fn tls() -> Result<tokio_postgres_rustls::MakeRustlsConnect, StoreError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tokio_postgres_rustls::MakeRustlsConnect::new(config))
}

fn is_conflict(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED)
}

fn describe(sql: &str, error: &tokio_postgres::Error) -> StoreError {
    map(error).in_statement(sql)
}

fn map(error: &tokio_postgres::Error) -> StoreError {
    let text = error.as_db_error().map_or_else(
        || error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
        ToString::to_string,
    );
    match error.code() {
        None if error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>()) => {
            StoreError::Unavailable(text)
        }
        None => StoreError::Statement(text),
        Some(code) if *code == SqlState::UNIQUE_VIOLATION => StoreError::Duplicate(text),
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => StoreError::Busy(text),
        Some(code) if ["08", "28", "3D", "53", "57"].iter().any(|class| code.code().starts_with(class)) => {
            StoreError::Unavailable(text)
        }
        Some(_) => StoreError::Statement(text),
    }
}

async fn migrate_all(client: &mut Object, schemas: &[&'static Schema]) -> Result<(), StoreError> {
    let tx = client.transaction().await.map_err(|error| map(&error))?;
    tx.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await.map_err(|error| map(&error))?;
    tx.batch_execute(migrate::BOOTSTRAP).await.map_err(|error| map(&error))?;
    for schema in schemas {
        let rows = tx.query(&format!("{}$1", migrate::APPLIED), &[&schema.name]).await.map_err(|error| map(&error))?;
        let applied: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for migration in migrate::pending(schema, schema.postgres, &applied)? {
            let failed = |error: tokio_postgres::Error| StoreError::Migration {
                schema: schema.name.to_owned(),
                number: migration.number,
                reason: map(&error).to_string(),
            };
            tx.batch_execute(migration.sql).await.map_err(failed)?;
            let values: [&(dyn ToSql + Sync); 4] =
                [&schema.name, &i64::from(migration.number), &migration.name, &migrate::checksum(migration)];
            tx.execute(&format!("{}($1, $2, $3, $4)", migrate::RECORD), &values).await.map_err(failed)?;
        }
    }
    tx.commit().await.map_err(|error| map(&error))
}

//! Migrations: numbered files per engine, applied once, in order, and never changed afterwards.

use crate::{Migration, Schema, StoreError};
use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

/// Where the applied migrations are recorded; the same text works on both engines.
pub(super) const BOOTSTRAP: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (\
    schema_name TEXT NOT NULL, number BIGINT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, \
    PRIMARY KEY (schema_name, number))";
pub(super) const APPLIED: &str = "SELECT number, digest FROM schema_migrations WHERE schema_name = ";
pub(super) const RECORD: &str = "INSERT INTO schema_migrations (schema_name, number, name, digest) VALUES ";

pub(super) fn checksum(migration: &Migration) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, migration.sql.as_bytes()).as_ref())
}

/// The migrations still to run, in order. `applied` holds (number, digest) of those that ran before.
pub(super) fn pending<'a>(
    schema: &Schema,
    all: &'a [Migration],
    applied: &[(i64, String)],
) -> Result<Vec<&'a Migration>, StoreError> {
    let refuse =
        |number: u32, reason: &str| StoreError::Migration { schema: schema.name.to_owned(), number, reason: reason.to_owned() };
    for (number, _) in applied {
        if !all.iter().any(|migration| i64::from(migration.number) == *number) {
            let number = u32::try_from(*number).unwrap_or(u32::MAX);
            return Err(refuse(number, "the database is newer than this program: use the newer program, or restore a backup"));
        }
    }
    let mut todo = Vec::new();
    for migration in all {
        match applied.iter().find(|(number, _)| *number == i64::from(migration.number)) {
            Some((_, digest)) if *digest == checksum(migration) => {}
            Some(_) => {
                return Err(refuse(
                    migration.number,
                    "the applied migration differs from this program's: it must never be edited",
                ));
            }
            None => todo.push(migration),
        }
    }
    Ok(todo)
}

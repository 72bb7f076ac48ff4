//! Migrations run once, in order, as a whole, and are never edited.

use crate::support::{Db, at_once, on_both_engines};
use store::{CORE, Migration, Schema, Statement, Store, StoreError};

on_both_engines! {
    opening_again_changes_nothing;
    gateways_that_start_at_once_migrate_once;
    an_edited_migration_is_refused;
    a_newer_database_is_refused;
    a_migration_that_fails_leaves_nothing;
    a_statement_that_does_not_prepare_is_found_at_start;
    broken_rules_are_told_apart;
}

const FIRST: Migration = Migration {
    number: 1,
    name: "first",
    sql: "CREATE TABLE story (id TEXT NOT NULL PRIMARY KEY, size BIGINT CHECK (size > 0))",
};
const EDITED: Migration = Migration { number: 1, name: "first", sql: "CREATE TABLE story (id TEXT NOT NULL PRIMARY KEY)" };
const SECOND: Migration = Migration { number: 2, name: "second", sql: "CREATE TABLE more (id TEXT NOT NULL PRIMARY KEY)" };
const BROKEN: Migration =
    Migration { number: 2, name: "second", sql: "CREATE TABLE more (id TEXT NOT NULL PRIMARY KEY); CREATE TABEL x" };

const fn schema(all: &'static [Migration]) -> Schema {
    Schema { name: "story", sqlite: all, postgres: all, statements: &[] }
}

static ONE: Schema = schema(&[FIRST]);
static ONE_EDITED: Schema = schema(&[EDITED]);
static TWO: Schema = schema(&[FIRST, SECOND]);
static TWO_BROKEN: Schema = schema(&[FIRST, BROKEN]);
static MISSPELT: Schema = Schema { statements: &[&[Statement("SELECT id FROM story WHERE nmae = ?1")]], ..schema(&[FIRST]) };

async fn open(db: &Db, schema: &'static Schema) -> Result<Store, StoreError> {
    Store::open(&db.url, &[&CORE, schema]).await
}

/// Which migration was refused, and why.
async fn refusal(db: &Db, schema: &'static Schema) -> (u32, String) {
    match open(db, schema).await.map(|_| ()) {
        Err(StoreError::Migration { schema, number, reason }) if schema == "story" => (number, reason),
        other => panic!("not refused as a migration: {other:?}"),
    }
}

async fn opening_again_changes_nothing(db: Db) {
    for _ in 0..2 {
        open(&db, &TWO).await.expect("it opens");
    }
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM schema_migrations WHERE schema_name = 'story'").await, 2);
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM more").await, 0);
}

async fn gateways_that_start_at_once_migrate_once(db: Db) {
    let opened = at_once((0..6).map(|_| {
        let url = db.url.clone();
        async move { Store::open(&url, &[&CORE, &TWO]).await.map(|_| ()) }
    }));
    for result in opened.await {
        result.expect("each waits for the other");
    }
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM schema_migrations WHERE schema_name = 'story'").await, 2);
}

async fn an_edited_migration_is_refused(db: Db) {
    open(&db, &ONE).await.expect("it opens");
    let (number, reason) = refusal(&db, &ONE_EDITED).await;
    assert!(number == 1 && reason.contains("never be edited"), "{number}: {reason}");
}

async fn a_newer_database_is_refused(db: Db) {
    open(&db, &TWO).await.expect("it opens");
    let (number, reason) = refusal(&db, &ONE).await;
    assert!(number == 2 && reason.contains("newer"), "{number}: {reason}");
}

async fn a_migration_that_fails_leaves_nothing(db: Db) {
    let (number, reason) = refusal(&db, &TWO_BROKEN).await;
    assert!(number == 2 && reason.contains("TABEL"), "{number}: {reason}");
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM schema_migrations WHERE schema_name = 'story'").await, 0);
    open(&db, &TWO).await.expect("the good ones find no remains");
}

async fn a_statement_that_does_not_prepare_is_found_at_start(db: Db) {
    let refused = open(&db, &MISSPELT).await.map(|_| ());
    assert!(matches!(&refused, Err(StoreError::Statement(text)) if text.contains("nmae")), "{refused:?}");
}

async fn broken_rules_are_told_apart(db: Db) {
    let store = open(&db, &ONE).await.expect("it opens");
    let insert = |sql: &'static str| {
        let store = store.clone();
        async move { store.write(move |tx| tx.execute(Statement(sql), &[])).await }
    };
    insert("INSERT INTO story (id, size) VALUES ('a', 1)").await.expect("a good row");
    let twice: Result<u64, StoreError> = insert("INSERT INTO story (id, size) VALUES ('a', 2)").await;
    assert!(matches!(twice, Err(StoreError::Duplicate(_))), "{twice:?}");
    for bug in ["INSERT INTO story (id, size) VALUES ('b', 0)", "INSERT INTO story (id, size) VALUES (NULL, 1)"] {
        let refused: Result<u64, StoreError> = insert(bug).await;
        assert!(matches!(refused, Err(StoreError::Statement(_))), "a bug is not a duplicate: {refused:?}");
    }
}

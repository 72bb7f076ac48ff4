//! When the database is locked, gone, or its process killed: a clear error, and nothing that was answered is lost.

use crate::support::{Db, NOW};
use policy::Timestamp;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use store::{CORE, Store, StoreError};
use testkit::Postgres;

async fn open(url: &str) -> Result<Store, StoreError> {
    Store::open(url, &[&CORE]).await
}

fn file_of(db: &Db) -> &str {
    db.url.strip_prefix("sqlite:").expect("an address of SQLite")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_busy_and_loses_nothing() {
    let db = Db::sqlite().await;
    let before = db.store.user_of("local", "before", NOW).await.expect("a user");
    let other = rusqlite::Connection::open(file_of(&db)).expect("another process's connection");
    other.execute_batch("BEGIN IMMEDIATE").expect("it takes the lock");

    let began = Instant::now();
    let (first, second) = tokio::join!(db.store.user_of("local", "a", NOW), db.store.user_of("local", "b", NOW));
    for refused in [first, second] {
        let refused = refused.expect_err("nobody can write");
        assert!(matches!(refused, StoreError::Busy(_)), "{refused:?}");
        assert!(refused.to_string().contains("Another process holds it"), "{refused}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "the wait is bounded: {:?}", began.elapsed());
    assert!(db.store.user_of_session([0; 32], NOW).await.is_ok(), "reading goes on");
    let starting = open(&db.url).await.map(|_| ());
    assert!(matches!(starting, Err(StoreError::Busy(_))), "a start finds out too: {starting:?}");

    other.execute_batch("ROLLBACK").expect("it lets go");
    assert_eq!(db.store.user_of("local", "before", NOW).await.expect("a user"), before);
    db.store.user_of("local", "a", NOW).await.expect("writing goes on");
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM users").await, 2, "the refused writes left nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_found_again() {
    let server = Postgres::start();
    let url = server.fresh_database();
    let store = open(&url).await.expect("it opens");
    let user = store.user_of("local", "a", NOW).await.expect("a user");

    server.stop();
    let began = Instant::now();
    let refused = store.user_of("local", "b", NOW).await.expect_err("nobody is there");
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    assert!(refused.to_string().contains("DATABASE_URL"), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(20), "the wait is bounded: {:?}", began.elapsed());
    let starting = open(&url).await.map(|_| ());
    assert!(matches!(starting, Err(StoreError::Unavailable(_))), "a start finds out too: {starting:?}");

    server.start_again();
    assert_eq!(store.user_of("local", "a", NOW).await.expect("the same store goes on"), user, "and nothing is lost");
    store.user_of("local", "b", NOW).await.expect("writing goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_within_a_transaction_loses_only_that() {
    let server = std::sync::Arc::new(Postgres::start());
    let url = server.fresh_database();
    let store = open(&url).await.expect("it opens");
    let inside = std::sync::Arc::clone(&server);
    let cut: Result<u64, StoreError> = store
        .write(move |tx| {
            let sql = "INSERT INTO users (id, issuer, subject, created_at) VALUES ('x', 'local', 'x', 0)";
            let changed = tx.execute(store::Statement(sql), &[]);
            inside.stop();
            changed
        })
        .await;
    assert!(matches!(cut, Err(StoreError::Unavailable(_))), "{cut:?}");
    server.start_again();
    let left: i64 = store
        .read(|tx| tx.query_one(store::Statement("SELECT CAST(COUNT(*) AS BIGINT) FROM users"), &[])?.int(0))
        .await
        .unwrap_or_else(|error: StoreError| panic!("{error}"));
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_nowhere_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let no_database = folder.path().join("text");
    std::fs::write(&no_database, "this is no database, but it is long enough to look at ".repeat(100)).expect("a file");
    let good = Postgres::shared().fresh_database();
    let password = good.split(':').nth(2).and_then(|rest| rest.split('@').next()).expect("a password");

    let unavailable = [
        format!("sqlite:{}", folder.path().join("no/such/folder/x.db").display()),
        format!("sqlite:{}", no_database.display()),
        good.replace(password, "wrong"),
        format!("{good}_that_never_was"),
        "postgres://postgres:x@127.0.0.1:1/x".to_owned(),
    ];
    for url in unavailable {
        let refused = open(&url).await.map(|_| ()).expect_err("it leads nowhere");
        assert!(matches!(refused, StoreError::Unavailable(_)), "{url}: {refused:?}");
        assert!(!refused.to_string().contains(password), "a password must not stand in an error: {refused}");
    }
    for url in ["", "mysql://x", "sqlite:", "sqlite::memory:", "postgres://[", "/x.db"] {
        let refused = open(url).await.map(|_| ()).expect_err("it is no address");
        assert!(matches!(refused, StoreError::Address(_)), "{url}: {refused:?}");
    }
}

const CHILD: &str = "HEXWARD_STORE_CHILD";
const COMMITS: usize = 200;

/// What the test below starts and kills: commits for as long as it lives, and says each commit when it was answered.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "how this process knows that it is the child")]
async fn the_child_that_commits_until_it_is_killed() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let store = open(&url).await.expect("it opens");
    for number in 0..1_000_000_u32 {
        let user = store.user_of("child", &number.to_string(), Timestamp(0)).await.expect("a commit");
        println!("\ncommitted {number} {user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill() {
    let db = Db::sqlite().await;
    let mut child = Command::new(std::env::current_exe().expect("this test has a program"))
        .args(["--exact", "trouble::the_child_that_commits_until_it_is_killed", "--nocapture"])
        .env(CHILD, &db.url)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let lines = BufReader::new(child.stdout.take().expect("its output is a pipe")).lines().map_while(Result::ok);
    let mut committed: Vec<String> = Vec::new();
    for line in lines {
        committed.extend(line.strip_prefix("committed ").map(str::to_owned));
        if committed.len() == COMMITS {
            child.kill().expect("SIGKILL");
        }
    }
    child.wait().expect("it ends");
    assert!(committed.len() >= COMMITS, "the child said only {} commits", committed.len());
    for line in &committed {
        let (number, user) = line.split_once(' ').expect("a number and a user");
        let found = db.store.user_of("child", number, NOW).await.expect("a look");
        assert_eq!(found.to_string(), user, "commit {number} was answered and is lost");
    }
}

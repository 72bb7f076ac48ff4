//! Users and sessions.

use crate::support::{Db, NOW, at_once, on_both_engines};
use policy::Timestamp;
use std::collections::HashSet;

on_both_engines! {
    a_user_is_issuer_and_subject;
    the_first_sight_makes_one_user_under_concurrency;
    a_session_ends_when_idle;
    a_session_ends_when_it_is_old;
    another_token_opens_nothing;
    a_session_without_a_user_is_refused;
}

const MINUTE: i64 = 60;
const TOKEN: [u8; 32] = [1; 32];

async fn a_user_is_issuer_and_subject(db: Db) {
    let user = |issuer: &'static str, subject: &'static str| {
        let store = db.store.clone();
        async move { store.user_of(issuer, subject, NOW).await.expect("a user") }
    };
    let first = user("local", "a").await;
    assert_eq!(user("local", "a").await, first, "the same person at the second sight");
    assert_ne!(user("local", "b").await, first);
    assert_ne!(user("https://issuer.example", "a").await, first, "a subject belongs to its issuer");
    assert_ne!(user("locala", "").await, user("local", "a").await, "the two are never glued together");
    let hostile = user("' OR 1=1 --", "?1 $1 \"\u{1F980}").await;
    assert_eq!(user("' OR 1=1 --", "?1 $1 \"\u{1F980}").await, hostile);
}

async fn the_first_sight_makes_one_user_under_concurrency(db: Db) {
    let second = db.second().await;
    let users = at_once((0..50).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        async move { store.user_of("local", "everybody", NOW).await.expect("a user") }
    }));
    let different: HashSet<_> = users.await.into_iter().collect();
    assert_eq!(different.len(), 1);
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM users").await, 1);
}

async fn a_session_ends_when_idle(db: Db) {
    let user = db.user().await;
    db.store.open_session(TOKEN, user, NOW).await.expect("a session");
    let at = |minutes: i64| db.store.user_of_session(TOKEN, NOW.plus_secs(minutes * MINUTE));
    assert_eq!(at(29).await.expect("a look"), Some(user), "used within half an hour");
    assert_eq!(at(58).await.expect("a look"), Some(user), "each use begins a new half hour");
    assert_eq!(at(58 + 30).await.expect("a look"), None, "half an hour unused");
    assert_eq!(at(58 + 29).await.expect("a look"), Some(user), "a look at a dead moment did not touch it");
    assert_eq!(db.store.sweep_sessions(NOW.plus_secs(200 * MINUTE)).await.expect("a sweep"), 1);
    assert_eq!(at(59).await.expect("a look"), None, "what was swept is gone");
}

async fn a_session_ends_when_it_is_old(db: Db) {
    let user = db.user().await;
    db.store.open_session(TOKEN, user, NOW).await.expect("a session");
    let mut minutes = 0;
    while minutes < 12 * 60 - 20 {
        minutes += 20;
        let found = db.store.user_of_session(TOKEN, NOW.plus_secs(minutes * MINUTE)).await.expect("a look");
        assert_eq!(found, (minutes < 12 * 60).then_some(user), "after {minutes} minutes of constant use");
    }
    assert_eq!(db.store.user_of_session(TOKEN, NOW.plus_secs(12 * 60 * MINUTE)).await.expect("a look"), None);
}

async fn another_token_opens_nothing(db: Db) {
    let user = db.user().await;
    db.store.open_session(TOKEN, user, NOW).await.expect("a session");
    for wrong in [[2; 32], [0; 32]] {
        assert_eq!(db.store.user_of_session(wrong, NOW).await.expect("a look"), None);
    }
    assert!(db.store.open_session(TOKEN, user, NOW).await.is_err(), "a token is never given twice");
    assert_eq!(db.store.sweep_sessions(Timestamp(NOW.0 + 1)).await.expect("a sweep"), 0, "a live session is not swept");
}

async fn a_session_without_a_user_is_refused(db: Db) {
    let nobody = policy::UserId::random();
    assert!(db.store.open_session(TOKEN, nobody, NOW).await.is_err());
    assert_eq!(db.store.user_of_session(TOKEN, NOW).await.expect("a look"), None);
}

//! Rates: exact, whoever asks at the same time, and not forgotten by a restart.

use crate::support::{Db, NOW, at_once, on_both_engines};
use policy::{DenialCode, RateCheck, RateLimit, RateRefusal, Timestamp};
use std::time::Duration;
use store::{RateError, Rates, Store};

on_both_engines! {
    of_two_hundred_at_once_exactly_three_are_admitted;
    all_limits_or_none;
    a_restart_hands_out_no_new_burst;
    what_is_paid_off_is_forgotten;
}

fn limit(name: &str, limit: RateLimit) -> RateCheck {
    RateCheck { name: name.to_owned(), limit, weight_millis: 1000, code: DenialCode::RateUser }
}

/// So slow that nothing is paid off while a story is told.
const THREE: RateLimit = RateLimit::per_day(3);

async fn rates(store: &Store) -> Rates {
    Rates::open(store, NOW).await.expect("readable")
}

async fn refused(rates: &Rates, checks: Vec<RateCheck>, now: Timestamp) -> RateRefusal {
    match rates.admit(checks, now).await {
        Err(RateError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// PostgreSQL is asked by two gateways; on SQLite there is one, and its memory has no say in another's.
async fn of_two_hundred_at_once_exactly_three_are_admitted(db: Db) {
    let first = rates(&db.store).await;
    let is_shared = db.url.starts_with("postgres");
    let second = if is_shared { rates(&db.second().await).await } else { first.clone() };
    let admitted = at_once((0..200).map(|number| {
        let rates = if number % 2 == 0 { first.clone() } else { second.clone() };
        let checks =
            vec![limit("user:ada", THREE), limit(&format!("other:{number}"), THREE), limit("all", RateLimit::per_day(50))];
        async move { rates.admit(checks, NOW).await }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = admitted.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (3, 197), "exactly as many as fit");
    for refused in lost {
        assert!(matches!(&refused, Err(RateError::Refused(refusal)) if refusal.code == DenialCode::RateUser), "{refused:?}");
    }
    // Refused requests took nothing from the limit that had room: 47 of 50 are left.
    let left = at_once((0..100).map(|_| {
        let rates = second.clone();
        async move { rates.admit(vec![limit("all", RateLimit::per_day(50))], NOW).await.is_ok() }
    }))
    .await;
    assert_eq!(left.into_iter().filter(|admitted| *admitted).count(), 47);
}

async fn all_limits_or_none(db: Db) {
    let rates = rates(&db.store).await;
    let (a, b) = (limit("a", RateLimit::per_day(5)), limit("b", RateLimit::per_day(2)));
    for remaining in [1, 0] {
        let standing = rates.admit(vec![a.clone(), b.clone()], NOW).await.expect("room").expect("limits");
        assert_eq!((standing.limit, standing.remaining), (2, remaining), "the tightest");
    }
    for _ in 0..9 {
        let refusal = refused(&rates, vec![a.clone(), b.clone()], NOW).await;
        assert!((43_190..=43_200).contains(&refusal.retry_after_secs()), "half a day: {refusal:?}");
    }
    for remaining in [2, 1, 0] {
        let standing = rates.admit(vec![a.clone()], NOW).await.expect("room").expect("a limit");
        assert_eq!(standing.remaining, remaining, "only what was admitted counts");
    }
    refused(&rates, vec![a], NOW).await;
    assert!(rates.admit(Vec::new(), NOW).await.expect("nothing is limited").is_none());
}

async fn a_restart_hands_out_no_new_burst(db: Db) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let first = rates(&db.store).await;
    let keeping = tokio::spawn(first.clone().keep(|| NOW, async {
        let _ = stopped.await;
    }));
    for _ in 0..3 {
        first.admit(vec![limit("user:ada", THREE)], NOW).await.expect("within the burst");
    }
    // Also without an end in order: the copy is at most a second old.
    let kept = async || db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM rate_states WHERE name = 'user:ada'").await == 1;
    for _ in 0..100 {
        if kept().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(kept().await, "written within five seconds");
    let killed = rates(&db.second().await).await;
    refused(&killed, vec![limit("user:ada", THREE)], NOW).await;
    // In order: what was admitted last is written before it ends.
    first.admit(vec![limit("user:bob", RateLimit::per_day(1))], NOW).await.expect("new");
    drop(stop);
    keeping.await.expect("it ends");
    let restarted = rates(&db.second().await).await;
    refused(&restarted, vec![limit("user:bob", RateLimit::per_day(1))], NOW).await;
    restarted.admit(vec![limit("user:eve", THREE)], NOW).await.expect("others are not concerned");
}

async fn what_is_paid_off_is_forgotten(db: Db) {
    db.execute("INSERT INTO rate_states (name, state) VALUES ('old', 5)").await;
    let rates = rates(&db.store).await;
    rates.admit(vec![limit("old", RateLimit::per_day(1))], NOW).await.expect("what was owed is paid off");
    refused(&rates, vec![limit("old", RateLimit::per_day(1))], NOW).await;
}

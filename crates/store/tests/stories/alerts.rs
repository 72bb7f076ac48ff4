//! Budget alerts: each share is told once in a period, whoever crosses it and however many at once.

use crate::support::{Db, NOW, at_once, on_both_engines};
use policy::{Microusd, Timestamp};
use store::{BudgetAlert, Change};

on_both_engines! {
    two_hundred_at_once_tell_each_share_once;
    a_new_day_tells_anew;
    an_alert_and_its_audit_entry_stand_or_fall_together;
}

const LIMIT: Microusd = Microusd(1000);

/// The shares that were told, in order.
fn shares(alerts: impl IntoIterator<Item = BudgetAlert>) -> Vec<u8> {
    let mut shares: Vec<u8> = alerts.into_iter().map(|alert| alert.percent).collect();
    shares.sort_unstable();
    shares
}

async fn two_hundred_at_once_tell_each_share_once(db: Db) {
    let (elsewhere, mut changes) = (db.second().await, db.store.changes());
    // Each of them, of two gateways, saw the budget go from nothing to beyond its end.
    let told = at_once((0..200).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { elsewhere.clone() };
        async move { store.note_spending("global", 9, LIMIT, (Microusd::ZERO, Microusd(1200)), NOW).await.expect("noted") }
    }))
    .await;
    assert_eq!(shares(told.into_iter().flatten()), [50, 75, 90, 100]);
    assert_eq!(db.store.budget_alerts("global", 9).await.expect("a look"), [50, 75, 90, 100]);
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM audit_log WHERE kind = 'budget.alert'").await, 4);
    let mut heard = Vec::new();
    while let Ok(change) = changes.try_recv() {
        match change {
            Change::BudgetAlert(alert) => heard.push(alert),
            Change::App { .. } | Change::Undo { .. } | Change::Confirmation { .. } => panic!("nobody changed an app's data"),
        }
    }
    assert!(heard.len() <= 4 && heard.iter().all(|alert| (alert.limit, alert.spent) == (LIMIT, Microusd(1200))), "{heard:?}");
    let again = db.store.note_spending("global", 9, LIMIT, (Microusd::ZERO, Microusd(1200)), NOW).await.expect("noted");
    assert_eq!(again, Vec::new(), "also after a look at the account that was wrong");
}

async fn a_new_day_tells_anew(db: Db) {
    let midnight = Timestamp::of_utc_day(NOW.utc_day() + 1);
    let spend = |at: Timestamp, before, after| {
        let store = db.store.clone();
        async move {
            let change = (Microusd(before), Microusd(after));
            shares(store.note_spending("user:ada", at.utc_day(), LIMIT, change, at).await.expect("noted"))
        }
    };
    assert_eq!(spend(NOW, 0, 600).await, [50]);
    assert_eq!(spend(Timestamp(midnight.0 - 1), 600, 800).await, [75], "the last moment is of the old day");
    assert_eq!(spend(midnight, 0, 100).await, Vec::<u8>::new(), "the first moment has spent nothing yet");
    assert_eq!(spend(midnight, 100, 600).await, [50]);
    assert_eq!(spend(midnight, 500, 600).await, Vec::<u8>::new());
    let (old, new) = (NOW.utc_day(), midnight.utc_day());
    assert_eq!(db.store.budget_alerts("user:ada", old).await.expect("a look"), [50, 75]);
    assert_eq!(db.store.budget_alerts("user:ada", new).await.expect("a look"), [50]);
    assert_eq!(db.store.budget_alerts("user:bob", old).await.expect("a look"), Vec::<i64>::new(), "nobody else's");
}

async fn an_alert_and_its_audit_entry_stand_or_fall_together(db: Db) {
    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    let refused = db.store.note_spending("global", 9, LIMIT, (Microusd::ZERO, LIMIT), NOW).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(
        db.store.budget_alerts("global", 9).await.expect("a look"),
        Vec::<i64>::new(),
        "nothing was told that is not written down"
    );
}

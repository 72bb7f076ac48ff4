//! The ledger: reserve, then settle. No concurrency and no crash may overshoot a budget.

use crate::support::{Db, GATEWAY, NOW, at_once, budget, ceiling, model_permit, on_both_engines};
use policy::{BudgetLine, CallId, DenialCode, Microusd, RunId, Usage, UserId};
use store::{OpenError, OpenModelCall, Settlement, Store};

on_both_engines! {
    of_two_hundred_reservations_as_many_as_fit;
    the_limit_holds_at_every_moment;
    a_call_is_settled_once;
    each_outcome_charges_what_it_must;
    a_denied_call_leaves_no_trace;
    a_restart_charges_what_was_left_open;
    a_reservation_and_its_audit_entry_stand_or_fall_together;
}

const LIFETIME_SECS: i64 = 60;

/// One budget for everybody that has room for `calls` calls and a half.
fn shared(calls: i64) -> BudgetLine {
    budget("global", Microusd(ceiling().0 * calls + ceiling().0 / 2), DenialCode::BudgetDay)
}

async fn open(store: Store, lines: Vec<BudgetLine>) -> Result<OpenModelCall, OpenError> {
    let permit = model_permit(RunId::random(), UserId::random(), lines);
    store.open_model_call(permit, GATEWAY, NOW, LIFETIME_SECS).await
}

fn id(opened: Result<OpenModelCall, OpenError>) -> CallId {
    opened.expect("there is room").id()
}

async fn of_two_hundred_reservations_as_many_as_fit(db: Db) {
    const FIT: i64 = 37;
    let second = db.second().await;
    let opened = at_once((0..200).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        let own = budget(&format!("run:{number}"), Microusd::dollars(1), DenialCode::BudgetRun);
        open(store, vec![own, shared(FIT)])
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 37, "exactly as many as fit");
    for refused in lost {
        assert!(matches!(&refused, Err(OpenError::Denied(denial)) if denial.code == DenialCode::BudgetDay), "{refused:?}");
    }
    let (settled, reserved) = db.store.account("global", 0).await.expect("a look");
    assert_eq!((settled, reserved), (Microusd::ZERO, Microusd(ceiling().0 * FIT)));
    assert_eq!(db.store.open_model_calls().await.expect("a look"), FIT);
    let runs = db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM ledger_accounts WHERE scope <> 'global'").await;
    assert_eq!(runs, FIT, "a refused call took nothing from its other budget");
}

async fn the_limit_holds_at_every_moment(db: Db) {
    let limit = shared(5).limit;
    let watched = db.store.clone();
    let watcher = tokio::spawn(async move {
        for _ in 0..200 {
            let (settled, reserved) = watched.account("global", 0).await.expect("a look");
            assert!(settled.plus(reserved) <= limit, "{settled} settled and {reserved} reserved are over {limit}");
            tokio::task::yield_now().await;
        }
    });
    let cost = Microusd(ceiling().0 / 10);
    let charged = at_once((0..100).map(|_| {
        let store = db.store.clone();
        async move {
            let Ok(call) = open(store.clone(), vec![shared(5)]).await else { return None };
            let measured = Settlement::Measured { usage: Usage::default(), cost };
            store.settle_model_call(call.id(), measured, NOW).await.expect("a settlement")
        }
    }))
    .await;
    watcher.await.expect("the watcher saw nothing wrong");
    let made = i64::try_from(charged.iter().flatten().count()).expect("a small number");
    assert!(made >= 5, "settling makes room again: {made}");
    let (settled, reserved) = db.store.account("global", 0).await.expect("a look");
    assert_eq!((settled, reserved), (Microusd(cost.0 * made), Microusd::ZERO));
}

async fn a_call_is_settled_once(db: Db) {
    let call = id(open(db.store.clone(), vec![shared(3)]).await);
    let settled = at_once((1..=20).map(|number| {
        let store = db.store.clone();
        let measured = Settlement::Measured { usage: Usage::default(), cost: Microusd(number) };
        async move { store.settle_model_call(call, measured, NOW).await.expect("a second settlement is no error") }
    }))
    .await;
    let charged: Vec<Microusd> = settled.into_iter().flatten().collect();
    assert_eq!(charged.len(), 1, "one of twenty settles");
    assert_eq!(db.store.settle_model_call(call, Settlement::Unknown, NOW).await.expect("no error"), None);
    assert_eq!(db.store.settle_model_call(CallId::random(), Settlement::Unknown, NOW).await.expect("no error"), None);
    let account = db.store.account("global", 0).await.expect("a look");
    assert_eq!(Some(&account.0), charged.first());
    assert_eq!(account.1, Microusd::ZERO);
}

async fn each_outcome_charges_what_it_must(db: Db) {
    let measured = Settlement::Measured { usage: Usage { input: 5, output: 7, ..Usage::default() }, cost: Microusd(123) };
    let cases = [
        ("measured", measured, Microusd(123)),
        ("not_charged", Settlement::NotCharged { status: 529 }, Microusd::ZERO),
        ("unknown", Settlement::Unknown, ceiling()),
    ];
    for (scope, settlement, expected) in cases {
        let lines = vec![budget(scope, Microusd::dollars(1), DenialCode::BudgetRun)];
        let call = id(open(db.store.clone(), lines).await);
        assert_eq!(db.store.account(scope, 0).await.expect("a look"), (Microusd::ZERO, ceiling()), "{scope}");
        let charged = db.store.settle_model_call(call, settlement, NOW).await.expect("a settlement");
        assert_eq!(charged, Some(expected), "{scope}");
        assert_eq!(db.store.account(scope, 0).await.expect("a look"), (expected, Microusd::ZERO), "{scope}");
    }
    assert_eq!(db.store.open_model_calls().await.expect("a look"), 0);
}

async fn a_denied_call_leaves_no_trace(db: Db) {
    let poor = budget("run:poor", Microusd(ceiling().0 - 1), DenialCode::BudgetRun);
    let permit = model_permit(RunId::random(), UserId::random(), vec![shared(1), poor]);
    let run = permit.run();
    let refused = db.store.open_model_call(permit, GATEWAY, NOW, LIFETIME_SECS).await;
    assert!(matches!(&refused, Err(OpenError::Denied(denial)) if denial.code == DenialCode::BudgetRun), "{refused:?}");
    assert_eq!(db.store.account("global", 0).await.expect("a look"), (Microusd::ZERO, Microusd::ZERO));
    assert_eq!(db.store.open_model_calls().await.expect("a look"), 0);
    assert!(db.store.audit_of_run(run).await.expect("a look").is_empty());
}

async fn a_restart_charges_what_was_left_open(db: Db) {
    let ours = id(open(db.store.clone(), vec![shared(9)]).await);
    let elsewhere = model_permit(RunId::random(), UserId::random(), vec![shared(9)]);
    db.store.open_model_call(elsewhere, "gateway-2", NOW, LIFETIME_SECS).await.expect("there is room");

    let restarted = db.second().await;
    assert_eq!(restarted.sweep_model_calls(GATEWAY, NOW).await.expect("a sweep"), 1, "ours, not the other gateway's");
    assert_eq!(restarted.account("global", 0).await.expect("a look"), (ceiling(), ceiling()));
    assert_eq!(restarted.settle_model_call(ours, Settlement::NotCharged { status: 0 }, NOW).await.expect("no error"), None);
    assert_eq!(restarted.sweep_model_calls(GATEWAY, NOW).await.expect("a sweep"), 0);

    let late = NOW.plus_secs(LIFETIME_SECS);
    assert_eq!(restarted.sweep_model_calls(GATEWAY, late).await.expect("a sweep"), 1, "a dead gateway's, once expired");
    assert_eq!(restarted.account("global", 0).await.expect("a look"), (Microusd(ceiling().0 * 2), Microusd::ZERO));
    assert_eq!(restarted.open_model_calls().await.expect("a look"), 0);
}

async fn a_reservation_and_its_audit_entry_stand_or_fall_together(db: Db) {
    let opened = open(db.store.clone(), vec![shared(9)]).await.expect("there is room");
    let entries = db.store.audit_of_run(opened.permit().run()).await.expect("a look");
    assert_eq!(entries.len(), 1);
    assert!(entries.iter().all(|(kind, detail)| kind == "model_call.opened" && detail.contains(&opened.id().to_string())));

    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    let refused = open(db.store.clone(), vec![shared(9)]).await;
    assert!(matches!(refused, Err(OpenError::Store(_))), "what can't be recorded must not happen: {refused:?}");
    assert_eq!(db.store.account("global", 0).await.expect("a look"), (Microusd::ZERO, ceiling()), "only the first is reserved");
    assert_eq!(db.store.open_model_calls().await.expect("a look"), 1);
}

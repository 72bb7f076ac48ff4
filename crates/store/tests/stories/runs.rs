//! Runs: at most one is active in a conversation, and each ends once.

use crate::support::{Db, GATEWAY, NOW, at_once, budget, ceiling, model_permit, new_run, on_both_engines};
use policy::{DenialCode, Microusd};
use store::{BeginError, CallEnd, CallNotes, RunEnd, Settlement};

on_both_engines! {
    of_fifty_begins_one_wins;
    a_run_ends_once;
    a_run_left_by_a_former_life_is_ended;
    begin_and_audit_stand_or_fall_together;
}

fn finished() -> RunEnd {
    RunEnd { outcome: "finished", code: None, message: None, turns: 3 }
}

async fn of_fifty_begins_one_wins(db: Db) {
    let user = db.user().await;
    let conversation = db.conversation(user).await;
    let second = db.second().await;
    let begun = at_once((0..50).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        let run = new_run(user, conversation);
        async move { (run.run, store.begin_run(run, NOW).await) }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = begun.into_iter().partition(|(_, result)| result.is_ok());
    assert_eq!(won.len(), 1, "exactly one run begins");
    for (_, result) in &lost {
        assert!(matches!(result, Err(BeginError::Active)), "{result:?}");
    }
    let winner = won.first().expect("there is one").0;
    assert_eq!(db.store.active_run(conversation).await.expect("a look"), Some(winner.to_string()));
    let messages = db.store.messages_of(user, conversation).await.expect("a look").expect("theirs");
    assert_eq!(messages.len(), 1, "the losers' messages were not kept");
    for (run, _) in &lost {
        assert!(db.store.audit_of_run(*run).await.expect("a look").is_empty(), "a run that did not begin left a trace");
    }
    db.store.end_run(winner, finished(), NOW).await.expect("an end");
    db.store.begin_run(new_run(user, conversation), NOW).await.expect("after the end the next may begin");
}

async fn a_run_ends_once(db: Db) {
    let user = db.user().await;
    let new = new_run(user, db.conversation(user).await);
    let run = new.run;
    db.store.begin_run(new, NOW).await.expect("a run");
    let lines = vec![budget("run", Microusd::dollars(1), DenialCode::BudgetRun)];
    let purse = db.ledger(GATEWAY).await.purse(run, user);
    let call = purse.open(model_permit(run, user, lines), CallNotes::default(), NOW.plus_secs(60)).await.expect("a call");
    call.settle(Settlement::Unknown, CallEnd::default());
    purse.close().await.expect("it closes");

    assert_eq!(db.store.end_run(run, finished(), NOW).await.expect("an end"), ceiling());
    let stopped = RunEnd { outcome: "stopped", code: Some("run.stopped".to_owned()), message: None, turns: 9 };
    db.store.end_run(run, stopped, NOW).await.expect("a second end is no error");

    let row = db.store.run_of(user, run).await.expect("a look").expect("theirs");
    assert_eq!((row.state.as_str(), row.turns, row.cost, row.code), ("finished", 3, ceiling(), None));
    let kinds: Vec<String> = db.store.audit_of_run(run).await.expect("a look").into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["run.began", "slice.taken", "model_call.opened", "run.ended"], "each once, in order");
}

async fn a_run_left_by_a_former_life_is_ended(db: Db) {
    let user = db.user().await;
    let left = new_run(user, db.conversation(user).await);
    let mut elsewhere = new_run(user, db.conversation(user).await);
    elsewhere.gateway = "gateway-2".to_owned();
    for run in [&left, &elsewhere] {
        db.store.begin_run(run.clone(), NOW).await.expect("a run");
    }
    assert_eq!(db.store.sweep_runs(GATEWAY, NOW).await.expect("a sweep"), 1);
    let row = db.store.run_of(user, left.run).await.expect("a look").expect("theirs");
    assert_eq!((row.state.as_str(), row.code.as_deref()), ("failed", Some("gateway.restarted")));
    assert!(row.message.is_some_and(|message| message.contains("Send it again")));
    let other = db.store.run_of(user, elsewhere.run).await.expect("a look").expect("theirs");
    assert_eq!(other.state, "active", "another gateway's run goes on");
    assert_eq!(db.store.sweep_runs(GATEWAY, NOW).await.expect("a sweep"), 0);
}

async fn begin_and_audit_stand_or_fall_together(db: Db) {
    let user = db.user().await;
    let conversation = db.conversation(user).await;
    let new = new_run(user, conversation);
    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    let begun = db.store.begin_run(new.clone(), NOW).await;
    assert!(matches!(begun, Err(BeginError::Store(_))), "what can't be recorded must not happen: {begun:?}");
    assert!(db.store.run_of(user, new.run).await.expect("a look").is_none());
    assert!(db.store.messages_of(user, conversation).await.expect("a look").expect("theirs").is_empty());
    db.execute("ALTER TABLE audit_log_gone RENAME TO audit_log").await;
    db.store.begin_run(new, NOW).await.expect("and once it can, it may");
}

//! Confirmations: asked once, answered once, made once, and told to whom they concern.

use crate::support::{APP, Db, GATEWAY, NOW, at_once, manifest, new_run, on_both_engines, tool_question};
use policy::{
    ConfirmationFault, ConfirmationState, ConversationId, DenialCode, RunId, Timestamp, ToolListed, UserId, admit_confirmed,
};
use serde_json::Value;
use store::{AnswerError, Confirmation, ConfirmationEnd, NewConfirmation, OpenError, Store, ToolState};

on_both_engines! {
    a_yes_is_carried_out_once;
    two_answers_at_once_are_one;
    what_nobody_answers_expires_by_the_databases_clock;
    three_wait_for_a_person_and_no_fourth;
    what_belongs_to_somebody_else_does_not_exist;
    what_a_dead_gateway_left_is_never_repeated;
    who_was_told_that_it_waits_is_told_what_became_of_it;
    a_question_and_its_entry_stand_or_fall_together;
}

const SUMMARY: &str = "Deletes Aurora and 41 tiles below it.";

struct Story {
    user: UserId,
    run: RunId,
    conversation: ConversationId,
}

async fn begin(db: &Db) -> Story {
    let user = db.user().await;
    let conversation = db.conversation(user).await;
    let new = new_run(user, conversation);
    let run = new.run;
    db.store.begin_run(new, NOW).await.expect("a run");
    Story { user, run, conversation }
}

async fn try_ask(store: &Store, story: &Story, id: &str) -> Result<Confirmation, OpenError> {
    let new = NewConfirmation {
        question: tool_question(story.run, story.user),
        app: APP.to_owned(),
        tool_use_id: id.to_owned(),
        asked_by: None,
        arguments: "{\"path\":[2]}".to_owned(),
        summary: Some(SUMMARY.to_owned()),
        effect_digest: Some("abc".to_owned()),
        gateway: GATEWAY.to_owned(),
    };
    store.ask(new, NOW).await
}

async fn ask(db: &Db, story: &Story, id: &str) -> Confirmation {
    try_ask(&db.store, story, id).await.expect("it may be asked")
}

/// The moment at which somebody who saw it at once may say yes. The database's own clock goes on while the stories are told.
async fn readable(db: &Db) -> Timestamp {
    if db.url.starts_with("postgres") {
        tokio::time::sleep(std::time::Duration::from_millis(750)).await;
    }
    NOW.plus_micros(700_000)
}

async fn answer(db: &Db, story: &Story, row: &Confirmation, approve: bool, now: Timestamp) -> Result<Confirmation, AnswerError> {
    db.store.answer_confirmation(story.user, row.id, approve, GATEWAY, now).await
}

fn end(state: ConfirmationState) -> ConfirmationEnd {
    ConfirmationEnd { state, result: Some("{}".to_owned()), text: "It said so.".to_owned(), denial: None, undo: None }
}

async fn state(db: &Db, row: &Confirmation) -> ConfirmationState {
    db.store.confirmation(row.id).await.expect("a look").expect("it is there").state
}

async fn begin_call(store: &Store, row: &Confirmation) -> Result<store::OpenToolCall, OpenError> {
    let permit = admit_confirmed(row.call(), &manifest(), ToolListed::default()).expect("nothing has changed");
    store.begin_confirmed(row.id, permit, NOW).await
}

async fn a_yes_is_carried_out_once(db: Db) {
    let story = begin(&db).await;
    let row = ask(&db, &story, "toolu_1").await;
    assert_eq!(
        (row.state, row.summary.as_deref(), row.conversation),
        (ConfirmationState::Pending, Some(SUMMARY), Some(story.conversation))
    );
    let shown = db.store.pending_confirmations(story.user, NOW).await.expect("a look");
    assert_eq!(shown.iter().map(|row| row.id).collect::<Vec<_>>(), [row.id]);
    assert!(begin_call(&db.store, &row).await.is_err(), "nobody said yes");
    // Shown just now, by either clock.
    db.execute("UPDATE confirmations SET shown_at = created_at + 60000000").await;
    let early = answer(&db, &story, &row, true, NOW.plus_micros(60_699_999)).await;
    assert!(matches!(early, Err(AnswerError::Fault(ConfirmationFault::Early))), "{early:?}");
    db.execute("UPDATE confirmations SET shown_at = created_at").await;
    let now = readable(&db).await;
    let approved = answer(&db, &story, &row, true, now).await.expect("there was time to read");
    assert_eq!(approved.state, ConfirmationState::Approved);
    for approve in [true, false] {
        let again = answer(&db, &story, &row, approve, now).await;
        assert!(matches!(again, Err(AnswerError::Fault(ConfirmationFault::Decided(_)))), "{again:?}");
    }
    let open = begin_call(&db.store, &approved).await.expect("it begins");
    assert!(begin_call(&db.store, &approved).await.is_err(), "once");
    assert_eq!(state(&db, &row).await, ConfirmationState::Executing);
    db.store.settle_tool_call(open.id(), ToolState::Done, "{}".to_owned(), NOW).await.expect("a settlement");
    let done = db.store.end_confirmation(row.id, end(ConfirmationState::Done), NOW).await.expect("an end");
    assert_eq!((done.state, done.result.as_deref()), (ConfirmationState::Done, Some("{}")));
    db.store.end_confirmation(row.id, end(ConfirmationState::Failed), NOW).await.expect("a second end is no error");
    assert_eq!(state(&db, &row).await, ConfirmationState::Done, "and changes nothing");
    let calls = db.store.tool_calls_of(story.run).await.expect("a look");
    assert_eq!(calls, [("delete".to_owned(), "write".to_owned(), "done".to_owned())]);
    assert!(db.store.pending_confirmations(story.user, NOW).await.expect("a look").is_empty());
    assert!(
        matches!(try_ask(&db.store, &story, "toolu_1").await, Err(OpenError::Denied(denial)) if denial.code == DenialCode::ToolNotEmitted)
    );
    let told: Vec<String> = db.store.audit_of_run(story.run).await.expect("a look").into_iter().map(|(kind, _)| kind).collect();
    let expected =
        ["run.began", "confirmation.asked", "confirmation.ended", "tool_call.opened", "confirmation.ended", "confirmation.ended"];
    assert_eq!(told, expected);
}

async fn two_answers_at_once_are_one(db: Db) {
    let story = begin(&db).await;
    let (user, row, second) = (story.user, ask(&db, &story, "toolu_1").await, db.second().await);
    let now = readable(&db).await;
    let answers = at_once((0..20).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        let id = row.id;
        async move { store.answer_confirmation(user, id, true, GATEWAY, now).await }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "one yes counts");
    assert!(lost.iter().all(|lost| matches!(lost, Err(AnswerError::Fault(ConfirmationFault::Decided(_))))), "{lost:?}");
    let approved = won.into_iter().next().expect("one").expect("it was taken");
    let begun = at_once((0..20).map(|number| {
        let (store, approved) = (if number % 2 == 0 { db.store.clone() } else { second.clone() }, approved.clone());
        async move { begin_call(&store, &approved).await.is_ok() }
    }))
    .await;
    assert_eq!(begun.into_iter().filter(|begun| *begun).count(), 1, "and is carried out once");
    assert_eq!(db.store.tool_calls_of(story.run).await.expect("a look").len(), 1);
}

async fn what_nobody_answers_expires_by_the_databases_clock(db: Db) {
    let story = begin(&db).await;
    let row = ask(&db, &story, "toolu_1").await;
    // As if it had been asked five minutes ago by the database's own clock; a gateway's clock that is behind changes nothing there.
    db.execute("UPDATE confirmations SET expires_at = created_at - 1, created_at = created_at - 300000001").await;
    let late = answer(&db, &story, &row, true, NOW).await;
    assert!(matches!(late, Err(AnswerError::Fault(ConfirmationFault::Expired))), "{late:?}");
    assert_eq!(state(&db, &row).await, ConfirmationState::Expired);
    assert!(begin_call(&db.store, &row).await.is_err());
    let other = ask(&db, &story, "toolu_2").await;
    db.execute("UPDATE confirmations SET expires_at = created_at WHERE state = 'pending'").await;
    assert!(db.store.pending_confirmations(story.user, NOW).await.expect("a look").is_empty());
    assert_eq!(state(&db, &other).await, ConfirmationState::Expired);
    let third = ask(&db, &story, "toolu_3").await;
    db.execute("UPDATE confirmations SET expires_at = created_at WHERE state = 'pending'").await;
    assert_eq!(db.store.sweep_confirmations(NOW).await.expect("a sweep"), 1);
    assert_eq!(state(&db, &third).await, ConfirmationState::Expired);
    assert_eq!(db.store.sweep_confirmations(NOW).await.expect("a sweep"), 0);
}

async fn three_wait_for_a_person_and_no_fourth(db: Db) {
    let story = begin(&db).await;
    let second = db.second().await;
    let (user, run, conversation) = (story.user, story.run, story.conversation);
    let asked = at_once((0..12).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        async move { try_ask(&store, &Story { user, run, conversation }, &format!("toolu_{number}")).await }
    }))
    .await;
    let (rows, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(Result::is_ok);
    assert_eq!(rows.len(), 3);
    let full = |refused: &Result<Confirmation, OpenError>| matches!(refused, Err(OpenError::Denied(denial)) if denial.code == DenialCode::ConfirmationFull);
    assert!(refused.iter().all(full), "{refused:?}");
    let other = begin(&db).await;
    ask(&db, &other, "toolu_1").await;
    let first = rows.into_iter().next().expect("three").expect("it was asked");
    answer(&db, &story, &first, false, NOW).await.expect("a no needs no time");
    ask(&db, &story, "toolu_next").await;
    assert!(full(&try_ask(&db.store, &story, "toolu_after").await));
    // What is over makes room without anybody's doing.
    db.execute("UPDATE confirmations SET expires_at = created_at WHERE state = 'pending'").await;
    ask(&db, &story, "toolu_last").await;
}

async fn what_belongs_to_somebody_else_does_not_exist(db: Db) {
    let (story, other) = (begin(&db).await, begin(&db).await);
    let row = ask(&db, &story, "toolu_1").await;
    assert!(db.store.pending_confirmations(other.user, NOW).await.expect("a look").is_empty());
    let now = readable(&db).await;
    for approve in [true, false] {
        assert!(matches!(answer(&db, &other, &row, approve, now).await, Err(AnswerError::NotFound)));
    }
    assert_eq!(state(&db, &row).await, ConfirmationState::Pending);
    // A person who is gone takes their questions along.
    db.execute("DELETE FROM users").await;
    assert!(matches!(answer(&db, &story, &row, true, now).await, Err(AnswerError::NotFound)));
}

async fn what_a_dead_gateway_left_is_never_repeated(db: Db) {
    let story = begin(&db).await;
    let (pending, approved, lost) =
        (ask(&db, &story, "toolu_1").await, ask(&db, &story, "toolu_2").await, ask(&db, &story, "toolu_3").await);
    let now = readable(&db).await;
    answer(&db, &story, &approved, true, now).await.expect("a yes");
    let lost = answer(&db, &story, &lost, true, now).await.expect("a yes");
    begin_call(&db.store, &lost).await.expect("it begins");
    assert_eq!(
        db.store.recover_confirmations("gateway-2", NOW).await.expect("a look"),
        0,
        "another gateway's may still come out"
    );
    assert_eq!(db.store.recover_confirmations(GATEWAY, NOW).await.expect("a look"), 2);
    assert_eq!(state(&db, &pending).await, ConfirmationState::Pending, "a question survives");
    assert_eq!(state(&db, &approved).await, ConfirmationState::Failed, "nothing was done");
    assert_eq!(state(&db, &lost).await, ConfirmationState::Uncertain);
    assert!(begin_call(&db.store, &lost).await.is_err() && begin_call(&db.store, &approved).await.is_err());
    let calls = db.store.tool_calls_of(story.run).await.expect("a look");
    assert_eq!(calls, [("delete".to_owned(), "write".to_owned(), "uncertain".to_owned())]);
    let told = history(&db, &story).await;
    let states: Vec<Option<&str>> = told.iter().map(|row| row.pointer("/confirmation/state").and_then(Value::as_str)).collect();
    assert_eq!(states, [Some("failed"), Some("uncertain")]);
    answer(&db, &story, &pending, true, now).await.expect("and is answered after the restart");
    assert_eq!(db.store.recover_confirmations(GATEWAY, NOW).await.expect("a look"), 1);
}

/// What the conversation was told, beside the person's message.
async fn history(db: &Db, story: &Story) -> Vec<Value> {
    let rows = db.store.messages_of(story.user, story.conversation).await.expect("a look").expect("theirs");
    let tools = rows.into_iter().filter(|(role, _)| role == "tool");
    tools.map(|(_, content)| serde_json::from_str(&content).expect("JSON")).collect()
}

async fn who_was_told_that_it_waits_is_told_what_became_of_it(db: Db) {
    let story = begin(&db).await;
    let (late, in_time) = (ask(&db, &story, "toolu_1").await, ask(&db, &story, "toolu_2").await);
    let left = db.store.leave_confirmation(late.id).await.expect("a look");
    assert_eq!((left.state, left.late), (ConfirmationState::Pending, true));
    assert!(!db.store.told_since(story.conversation, Timestamp(0)).await.expect("a look"));
    answer(&db, &story, &in_time, false, NOW).await.expect("a no");
    assert_eq!(db.store.leave_confirmation(in_time.id).await.expect("a look").state, ConfirmationState::Denied);
    assert!(history(&db, &story).await.is_empty(), "whoever waited for it hears it");
    let now = readable(&db).await;
    let approved = answer(&db, &story, &late, true, now).await.expect("a yes");
    begin_call(&db.store, &approved).await.expect("it begins");
    db.store.end_confirmation(late.id, end(ConfirmationState::Done), NOW).await.expect("an end");
    let told = history(&db, &story).await;
    let [row] = told.as_slice() else { panic!("{told:?}") };
    for (at, value) in [
        ("/tool", Value::from("delete")),
        ("/ok", true.into()),
        ("/result", "It said so.".into()),
        ("/arguments/path/0", 2.into()),
        ("/confirmation/call_id", "toolu_1".into()),
        ("/confirmation/summary", SUMMARY.into()),
    ] {
        assert_eq!(row.pointer(at), Some(&value), "{at}");
    }
    assert!(db.store.told_since(story.conversation, Timestamp(0)).await.expect("a look"));
    assert!(!db.store.told_since(story.conversation, Timestamp(i64::MAX)).await.expect("a look"), "who came after it knows it");
}

async fn a_question_and_its_entry_stand_or_fall_together(db: Db) {
    let story = begin(&db).await;
    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    assert!(matches!(try_ask(&db.store, &story, "toolu_1").await, Err(OpenError::Store(_))));
    db.execute("ALTER TABLE audit_log_gone RENAME TO audit_log").await;
    let row = ask(&db, &story, "toolu_1").await;
    let now = readable(&db).await;
    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    assert!(answer(&db, &story, &row, true, now).await.is_err());
    assert_eq!(state(&db, &row).await, ConfirmationState::Pending, "what can't be written down is not taken");
    db.execute("ALTER TABLE audit_log_gone RENAME TO audit_log").await;
    answer(&db, &story, &row, true, now).await.expect("and then it is");
}

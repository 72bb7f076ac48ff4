//! The tool journal: an emission opens once, and what never came back is uncertain for ever.

use crate::support::{APP, Db, GATEWAY, NOW, at_once, new_run, on_both_engines, tool_permit};
use policy::{CallId, DenialCode, Manifest, RunId, UserId, admit_person};
use store::{OpenError, OpenToolCall, Statement, Store, ToolState, Tx};

on_both_engines! {
    the_same_emission_opens_once;
    a_call_that_never_came_back_is_uncertain;
    journal_and_audit_stand_or_fall_together;
    a_person_s_call_stands_under_its_own_id;
    a_person_s_read_is_written_down_once_and_whole;
}

async fn open(store: Store, run: RunId, tool_use_id: &str) -> Result<OpenToolCall, OpenError> {
    store.open_tool_call(tool_permit(run, UserId::random()), APP, tool_use_id, "{}".to_owned(), NOW).await
}

async fn the_same_emission_opens_once(db: Db) {
    let run = RunId::random();
    let second = db.second().await;
    let opened = at_once((0..30).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        async move { open(store, run, "toolu_1").await }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "one emission, one call");
    for refused in lost {
        assert!(matches!(&refused, Err(OpenError::Denied(denial)) if denial.code == DenialCode::ToolNotEmitted), "{refused:?}");
    }
    let first = won.into_iter().next().expect("there is one").expect("it was opened");
    db.store.settle_tool_call(first.id(), ToolState::Done, "{}".to_owned(), NOW).await.expect("a settlement");
    assert!(matches!(open(db.store.clone(), run, "toolu_1").await, Err(OpenError::Denied(_))), "also after it came back");
    open(db.store.clone(), run, "toolu_2").await.expect("another emission of the run");
    open(db.store.clone(), RunId::random(), "toolu_1").await.expect("another run");
    let audited = db.store.audit_of_run(run).await.expect("a look");
    assert_eq!(audited.len(), 2, "one entry for each call that opened, none for the refused");
}

async fn a_call_that_never_came_back_is_uncertain(db: Db) {
    let user = db.user().await;
    let new = new_run(user, db.conversation(user).await);
    let run = new.run;
    db.store.begin_run(new, NOW).await.expect("a run");
    let open_call = |name: &'static str| {
        let store = db.store.clone();
        async move { open(store, run, name).await.expect("it opens").id() }
    };
    let (done, failed, lost) = (open_call("toolu_1").await, open_call("toolu_2").await, open_call("toolu_3").await);
    let settle = |id: CallId, state: ToolState| db.store.settle_tool_call(id, state, "{}".to_owned(), NOW);
    settle(done, ToolState::Done).await.expect("a settlement");
    settle(failed, ToolState::Failed).await.expect("a settlement");

    assert_eq!(
        db.store.sweep_tool_calls("gateway-2", NOW).await.expect("a sweep"),
        0,
        "another gateway's calls may still come back"
    );
    assert_eq!(db.store.sweep_tool_calls(GATEWAY, NOW).await.expect("a sweep"), 1);
    settle(lost, ToolState::Done).await.expect("an answer that comes too late is no error");
    settle(done, ToolState::Failed).await.expect("nor is a second one");
    let states: Vec<String> = db.store.tool_calls_of(run).await.expect("a look").into_iter().map(|(_, _, state)| state).collect();
    assert_eq!(states, ["done", "failed", "uncertain"]);
}

async fn journal_and_audit_stand_or_fall_together(db: Db) {
    let run = RunId::random();
    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    assert!(matches!(open(db.store.clone(), run, "toolu_1").await, Err(OpenError::Store(_))));
    assert!(db.store.tool_calls_of(run).await.expect("a look").is_empty());
    db.execute("ALTER TABLE audit_log_gone RENAME TO audit_log").await;
    open(db.store.clone(), run, "toolu_1").await.expect("the emission was not used up");
}

async fn a_person_s_call_stands_under_its_own_id(db: Db) {
    let user = db.user().await;
    let manifest = Manifest::parse(
        "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[people.bring]\neffect='write'",
    )
    .expect("a manifest");
    let open = |arguments: String, now| {
        let (store, manifest) = (db.store.clone(), manifest.clone());
        async move {
            let permit = admit_person(user, "bring", [7; 32], &manifest).expect("it is listed");
            store.open_person_call(permit, APP, &arguments, now).await.expect("it opens")
        }
    };
    let (first, large) = (open("{}".to_owned(), NOW).await, open("x".repeat(100_000), NOW).await);
    assert_ne!(first.id(), large.id());
    assert_eq!((first.permit().user(), first.permit().tool()), (user, "bring"));
    db.store.settle_tool_call(first.id(), ToolState::Done, String::new(), NOW).await.expect("a settlement");
    const LISTED: Statement = Statement(
        "SELECT id, run_id, user_id, effect, state, CAST(LENGTH(arguments) AS BIGINT) FROM tool_calls ORDER BY opened_at, id",
    );
    let listed = db.store.read(|tx: &mut dyn Tx| tx.query(LISTED, &[])).await.expect("a look");
    for row in &listed {
        assert_eq!((row.text(0).expect("id"), row.text(2).expect("user")), (row.text(1).expect("run"), user.to_string()));
        assert!(row.int(5).expect("a length") < 200, "a document is known by its digest");
    }
    assert_eq!(listed.len(), 2);
    // What never came back is uncertain, after a while, and nothing else is.
    assert_eq!(db.store.sweep_person_calls(NOW).await.expect("a sweep"), 0, "it may still come back");
    assert_eq!(db.store.sweep_person_calls(NOW.plus_secs(601)).await.expect("a sweep"), 1);
    assert_eq!(db.store.sweep_tool_calls(GATEWAY, NOW).await.expect("a sweep"), 0);
}

async fn a_person_s_read_is_written_down_once_and_whole(db: Db) {
    let user = db.user().await;
    let manifest = Manifest::parse(
        "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[people.see]\neffect='read'\n\
         [people.bring]\neffect='write'",
    )
    .expect("a manifest");
    let permit = |tool: &str| admit_person(user, tool, [7; 32], &manifest).expect("it is listed");
    assert!(db.store.begin_person_read(permit("bring"), NOW).is_err(), "a change is written down before it leaves");
    const ROWS: Statement =
        Statement("SELECT id, run_id, effect, state, opened_at, settled_at FROM tool_calls ORDER BY opened_at, id");
    const AUDITED: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'person_call.opened'");
    let rows = async |statement: Statement| db.store.read(move |tx: &mut dyn Tx| tx.query(statement, &[])).await.expect("a look");
    let begin = || db.store.begin_person_read(permit("see"), NOW).expect("it reads");
    let (read, lost) = (begin(), begin());
    assert!(rows(ROWS).await.is_empty(), "nothing is written before it came back");
    let id = read.id().to_string();
    let done = (ToolState::Done, String::new());
    db.store.end_person_read(read, APP, "{}", done.clone(), NOW.plus_secs(1)).await.expect("a commit");
    let listed = rows(ROWS).await;
    let [row] = listed.as_slice() else { panic!("{listed:?}") };
    let texts: Vec<String> = (0..4).map(|at| row.text(at).expect("text")).collect();
    assert_eq!(texts, [id.as_str(), id.as_str(), "read", "done"]);
    assert_eq!((row.int(4).expect("opened"), row.int(5).expect("settled")), (NOW.0, NOW.plus_secs(1).0));
    assert_eq!(rows(AUDITED).await.len(), 1);
    // Journal and audit stand or fall together.
    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    assert!(db.store.end_person_read(lost, APP, "{}", done, NOW).await.is_err());
    assert_eq!(rows(ROWS).await.len(), 1);
}

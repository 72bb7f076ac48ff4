//! Keys for tools: a person's own, and those of single requests of agents elsewhere.

use crate::support::{APP, Db, GATEWAY, NOW, at_once, on_both_engines, tool_permit};
use policy::{
    ClientView, KeyId, KeyPurpose, KeyScope, Manifest, RunId, ToolListed, ToolPermit, ToolRequest, ToolVerdict, UserId,
    admit_client_tool, key_digest,
};
use store::{
    CLIENT_KEYS_MAX, ClientKeyError, ClientWindow, KeyRow, KeySource, NewClientKey, NewClientSession, NewKey, SERVICE_ISSUER,
    Store, ToolState,
};

on_both_engines! {
    a_person_has_keys_of_their_own_and_not_endlessly_many;
    a_session_ends_the_one_before_it;
    sessions_opened_at_once_leave_one;
    what_a_key_made_ends_with_it;
    sessions_are_forgotten_when_they_are_long_over;
    calls_of_a_window_that_never_came_back_are_uncertain;
    a_read_is_answered_from_the_journal_and_a_write_is_none;
    a_read_keeps_its_name_and_no_other_row_takes_it;
    a_read_survives_the_end_of_its_gateway_and_nobody_s_outlives_their_erasure;
}

fn scope() -> KeyScope {
    KeyScope { app: Some(APP.to_owned()), ..KeyScope::default() }
}

fn new(token: &str, user: UserId) -> NewClientKey {
    let digest = key_digest(token.as_bytes());
    NewClientKey { digest, user, name: "desk".to_owned(), scope: scope(), expires_at: NOW.plus_secs(100) }
}

async fn service(db: &Db, name: &str) -> KeyRow {
    let new = NewKey {
        digest: key_digest(name.as_bytes()),
        principal: name.to_owned(),
        name: name.to_owned(),
        scope: KeyScope { sessions: true, ..KeyScope::default() },
        source: KeySource::Made,
        expires_at: None,
    };
    db.store.create_key(new, NOW).await.expect("a key")
}

fn session(token: &str, made_by: KeyId, subject: &str, agent: &str) -> NewClientSession {
    NewClientSession {
        digest: key_digest(token.as_bytes()),
        made_by,
        subject: subject.to_owned(),
        agent: agent.to_owned(),
        scope: scope(),
        expires_at: NOW.plus_secs(600),
    }
}

async fn open(store: &Store, new: NewClientSession) -> KeyRow {
    store.open_client_session(new, NOW).await.expect("a session")
}

async fn live(db: &Db, token: &str) -> bool {
    let row = db.store.key_of(key_digest(token.as_bytes())).await.expect("a look");
    row.is_some_and(|row| row.is_live(NOW))
}

async fn a_person_has_keys_of_their_own_and_not_endlessly_many(db: Db) {
    let (ada, bob) = (db.user().await, db.user().await);
    let kept = db.store.create_client_key(new("0", ada), NOW).await.expect("a key");
    assert_eq!((kept.purpose, kept.user, kept.principal.clone()), (KeyPurpose::Mcp, ada, ada.to_string()));
    assert_eq!(db.store.key_of(kept.digest).await.expect("a look"), Some(kept.clone()));
    for number in 1..CLIENT_KEYS_MAX {
        db.store.create_client_key(new(&number.to_string(), ada), NOW).await.expect("a key");
    }
    let more = db.store.create_client_key(new("more", ada), NOW).await;
    assert!(matches!(more, Err(ClientKeyError::TooMany)), "{more:?}");
    db.store.create_client_key(new("his", bob), NOW).await.expect("another's are their own");
    let nobody = db.store.create_client_key(new("nobody", UserId::random()), NOW).await;
    assert!(matches!(nobody, Err(ClientKeyError::NoUser)), "{nobody:?}");
    assert!(!db.store.revoke_client_key(bob, kept.id, NOW).await.expect("a try"), "what is another's can't be ended");
    assert!(db.store.revoke_client_key(ada, kept.id, NOW).await.expect("revoked"));
    assert!(!db.store.revoke_client_key(ada, kept.id, NOW).await.expect("a try"));
    db.store.create_client_key(new("more", ada), NOW).await.expect("room again");
    let (hers, his) = (db.store.client_keys_of(ada).await.expect("a look"), db.store.client_keys_of(bob).await.expect("a look"));
    assert_eq!((hers.len(), his.len()), (21, 1));
    let (_, of_model) = db.store.model_keys().await.expect("a look");
    assert!(of_model.is_empty(), "none of them opens the model");
    let twice = db.store.create_client_key(new("his", ada), NOW).await;
    assert!(twice.is_err(), "a token is one key's");
    let service = service(&db, "shop").await;
    assert!(
        !db.store.revoke_client_key(service.user, service.id, NOW).await.expect("a try"),
        "nor is a service's key a person's"
    );
}

async fn a_session_ends_the_one_before_it(db: Db) {
    let (shop, rival) = (service(&db, "shop").await, service(&db, "rival").await);
    let first = open(&db.store, session("1", shop.id, "alice", "a")).await;
    let beside = open(&db.store, session("2", shop.id, "alice", "b")).await;
    let other = open(&db.store, session("3", rival.id, "alice", "a")).await;
    assert_eq!((first.purpose, first.generation, first.made_by), (KeyPurpose::McpSession, 1, Some(shop.id)));
    assert_eq!(first.user, beside.user);
    assert_ne!(first.user, other.user, "users of another service are others");
    let user = db.store.user_of(&format!("{SERVICE_ISSUER}shop"), "alice", NOW).await.expect("a user");
    assert_eq!(first.user, user);
    let second = open(&db.store, session("4", shop.id, "alice", "a")).await;
    assert_eq!(second.generation, 2);
    assert!(!live(&db, "1").await && live(&db, "2").await && live(&db, "3").await && live(&db, "4").await);
    assert!(!db.store.end_client_session(rival.user, second.id, NOW).await.expect("a try"), "another's is none");
    assert!(!db.store.end_client_session(shop.user, shop.id, NOW).await.expect("a try"), "a service's own key is no session");
    assert!(db.store.end_client_session(shop.user, second.id, NOW).await.expect("ended"));
    assert!(!live(&db, "4").await && live(&db, "2").await);
}

async fn sessions_opened_at_once_leave_one(db: Db) {
    let shop = service(&db, "shop").await;
    let second = db.second().await;
    let opened = at_once((0..12).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        let made_by = shop.id;
        async move { store.open_client_session(session(&format!("t{number}"), made_by, "alice", "a"), NOW).await.is_ok() }
    }))
    .await;
    assert!(opened.into_iter().all(|opened| opened));
    let alive = "SELECT CAST(COUNT(*) AS BIGINT) FROM caller_keys WHERE purpose = 'mcp-session' AND revoked_at IS NULL";
    assert_eq!(db.count(alive).await, 1, "whoever came last");
    assert_eq!(
        db.count("SELECT CAST(COUNT(DISTINCT generation) AS BIGINT) FROM caller_keys WHERE purpose = 'mcp-session'").await,
        12
    );
}

async fn what_a_key_made_ends_with_it(db: Db) {
    let shop = service(&db, "shop").await;
    open(&db.store, session("1", shop.id, "alice", "a")).await;
    assert!(db.store.revoke_key(shop.id, NOW, NOW).await.expect("revoked"));
    assert!(!live(&db, "1").await);
    let after = db.store.open_client_session(session("2", shop.id, "alice", "a"), NOW).await;
    assert!(matches!(after, Err(ClientKeyError::Ended)), "a dead key makes none: {after:?}");
    let nobody = db.store.open_client_session(session("3", KeyId::random(), "alice", "a"), NOW).await;
    assert!(matches!(nobody, Err(ClientKeyError::Ended)), "{nobody:?}");
}

async fn sessions_are_forgotten_when_they_are_long_over(db: Db) {
    let (shop, ada) = (service(&db, "shop").await, db.user().await);
    open(&db.store, session("1", shop.id, "alice", "a")).await;
    db.store.create_client_key(new("hers", ada), NOW).await.expect("a key");
    assert_eq!(db.store.sweep_client_sessions(NOW.plus_secs(3600)).await.expect("a sweep"), 0);
    assert_eq!(db.store.sweep_client_sessions(NOW.plus_secs(25 * 3600)).await.expect("a sweep"), 1);
    assert_eq!(db.store.keys().await.expect("a look").1.len(), 2, "a person's key stays, to be shown as what it was");
}

async fn calls_of_a_window_that_never_came_back_are_uncertain(db: Db) {
    let (user, id) = (db.user().await, RunId::random());
    let window = ClientWindow { id, key: KeyId::random(), user, app: APP.to_owned(), gateway: GATEWAY.to_owned() };
    db.store.open_client_window(window.clone(), NOW).await.expect("a window");
    db.store.open_client_window(window, NOW).await.expect("the same window");
    assert_eq!(db.store.audit_of_run(id).await.expect("a look").len(), 1, "it begins once");
    let call = async |name: &str| {
        db.store.open_tool_call(tool_permit(id, user), APP, name, "{}".to_owned(), NOW).await.expect("it opens").id()
    };
    let (done, _lost) = (call("client_1").await, call("client_2").await);
    db.store.settle_tool_call(done, ToolState::Done, "{}".to_owned(), NOW).await.expect("a settlement");
    assert_eq!(db.store.sweep_tool_calls("gateway-2", NOW).await.expect("a sweep"), 0, "another gateway's");
    assert_eq!(db.store.sweep_tool_calls(GATEWAY, NOW).await.expect("a sweep"), 1);
}

fn read_permit(window: RunId, user: UserId) -> ToolPermit {
    let manifest =
        "id='demo'\ntitle='D'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='d'\nserver='builtin'\n[tools.look]\neffect='read'";
    let manifest = Manifest::parse(manifest).expect("a good manifest");
    let request = ToolRequest {
        tool: "look".to_owned(),
        arguments_digest: [9; 32],
        emitted: false,
        honest: false,
        listed: ToolListed::default(),
        ask_for_writes: true,
        strange_argument: None,
    };
    match admit_client_tool(request, &manifest, ClientView { window, user, scope: &scope() }).expect("it only reads") {
        ToolVerdict::Permit(permit) => permit,
        ToolVerdict::Confirm(question) => panic!("a read needs no question: {question:?}"),
    }
}

async fn a_read_is_answered_from_the_journal_and_a_write_is_none(db: Db) {
    let (user, window) = (db.user().await, RunId::random());
    let ledger = db.ledger(GATEWAY).await;
    let begin = |permit, said: &str| ledger.begin_read(permit, APP, None, said.to_owned(), NOW);
    assert!(begin(tool_permit(window, user), "{}").is_err(), "a write is opened first");
    let reading = begin(read_permit(window, user), r#"{"at":"the mill"}"#).expect("a read begins");
    assert_eq!((reading.tool(), reading.user()), ("look", user));
    let open = reading.open().expect("it is written down");
    assert!(db.store.tool_calls_of(window).await.expect("a look").is_empty(), "nobody waits for the database");
    let lasting = begin(read_permit(window, user), "{}").expect("it begins").open().expect("it is written down");
    ledger.flush().await.expect("moved");
    let states = async || {
        let calls = db.store.tool_calls_of(window).await.expect("a look");
        calls.into_iter().map(|(_, _, state)| state).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["open", "open"]);
    open.settle(ToolState::Done, "There is a mill.".to_owned(), NOW).expect("written down");
    lasting.settle(ToolState::Failed, "There is none.".to_owned(), NOW).expect("written down");
    let whole = begin(read_permit(window, user), "{}").expect("it begins").open().expect("it is written down");
    whole.settle(ToolState::Uncertain, "Nobody knows.".to_owned(), NOW).expect("written down");
    ledger.close().await.expect("moved");
    assert_eq!(states().await, ["done", "failed", "uncertain"]);
    assert_eq!(db.store.audit_of_run(window).await.expect("a look").len(), 3, "each is in the audit log once");
    assert!(!store::journal_is_sealed(&db.journals(GATEWAY)).expect("read"), "an orderly end leaves nothing of people's");
}

/// An agent's, which the model named.
async fn a_read_keeps_its_name_and_no_other_row_takes_it(db: Db) {
    let (user, run) = (db.user().await, RunId::random());
    let ledger = db.ledger(GATEWAY).await;
    let begin = |name| {
        let reading = ledger.begin_read(read_permit(run, user), APP, Some(name), "{}".to_owned(), NOW).expect("a read begins");
        reading.open().expect("it is written down")
    };
    begin("toolu_1").settle(ToolState::Done, "There is a mill.".to_owned(), NOW).expect("written down");
    let late = begin("toolu_2");
    ledger.flush().await.expect("moved");
    late.settle(ToolState::Done, "There is a well.".to_owned(), NOW).expect("written down");
    // No gateway lets that come so far; nothing else is held up by it, and the audit log has it.
    let again = begin("toolu_1");
    ledger.flush().await.expect("moved");
    again.settle(ToolState::Failed, "There is none.".to_owned(), NOW).expect("written down");
    ledger.close().await.expect("moved");
    let named = "SELECT CAST(COUNT(*) AS BIGINT) FROM tool_calls WHERE tool_use_id IN ('toolu_1', 'toolu_2') AND state = 'done'";
    assert_eq!((db.count(named).await, db.store.tool_calls_of(run).await.expect("a look").len()), (2, 2));
    assert_eq!(db.store.audit_of_run(run).await.expect("a look").len(), 3);
}

async fn a_read_survives_the_end_of_its_gateway_and_nobody_s_outlives_their_erasure(db: Db) {
    let (user, gone, window) = (db.user().await, db.user().await, RunId::random());
    let ledger = db.ledger(GATEWAY).await;
    let begin = |user, said: &str| {
        let reading = ledger.begin_read(read_permit(window, user), APP, None, said.to_owned(), NOW).expect("a read begins");
        reading.open().expect("it is written down")
    };
    let done = begin(user, r#"{"at":"the mill"}"#);
    done.settle(ToolState::Done, "There is a mill.".to_owned(), NOW).expect("written down");
    let (_lost, _erased) = (begin(user, r#"{"at":"the mill"}"#), begin(gone, r#"{"at":"the mill"}"#));
    let files = std::fs::read_dir(db.journals(GATEWAY)).expect("a folder").map(|file| file.expect("a file").path());
    let kept: Vec<u8> = files.flat_map(|path| std::fs::read(path).expect("it can be read")).collect();
    assert!(kept.windows(5).any(|part| part == b"look\t") && !kept.windows(4).any(|part| part == b"mill"), "it is sealed");
    assert!(store::journal_is_sealed(&db.journals(GATEWAY)).expect("read"));
    db.store.erase_user(gone, None, NOW).await.expect("asked").expect("erased");
    // Killed: nothing was moved. Its next life does that, and so does one that is killed in the middle of it.
    drop(ledger);
    for _ in 0..2 {
        drop(db.ledger(GATEWAY).await);
        let calls = db.store.tool_calls_of(window).await.expect("a look");
        let states: Vec<&str> = calls.iter().map(|(_, _, state)| state.as_str()).collect();
        assert_eq!(states, ["done", "open"], "what was erased does not come back");
    }
    let of_gone = "SELECT CAST(COUNT(*) AS BIGINT) FROM tool_calls WHERE arguments LIKE '%mill%' OR result LIKE '%mill%'";
    assert_eq!(db.count(of_gone).await, 0, "sealed there too");
}

//! What back ends of hosts show and begin: each assertion, request and link counts once.

use crate::support::{APP, Db, NOW, at_once, new_run, on_both_engines};
use policy::{ConfirmationId, ConversationId, KeyId, KeyPurpose, KeyScope, RunId, Timestamp, UserId, key_digest};
use store::{
    BeginError, BeginOnceError, ConfirmationLink, DeleteConversationError, KeyRow, KeySource, NewKey, Once, RunEnd, Shown, Ticket,
};

on_both_engines! {
    an_assertion_belongs_to_its_key_and_is_spent_once;
    of_fifty_alike_one_begins_a_run;
    a_request_is_known_for_a_day;
    a_ticket_lives_as_long_as_its_key_and_its_run;
    a_link_is_opened_once;
    a_conversation_is_deleted_when_nothing_goes_on_in_it;
}

fn shown(id: u8, token: u8, key: KeyId) -> Shown {
    Shown { host: "shop".to_owned(), id_digest: [id; 32], token_digest: [token; 32], key, expires_at: NOW.plus_secs(300) }
}

async fn user(db: &Db) -> (UserId, ConversationId) {
    let user = db.store.user_of("hexward:host:shop", "ada", NOW).await.expect("a user");
    (user, db.store.create_conversation(user, APP, NOW).await.expect("a conversation"))
}

async fn key(db: &Db, token: &str) -> KeyRow {
    let new = NewKey {
        digest: key_digest(token.as_bytes()),
        principal: "shop".to_owned(),
        name: "backend".to_owned(),
        scope: KeyScope::default(),
        source: KeySource::Made,
        expires_at: None,
    };
    db.store.create_service_key(new, NOW).await.expect("a key")
}

async fn an_assertion_belongs_to_its_key_and_is_spent_once(db: Db) {
    let db = &db;
    let (one, other) = (KeyId::random(), KeyId::random());
    let show = async |shown: Shown| db.store.show_assertion(shown).await.expect("an answer");
    assert!(show(shown(1, 1, one)).await && show(shown(1, 1, one)).await, "reading may be repeated");
    assert!(!show(shown(1, 2, one)).await && !show(shown(1, 1, other)).await);
    assert!(show(Shown { host: "forum".to_owned(), ..shown(1, 2, other) }).await, "another host's ids are its own");
    let store = db.store.clone();
    let spent = at_once((0..20).map(|_| {
        let store = store.clone();
        async move { store.spend_assertion(shown(1, 1, one)).await.expect("an answer") }
    }));
    assert_eq!(spent.await.into_iter().filter(|spent| *spent).count(), 1);
    assert!(show(shown(1, 1, one)).await, "reading goes on");
    assert!(db.store.spend_assertion(shown(2, 1, one)).await.expect("an answer"), "another id is another one");
    db.store.sweep_hosts(NOW.plus_secs(300)).await.expect("a sweep");
    assert!(!db.store.spend_assertion(shown(1, 1, one)).await.expect("an answer"), "not forgotten at once");
    db.store.sweep_hosts(NOW.plus_secs(901)).await.expect("a sweep");
    assert!(db.store.spend_assertion(shown(1, 1, one)).await.expect("an answer"));
}

fn once(request: u8) -> Once {
    Once { key_digest: [9; 32], request_digest: [request; 32] }
}

async fn of_fifty_alike_one_begins_a_run(db: Db) {
    let db = &db;
    let (user, conversation) = user(db).await;
    let store = db.store.clone();
    let begun = at_once((0..50).map(|_| {
        let (store, new) = (store.clone(), new_run(user, conversation));
        let run = new.run;
        async move {
            match store.begin_run_once(new, once(1), NOW).await {
                Ok(()) => (run, true),
                Err(BeginOnceError::Before(before)) => (before, false),
                Err(error) => panic!("{error}"),
            }
        }
    }))
    .await;
    let first = begun.iter().find(|(_, began)| *began).expect("one began").0;
    assert_eq!(begun.iter().filter(|(_, began)| *began).count(), 1);
    assert!(begun.iter().all(|(run, _)| *run == first));
    let other = db.store.begin_run_once(new_run(user, conversation), once(2), NOW).await;
    assert!(matches!(other, Err(BeginOnceError::Other)), "{other:?}");
    // What did not begin leaves its key free.
    let free = Once { key_digest: [8; 32], request_digest: [1; 32] };
    let active = db.store.begin_run_once(new_run(user, conversation), free.clone(), NOW).await;
    assert!(matches!(active, Err(BeginOnceError::Begin(BeginError::Active))), "{active:?}");
    assert_eq!(db.store.begun_before(user, free, NOW).await.expect("an answer"), None);
}

async fn a_request_is_known_for_a_day(db: Db) {
    let db = &db;
    let (user, conversation) = user(db).await;
    let new = new_run(user, conversation);
    let run = new.run;
    db.store.begin_run_once(new, once(1), NOW).await.expect("begun");
    let known = async |at: Timestamp| db.store.begun_before(user, once(1), at).await.expect("an answer");
    assert_eq!(known(NOW.plus_secs(86_399)).await, Some(run));
    assert_eq!(known(NOW.plus_secs(86_400)).await, None);
    let stranger = UserId::random();
    assert_eq!(db.store.begun_before(stranger, once(1), NOW).await.expect("an answer"), None, "a key is its user's own");
}

async fn a_ticket_lives_as_long_as_its_key_and_its_run(db: Db) {
    let db = &db;
    let (user, conversation) = user(db).await;
    let key = key(db, "one").await;
    assert_eq!((key.purpose, key.principal.as_str()), (KeyPurpose::Service, "shop"));
    let new = new_run(user, conversation);
    let run = new.run;
    db.store.begin_run(new, NOW).await.expect("begun");
    let ticket = Ticket { run, user, host: "shop".to_owned(), expires_at: NOW.plus_secs(600) };
    db.store.create_ticket([1; 32], ticket.clone(), key.id).await.expect("a ticket");
    let found = async |at: Timestamp| db.store.ticket_of([1; 32], at).await.expect("an answer");
    assert_eq!(found(NOW.plus_secs(599)).await, Some(ticket.clone()));
    assert_eq!(found(NOW.plus_secs(600)).await, None, "its time is over");
    let end = RunEnd { outcome: "finished", code: None, message: None, turns: 1 };
    db.store.end_run(run, end, NOW.plus_secs(10)).await.expect("ended");
    assert_eq!(found(NOW.plus_secs(129)).await, Some(ticket), "the events are kept for two minutes");
    assert_eq!(found(NOW.plus_secs(130)).await, None);
    db.store.revoke_key(key.id, NOW.plus_secs(20), NOW).await.expect("revoked");
    assert_eq!(found(NOW.plus_secs(20)).await, None, "it dies with its key");
}

async fn a_link_is_opened_once(db: Db) {
    let db = &db;
    let (user, _) = user(db).await;
    let link = ConfirmationLink {
        confirmation: ConfirmationId::random(),
        user,
        host: "shop".to_owned(),
        return_to: Some("https://shop.example/".to_owned()),
        expires_at: NOW.plus_secs(300),
    };
    db.store.create_confirmation_link([1; 32], link.clone()).await.expect("a link");
    assert!(!db.store.open_confirmation_link([1; 32], [2; 32], NOW.plus_secs(300)).await.expect("an answer"), "too late");
    assert!(!db.store.open_confirmation_link([3; 32], [2; 32], NOW).await.expect("an answer"), "there is none");
    assert!(db.store.open_confirmation_link([1; 32], [2; 32], NOW).await.expect("an answer"));
    assert!(!db.store.open_confirmation_link([1; 32], [4; 32], NOW).await.expect("an answer"), "once");
    assert_eq!(db.store.confirmation_link_of([2; 32], NOW).await.expect("an answer"), Some(link));
    assert_eq!(db.store.confirmation_link_of([1; 32], NOW).await.expect("an answer"), None, "a code is no session");
    assert_eq!(db.store.confirmation_link_of([2; 32], NOW.plus_secs(300)).await.expect("an answer"), None);
}

async fn a_conversation_is_deleted_when_nothing_goes_on_in_it(db: Db) {
    let db = &db;
    let (user, conversation) = user(db).await;
    let new = new_run(user, conversation);
    let run: RunId = new.run;
    db.store.begin_run(new, NOW).await.expect("begun");
    let active = db.store.delete_conversation(user, conversation).await;
    assert!(matches!(active, Err(DeleteConversationError::Active)), "{active:?}");
    let end = RunEnd { outcome: "finished", code: None, message: None, turns: 1 };
    db.store.end_run(run, end, NOW).await.expect("ended");
    assert!(!db.store.delete_conversation(UserId::random(), conversation).await.expect("an answer"), "another's");
    assert!(db.store.run_shown(user, run).await.expect("an answer").is_some());
    assert!(db.store.delete_conversation(user, conversation).await.expect("an answer"));
    assert!(db.store.messages_of(user, conversation).await.expect("an answer").is_none());
    assert!(db.store.run_shown(user, run).await.expect("an answer").is_none());
    assert!(!db.store.delete_conversation(user, conversation).await.expect("an answer"), "once");
}

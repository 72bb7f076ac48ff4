//! Conversations: what belongs to another does not exist.

use crate::support::{APP, Db, NOW, at_once, new_run, on_both_engines};
use policy::{ConversationId, RunId};
use store::{BeginError, Role};

on_both_engines! {
    what_belongs_to_another_does_not_exist;
    messages_keep_their_order;
    messages_that_come_at_once_are_all_kept;
    the_newest_conversation_comes_first;
}

async fn what_belongs_to_another_does_not_exist(db: Db) {
    let (owner, other) = (db.user().await, db.user().await);
    let theirs = db.conversation(owner).await;
    let run = new_run(owner, theirs);
    db.store.begin_run(run.clone(), NOW).await.expect("the owner begins a run");

    assert!(db.store.conversations_of(other, APP).await.expect("a list").is_empty());
    assert!(db.store.messages_of(other, theirs).await.expect("a look").is_none());
    assert!(db.store.run_of(other, run.run).await.expect("a look").is_none());
    let intruding = db.store.begin_run(new_run(other, theirs), NOW).await;
    assert!(matches!(intruding, Err(BeginError::NoConversation)), "{intruding:?}");

    assert_eq!(db.store.conversations_of(owner, APP).await.expect("a list").len(), 1);
    assert!(db.store.conversations_of(owner, "another-app").await.expect("a list").is_empty());
    assert_eq!(db.store.messages_of(owner, theirs).await.expect("a look").map(|messages| messages.len()), Some(1));
    assert!(db.store.messages_of(owner, ConversationId::random()).await.expect("a look").is_none(), "one that never was");
}

async fn messages_keep_their_order(db: Db) {
    let user = db.user().await;
    let id = db.conversation(user).await;
    let run = RunId::random();
    for number in 0..30 {
        let role = if number % 2 == 0 { Role::User } else { Role::Assistant };
        let text = format!("{{\"text\":\"{number} \u{1F980} ' \\u0000 ?1 $1\"}}");
        // The clock may stand still or go back; the order must not.
        db.store.append_message(id, run, role, text, NOW.plus_secs(-number)).await.expect("an append");
    }
    let messages = db.store.messages_of(user, id).await.expect("a look").expect("it is theirs");
    assert_eq!(messages.len(), 30);
    for (number, (role, text)) in messages.iter().enumerate() {
        assert_eq!(role, if number % 2 == 0 { "user" } else { "assistant" });
        assert_eq!(*text, format!("{{\"text\":\"{number} \u{1F980} ' \\u0000 ?1 $1\"}}"));
    }
}

/// So many that, on PostgreSQL, who loses to the crowd would lose again until it gives up.
const AT_ONCE: u32 = 300;

async fn messages_that_come_at_once_are_all_kept(db: Db) {
    let user = db.user().await;
    let id = db.conversation(user).await;
    let run = RunId::random();
    let appended = at_once((0..AT_ONCE).map(|number| {
        let store = db.store.clone();
        async move { store.append_message(id, run, Role::Tool, number.to_string(), NOW).await }
    }));
    for result in appended.await {
        result.expect("every message is kept");
    }
    let messages = db.store.messages_of(user, id).await.expect("a look").expect("it is theirs");
    let mut numbers: Vec<u32> = messages.iter().map(|(_, text)| text.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..AT_ONCE).collect::<Vec<_>>());
}

async fn the_newest_conversation_comes_first(db: Db) {
    let user = db.user().await;
    let (old, new) = (db.conversation(user).await, db.conversation(user).await);
    db.store.begin_run(new_run(user, new), NOW.plus_secs(1)).await.expect("a run");
    db.store.begin_run(new_run(user, old), NOW.plus_secs(2)).await.expect("a run");
    let lines = db.store.conversations_of(user, APP).await.expect("a list");
    let ids: Vec<&str> = lines.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids, [old.to_string(), new.to_string()]);
    assert!(lines.iter().all(|line| line.title == "Create a tile called Aurora"), "{lines:?}");
}

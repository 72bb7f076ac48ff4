//! Definitions of tools: the first is taken, another one is kept beside it until somebody agrees to exactly that.

use crate::support::{APP, Db, NOW, at_once, on_both_engines};
use store::{NewDefinition, Sighting, Store};

on_both_engines! {
    a_definition_that_changes_is_held_until_it_is_agreed_to;
    first_sight_is_one_whoever_looks;
}

fn new(tool: &str, number: u8) -> NewDefinition {
    NewDefinition { tool: tool.to_owned(), digest: [number; 32], text: format!("{{\"n\":{number}}}") }
}

async fn note(store: &Store, own: bool, number: u8) -> Sighting {
    *store.note_definitions(APP, own, vec![new("look", number)], NOW).await.expect("a look").first().expect("one")
}

async fn a_definition_that_changes_is_held_until_it_is_agreed_to(db: Db) {
    let store = &db.store;
    assert_eq!((note(store, false, 1).await, note(store, false, 1).await), (Sighting::First, Sighting::Known));
    assert_eq!((note(store, false, 2).await, note(store, false, 2).await), (Sighting::Changed, Sighting::Held));
    assert_eq!(note(store, false, 3).await, Sighting::Changed, "and yet another one");
    assert!(!store.agree_to_definition(APP, "look", [2; 32], NOW).await.expect("a look"), "nobody agrees to what is gone");
    assert!(!store.agree_to_definition(APP, "other", [3; 32], NOW).await.expect("a look"));
    assert_eq!(note(store, false, 3).await, Sighting::Held, "nothing was agreed to");
    assert!(store.agree_to_definition(APP, "look", [3; 32], NOW).await.expect("a look"));
    assert_eq!((note(store, false, 3).await, note(store, false, 1).await), (Sighting::Known, Sighting::Changed));
    let kinds = "SELECT CAST(COUNT(*) AS BIGINT) FROM audit_log WHERE kind = 'tool.held'";
    assert_eq!(db.count(kinds).await, 3, "each change once");
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM audit_log WHERE kind = 'tool.reviewed'").await, 1);

    assert_eq!(note(store, true, 9).await, Sighting::Known, "our own come from this program");
    let rows = store.definitions().await.expect("a look");
    assert!(matches!(rows.as_slice(), [row] if row.digest == [9; 32] && row.held.is_none()), "{rows:?}");
}

async fn first_sight_is_one_whoever_looks(db: Db) {
    let second = db.second().await;
    let seen = at_once((0..20_u8).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        async move { note(&store, false, number % 4).await }
    }))
    .await;
    assert_eq!(seen.iter().filter(|sighting| **sighting == Sighting::First).count(), 1, "{seen:?}");
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM tool_definitions").await, 1);
}

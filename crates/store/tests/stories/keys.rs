//! Keys of remote callers.

use crate::support::{Db, NOW, at_once, on_both_engines};
use policy::{KeyId, KeyScope, Microusd, Timestamp, key_digest};
use store::{CALLER_ISSUER, KeyRow, KeySource, NewKey};

on_both_engines! {
    a_key_is_found_by_its_digest_alone;
    keys_of_one_principal_share_one_user;
    an_end_only_comes_nearer;
    a_rotation_is_one_commit;
    the_environment_s_secret_is_kept_once_and_stays_dead;
    every_change_raises_the_version_but_use_does_not;
    gateways_that_start_at_once_keep_one_secret;
    a_scope_of_a_newer_version_opens_nothing;
}

fn new(token: &str, principal: &str) -> NewKey {
    NewKey {
        digest: key_digest(token.as_bytes()),
        principal: principal.to_owned(),
        name: "shop-1".to_owned(),
        scope: KeyScope { day_limit_microusd: Some(Microusd(7)), ..KeyScope::default() },
        source: KeySource::Made,
        expires_at: Some(NOW.plus_secs(100)),
    }
}

async fn create(db: &Db, token: &str, principal: &str) -> KeyRow {
    db.store.create_key(new(token, principal), NOW).await.expect("a key")
}

async fn only(db: &Db) -> KeyRow {
    let (_, mut rows) = db.store.keys().await.expect("a look");
    assert_eq!(rows.len(), 1);
    rows.pop().expect("one")
}

async fn a_key_is_found_by_its_digest_alone(db: Db) {
    let made = create(&db, "token", "shop").await;
    let found = |token: &'static str| db.store.key_of(key_digest(token.as_bytes()));
    assert_eq!(found("token").await.expect("a look"), Some(made.clone()));
    for wrong in ["", "Token", "token ", "' OR 1=1 --", "?1", "$1", "%", "x'); DROP TABLE caller_keys; --"] {
        assert_eq!(found(wrong).await.expect("a look"), None, "{wrong}");
    }
    let hostile = NewKey { name: "'; DROP TABLE users; --".to_owned(), ..new("other", "?1 $1 ' \u{1F980}") };
    let kept = db.store.create_key(hostile.clone(), NOW).await.expect("a key");
    assert_eq!((kept.name, kept.principal), (hostile.name, hostile.principal), "names are data too");
    assert_eq!(made.scope, Some(new("token", "shop").scope));
    assert!(made.is_live(NOW.plus_secs(99)) && !made.is_live(NOW.plus_secs(100)), "it expires");
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM audit_log WHERE kind = 'key.created'").await, 2);
}

async fn keys_of_one_principal_share_one_user(db: Db) {
    let (one, two, other) = (create(&db, "1", "shop").await, create(&db, "2", "shop").await, create(&db, "3", "another").await);
    assert_eq!(one.user, two.user);
    assert_ne!(one.user, other.user);
    assert_ne!(one.id, two.id);
    assert_eq!(db.store.user_of(CALLER_ISSUER, "shop", NOW).await.expect("a user"), one.user, "a user like all");
    assert_ne!(db.store.user_of("local", "shop", NOW).await.expect("a user"), one.user, "but of an issuer of its own");
}

async fn an_end_only_comes_nearer(db: Db) {
    let key = create(&db, "token", "shop").await;
    let revoke = |secs: i64| db.store.revoke_key(key.id, NOW.plus_secs(secs), NOW);
    assert!(revoke(50).await.expect("revoked"));
    assert!(!revoke(60).await.expect("a try"), "nobody gets more time");
    assert!(!revoke(50).await.expect("a try"));
    assert!(revoke(10).await.expect("revoked"));
    let kept = only(&db).await;
    assert!(kept.is_live(NOW.plus_secs(9)) && !kept.is_live(NOW.plus_secs(10)));
    assert!(!db.store.revoke_key(KeyId::random(), NOW, NOW).await.expect("a try"), "what is not there can't be ended");
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM audit_log WHERE kind = 'key.revoked'").await, 2);
}

async fn a_rotation_is_one_commit(db: Db) {
    let old = create(&db, "old", "shop").await;
    let end = NOW.plus_secs(60);
    let fresh = db.store.rotate_keys(new("new", "shop"), vec![old.id], end, NOW).await.expect("rotated");
    assert_eq!(fresh.user, old.user, "the same principal");
    let (_, rows) = db.store.keys().await.expect("a look");
    let live = |at: Timestamp| rows.iter().filter(|row| row.is_live(at)).map(|row| row.id).collect::<Vec<_>>();
    assert_eq!((live(NOW.plus_secs(59)), live(end)), (vec![old.id, fresh.id], vec![fresh.id]));
}

async fn the_environment_s_secret_is_kept_once_and_stays_dead(db: Db) {
    let secret = || NewKey { source: KeySource::Environment, expires_at: None, ..new("secret", "internal") };
    let first = db.store.create_key(secret(), NOW).await.expect("kept");
    let again = db.store.create_key(secret(), NOW.plus_secs(5)).await.expect("kept");
    assert_eq!(first, again, "a restart changes nothing");
    assert!(db.store.revoke_key(first.id, NOW, NOW).await.expect("revoked"));
    let after = db.store.create_key(secret(), NOW.plus_secs(10)).await.expect("looked at");
    assert_eq!((after.id, after.revoked_at), (first.id, Some(NOW)), "a restart does not bring it back");
}

async fn every_change_raises_the_version_but_use_does_not(db: Db) {
    let version = async || db.store.keys_version().await.expect("a version");
    let begin = version().await;
    let key = create(&db, "token", "shop").await;
    assert_eq!(version().await, begin + 1);
    create(&db, "token", "shop").await;
    db.store.touch_keys(vec![(key.id, NOW.plus_secs(9)), (KeyId::random(), NOW)]).await.expect("touched");
    assert_eq!(only(&db).await.used_at, Some(NOW.plus_secs(9)));
    db.store.touch_keys(vec![(key.id, NOW.plus_secs(3))]).await.expect("touched");
    assert_eq!(only(&db).await.used_at, Some(NOW.plus_secs(9)), "another gateway's later use stands");
    assert_eq!(version().await, begin + 1, "neither says anything new");
    db.second().await.revoke_key(key.id, NOW, NOW).await.expect("revoked");
    assert_eq!((version().await, db.store.keys().await.expect("a look").0), (begin + 2, begin + 2));
}

async fn gateways_that_start_at_once_keep_one_secret(db: Db) {
    let second = db.second().await;
    let secret = || NewKey { source: KeySource::Environment, ..new("secret", "internal") };
    let kept = at_once((0..20).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        async move { store.create_key(secret(), NOW).await.expect("kept").id }
    }))
    .await;
    assert!(kept.iter().all(|id| Some(id) == kept.first()));
    only(&db).await;
}

async fn a_scope_of_a_newer_version_opens_nothing(db: Db) {
    create(&db, "token", "shop").await;
    db.execute("UPDATE caller_keys SET scope = '{\"calls_max\":1}'").await;
    assert_eq!(only(&db).await.scope, None, "a limit that is not understood is not taken for none");
}

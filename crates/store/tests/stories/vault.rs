//! What people write is sealed at rest: in its own place, under its user's key, which is wrapped by a key outside the database.

use crate::support::{APP, Db, NOW, new_run, on_both_engines, tool_permit};
use policy::{RunId, UserId};
use store::{CORE, Masters, NewRun, Place, Role, Statement, Store, StoreError, ToolState, Value};
use tempfile::TempDir;

on_both_engines! {
    nothing_that_was_written_stands_there;
    a_value_opens_in_its_own_place_alone;
    what_is_not_sealed_is_refused;
    a_rotation_can_stop_half_way;
    a_lost_master_key_is_said;
    an_erased_user_is_gone_and_stays_so;
    what_an_older_version_left_is_sealed_once;
    without_a_master_key_nothing_is_written;
}

const CANARY: &str = "a canary sings in the mine";

/// Every text of the tables that hold what people wrote.
const TEXTS: &str = "SELECT title FROM conversations UNION ALL SELECT content FROM messages UNION ALL SELECT COALESCE(message, '') FROM runs \
    UNION ALL SELECT arguments FROM tool_calls UNION ALL SELECT COALESCE(result, '') FROM tool_calls \
    UNION ALL SELECT COALESCE(arguments, '') FROM tool_undos UNION ALL SELECT arguments FROM confirmations";

async fn texts(store: &Store) -> Vec<String> {
    let read =
        store.read(|tx| tx.query(Statement(TEXTS), &[])?.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, StoreError>>());
    read.await.expect("texts")
}

async fn set(store: &Store, sql: &'static str, params: Vec<Value>) {
    store.write(move |tx| tx.execute(Statement(sql), &params)).await.expect("a direct change");
}

/// A run whose message is the canary, and a call with it.
async fn told(db: &Db, user: UserId) -> NewRun {
    let conversation = db.conversation(user).await;
    let run = NewRun { message: policy::UserMessage::parse(CANARY).expect("a message"), ..new_run(user, conversation) };
    db.store.begin_run(run.clone(), NOW).await.expect("a run");
    let open = db.store.open_tool_call(tool_permit(run.run, user), APP, "toolu_1", format!("{{\"a\":\"{CANARY}\"}}"), NOW).await;
    let open = open.expect("a call");
    db.store.settle_tool_call(open.id(), ToolState::Done, format!("\"{CANARY}\""), NOW).await.expect("settled");
    run
}

fn sealed<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Sealed(why)) => why.to_owned(),
        other => panic!("{other:?} is not refused as sealed"),
    }
}

async fn nothing_that_was_written_stands_there(db: Db) {
    let user = db.user().await;
    let run = told(&db, user).await;
    let kept = texts(&db.store).await;
    assert!(kept.len() >= 5, "{kept:?}");
    assert!(kept.iter().all(|text| !text.contains("canary") && (text.is_empty() || text.starts_with('1'))), "{kept:?}");
    let messages = db.store.messages_of(user, run.conversation).await.expect("read").expect("theirs");
    assert!(messages.first().expect("one").1.contains(CANARY));
    assert_eq!(db.store.conversations_of(user, APP).await.expect("read").first().expect("one").title, CANARY);
    // What is said twice is not the same twice.
    db.store.append_message(run.conversation, run.run, Role::Assistant, "same".to_owned(), NOW).await.expect("said");
    db.store.append_message(run.conversation, run.run, Role::Assistant, "same".to_owned(), NOW).await.expect("said");
    let mut kept = texts(&db.store).await;
    let all = kept.len();
    kept.sort();
    kept.dedup();
    assert!(kept.len() >= all - 1, "only empty texts are alike");
}

async fn a_value_opens_in_its_own_place_alone(db: Db) {
    let (alice, bob) = (db.user().await, db.user().await);
    let (hers, his) = (told(&db, alice).await, told(&db, bob).await);
    db.store.append_message(hers.conversation, hers.run, Role::User, "second".to_owned(), NOW).await.expect("said");
    let read = |user, run: &NewRun| db.store.messages_of(user, run.conversation);
    let content = "SELECT content FROM messages WHERE conversation_id = ?1 AND seq = ?2";
    let of = |run: &NewRun, seq: i64| {
        let params = [Value::from(run.conversation.to_string()), seq.into()];
        db.store.read(move |tx| tx.query_one(Statement(content), &params)?.text(0))
    };
    let put = "UPDATE messages SET content = ?3 WHERE conversation_id = ?1 AND seq = ?2";
    let at = |run: &NewRun, text: &str| vec![Value::from(run.conversation.to_string()), 1.into(), text.into()];
    let (first, second, of_bob) =
        (of(&hers, 1).await.expect("one"), of(&hers, 2).await.expect("two"), of(&his, 1).await.expect("bob's"));
    let title = "SELECT title FROM conversations WHERE id = ?1";
    let (conversation, title) = (Value::from(hers.conversation.to_string()), Statement(title));
    let title =
        db.store.read(move |tx| tx.query_one(title, std::slice::from_ref(&conversation))?.text(0)).await.expect("a title");
    let mut changed = first.clone();
    let last = changed.pop().expect("a character");
    changed.push(if last == 'A' { 'Q' } else { 'A' });
    let cut: String = first.chars().take(10).collect();
    // Of another row, another user, another column; changed, cut, empty.
    for wrong in [&second, &of_bob, &title, &changed, &cut, &"1".to_owned()] {
        set(&db.store, put, at(&hers, wrong)).await;
        assert!(sealed(read(alice, &hers).await).contains("another place"));
    }
    set(&db.store, put, at(&hers, &first)).await;
    assert!(read(alice, &hers).await.expect("as it was").is_some());
    // A key that is put in another's place opens nothing, not even that it is one.
    let steal = "UPDATE user_keys SET wrapped = (SELECT k.wrapped FROM user_keys k WHERE k.user_id = ?2) WHERE user_id = ?1";
    set(&db.store, steal, vec![alice.to_string().into(), bob.to_string().into()]).await;
    assert!(sealed(read(alice, &hers).await).contains("not as it was written"));
    assert!(read(bob, &his).await.is_ok());
}

async fn what_is_not_sealed_is_refused(db: Db) {
    let user = db.user().await;
    let run = told(&db, user).await;
    db.execute("UPDATE messages SET content = '{\"text\":\"put there\"}'").await;
    assert!(sealed(db.store.messages_of(user, run.conversation).await).contains("not sealed"));
    // No start seals what somebody put there since.
    let again = db.second().await;
    assert!(sealed(again.messages_of(user, run.conversation).await).contains("not sealed"));
}

async fn a_rotation_can_stop_half_way(db: Db) {
    let (alice, bob) = (db.user().await, db.user().await);
    let (hers, his) = (told(&db, alice).await, told(&db, bob).await);
    let (old, new) = ("11".repeat(31) + "22", "33".repeat(31) + "44");
    let reach = |current: &str, old: &str| {
        let masters = Masters::parse(current, old);
        let url = db.url.clone();
        async move { Store::open(&url, &[&CORE]).await?.with_masters(masters?).await }
    };
    // From the file's key to one of the environment's.
    let file = std::fs::read_to_string(db.folder().join("master-keys")).expect("the file");
    let store = reach(&old, file.trim()).await.expect("opened");
    assert_eq!(store.rewrap().await.expect("wrapped"), 2);
    let store = reach(&new, &old).await.expect("opened");
    // One of the two was wrapped when it stopped: both are read, and what is left is done by the next.
    let key = "SELECT master, wrapped FROM user_keys WHERE user_id = ?1";
    let before = store.read(move |tx| {
        let row = tx.query_one(Statement(key), &[bob.to_string().into()])?;
        Ok::<_, StoreError>((row.text(0)?, row.blob(1)?))
    });
    let (master, wrapped) = before.await.expect("bob's key");
    assert_eq!(store.rewrap().await.expect("wrapped"), 2);
    let put = "UPDATE user_keys SET master = ?2, wrapped = ?3 WHERE user_id = ?1";
    set(&store, put, vec![bob.to_string().into(), master.into(), wrapped.into()]).await;
    assert!(store.messages_of(alice, hers.conversation).await.expect("new").is_some());
    assert!(store.messages_of(bob, his.conversation).await.expect("old").is_some());
    let refused = reach(&new, "").await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("another one") && !refused.contains(&old), "without the former key nothing starts: {refused}");
    assert_eq!((store.rewrap().await.expect("the rest"), store.rewrap().await.expect("nothing")), (1, 0));
    let only_new = reach(&new, "").await.expect("opened");
    assert!(only_new.messages_of(bob, his.conversation).await.expect("new").is_some());
    assert!(only_new.messages_of(alice, hers.conversation).await.expect("new").is_some());
}

async fn a_lost_master_key_is_said(db: Db) {
    let user = db.user().await;
    let open =
        async || Store::open(&db.url, &[&CORE]).await.expect("opened").with_masters(Masters::passing().expect("a key")).await;
    let other = open().await.expect("nothing is sealed yet");
    let run = told(&db, user).await;
    assert!(open().await.err().is_some_and(|error| error.to_string().contains("sealed by another one")));
    assert!(sealed(other.messages_of(user, run.conversation).await).contains("does not have"));
    assert!(sealed(other.rewrap().await).contains("does not have"));
    // Nor is anything written beside it that the right key could not read.
    assert!(
        sealed(other.append_message(run.conversation, run.run, Role::User, "x".to_owned(), NOW).await).contains("does not have")
    );
    assert!(db.store.messages_of(user, run.conversation).await.expect("the right one").is_some());
}

async fn an_erased_user_is_gone_and_stays_so(db: Db) {
    let (alice, bob) = (db.user().await, db.user().await);
    let (hers, his) = (told(&db, alice).await, told(&db, bob).await);
    db.store.open_session([7; 32], alice, NOW).await.expect("a session");
    assert!(db.store.erase_user(alice, None, NOW).await.expect("asked").is_none(), "not while a run goes on");
    assert!(db.store.messages_of(alice, hers.conversation).await.expect("hers").is_some(), "and nothing of it");
    db.execute("UPDATE runs SET state = 'finished'").await;
    let erased = db.store.erase_user(alice, None, NOW).await.expect("asked").expect("erased");
    assert_eq!((erased.get("conversations"), erased.get("sessions")), (Some(&1), Some(&1)), "{erased:?}");
    let of_alice = alice.to_string();
    for (table, column) in [
        ("conversations", "user_id"),
        ("runs", "user_id"),
        ("tool_calls", "user_id"),
        ("confirmations", "user_id"),
        ("sessions", "user_id"),
        ("user_keys", "user_id"),
        ("users", "id"),
    ] {
        let sql: &'static str =
            Box::leak(format!("SELECT CAST(COUNT(*) AS BIGINT) FROM {table} WHERE {column} = ?1").into_boxed_str());
        let of_alice = of_alice.clone();
        let left = db.store.read(move |tx| tx.query_one(Statement(sql), &[(&of_alice).into()])?.int(0)).await.expect("counted");
        assert_eq!(left, 0, "{table}");
    }
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM messages").await, 1, "bob's");
    assert!(db.store.messages_of(alice, hers.conversation).await.expect("nothing").is_none());
    assert_eq!(db.store.user_of_session([7; 32], NOW).await.expect("read"), None);
    // Nothing that is still under way writes for her again, and nothing of bob's is touched.
    let permit = tool_permit(RunId::random(), alice);
    assert!(db.store.open_tool_call(permit, APP, "toolu_2", "{}".to_owned(), NOW).await.is_err());
    assert!(sealed(db.store.create_conversation(alice, APP, NOW).await.map(|_| ())).contains("erased"));
    assert!(db.store.messages_of(bob, his.conversation).await.expect("bob's").is_some());
    assert_eq!(db.store.erasures().await.expect("listed"), [(alice, NOW)]);
    let again = db.store.erase_user(alice, None, NOW.plus_secs(9)).await.expect("asked").expect("once more");
    assert!(again.values().all(|count| *count == 0), "{again:?}");
    assert_eq!(db.store.erasures().await.expect("listed"), [(alice, NOW)], "the first time stays");
    assert!(db.store.was_erased(alice).await.expect("read") && !db.store.was_erased(bob).await.expect("read"));
}

async fn what_an_older_version_left_is_sealed_once(db: Db) {
    let user = db.user().await;
    let run = told(&db, user).await;
    db.execute("UPDATE messages SET content = '{\"text\":\"of before\"}'").await;
    db.execute("UPDATE conversations SET title = 'of before'").await;
    db.execute("UPDATE tool_calls SET arguments = '{}', result = NULL").await;
    db.execute("DELETE FROM user_keys").await;
    db.execute("DELETE FROM sealed_core").await;
    let store = db.second().await;
    let messages = store.messages_of(user, run.conversation).await.expect("sealed").expect("theirs");
    assert_eq!(messages.first().expect("one").1, "{\"text\":\"of before\"}");
    assert!(texts(&store).await.iter().all(|text| text.is_empty() || text.starts_with('1')));
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM sealed_core").await, 1);
}

async fn without_a_master_key_nothing_is_written(db: Db) {
    let (user, keyless) = (db.user().await, Store::open(&db.url, &[&CORE]).await.expect("opened"));
    assert!(sealed(keyless.create_conversation(user, APP, NOW).await.map(|_| ())).contains("without a master key"));
    let run = told(&db, user).await;
    assert!(sealed(keyless.messages_of(user, run.conversation).await).contains("without a master key"));
    // A key is made with the first that is written, and not by reading.
    let nobody = UserId::random();
    let read = db.store.read(move |tx| {
        let key = tx.key_of(&nobody.to_string(), None)?;
        key.open(Place::new("messages", "content", "x"), "1AAAA").map(|_| ())
    });
    assert!(sealed(read.await).contains("another place"), "what is too short is no value at all");
    let counted = db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM user_keys").await;
    assert_eq!(counted, 1);
}

#[test]
fn the_file_of_master_keys_is_its_owners_alone() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("master-keys");
    Masters::kept_in(folder.path()).expect("made");
    let first = std::fs::read_to_string(&path).expect("there");
    assert_eq!((std::fs::metadata(&path).expect("there").mode() & 0o777, first.trim().len()), (0o600, 64));
    Masters::kept_in(folder.path()).expect("kept");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), first, "a start makes no other");
    Masters::renew_in(folder.path()).expect("a new one before it");
    let both = std::fs::read_to_string(&path).expect("there");
    assert!(both.ends_with(&first) && both.lines().count() == 2);
    Masters::forget_old_in(folder.path()).expect("forgotten");
    assert!(both.starts_with(&std::fs::read_to_string(&path).expect("there")));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("opened to others");
    assert!(Masters::kept_in(folder.path()).err().expect("refused").to_string().contains("only its owner"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("closed");
    std::fs::write(&path, "").expect("emptied");
    assert!(Masters::kept_in(folder.path()).err().expect("refused").to_string().contains("Restore it"), "never replaced");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
}

#[test]
fn a_bad_master_key_is_refused_without_being_said() {
    let refused = |current: &str, old: &str| Masters::parse(current, old).err().expect("refused").to_string();
    let secret = "deadbeef".repeat(7);
    assert!(refused(&secret, "").contains("64 hexadecimal") && !refused(&secret, "").contains("dead"));
    assert!(refused(&"00".repeat(32), "").contains("no random one"));
    assert!(refused(&"0g".repeat(32), "").contains("64 hexadecimal"));
    assert!(refused(&"0123456789abcdef".repeat(4), "x").contains("64 hexadecimal"));
    assert!(Masters::parse(&format!(" {}\n", "0123456789ABCDEF".repeat(4)), "").is_ok());
}

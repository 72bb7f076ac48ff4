//! What people write is nowhere in the database: not in a SQLite file or its log, not in a column of PostgreSQL.

use fake::{Fake, FakeConfig};
use gate_tests::{Person, Postgres, Program, ProgramSetup, Setup, TestGate, hexward};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use store::{Statement, StoreError};

/// In every text below; nothing else is called so.
const CANARY: &str = "Zaunkoenig7421";
const NEST: &str = r#"
name = "nest"
about = "A tile with a canary in every field, and then another one."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "getCurrentUser", input = {} } }]
[[reply]]
when = { turn = 2 }
[[reply.steps]]
tool_use = { name = "addItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [1] }, title = "Zaunkoenig7421 title", content = "Zaunkoenig7421 content", preview = "Zaunkoenig7421 preview", url = "https://example.org/Zaunkoenig7421" } }
[[reply]]
when = { turn = 3 }
steps = [{ tool_use = { name = "updateItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [1] }, updates = { content = "Zaunkoenig7421 again" } } } }]
[[reply]]
steps = [{ text = "I wrote Zaunkoenig7421 down." }]
"#;
const JUDGE: &str = r#"
name = "judge"
about = "The model asks whether a deck is legal."
[[reply]]
when = { turn = 1 }
[[reply.steps]]
tool_use = { name = "mtg_deck_legality", input = { deck = "40 Mossy Hollow\n20 Zaunkoenig7421", format = "standard" } }
[[reply]]
steps = [{ text = "It said: ${mtg_deck_legality}" }]
"#;
/// Every column that holds text or bytes, of every table of ours.
const COLUMNS: Statement = Statement(
    "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
     WHERE table_schema = 'public' AND data_type IN ('text', 'bytea', 'character varying', 'json', 'jsonb') ORDER BY 1, 2",
);

fn setup(database: Option<String>) -> Setup {
    let scenarios = [("nest", NEST), ("judge", JUDGE)].map(|(name, text)| (name, text.to_owned())).into();
    Setup { database, magic: true, scenarios, ..Setup::default() }
}

/// Types the canary into a tile, a message and a deck, and reads all of it back.
async fn typed(ada: &Person) {
    let map = ada.conversation().await;
    let events = ada.run_agreeing(&map, &format!("[[scenario:nest]] Please write {CANARY} down."), true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    let magic = ada.conversation_with(&json!({"app": "magic"})).await;
    let events = ada.run(&magic, &format!("[[scenario:judge]] Is {CANARY} legal?"), false).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    assert_eq!(ada.tiles().await, [format!("{CANARY} title")]);
    for conversation in [map, magic] {
        let history = ada.history(&conversation).await;
        let said = history.iter().map(Value::to_string).filter(|message| message.contains(CANARY)).count();
        assert!(said >= 3, "what was said is there for its person: {history:?}");
    }
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}

fn assert_nowhere(folder: &Path) {
    let mut looked = 0;
    for name in ["gate.db", "gate.db-wal", "gate.db-shm"] {
        if let Ok(bytes) = std::fs::read(folder.join(name)) {
            looked += bytes.len();
            assert!(!holds(&bytes), "{name} holds what was typed");
        }
    }
    assert!(looked > 100_000, "only {looked} bytes were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_is_nowhere_in_the_file() {
    let gate = TestGate::start(setup(None)).await;
    typed(&gate.person().await).await;
    assert_nowhere(gate.folder.path());
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_is_nowhere_in_postgresql() {
    let gate = TestGate::start(setup(Some(Postgres::shared().fresh_database()))).await;
    typed(&gate.person().await).await;
    let store = &gate.database.0;
    let columns = store.read(|tx| {
        let rows = tx.query(COLUMNS, &[])?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<Vec<_>, StoreError>>()
    });
    let columns = columns.await.unwrap();
    assert!(columns.iter().any(|(table, column)| table == "messages" && column == "content"), "{columns:?}");
    for (table, column) in columns {
        let sql = format!(
            "SELECT CAST(COUNT(*) AS BIGINT) FROM \"{table}\" WHERE POSITION('{CANARY}' IN CAST(\"{column}\" AS TEXT)) > 0"
        );
        let sql = Statement(Box::leak(sql.into_boxed_str()));
        let found = store.read(move |tx| tx.query_one(sql, &[])?.int(0)).await;
        assert_eq!(found.unwrap_or_else(|error: StoreError| panic!("{error}")), 0, "{table}.{column} holds what was typed");
    }
    gate.finish().await;
}

const KEY: &str = "sk-ant-api03-of-this-test-alone";

/// `hexward data-key rotate` by whom the state belongs to: whether it succeeded, and what it said.
fn rotated(folder: &Path, environment: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(hexward());
    let state = folder.join("state");
    command.args(["data-key", "rotate", "--state-dir"]).arg(&state).current_dir(folder).env_clear();
    // A gateway that root starts becomes somebody else.
    let owner = std::fs::metadata(&state).unwrap();
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let output = command.envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn ended(mut program: Program) {
    program.signal("TERM");
    assert!(program.wait().success(), "{}", program.log());
}

/// What it says where it must not start.
fn refusal(setup: &ProgramSetup) -> String {
    let output = setup.refused();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// Started again, it still knows what it was told.
async fn remembers(ada: Person, conversation: &str, setup: &ProgramSetup) -> Person {
    let program = setup.start();
    let ada = ada.at(program.address);
    let history = ada.history(conversation).await;
    assert!(history.iter().any(|message| message.to_string().contains(CANARY)), "{history:?}");
    ended(program);
    ada
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_is_rotated_by_one_command_and_the_former_one_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, kept) = (Fake::start(FakeConfig::for_tests(KEY)).await.unwrap(), folder.path().join("state/master-keys"));
    let new = || ProgramSetup::new(folder.path(), &fake.url(), KEY);
    // Sessions outlive a start.
    let environment = new().environment;
    let setup = || ProgramSetup { environment: environment.clone(), ..new() };
    let program = setup().start();
    let ada = program.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, &format!("Please remember {CANARY}"), false).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    let (ok, said) = rotated(folder.path(), &[]);
    assert!(!ok && said.contains("another hexward uses"), "it would go on with the former key alone: {said}");
    ended(program);

    // As one leaves it that was killed after somebody's client had read something.
    let journal = folder.path().join("state/ledger/calls-a.journal");
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, [whole.as_slice(), b"read\tsealed\n"].concat()).unwrap();
    let (ok, said) = rotated(folder.path(), &[]);
    assert!(!ok && said.contains("start the gateway"), "that would be lost with the former key: {said}");
    let ada = remembers(ada, &conversation, &setup()).await;

    // The one in the state folder.
    let first = std::fs::read_to_string(&kept).unwrap();
    let (ok, said) = rotated(folder.path(), &[]);
    assert!(ok && said.contains("1 data keys"), "{said}");
    let second = std::fs::read_to_string(&kept).unwrap();
    assert!(second != first && second.lines().count() == 1 && !said.contains(second.trim()), "{said}");
    let ada = remembers(ada, &conversation, &setup()).await;

    // From the folder's key to one of the environment, with both for as long as it takes.
    let (former, third) = (second.trim(), format!("{}4", "3".repeat(63)));
    let alone = refusal(&setup().with("HEXWARD_MASTER_KEY", &third));
    assert!(alone.contains("master key") && !alone.contains(&third), "{alone}");
    let between = setup().with("HEXWARD_MASTER_KEY", &third).with("HEXWARD_MASTER_KEYS_OLD", former);
    let ada = remembers(ada, &conversation, &between).await;
    let (ok, said) = rotated(folder.path(), &[("HEXWARD_MASTER_KEYS_OLD", former)]);
    assert!(!ok && said.contains("HEXWARD_MASTER_KEYS_OLD"), "{said}");
    let (ok, said) = rotated(folder.path(), &[("HEXWARD_MASTER_KEY", &third)]);
    assert!(!ok && said.contains("master key"), "it says what is missing: {said}");
    let both = [("HEXWARD_MASTER_KEY", third.as_str()), ("HEXWARD_MASTER_KEYS_OLD", former)];
    let (ok, said) = rotated(folder.path(), &both);
    assert!(ok && said.contains("1 data keys") && said.contains("remove HEXWARD_MASTER_KEYS_OLD"), "{said}");
    assert!(rotated(folder.path(), &both).1.contains("0 data keys"), "once more does nothing");
    remembers(ada, &conversation, &setup().with("HEXWARD_MASTER_KEY", &third)).await;
    assert!(refusal(&setup()).contains("master key"), "the folder's key is the former one now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_database_needs_a_master_key_from_outside() {
    let folder = tempfile::tempdir().unwrap();
    let database = Postgres::shared().fresh_database();
    let setup = |key: &str| {
        let setup = ProgramSetup::new(folder.path(), "http://127.0.0.1:9", KEY).with("DATABASE_URL", &database);
        if key.is_empty() { setup.with("HEXWARD_ENV", "production") } else { setup.with("HEXWARD_MASTER_KEY", key) }
    };
    for bad in ["", "abc", &"0".repeat(63), &"g".repeat(64), &"7".repeat(64)] {
        let said = refusal(&setup(bad));
        assert!(said.contains("HEXWARD_MASTER_KEY") && (bad.len() < 60 || !said.contains(bad)), "{bad:?}: {said}");
    }
}

//! What people write is nowhere in the database: not in a SQLite file or its log, not in a column of PostgreSQL.

use gate_tests::{Person, Postgres, Setup, TestGate};
use serde_json::{Value, json};
use std::path::Path;
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

//! The example app `docs/examples/reading-list`, as it stands there: a program behind the tools, one for each person, in a sandbox.

use gate_tests::{Person, Setup, TestGate, code_runtime};
use hexward::config::AppFolder;
use sandbox::Mode;
use serde_json::{Value, json};
use std::path::Path;

const READS: &str = r#"
name = "reads"
about = "Looks, adds a book, marks it as read and one that nobody listed, and looks again."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "listBooks", input = {} } }]
[[reply]]
when = { turn = 2 }
steps = [{ tool_use = { name = "addBook", input = { title = "Flatland" } } }]
[[reply]]
when = { turn = 3 }
steps = [{ tool_use = { name = "markRead", input = { id = "book-99" } } }]
[[reply]]
when = { turn = 4 }
steps = [{ tool_use = { name = "listBooks", input = {} } }]
[[reply]]
steps = [{ text = "Done." }]
"#;

fn folder() -> AppFolder {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/reading-list");
    AppFolder::read(&place, Mode::Native).unwrap()
}

async fn run(person: &Person, conversation: &str, writes: bool) -> Vec<(String, bool, Value)> {
    let events = person.run(conversation, "[[scenario:reads]] What shall I read?", writes).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    let results = events.into_iter().filter(|event| event["type"] == "tool_result");
    results.map(|event| (event["tool"].as_str().unwrap().to_owned(), event["ok"] == true, event)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reading_list_of_the_documents_works_as_it_says() {
    let scenarios = vec![("reads", READS.to_owned())];
    let gate = TestGate::start(Setup { apps: vec![folder()], runtime: code_runtime(), scenarios, ..Setup::default() }).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let conversation = ada.conversation_with(&json!({"app": "reading-list"})).await;
    let results = run(&ada, &conversation, true).await;
    let done: Vec<(&str, bool)> = results.iter().map(|(tool, ok, _)| (tool.as_str(), *ok)).collect();
    assert_eq!(done, [("listBooks", true), ("addBook", true), ("markRead", false), ("listBooks", true)], "{results:?}");
    assert_eq!(results[2].2["denial"]["code"], "tool.argument", "it was in no list: {}", results[2].2);
    assert!(results[3].2["result"].as_str().unwrap().contains("Flatland"), "{}", results[3].2);

    let call = results[1].2["undo"]["call"].as_str().or_else(|| results[1].2["undo"].as_str());
    let call = call.unwrap_or_else(|| panic!("it can be undone: {}", results[1].2));
    assert_eq!(eve.post("/api/undo", &json!({"call": call})).await.status, 404, "it is another's");
    let undone = ada.post("/api/undo", &json!({"call": call})).await;
    assert_eq!(undone.status, 200, "{}", undone.text());
    let looked = run(&ada, &conversation, false).await;
    assert!(!looked[0].2["result"].as_str().unwrap().contains("Flatland"), "{}", looked[0].2);
    assert!(looked.iter().all(|(tool, ok, _)| !ok || tool == "listBooks"), "without the switch it only looks: {looked:?}");

    let hers = eve.conversation_with(&json!({"app": "reading-list", "skill": "look"})).await;
    let looked = run(&eve, &hers, true).await;
    assert!(looked.iter().all(|(tool, ok, _)| !ok || tool == "listBooks"), "a skill leaves one tool: {looked:?}");
    assert!(!looked[0].2["result"].as_str().unwrap().contains("Flatland"), "and each has a list of their own");
    gate.finish().await;
}

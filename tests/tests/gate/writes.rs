//! The switch for changes.

use gate_tests::{Probe, Setup, TestGate, probe};
use serde_json::{Value, json};

/// A model that changes things whatever it was offered.
const FORCED: &str = r#"
name = "forced"
about = "The model asks for a change although it was not offered one."
[[reply]]
when = { turn = 1 }
steps = [{ text = "One moment." }, { tool_use = { name = "getCurrentUser", input = {} } }]
[[reply]]
when = { turn = 2 }
[[reply.steps]]
tool_use = { name = "addItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [2] }, title = "Forced" } }
[[reply]]
steps = [{ text = "Done." }]
"#;

fn offered(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_changes_off_there_are_no_tools_for_them() {
    let gate = TestGate::start(Setup::default()).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    ada.run(&conversation, "Create a tile called Aurora to the north-east", false).await;
    assert!(ada.tiles().await.is_empty());
    let tools = offered(&gate.provider_saw()[0].body);
    for read in ["getCurrentUser", "getItemsForRootItem", "getItemByCoords"] {
        assert!(tools.contains(&format!("mcp__hexmap__{read}")), "{tools:?}");
    }
    for write in ["addItem", "updateItem", "deleteItem", "moveItem"] {
        assert!(!tools.contains(&format!("mcp__hexmap__{write}")), "{tools:?}");
    }
    assert!(tools.iter().all(|tool| tool.starts_with("mcp__hexmap__")), "no tool of the agent's own: {tools:?}");
    // The same conversation with the switch on: another agent, which has the tools.
    let before = gate.provider_saw().len();
    ada.run(&conversation, "Create a tile called Aurora to the north-east", true).await;
    assert!(offered(&gate.provider_saw()[before].body).contains(&"mcp__hexmap__addItem".to_owned()));
    assert_eq!((ada.tiles().await, gate.sandboxes_started()), (vec!["Aurora".to_owned()], 2));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_insists_changes_nothing() {
    let gate = TestGate::start(Setup { scenarios: vec![("forced", FORCED.to_owned())], ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, "[[scenario:forced]] What is on my map?", false).await;
    assert!(events.iter().any(|event| event["type"] == "tool_call" && event["tool"] == "addItem"), "{events:?}");
    assert!(!events.iter().any(|event| event["type"] == "tool_result" && event["tool"] == "addItem" && event["ok"] == true));
    assert!(ada.tiles().await.is_empty());
    assert!(!gate.database.tool_calls().await.iter().any(|(tool, _)| tool == "addItem"), "it never left");
    // With the switch on the very same happens for real.
    let other = ada.conversation().await;
    ada.run(&other, "[[scenario:forced]] What is on my map?", true).await;
    assert_eq!(ada.tiles().await, ["Forced"]);
    gate.finish().await;
}

/// What the real agent may refuse by itself, something in its place would not.
#[tokio::test(flavor = "multi_thread")]
async fn with_changes_off_even_an_emitted_change_is_refused_by_the_gateway() {
    const INSISTS: &str = r#"
name = "insists"
about = "Asks for a change, offered or not."
[[reply]]
steps = [{ tool_use = { name = "mcp__hexmap__addItem", input = { coords = { userId = "x", groupId = 0, path = [2] }, title = "Forced" } } }]
"#;
    let setup = Setup { agent: Some(probe()), scenarios: vec![("insists", INSISTS.to_owned())], ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let agent = Probe::new(gate.person().await).await;
    let arguments = json!({"coords": {"userId": "x", "groupId": 0, "path": [2]}, "title": "Forced"});
    let orders = json!([
        {"do": "ask", "text": "[[scenario:insists]] What is on my map?"},
        {"do": "tool", "name": "addItem", "arguments": arguments, "id": "LAST"},
    ]);
    let seen = agent.tell_with(&gate, orders.clone(), false).await;
    assert_eq!(seen[1]["result"]["_meta"]["hexward/reason"], "tool.write_off", "{}", seen[1]);
    assert!(gate.database.tool_calls().await.is_empty(), "it never left");
    // With the switch on the same call is made (and the map says that "x" is not this person).
    let seen = agent.tell_with(&gate, orders, true).await;
    assert_ne!(seen[1]["result"]["_meta"]["hexward/reason"], "tool.write_off", "{}", seen[1]);
    assert_eq!(gate.database.tool_calls().await, [("addItem".to_owned(), "failed".to_owned())]);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skill_leaves_fewer_tools_whatever_is_switched_on() {
    let gate = TestGate::start(Setup { scenarios: vec![("forced", FORCED.to_owned())], ..Setup::default() }).await;
    let ada = gate.person().await;
    let session = ada.get("/api/session").await.json();
    let skills: Vec<&str> =
        session["app"]["skills"].as_array().unwrap().iter().map(|skill| skill["id"].as_str().unwrap()).collect();
    assert_eq!(skills, ["librarian", "planner"]);
    for (body, status) in [
        (json!({"skill": "nobody-wrote-this"}), 400),
        (json!({"skill": ""}), 400),
        (json!({"skill": "../hexmap"}), 400),
        (json!({"app": "hexmap/librarian"}), 404),
        (json!({"skills": ["planner"]}), 400),
    ] {
        assert_eq!(ada.post("/api/conversations", &body).await.status, status, "{body}");
    }

    let conversation = ada.conversation_with(&json!({"skill": "librarian"})).await;
    let events = ada.run(&conversation, "[[scenario:forced]] What is on my map?", true).await;
    let body = gate.provider_saw()[0].body.clone();
    let tools = offered(&body);
    assert!(tools.len() == 5 && !tools.iter().any(|tool| tool.ends_with("Item") && !tool.contains("get")), "{tools:?}");
    assert!(String::from_utf8_lossy(&body).contains("In this conversation you only look"), "the instructions are in the prompt");
    let refused = events.iter().find(|event| event["type"] == "tool_result" && event["tool"] == "addItem");
    assert!(refused.is_none_or(|event| event["ok"] == false), "a model that asks all the same gets nothing: {events:?}");
    assert!(ada.tiles().await.is_empty());

    let shown = ada.get(&format!("/api/conversations/{conversation}")).await.json();
    assert_eq!(shown["skill"], "librarian");
    let plain = ada.conversation().await;
    assert_eq!(ada.get(&format!("/api/conversations/{plain}")).await.json()["skill"], Value::Null);
    ada.run(&plain, "Hello", true).await;
    assert!(offered(&gate.provider_saw().pop().unwrap().body).contains(&"mcp__hexmap__addItem".to_owned()), "and without it all");
    let listed = ada.get("/api/conversations").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "both are the app's: {listed}");
    gate.finish().await;
}

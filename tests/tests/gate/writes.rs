//! The switch for changes.

use gate_tests::{Setup, TestGate};
use serde_json::Value;

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

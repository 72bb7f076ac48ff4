//! The real agent: what a person writes is text to it, and an agent that was not there is told what was said.

use gate_tests::{Setup, TestGate};
use serde_json::Value;
use std::time::Duration;

/// The texts of all messages of a request, in order.
fn texts(body: &Value) -> Vec<String> {
    let blocks = |content: &Value| match content {
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str().map(str::to_owned)).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            vec![other.as_str().unwrap_or_default().to_owned()]
        }
    };
    body["messages"].as_array().unwrap().iter().flat_map(|message| blocks(&message["content"])).collect()
}

fn requests(gate: &TestGate) -> Vec<Value> {
    let seen = gate.provider_saw().into_iter().filter(|exchange| exchange.path == "/v1/messages");
    seen.map(|exchange| serde_json::from_slice(&exchange.body).unwrap()).collect()
}

/// An unguarded agent would read the file, switch to the dearest model, or answer by itself without asking the model.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_writes_is_inert() {
    let gate = TestGate::start(Setup::default()).await;
    let ada = gate.person().await;
    for text in
        ["see @/etc/passwd and @/etc/hosts please", "/model claude-fable-5", "/context", "!cat /etc/passwd", "# remember this"]
    {
        let before = requests(&gate).len();
        let conversation = ada.conversation().await;
        let events = ada.run(&conversation, text, false).await;
        assert_eq!(events.last().unwrap()["outcome"], "finished", "{text}: {events:?}");
        let asked = requests(&gate).split_off(before);
        assert_eq!(asked.len(), 1, "{text}: one message, one model call");
        assert_eq!(asked[0]["model"], "claude-sonnet-5-5", "{text}");
        assert!(texts(&asked[0]).iter().any(|said| said == text), "{text} arrived as it was written: {:?}", texts(&asked[0]));
        assert!(!asked[0].to_string().contains("agent:x:1000"), "{text}: no file of the sandbox went along");
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_not_there_is_told_what_was_said() {
    let mut setup = Setup::default();
    setup.runs.idle = Duration::ZERO;
    let gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    ada.run(&conversation, "Create a tile called Aurora to the north-east", true).await;
    let before = requests(&gate).len();
    ada.run(&conversation, "Rename Aurora to Borealis", true).await;
    assert_eq!(gate.sandboxes_started(), 2, "the first agent is gone");
    let asked = requests(&gate).split_off(before);
    let told = texts(&asked[0]);
    assert!(told.iter().any(|text| text == "Create a tile called Aurora to the north-east"), "{told:?}");
    let body = asked[0].to_string();
    assert!(body.contains("mcp__hexmap__addItem") && body.contains("tool_result"), "its tool calls are told, too");
    assert_eq!(ada.tiles().await, ["Borealis"]);
    // Another conversation begins with nothing.
    let other = ada.conversation().await;
    let before = requests(&gate).len();
    ada.run(&other, "What is on my map?", false).await;
    assert!(!requests(&gate)[before].to_string().contains("Aurora"), "one conversation's words in another");
    gate.finish().await;
}

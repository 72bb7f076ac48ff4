//! The main job: a stranger's message becomes a tile.

use gate_tests::{Postgres, Setup, TestGate};
use serde_json::Value;

const AURORA: &str = "Create a tile called Aurora to the north-east";

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The model's words as the page puts them together.
fn said(events: &[Value]) -> String {
    events.iter().filter(|event| event["type"] == "text_delta").map(|event| event["text"].as_str().unwrap()).collect()
}

fn at(events: &[Value], holds: impl Fn(&Value) -> bool) -> usize {
    events.iter().position(holds).unwrap_or_else(|| panic!("no such event: {events:?}"))
}

/// The order in which a page may rely on events.
fn assert_in_order(events: &[Value]) {
    for (number, event) in (1_u64..).zip(events) {
        assert_eq!(event["seq"], number, "numbers have no gaps");
    }
    assert_eq!(events[0]["type"], "run_started");
    assert_eq!(events[1]["state"], "starting");
    assert_eq!(kinds(events).iter().filter(|kind| **kind == "run_ended").count(), 1);
    for result in events.iter().filter(|event| event["type"] == "tool_result") {
        let of = |kind: &str| at(events, |event| event["type"] == kind && event["call_id"] == result["call_id"]);
        assert!(of("tool_call_started") < of("tool_call") && of("tool_call") < of("tool_result"));
    }
    let end = events.last().unwrap();
    assert_eq!((&end["type"], &end["outcome"]), (&Value::from("run_ended"), &Value::from("finished")), "{events:?}");
}

async fn creates_a_tile(database: Option<String>) {
    let gate = TestGate::start(Setup { database, ..Setup::default() }).await;
    let ada = gate.person().await;
    assert!(ada.tiles().await.is_empty());
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, AURORA, true).await;
    assert_in_order(&events);
    let call = at(&events, |event| event["type"] == "tool_call" && event["tool"] == "addItem");
    assert_eq!(events[call]["arguments"]["title"], "Aurora");
    let done = at(&events, |event| event["type"] == "tool_result" && event["tool"] == "addItem");
    assert_eq!((&events[done]["ok"], &events[done]["denial"]), (&Value::from(true), &Value::Null));
    assert_eq!(ada.tiles().await, ["Aurora"]);

    let history = ada.history(&conversation).await;
    let roles: Vec<&str> = history.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!((roles.first(), roles.last()), (Some(&"user"), Some(&"assistant")), "{history:?}");
    assert_eq!(history[0]["text"], AURORA);
    let tools: Vec<&Value> = history.iter().filter(|message| message["role"] == "tool").map(|tool| &tool["tool"]).collect();
    assert_eq!(tools, ["getCurrentUser", "addItem"]);
    let kept: String =
        history.iter().filter(|message| message["role"] == "assistant").map(|m| m["text"].as_str().unwrap()).collect();
    assert_eq!(kept, said(&events), "what is kept is what was shown");

    let end = events.last().unwrap();
    let cost = end["cost_microusd"].as_i64().unwrap();
    assert!(cost > 0);
    let run = events[0]["run_id"].as_str().unwrap();
    assert_eq!(gate.today("global").await, (cost, 0));
    assert_eq!(gate.database.0.account(&format!("run:{run}"), 0).await.unwrap().0.0, cost);
    let calls = gate.database.calls().await;
    assert_eq!(i64::try_from(calls.len()).unwrap(), end["turns"].as_i64().unwrap());
    assert!(calls.iter().all(|call| call.outcome.as_deref() == Some("measured") && call.cost <= call.reserved), "{calls:?}");
    assert_eq!(gate.database.tool_calls().await.len(), 2);

    follows_up(&gate, &ada, &conversation).await;
    gate.finish().await;
}

/// A second message goes to the same agent, which remembers the first.
async fn follows_up(gate: &TestGate, ada: &gate_tests::Person, conversation: &str) {
    let before = gate.provider_saw().len();
    let events = ada.run(conversation, "Create a tile called Borealis to the south", true).await;
    assert_in_order(&events);
    assert_eq!(gate.sandboxes_started(), 1, "the agent was kept");
    let saw = gate.provider_saw();
    let body = String::from_utf8_lossy(&saw[before].body).into_owned();
    assert!(body.contains(AURORA) && body.contains("Borealis"), "the request holds the turns before it");
    let mut tiles = ada.tiles().await;
    tiles.sort();
    assert_eq!(tiles, ["Aurora", "Borealis"]);
    assert_eq!(ada.get("/api/conversations").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_a_tile() {
    creates_a_tile(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_a_tile_on_postgresql() {
    creates_a_tile(Some(Postgres::shared().fresh_database())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_to_a_stream_misses_nothing() {
    let gate = TestGate::start(Setup { event_delay_ms: 15, ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let run = ada.say(&conversation, AURORA, true).await;
    let mut stream = ada.watch(&run).await;
    let mut events = stream.until("text_delta").await;
    drop(stream);
    let last = events.last().unwrap()["seq"].as_u64();
    events.extend(ada.watch_from(&run, last).await.rest().await);
    assert_in_order(&events);
    assert_eq!(ada.watch(&run).await.rest().await, events, "and who comes later sees the same");
    assert_eq!(ada.tiles().await, ["Aurora"], "a reader that goes away stops nothing");
    gate.finish().await;
}

//! What one run may use: each limit ends it, or is the reason it failed, with its own code; and the neighbour's run, at the same
//! time in the same gateway, finishes as if nothing were.

use gate_tests::{Person, Probe, Setup, TestGate, eventually, logged, probe};
use proxy::TrafficLimits;
use serde_json::{Value, json};
use std::time::Duration;

const FAILS: &str = r#"{"type":"result","subtype":"success","is_error":true}"#;

/// A model that never comes to its end: after each result it asks for another look.
const LOOKS: &str = r#"
name = "looks"
about = "Asks for the same again and again."
[[reply]]
steps = [{ text = "Once more." }, { tool_use = { name = "getCurrentUser", input = {} } }]
"#;

fn setup() -> Setup {
    Setup { agent: Some(probe()), scenario: Some("looks"), scenarios: vec![("looks", LOOKS.to_owned())], ..Setup::default() }
}

/// How a run ended: outcome, code and sentence.
fn end(events: &[Value]) -> (&str, &str, &str) {
    let end = events.last().unwrap();
    assert_eq!(end["type"], "run_ended", "{events:?}");
    (end["outcome"].as_str().unwrap(), end["code"].as_str().unwrap_or(""), end["message"].as_str().unwrap_or(""))
}

/// The codes of what was refused during a run, as the page was told.
fn denied(events: &[Value]) -> Vec<&str> {
    events.iter().filter(|event| event["type"] == "denied").map(|event| event["code"].as_str().unwrap()).collect()
}

async fn run(person: &Person, orders: &Value) -> Vec<Value> {
    let conversation = person.conversation().await;
    person.run(&conversation, &json!({"orders": orders}).to_string(), true).await
}

/// A neighbour with a run that goes on for a while: everything it asks is answered.
async fn neighbour(gate: &TestGate) {
    let asks = json!([
        {"do": "ask", "text": "Hello"},
        {"do": "sleep", "ms": 500},
        {"do": "write", "path": "/tmp/mine"},
        {"do": "threads", "count": 10},
        {"do": "name", "name": "model.hexward.internal", "kind": 1},
        {"do": "sleep", "ms": 500},
        {"do": "ask", "text": "Hello again"},
    ]);
    let seen = Probe::new(gate.person().await).await.tell(gate, asks).await;
    assert_eq!((&seen[0]["status"], &seen[6]["status"]), (&json!(200), &json!(200)), "{seen:?}");
    assert_eq!((&seen[2], &seen[3]["made"], &seen[4]["answers"]), (&json!("written"), &json!(10), &json!(1)), "{seen:?}");
}

/// Carries orders out beside a neighbour; the run fails with this code, and leaves no sandbox.
async fn fails_beside_a_neighbour(gate: &TestGate, orders: Value, code: &str, neighbours: usize) {
    let person = gate.person().await;
    let (events, ()) = tokio::join!(run(&person, &orders), neighbour(gate));
    let (outcome, ended, sentence) = end(&events);
    assert_eq!((outcome, ended), ("failed", code), "{orders}: {events:?}");
    assert!(sentence.starts_with("The assistant") || sentence.starts_with("This request"), "{sentence}");
    assert!(sentence.ends_with('.'), "{sentence}");
    let resting = gate.sandboxes_alive();
    assert!(resting <= neighbours, "of those that failed nothing is left: {resting} sandboxes beside {neighbours} neighbours");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_processor_and_output_end_a_run() {
    let mut setup = setup();
    setup.runs.limits.cpu = Duration::from_secs(2);
    setup.runs.limits.output_bytes = 1 << 20;
    let gate = TestGate::start(setup).await;
    for (number, (order, code)) in [
        (json!([{"do": "allocate", "mb": 1200}]), "agent.memory"),
        (json!([{"do": "spin"}]), "agent.cpu"),
        (json!([{"do": "flood"}]), "agent.output"),
    ]
    .into_iter()
    .enumerate()
    {
        fails_beside_a_neighbour(&gate, order, code, number + 1).await;
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_a_run() {
    let mut setup = setup();
    setup.runs.limits.traffic =
        TrafficLimits { connections_max: 100, connections_per_minute_max: 400, requests_per_minute_max: 200 };
    let gate = TestGate::start(setup).await;
    for (number, (of, code)) in
        [("connections", "agent.connections"), ("requests", "agent.requests"), ("names", "agent.requests")]
            .into_iter()
            .enumerate()
    {
        fails_beside_a_neighbour(&gate, json!([{"do": "flood_of", "of": of}]), code, number + 1).await;
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_ends_a_run_that_does_nothing_or_too_much() {
    let mut quiet = setup();
    quiet.runs.limits.idle = Duration::from_secs(3);
    let gate = TestGate::start(quiet).await;
    fails_beside_a_neighbour(&gate, json!([{"do": "sleep", "ms": 60_000}]), "run.idle", 1).await;
    gate.finish().await;

    let mut short = setup();
    short.runs.wall_clock = Duration::from_secs(12);
    let gate = TestGate::start(short).await;
    fails_beside_a_neighbour(&gate, json!([{"do": "sleep", "ms": 60_000}]), "run.deadline", 1).await;
    gate.finish().await;
}

/// Whoever waits for the model does something, however long it thinks.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_model_is_not_idle() {
    let mut slow = setup();
    slow.runs.limits.idle = Duration::from_secs(2);
    slow.event_delay_ms = 1000;
    slow.scenario = None;
    let gate = TestGate::start(slow).await;
    let events = run(&gate.person().await, &json!([{"do": "ask", "text": "Hello", "stream": true}])).await;
    assert_eq!(end(&events).0, "finished", "{events:?}");
    assert!(events.last().unwrap()["duration_ms"].as_u64().unwrap() > 5000, "it waited for long enough to tell: {events:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn model_calls_are_counted_where_they_leave() {
    let gate = TestGate::start(setup()).await;
    let mut orders: Vec<Value> = (0..51).map(|_| json!({"do": "ask", "text": "Hello"})).collect();
    orders.push(json!({"do": "print", "text": FAILS}));
    fails_beside_a_neighbour(&gate, orders.into(), "run.turns", 1).await;
    gate.finish().await;
}

/// What the kernel refuses by itself does not end a run. It is told once, it is the reason when the run fails, and the sandbox is
/// not used again.
#[tokio::test(flavor = "multi_thread")]
async fn processes_and_room_for_files_are_refused_and_then_the_reason() {
    let gate = TestGate::start(setup()).await;
    let cases = [
        (json!({"do": "threads", "count": 500}), "agent.processes"),
        (json!({"do": "fill", "path": "/tmp/big", "mb": 100}), "agent.disk"),
        (json!({"do": "create", "path": "/work", "count": 5000}), "agent.disk"),
    ];
    for (order, code) in cases {
        let ada = gate.person().await;
        let conversation = ada.conversation().await;
        let tell = async |orders: Value| ada.run(&conversation, &json!({"orders": orders}).to_string(), true).await;
        let before = gate.sandboxes_started();
        let (events, ()) = tokio::join!(tell(json!([order, {"do": "sleep", "ms": 1500}, order])), neighbour(&gate));
        assert_eq!((end(&events).0, denied(&events)), ("finished", vec![code]), "{order}: {events:?}");
        assert_eq!(gate.sandboxes_started(), before + 2);
        let events = tell(json!([order, {"do": "print", "text": FAILS}])).await;
        assert_eq!((end(&events).0, end(&events).1), ("failed", code), "{order}: {events:?}");
        assert_eq!(gate.sandboxes_started(), before + 3, "one that had reached a limit was not used again");
        let events = tell(json!([order, {"do": "exit", "code": 1}])).await;
        assert_eq!((end(&events).0, end(&events).1), ("failed", code), "{order}: {events:?}");
        assert!(logged(&format!("code={code}")), "the operator is told");
        let events = tell(json!([{"do": "write", "path": "/tmp/mine"}])).await;
        assert_eq!((end(&events).0, denied(&events)), ("finished", vec![]), "{order}: {events:?}");
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_at_once_are_closed_and_that_is_told_once() {
    let mut setup = setup();
    setup.runs.limits.traffic.connections_max = 20;
    let gate = TestGate::start(setup).await;
    let agent = Probe::new(gate.person().await).await;
    let hold = json!({"do": "hold", "to": "198.18.0.10:80", "count": 50});
    let (seen, ()) = tokio::join!(agent.tell(&gate, json!([hold, hold])), neighbour(&gate));
    let closed: Vec<u64> = seen.iter().map(|seen| seen["closed"].as_u64().unwrap()).collect();
    // Places of connections that were closed inside a moment ago may not have been given back yet.
    assert!((30..=35).contains(&closed[0]) && closed[1] >= 30, "{seen:?}");
    let told = gate.database.denials().await.iter().filter(|denial| denial.starts_with("agent.connections")).count();
    assert_eq!(told, 1);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_at_rest_that_floods_or_works_is_ended() {
    let mut setup = setup();
    setup.runs.idle = Duration::from_secs(600);
    setup.runs.limits.traffic.requests_per_minute_max = 100;
    setup.runs.limits.cpu = Duration::from_secs(1);
    let gate = TestGate::start(setup).await;
    for late in [json!({"do": "flood_of", "of": "requests", "late": true}), json!({"do": "spin", "late": true})] {
        let events = run(&gate.person().await, &json!([late])).await;
        assert_eq!(end(&events).0, "finished", "{events:?}");
        eventually("it is ended long before its rest is over", Duration::from_secs(60), async || gate.sandboxes_alive() == 0)
            .await;
    }
    assert!(logged("an agent at rest did too much"));
    gate.finish().await;
}

//! The model path as agents see it: every way in which an answer can come to an end.

use gate_tests::{Setup, TestGate, eventually};
use serde_json::Value;
use std::time::Duration;

/// Says `[[scenario:...]]` and returns the run's events.
async fn run(gate: &TestGate, scenario: &str) -> Vec<Value> {
    let person = gate.person().await;
    let conversation = person.conversation().await;
    let events = person.run(&conversation, &format!("[[scenario:{scenario}]] Hello"), true).await;
    let history = person.history(&conversation).await;
    assert_eq!(history[0]["role"], "user", "what the person wrote is never lost");
    events
}

fn end(events: &[Value]) -> (&str, &str, &str) {
    let end = events.last().unwrap();
    assert_eq!(end["type"], "run_ended", "{events:?}");
    let text = |name: &str| end[name].as_str().unwrap_or("");
    (end["outcome"].as_str().unwrap(), end["code"].as_str().unwrap_or(""), text("message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_fails_is_a_failed_run_with_a_reason() {
    let cases = [
        ("invalid", "refused the request"),
        ("bad-credential", "The operator"),
        ("rate-limited", "limiting requests"),
        ("overloaded", "overloaded or failing"),
        ("mid-stream-error", "ry again in a moment"),
        ("cut", "cut off"),
    ];
    // A gateway for each: where a provider refused one, the others would wait for it.
    let fails = async |(scenario, reason): (&str, &str)| {
        let gate = TestGate::start(Setup::default()).await;
        let events = run(&gate, scenario).await;
        let (outcome, code, message) = end(&events);
        // A provider that goes on failing is left alone, and then that is what the agent's last try ended with.
        let left_alone = !["invalid", "bad-credential"].contains(&scenario) && code == "upstream.unavailable";
        assert!(outcome == "failed" && (code == "model.failed" || left_alone), "{scenario}: {events:?}");
        assert!(message.contains(if left_alone { "not available at the moment" } else { reason }), "{scenario}: {message}");
        assert!(!message.contains("req_") && !message.contains("x-api-key"), "{scenario}: internals stay inside: {message}");
        assert_eq!(gate.sandboxes_alive(), 0, "no agent of a failed run is kept");
        assert_eq!(gate.today("global").await.1, 0);
        gate.finish().await;
    };
    // One after the other: so many agents at once would take the time of the tests beside them.
    for case in cases {
        fails(case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_does_no_harm() {
    let gate = TestGate::start(Setup::default()).await;
    let scenarios = ["unknown-event", "oversize-line", "thinking", "gzip", "overloaded-once"];
    let all = futures_util::future::join_all(scenarios.map(|scenario| run(&gate, scenario))).await;
    for (scenario, events) in scenarios.iter().zip(&all) {
        assert_eq!(end(events).0, "finished", "{scenario}: {events:?}");
        assert!(events.iter().any(|event| event["type"] == "text_delta"), "{scenario}");
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_provider_is_not_waited_for() {
    let mut setup = Setup { scenario: Some("stall"), ..Setup::default() };
    setup.runs.wall_clock = Duration::from_secs(6);
    let gate = TestGate::start(setup).await;
    let events = run(&gate, "stall").await;
    let (outcome, code, message) = end(&events);
    assert_eq!((outcome, code), ("failed", "run.deadline"), "{events:?}");
    assert!(message.contains("longer than allowed"));
    let took = events.last().unwrap()["duration_ms"].as_u64().unwrap();
    assert!((6000..10_000).contains(&took), "the end comes when the time is over: {took} ms");
    let call = gate.database.calls().await.pop().unwrap();
    assert_eq!((call.outcome.as_deref(), call.cost), (Some("unknown"), call.reserved));
    assert_eq!(events.last().unwrap()["cost_microusd"], call.cost);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_can_t_spend_more_than_it_may() {
    let mut setup = Setup::default();
    setup.runs.run_budget = policy::Microusd(30_000);
    let gate = TestGate::start(setup).await;
    let events = run(&gate, "thinking").await;
    let (outcome, code, message) = end(&events);
    assert_eq!((outcome, code), ("failed", "budget.run"), "{events:?}");
    assert!(message.contains("spending limit"), "{message}");
    assert!(gate.provider_saw().is_empty(), "nothing was asked for that could not be paid");
    assert_eq!(gate.today("global").await, (0, 0));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_said_so() {
    // A port that was free a moment ago: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gate = TestGate::start(Setup { upstream: Some(format!("http://{nobody}")), ..Setup::default() }).await;
    let person = gate.person().await;
    let conversation = person.conversation().await;
    let events = person.run(&conversation, "Hello", true).await;
    let (outcome, code, message) = end(&events);
    assert_eq!((outcome, code), ("failed", "model.failed"), "{events:?}");
    assert!(message.contains("reach"), "{message}");
    assert_eq!(gate.today("global").await, (0, 0), "who was never reached charges nothing");
    eventually("the agent of the failed run is gone", Duration::from_secs(5), async || gate.sandboxes_alive() == 0).await;
    gate.finish().await;
}

//! One key that takes all it can get, and those beside it.

use gate_tests::{Answer, Probe, Setup, TestGate, eventually, exchange, probe, request};
use policy::{KeyScope, Microusd, key_digest};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use store::{KeySource, NewKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const ROUTE: &str = "/api/anthropic-proxy/v1/messages";
const SHOP: &str = "hxw_8f3b1c0d9e7a62541f0e3d2c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";
/// Whoever is left alone is answered within this.
const SOON: Duration = Duration::from_secs(5);

const SLOW: &str = r#"
name = "very-slow"
about = "Begins, and goes on after all calls were cut."
[[reply]]
steps = [{ text = "One moment, please: this takes a while." }, { stall = { ms = 60000, after_events = 2 } }]
"#;

async fn gate(calls_max: usize) -> TestGate {
    let scenarios = vec![("very-slow", SLOW.to_owned())];
    let setup = Setup { scenarios, calls_max, agent: Some(probe()), callers: true, ..Setup::default() };
    let mut gate = TestGate::start(Setup { day_limit: Microusd::dollars(50), ..setup }).await;
    gate.keep_secret("a caller's token", SHOP);
    let new = NewKey {
        digest: key_digest(SHOP.as_bytes()),
        principal: "shop".to_owned(),
        name: "shop".to_owned(),
        scope: KeyScope::default(),
        source: KeySource::Made,
        expires_at: None,
    };
    gate.gateway.store.create_key(new, gate.gateway.clock.now()).await.unwrap();
    let known = async || ask(&gate, SHOP, "Hello").await.status == 200;
    eventually("the key is known", Duration::from_secs(5), known).await;
    gate
}

fn body(text: &str) -> String {
    json!({"model": "claude-sonnet-5-5", "max_tokens": 200, "stream": true, "messages": [{"role": "user", "content": text}]})
        .to_string()
}

async fn ask(gate: &TestGate, secret: &str, text: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", secret)];
    exchange(gate.callers(), request("POST", ROUTE, &headers, body(text))).await
}

/// Another key, and an agent in its sandbox.
async fn others_are_left_alone(gate: &TestGate) {
    let began = Instant::now();
    let answer = ask(gate, SHOP, &"Hello. ".repeat(100_000)).await;
    assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
    assert!(began.elapsed() < SOON, "another key waited for {:?}", began.elapsed());
    let agent = Probe::new(gate.person().await).await;
    let began = Instant::now();
    let seen = agent.tell(gate, json!([{"do": "ask", "text": "Hello"}])).await;
    assert_eq!(seen[0]["status"], 200, "{seen:?}");
    assert!(began.elapsed() < SOON, "a run waited for {:?}", began.elapsed());
}

async fn settled(gate: &TestGate) {
    let none_open = async || {
        gate.gateway.settle_up().await.unwrap();
        gate.database.0.open_model_calls().await.unwrap() == 0
    };
    eventually("every call is settled", Duration::from_secs(15), none_open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slow_streams_of_one_key_leave_others_alone() {
    let gate = gate(64).await;
    let before = gate.provider_saw().len();
    let mut streams = JoinSet::new();
    for _ in 0..200 {
        let (callers, secret) = (gate.callers(), gate.caller_secret.clone());
        streams.spawn(async move {
            let headers =
                [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", secret.as_str())];
            exchange(callers, request("POST", ROUTE, &headers, body("[[scenario:very-slow]] Hello"))).await
        });
    }
    let slow = || gate.provider_saw().len() - before;
    eventually("half of the places are taken", Duration::from_secs(20), async || slow() == 32).await;
    others_are_left_alone(&gate).await;

    // Whoever found no place is told to come back, and holds nothing.
    let mut busy = Vec::new();
    while busy.len() < 168 {
        let answer = tokio::time::timeout(Duration::from_secs(30), streams.join_next()).await.expect("an end in time");
        busy.push(answer.unwrap().unwrap());
    }
    for answer in busy {
        assert_eq!((answer.status, answer.header("x-hexward-denial")), (529, "model.busy"), "{}", answer.text());
        assert_eq!(answer.json()["error"]["type"], "overloaded_error");
    }
    let asked = gate.provider_saw().iter().filter(|saw| String::from_utf8_lossy(&saw.body).contains("very-slow")).count();
    assert_eq!(asked, 32, "never more than its share");
    others_are_left_alone(&gate).await;
    streams.shutdown().await;
    settled(&gate).await;
    assert_eq!(ask(&gate, &gate.caller_secret, "Hello").await.status, 200, "and its own places come back");
    settled(&gate).await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_of_one_key_that_never_come_leave_others_alone() {
    let gate = gate(proxy::CALLS_MAX).await;
    let mut held = Vec::new();
    for _ in 0..12 {
        let mut stream = TcpStream::connect(gate.callers()).await.unwrap();
        let head = format!(
            "POST {ROUTE} HTTP/1.1\r\nhost: gate\r\ncontent-type: application/json\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{{",
            gate.caller_secret,
            32 << 20
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    // None of them is answered, so they are being read or wait for room.
    let mut byte = [0];
    for stream in &mut held {
        let answered = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
        assert!(answered.is_err(), "{answered:?}");
    }
    others_are_left_alone(&gate).await;
    drop(held);
    let large =
        json!({"model": "claude-sonnet-5-5", "max_tokens": 1, "messages": [{"role": "user", "content": "x".repeat(30 << 20)}]});
    let headers =
        [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", gate.caller_secret.as_str())];
    let answer = exchange(gate.callers(), request("POST", ROUTE, &headers, large.to_string())).await;
    let said: Value = answer.json();
    assert_eq!((answer.status, said["error"]["type"].as_str()), (429, Some("billing_error")), "its room is free again: {said}");
    settled(&gate).await;
    gate.finish().await;
}

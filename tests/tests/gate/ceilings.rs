//! What is set aside for a call: never less than it costs, and not much more once its beginning was measured.

use gate_tests::{Answer, Call, Setup, TestGate, eventually, exchange, probe, request};
use policy::Microusd;
use serde_json::{Value, json};
use std::time::Duration;

const ROUTE: &str = "/api/anthropic-proxy/v1/messages";
const MODEL: &str = "claude-sonnet-5-5";
const MAX_TOKENS: i64 = 200;
/// Micro-dollars for ten tokens of Sonnet 5.5 in the United States: of a prompt, of one that is written for five minutes, of output.
const PROMPT: i64 = 22;
const WRITTEN: i64 = 27;
const OUTPUT: i64 = 110;

fn setup() -> Setup {
    Setup { agent: Some(probe()), callers: true, day_limit: Microusd::dollars(50), ..Setup::default() }
}

async fn send(gate: &TestGate, body: &Value) -> Answer {
    let headers =
        [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", gate.caller_secret.as_str())];
    let answer = exchange(gate.callers(), request("POST", ROUTE, &headers, body.to_string())).await;
    let none_open = async || {
        gate.gateway.settle_up().await.unwrap();
        gate.database.0.open_model_calls().await.unwrap() == 0
    };
    eventually("the call is settled", Duration::from_secs(5), none_open).await;
    answer
}

/// Says something long in a conversation, as a client does that keeps it. Returns the call, and how long the body was.
async fn say(gate: &TestGate, body: &mut Value, number: usize) -> (Call, i64) {
    let text = format!("Question {number}. {}", "It is a long story, and it goes on. ".repeat(80));
    body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": text}));
    let answer = send(gate, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let length = i64::try_from(body.to_string().len()).unwrap();
    let content = answer.json()["content"].clone();
    body["messages"].as_array_mut().unwrap().push(json!({"role": "assistant", "content": content}));
    (gate.database.calls().await.pop().unwrap(), length)
}

fn by_bytes(length: i64, rate: i64) -> i64 {
    ((length + 2_000) * rate + MAX_TOKENS * OUTPUT) / 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_conversation_reserves_what_it_was_measured_to_have() {
    let gate = TestGate::start(setup()).await;
    let mut body = json!({"model": MODEL, "max_tokens": MAX_TOKENS, "system": "Be brief.", "messages": []});
    let (mut reserved, mut everything) = (0, 0);
    for number in 1..=16 {
        let (call, length) = say(&gate, &mut body, number).await;
        assert!(0 < call.cost && call.cost <= call.reserved, "{number}: {call:?}");
        let all = by_bytes(length, PROMPT);
        match number {
            // Nothing was measured yet, or nothing that is long enough to be looked for.
            1..4 => assert!((all - 1..=all + 1).contains(&call.reserved), "{number}: {call:?} and not {all}"),
            _ => {
                // What is new by its bytes, with room for what the provider adds by itself.
                let new = by_bytes(4_000, PROMPT);
                assert!(call.reserved <= call.cost + call.cost / 10 + new, "{number}: {call:?}, {length} bytes");
            }
        }
        (reserved, everything) = (call.reserved, all);
    }
    assert!(reserved * 2 < everything, "the last call reserves {reserved}, and by its bytes {everything}");

    // Somebody else's beginning, or one with other settings, was never measured.
    body["messages"].as_array_mut().unwrap().pop();
    body["temperature"] = json!(0.5);
    assert_eq!(send(&gate, &body).await.status, 200);
    let other = gate.database.calls().await.pop().unwrap();
    assert!(other.reserved >= everything && other.cost <= other.reserved, "{other:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_written_is_reserved_as_written() {
    let gate = TestGate::start(setup()).await;
    let cached = |ttl: Option<&str>| {
        let mut control = json!({"type": "ephemeral"});
        ttl.into_iter().for_each(|ttl| control["ttl"] = ttl.into());
        let text = "It is a long story, and it goes on. ".repeat(100);
        json!({"model": MODEL, "max_tokens": MAX_TOKENS, "messages": [{"role": "user",
            "content": [{"type": "text", "text": text, "cache_control": control}]}]})
    };
    for (ttl, rate) in [(None, WRITTEN), (Some("5m"), WRITTEN), (Some("1h"), 44)] {
        let body = cached(ttl);
        assert_eq!(send(&gate, &body).await.status, 200);
        let call = gate.database.calls().await.pop().unwrap();
        let length = i64::try_from(body.to_string().len()).unwrap();
        // 27.5 for ten written ones.
        let most = by_bytes(length, rate) + (length + 2_000) / 20 + 1;
        assert!((by_bytes(length, rate)..=most).contains(&call.reserved) && call.cost <= call.reserved, "{ttl:?}: {call:?}");
    }
    gate.finish().await;
}

const UNSAID: &str = r#"
name = "unsaid"
about = "Ten thousand tokens were written to a cache of which the kind is not said."
[[reply]]
usage = { start = '{"input_tokens":9,"cache_creation_input_tokens":10000,"output_tokens":1}', deltas = ['{"output_tokens":7}'] }
steps = [{ text = "Kept." }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_above_its_ceiling_is_charged_and_told() {
    let mut gate = TestGate::start(Setup { scenarios: vec![("unsaid", UNSAID.to_owned())], ..setup() }).await;
    let body = |control: Value, words: usize| {
        let text = format!("[[scenario:unsaid]] {}", "It goes on. ".repeat(words));
        json!({"model": MODEL, "max_tokens": MAX_TOKENS, "stream": true, "messages": [{"role": "user",
            "content": [{"type": "text", "text": text, "cache_control": control}]}]})
    };
    // 9 tokens at $2, 10,000 at $2.50 or $4 and 7 of output at $10.
    for (ttl, cost) in [("5m", 18 + 25_000 + 70), ("1h", 18 + 40_000 + 70)] {
        assert_eq!(send(&gate, &body(json!({"type": "ephemeral", "ttl": ttl}), 1_000)).await.status, 200);
        let call = gate.database.calls().await.pop().unwrap();
        assert_eq!((call.outcome.as_deref(), call.cost), (Some("measured"), cost), "of the kind that was allowed: {ttl}");
        assert!(call.cost <= call.reserved, "{call:?}");
    }
    let before = gate.today("global").await.0;
    assert!(gate.database.above_ceilings().await.is_empty());

    // A provider that counts more tokens than there are bytes.
    assert_eq!(send(&gate, &body(Value::Null, 1)).await.status, 200);
    let call = gate.database.calls().await.pop().unwrap();
    assert!(call.cost == 25_088 && call.reserved < call.cost, "{call:?}");
    assert_eq!(gate.today("global").await, (before + call.cost, 0), "all of it");
    assert_eq!(gate.database.above_ceilings().await, [(call.reserved, call.cost)], "and it is in the audit log");
    gate.expect_above_ceilings(1);
    gate.finish().await;
}

/// The real agent, with its own headers, caching and thinking.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_s_next_call_reserves_less_than_its_bytes() {
    let gate = TestGate::start(Setup::default()).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    ada.run(&conversation, "Create a tile called Aurora to the north-east", true).await;
    gate.gateway.settle_up().await.unwrap();
    let calls = gate.database.calls().await;
    let of_model: Vec<&Call> = calls.iter().filter(|call| call.path == "/v1/messages").collect();
    let bodies: Vec<usize> = gate.provider_saw().iter().map(|saw| saw.body.len()).collect();
    assert!(of_model.len() >= 3 && of_model.len() == bodies.len(), "{of_model:?}");
    assert!(of_model.iter().all(|call| 0 < call.cost && call.cost <= call.reserved), "{of_model:?}");
    let (first, last) = (of_model[0], of_model[of_model.len() - 1]);
    assert!(bodies.last() > bodies.first(), "it repeats what was said: {bodies:?}");
    // All of them may say four thousand tokens; the rest is for the prompt.
    let prompt = |call: &Call| call.reserved - 4_000 * OUTPUT / 10;
    assert!(0 < prompt(last) && prompt(last) * 2 < prompt(first), "{of_model:?} for {bodies:?}");
    gate.finish().await;
}

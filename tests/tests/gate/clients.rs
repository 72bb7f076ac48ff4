//! The provider's own clients, unmodified: what they see through the gateway is what they see of the provider itself.

use fake::{Fake, FakeConfig};
use gate_tests::{Setup, TestGate, clients, eventually, probe};
use policy::Microusd;
use serde_json::Value;
use std::time::Duration;

const KEY: &str = "the-provider-s-own-key";

/// Runs a client's script against a provider of its own and through a gateway, and compares all that it saw.
async fn same_through_the_gateway(script: &str) {
    let fake = Fake::start(FakeConfig::for_tests(KEY)).await.unwrap();
    let directly: Value = clients::run(script, &fake.url(), KEY).await;
    let setup = Setup { agent: Some(probe()), callers: true, day_limit: Microusd::dollars(50), ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let base = format!("http://{}/api/anthropic-proxy", gate.callers());
    let through: Value = clients::run(script, &base, &gate.caller_secret).await;
    let (directly, through) = (directly.as_object().unwrap(), through.as_object().unwrap());
    assert!(directly.len() >= 12, "the script does everything: {directly:?}");
    for (what, seen) in directly {
        assert_eq!(Some(seen), through.get(what), "{script}: {what}");
    }
    let asked = |requests: Vec<fake::Exchange>| {
        let asked = requests.into_iter().map(|request| (request.method, request.path, request.status));
        asked.collect::<Vec<_>>()
    };
    assert_eq!(asked(gate.fake.requests()), asked(fake.requests()), "the client repeats what it would repeat, and no more");
    let none_open = async || {
        gate.gateway.settle_up().await.unwrap();
        gate.database.0.open_model_calls().await.unwrap() == 0
    };
    eventually("all is settled", Duration::from_secs(5), none_open).await;
    let calls = gate.database.calls().await;
    let unknown: Vec<_> = calls.iter().filter(|call| call.outcome.as_deref() == Some("unknown")).collect();
    assert!(unknown.is_empty(), "all of it was measured: {unknown:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_sees_the_provider() {
    same_through_the_gateway("messages.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_sees_the_provider() {
    same_through_the_gateway("messages.mjs").await;
}

/// Our own refusal is asked for once, and its sentence arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_s_end_is_not_tried_again() {
    for script in ["budget.py", "budget.mjs"] {
        let setup = Setup { agent: Some(probe()), callers: true, day_limit: Microusd(10), ..Setup::default() };
        let gate = TestGate::start(setup).await;
        let base = format!("http://{}/api/anthropic-proxy", gate.callers());
        let seen: Value = clients::run(script, &base, &gate.caller_secret).await;
        assert_eq!((&seen["status"], &seen["requests"]), (&Value::from(429), &Value::from(1)), "{script}: {seen}");
        assert_eq!(seen["error"]["type"], "billing_error", "{script}: {seen}");
        assert!(seen["error"]["message"].as_str().unwrap().ends_with('.'), "{script}: {seen}");
        assert!(gate.provider_saw().is_empty());
        gate.finish().await;
    }
}

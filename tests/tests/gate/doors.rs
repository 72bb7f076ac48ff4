//! What an agent's doors let through when nothing is wrong: the provider's bytes, and the app's resources.

use gate_tests::{Probe, Setup, TestGate, probe};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_s_bytes_arrive_in_the_sandbox() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    let agent = Probe::new(gate.person().await).await;
    let order = json!({"do": "say", "changes": [{"at": "/stream", "to": true}], "whole": true});
    let seen = agent.tell(&gate, json!([order])).await;
    let sent = seen[0]["sent"].as_str().unwrap();
    let saw = gate.provider_saw().into_iter().find(|exchange| exchange.body == sent.as_bytes()).expect("it arrived unchanged");
    let (got, whole) = (seen[0]["body"].as_str().unwrap(), String::from_utf8(saw.sent.to_vec()).unwrap());
    assert!(whole.contains("x_fake_unknown"), "there is something in it that nobody knows");
    // The probe keeps the beginning of an answer, with what frames its pieces; the pieces themselves must be the provider's.
    let events = |text: &str| -> Vec<Value> {
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
    };
    let (got, whole) = (events(got), events(&whole));
    assert!(got.len() >= 3 && whole.starts_with(&got), "{got:?} of {whole:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reads_the_listed_resources_of_its_own_user() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let (hers, his) = (ada.user.clone(), eve.user.clone());
    let agent = Probe::new(ada).await;
    let read = |uri: &str| json!({"do": "tool", "method": "resources/read", "params": {"uri": uri}});
    let orders = json!([
        {"do": "tool", "method": "resources/list", "params": {}},
        {"do": "tool", "method": "resources/templates/list", "params": {}},
        read("map://items"), read("map://nothing"), read("file:///etc/passwd"), read("http://169.254.169.254/"),
    ]);
    let seen = agent.tell(&gate, orders).await;
    assert!(seen[0]["result"]["resources"].to_string().contains("map://items"), "{}", seen[0]);
    assert!(seen[1]["result"]["resourceTemplates"].to_string().contains("map://item/"), "{}", seen[1]);
    assert!(seen[2].to_string().contains(&hers) && !seen[2].to_string().contains(&his), "their own map: {}", seen[2]);
    for refused in &seen[3..] {
        assert!(refused["error"]["code"].is_i64() && refused["result"].is_null(), "{refused}");
    }
    gate.finish().await;
}

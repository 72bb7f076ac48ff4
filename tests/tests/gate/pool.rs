//! Agents that are started before anybody needs them: whose they are, what they may learn, how they are handed over.

use gate_tests::{Probe, Setup, TestGate, chatterer, eventually, logged, probe};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

fn with_a_pool(size: usize, agent: Option<std::path::PathBuf>) -> Setup {
    let mut setup = Setup { agent, ..Setup::default() };
    setup.runs.warm_agents_max = size;
    setup
}

async fn until_ready(gate: &TestGate, count: usize) {
    // After a start that failed on a busy machine the pool pauses half a minute.
    for _ in 0..2400 {
        if gate.gateway.runs.agents_ready() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} agents are ready instead of {count}", gate.gateway.runs.agents_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_takes_an_agent_that_was_there_before() {
    let gate = TestGate::start(with_a_pool(2, None)).await;
    until_ready(&gate, 2).await;
    let before: BTreeSet<String> = gate.sandbox_ids().into_iter().collect();
    assert_eq!((before.len(), gate.provider_saw().len()), (2, 0), "started, and no model was asked");
    let (ada, bob) = (gate.person().await, gate.person().await);
    for person in [&ada, &bob] {
        let conversation = person.conversation().await;
        let events = person.run(&conversation, "Create a tile called Aurora to the north-east", true).await;
        assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
        assert_eq!(person.tiles().await, ["Aurora"], "the tools were there, and they were this person's");
        until_ready(&gate, 2).await;
    }
    let claimed = gate.database.claimed().await;
    assert!(before.contains(&claimed[0]), "the first message took one that was there: {claimed:?} of {before:?}");
    assert_ne!(claimed[0], claimed[1], "an agent is handed over once");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_changes_another_agent_is_taken() {
    let gate = TestGate::start(with_a_pool(2, None)).await;
    until_ready(&gate, 2).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, "Create a tile called Aurora to the north-east", false).await;
    assert!(!events.iter().any(|event| event["type"] == "tool_call"), "it was started without the tools: {events:?}");
    assert!(ada.tiles().await.is_empty());
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_nobodys_learns_its_tools_and_nothing_else() {
    let gate = TestGate::start(with_a_pool(1, Some(probe()))).await;
    until_ready(&gate, 1).await;
    let agent = Probe::new(gate.person().await).await;
    let seen = agent.tell(&gate, json!([{"do": "early"}])).await;
    let early = seen[0].as_array().unwrap_or_else(|| panic!("{seen:?}"));
    assert_eq!(early[0]["error"]["data"]["reason"], "run.none", "templates: {}", early[0]);
    assert_eq!(early[1]["result"]["_meta"]["hexward/reason"], "run.none", "a call: {}", early[1]);
    for refused in &early[2..4] {
        assert_eq!(refused["error"]["data"]["reason"], "run.none", "resources: {refused}");
    }
    assert_eq!((&early[4]["status"], &early[4]["headers"]["x-hexward-denial"]), (&json!(403), &json!("run.none")), "the model");
    assert_eq!(early[5]["headers"]["x-hexward-denial"], "egress.host", "the host: {}", early[5]);
    assert!(early[6]["result"]["tools"].as_array().is_some_and(|tools| !tools.is_empty()), "{}", early[6]);
    let asked: Vec<_> = gate.provider_saw().into_iter().filter(|exchange| exchange.body.ends_with(b"early")).collect();
    assert!(asked.is_empty(), "no model was asked before there was a run");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_in_the_pool_is_replaced() {
    let gate = TestGate::start(with_a_pool(1, None)).await;
    until_ready(&gate, 1).await;
    gate.kill_newest_sandbox(false);
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, "Create a tile called Aurora to the north-east", true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "a dead one is not handed over: {events:?}");
    until_ready(&gate, 1).await;
    gate.finish().await;
}

/// Says something in a new conversation, and whether an agent that was there before took it.
async fn taken_by_one_of(gate: &TestGate, before: &[String]) -> bool {
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, "Create a tile called Aurora to the north-east", true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    let claimed = gate.database.claimed().await;
    before.contains(claimed.last().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_too_old_is_not_handed_over() {
    assert_eq!(runs::Keeping::default().age_max, Duration::from_secs(600), "ten minutes, unless a test says otherwise");
    let mut setup = with_a_pool(1, None);
    setup.runs.keeping.age_max = Duration::from_millis(1);
    let gate = TestGate::start(setup).await;
    until_ready(&gate, 1).await;
    let before = gate.sandbox_ids();
    assert!(!taken_by_one_of(&gate, &before).await);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_spoke_before_anybody_did_is_not_handed_over() {
    let gate = TestGate::start(with_a_pool(1, Some(chatterer()))).await;
    until_ready(&gate, 1).await;
    let before = gate.sandbox_ids();
    assert!(!taken_by_one_of(&gate, &before).await);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_network_can_t_be_checked_is_not_handed_over() {
    let gate = TestGate::start(with_a_pool(1, None)).await;
    until_ready(&gate, 1).await;
    let before = gate.sandbox_ids();
    let frozen = gate.freeze_newest_guard();
    assert!(!taken_by_one_of(&gate, &before).await, "it took another one, and did not wait for the end of this one");
    let warning = before.iter().any(|id| {
        logged(&format!(
            "failed its check, so the agent is replaced; if that repeats, stop the gateway and find out why sandbox={id}"
        ))
    });
    assert!(warning, "the log says so");
    drop(frozen);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_memory_is_short_nobody_rests() {
    let mut setup = with_a_pool(1, Some(probe()));
    setup.runs.keeping.memory_bytes_left_min = u64::MAX;
    let gate = TestGate::start(setup).await;
    let ada = Probe::new(gate.person().await).await;
    ada.tell(&gate, json!([])).await;
    assert_eq!(gate.sandboxes_started(), 1, "none is started ahead of need");
    eventually("the agent at rest is gone", Duration::from_secs(30), async || gate.sandboxes_alive() == 0).await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_what_is_kept_ready() {
    let gate = TestGate::start(with_a_pool(1, None)).await;
    until_ready(&gate, 1).await;
    let ada = gate.person().await;
    // The one place is taken by an agent with changes; whoever asks for one without starts their own, and the next one is there.
    for already_there in [false, true] {
        let before = gate.sandbox_ids();
        let conversation = ada.conversation().await;
        let events = ada.run(&conversation, "What is on my map?", false).await;
        assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
        let taken = gate.database.claimed().await.pop().unwrap();
        assert_eq!(before.contains(&taken), already_there, "{taken} of {before:?}");
        let count = gate.sandboxes_started();
        for _ in 0..200 {
            if gate.sandboxes_started() > count || already_there {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        until_ready(&gate, 1).await;
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_while_agents_start_leaves_nothing() {
    let gate = TestGate::start(with_a_pool(4, None)).await;
    gate.finish().await;
}

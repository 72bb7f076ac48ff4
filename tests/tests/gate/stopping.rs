//! The stop button, and many at once.

use gate_tests::{Setup, TestGate, eventually};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const AURORA: &str = "Create a tile called Aurora to the north-east";

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_button_stops_in_the_middle_of_an_answer() {
    let gate = TestGate::start(Setup { event_delay_ms: 200, ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let run = ada.say(&conversation, AURORA, true).await;
    let mut stream = ada.watch(&run).await;
    stream.until("text_delta").await;
    let pressed = std::time::Instant::now();
    assert_eq!(ada.post(&format!("/api/runs/{run}/stop"), &json!({})).await.status, 202);
    let end = stream.rest().await.pop().unwrap();
    assert_eq!((&end["outcome"], &end["code"]), (&json!("stopped"), &json!(null)), "{end}");
    assert!(pressed.elapsed() < Duration::from_secs(2), "at once: {:?}", pressed.elapsed());
    assert_eq!(ada.post(&format!("/api/runs/{run}/stop"), &json!({})).await.status, 404, "there is nothing to stop any more");
    eventually("the agent is gone", Duration::from_secs(2), async || gate.sandboxes_alive() == 0).await;
    assert!(ada.tiles().await.is_empty(), "nothing was changed");
    let call = gate.database.calls().await.pop().unwrap();
    // What still came within a moment was read for its price; otherwise nobody knows what the provider did.
    match call.outcome.as_deref() {
        Some("measured") => assert!(0 < call.cost && call.cost <= call.reserved, "{call:?}"),
        _ => assert_eq!((call.outcome.as_deref(), call.cost), (Some("unknown"), call.reserved)),
    }
    let history = ada.history(&conversation).await;
    assert!(history.len() == 2 && AURORA == history[0]["text"], "what was said until then is kept: {history:?}");
    let events = ada.run(&conversation, AURORA, true).await;
    assert_eq!((&events.last().unwrap()["outcome"], ada.tiles().await), (&json!("finished"), vec!["Aurora".to_owned()]));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_before_the_agent_is_there() {
    let gate = TestGate::start(Setup::default()).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let run = ada.say(&conversation, AURORA, true).await;
    assert_eq!(ada.post(&format!("/api/runs/{run}/stop"), &json!({})).await.status, 202);
    let events = ada.watch(&run).await.rest().await;
    assert_eq!(events.last().unwrap()["outcome"], "stopped", "{events:?}");
    eventually("no agent is left", Duration::from_secs(2), async || gate.sandboxes_alive() == 0).await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_conversations_at_once_all_finish() {
    const PEOPLE: usize = 20;
    let mut setup = Setup::default();
    // Twenty agents that start at once on a small machine take their time.
    setup.runs.wall_clock = Duration::from_secs(180);
    let gate = TestGate::start(setup).await;
    let talks = (0..PEOPLE).map(async |number| {
        let person = gate.person().await;
        let conversation = person.conversation().await;
        let title = format!("Tile{number}");
        let events = person.run(&conversation, &format!("Create a tile called {title} to the north-east"), true).await;
        assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
        assert_eq!(person.tiles().await, [title], "each has their own map");
        person.user
    });
    let users: BTreeSet<String> = futures_util::future::join_all(talks).await.into_iter().collect();
    assert_eq!((users.len(), gate.sandboxes_started()), (PEOPLE, PEOPLE));
    let paid: i64 = gate.database.calls().await.iter().map(|call| call.cost).sum();
    assert_eq!(gate.today("global").await, (paid, 0));
    gate.finish().await;
}

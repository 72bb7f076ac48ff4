//! Waiting for a place: in turns, with a position, and not for ever.

use gate_tests::{Person, Setup, TestGate, eventually, probe};
use serde_json::{Value, json};
use std::time::Duration;

const DONE: &str = r#"{"orders": []}"#;

async fn gate(change: impl FnOnce(&mut Setup)) -> TestGate {
    let mut setup = Setup { agent: Some(probe()), ..Setup::default() };
    setup.runs.concurrent_max = 1;
    change(&mut setup);
    TestGate::start(setup).await
}

fn sleep(ms: u64) -> String {
    json!({"orders": [{"do": "sleep", "ms": ms}]}).to_string()
}

/// A message in a conversation of its own.
async fn send(person: &Person, text: &str) -> String {
    let conversation = person.conversation().await;
    person.say(&conversation, text, true).await
}

fn positions(events: &[Value]) -> Vec<u64> {
    events.iter().filter(|event| event["type"] == "queued").map(|event| event["position"].as_u64().unwrap()).collect()
}

fn outcome(events: &[Value]) -> (&str, &str) {
    let end = events.last().unwrap();
    assert_eq!(end["type"], "run_ended");
    (end["outcome"].as_str().unwrap(), end["code"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_many_messages_starves_nobody() {
    let gate = gate(|_| {}).await;
    let (ada, bob, eve) = (gate.person().await, gate.person().await, gate.person().await);
    let first = send(&eve, &sleep(1500)).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push((ada.clone(), send(&ada, DONE).await));
    }
    runs.push((bob.clone(), send(&bob, DONE).await));
    let order = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let watching: Vec<_> = runs
        .into_iter()
        .enumerate()
        .map(|(number, (person, run))| {
            let order = std::sync::Arc::clone(&order);
            tokio::spawn(async move {
                let mut stream = person.watch(&run).await;
                let mut events = stream.until("state").await;
                order.lock().push(number);
                events.extend(stream.rest().await);
                events
            })
        })
        .collect();
    let mut told = Vec::new();
    for watcher in watching {
        let events = watcher.await.unwrap();
        assert_eq!((events[0]["type"].as_str(), outcome(&events).0), (Some("run_started"), "finished"), "{events:?}");
        told.push(positions(&events));
    }
    assert_eq!(*order.lock(), [0, 3, 1, 2], "the other person's message goes second");
    // Positions as they changed: the other's message came between.
    assert_eq!(told, [vec![1], vec![2, 3, 2, 1], vec![3, 4, 3, 2, 1], vec![2, 1]]);
    eve.watch(&first).await.rest().await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_is_told_and_keeps_the_message() {
    let gate = gate(|setup| setup.runs.queue.wait = Duration::from_millis(300)).await;
    let (ada, bob) = (gate.person().await, gate.person().await);
    let busy = send(&ada, &sleep(1500)).await;
    let conversation = bob.conversation().await;
    let events = bob.run(&conversation, "Hello there", true).await;
    assert_eq!(outcome(&events), ("failed", "run.queue_expired"), "{events:?}");
    assert_eq!((positions(&events), events.last().unwrap()["turns"].as_u64()), (vec![1], Some(0)));
    assert!(events.iter().all(|event| event["type"] != "state"), "it never began: {events:?}");
    assert_eq!(bob.history(&conversation).await, [json!({"role": "user", "text": "Hello there"})]);
    assert_eq!(outcome(&ada.watch(&busy).await.rest().await).0, "finished", "the one that had the place is not concerned");
    let events = bob.run(&conversation, DONE, true).await;
    assert_eq!(outcome(&events).0, "finished", "sent again it begins: {events:?}");
    assert!(positions(&events).is_empty());
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_run_does_not_begin_with_the_waiting() {
    let gate = gate(|setup| setup.runs.wall_clock = Duration::from_millis(2500)).await;
    let (ada, bob) = (gate.person().await, gate.person().await);
    let first = send(&ada, &sleep(1500)).await;
    let second = send(&bob, &sleep(1500)).await;
    let events = bob.watch(&second).await.rest().await;
    assert_eq!(outcome(&events).0, "finished", "together they take longer than one may: {events:?}");
    assert!(events.last().unwrap()["duration_ms"].as_u64().unwrap() < 2500);
    assert_eq!(outcome(&ada.watch(&first).await.rest().await).0, "finished");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_button_leaves_the_line() {
    let gate = gate(|_| {}).await;
    let (ada, bob, eve) = (gate.person().await, gate.person().await, gate.person().await);
    let first = send(&ada, &sleep(2000)).await;
    let (of_bob, of_eve) = (send(&bob, DONE).await, send(&eve, DONE).await);
    let mut stream = eve.watch(&of_eve).await;
    assert_eq!(positions(&stream.until("queued").await), [2]);
    assert_eq!(ada.post(&format!("/api/runs/{of_bob}/stop"), &json!({})).await.status, 404, "it is another's");
    assert_eq!(bob.post(&format!("/api/runs/{of_bob}/stop"), &json!({})).await.status, 202);
    assert_eq!(positions(&stream.until("queued").await), [1], "who comes after moves up at once");
    let stopped = bob.watch(&of_bob).await.rest().await;
    assert_eq!(outcome(&stopped).0, "stopped", "{stopped:?}");
    assert_eq!(outcome(&stream.rest().await).0, "finished");
    assert_eq!(outcome(&ada.watch(&first).await.rest().await).0, "finished");
    assert_eq!((gate.gateway.runs.waiting(), gate.sandboxes_started()), (0, 2), "nothing was started for the stopped one");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_is_bounded_for_one_person_and_for_all() {
    let gate = gate(|setup| setup.runs.queue.waiting_max = 4).await;
    let (ada, bob, eve) = (gate.person().await, gate.person().await, gate.person().await);
    send(&eve, &sleep(20_000)).await;
    for _ in 0..3 {
        send(&ada, DONE).await;
    }
    let refuse = async |person: &Person| {
        let conversation = person.conversation().await;
        let refused = person.try_say(&conversation, DONE, true).await;
        assert!(person.history(&conversation).await.is_empty(), "it was not taken");
        assert_eq!(refused.header("retry-after"), "10");
        (refused.status, refused.json()["error"]["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(refuse(&ada).await, (429, "run.waiting".to_owned()), "her own three wait already");
    send(&bob, DONE).await;
    assert_eq!(refuse(&bob).await, (503, "run.busy".to_owned()), "and now as many as may");
    assert_eq!(gate.database.active_runs().await, 5);
    // The end of the gateway ends the waiting; `finish` checks that nothing is left active.
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_is_given_back_whatever_becomes_of_its_run() {
    let gate = gate(|setup| {
        setup.runs.concurrent_max = 2;
        setup.runs.queue.wait = Duration::from_secs(50);
    })
    .await;
    let people = [gate.person().await, gate.person().await, gate.person().await, gate.person().await];
    let texts = [DONE.to_owned(), sleep(300), json!({"orders": [{"do": "exit", "code": 3}]}).to_string()];
    let mut runs = Vec::new();
    for person in &people {
        for text in &texts {
            runs.push((person, send(person, text).await));
        }
    }
    for (person, run) in runs {
        person.watch(&run).await.rest().await;
    }
    let idle = async || gate.database.active_runs().await == 0;
    eventually("all end", Duration::from_secs(20), idle).await;
    assert_eq!(gate.gateway.runs.waiting(), 0);
    let (ada, bob) = (send(&people[0], &sleep(800)).await, send(&people[1], &sleep(800)).await);
    for (person, run) in [(&people[0], ada), (&people[1], bob)] {
        assert!(positions(&person.watch(&run).await.rest().await).is_empty(), "both places are free again");
    }
    gate.finish().await;
}

//! Host applications: their back ends speak for their users, over the same functions as people's pages.

use gate_tests::{BackEnd, Postgres, Setup, TestGate, eventually, host};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

const AURORA: &str = "Create a tile called Aurora to the north-east";
const MAP: &str = "/v1/apps/hexmap/resource?uri=map://items";

fn shop(setup: Setup) -> Setup {
    Setup { callers: true, hosts: vec![host("shop"), host("forum")], ..setup }
}

fn outcome(events: &[Value]) -> (&str, &str) {
    let end = events.last().unwrap();
    (end["type"].as_str().unwrap(), end["outcome"].as_str().unwrap_or_default())
}

async fn speaks_for_its_users(database: Option<String>) {
    let mut gate = TestGate::start(shop(Setup { database, ..Setup::default() })).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let forum = BackEnd::new(&mut gate, "forum", &[]).await;
    let (ada, bob, namesake) = (shop.user(&gate, "ada"), shop.user(&gate, "bob"), forum.user(&gate, "ada"));
    let conversation = ada.conversation().await;
    let run = ada.run(&conversation, AURORA, true).await;
    let events = ada.events(&run, 0).await;
    assert_eq!(outcome(&events), ("run_ended", "finished"), "{events:?}");
    let again = ada.events(&run, 3).await;
    assert_eq!(again, events[3..], "from after the last one that was seen");

    let shown = ada.get(&format!("/v1/conversations/{conversation}")).await.json();
    assert_eq!((&shown["messages"][0]["text"], &shown["active_run"]), (&Value::from(AURORA), &Value::Null));
    assert_eq!(ada.get("/v1/conversations?app=hexmap").await.json()[0]["id"], conversation.as_str());
    assert_eq!(ada.get(MAP).await.json()["children"][0]["title"], "Aurora");

    // Somebody else of the same host, and the same name at another host, have none of it.
    for other in [bob, namesake] {
        assert_eq!(other.get("/v1/conversations").await.json(), json!([]));
        for path in [format!("/v1/conversations/{conversation}"), format!("/v1/runs/{run}/events")] {
            assert_eq!(other.get(&path).await.status, 404, "{path}");
        }
        assert_eq!(other.post(&format!("/v1/runs/{run}/stop"), &json!({})).await.status, 404);
        assert_eq!(other.post("/v1/undo", &json!({"run": run})).await.status, 404);
    }

    let undone = ada.post("/v1/undo", &json!({"run": run})).await;
    assert_eq!((undone.status, &undone.json()["complete"]), (200, &Value::from(true)), "{}", undone.text());
    assert_eq!(ada.get(MAP).await.json()["children"], json!([]));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_speaks_for_its_users() {
    speaks_for_its_users(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_speaks_for_its_users_on_postgresql() {
    speaks_for_its_users(Some(Postgres::shared().fresh_database())).await;
}

/// However often and wherever a request is repeated, it happens once.
async fn once_of_fifty(database: Option<String>) {
    let mut gate = TestGate::start(shop(Setup { database: database.clone(), ..Setup::default() })).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let other = match database {
        None => None,
        Some(_) => Some(TestGate::start(shop_elsewhere(database)).await),
    };
    let ada = shop.user(&gate, "ada");
    let conversation = ada.conversation().await;
    let elsewhere = other.as_ref().map(|other| BackEnd { address: other.callers(), ..shop.clone() });
    let body = json!({"text": "Hello", "writes": false});
    let fifty = (0..50).map(|number| {
        let at = elsewhere.as_ref().filter(|_| number % 2 == 0).unwrap_or(&shop);
        let (user, body, conversation) = (at.user(&gate, "ada"), &body, &conversation);
        async move { user.try_run(conversation, "order-17", body).await }
    });
    let answers = futures_util::future::join_all(fifty).await;
    let runs: HashSet<String> = answers.iter().map(|answer| answer.json()["run_id"].to_string()).collect();
    assert!(
        answers.iter().all(|answer| answer.status == 202) && runs.len() == 1,
        "{:?}",
        answers.iter().map(|a| a.text()).collect::<Vec<_>>()
    );
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotent-replayed").is_empty()).count(), 1, "one began it");
    let run = answers[0].json()["run_id"].as_str().unwrap().to_owned();
    // A gateway that does not conduct it knows only of its end.
    eventually("the run has ended", Duration::from_secs(60), async || gate.database.run(&run).await.0 != "active").await;
    assert_eq!(gate.database.run(&run).await, ("finished".to_owned(), None));
    let again = ada.try_run(&conversation, "order-17", &body).await;
    assert_eq!((again.status, again.json()["run_id"].as_str()), (202, Some(run.as_str())), "also after its end");
    for changed in [json!({"text": "Hello!", "writes": false}), json!({"text": "Hello", "writes": true})] {
        let refused = ada.try_run(&conversation, "order-17", &changed).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (422, &Value::from("idempotency.other")), "{changed}");
    }
    let shown = ada.get(&format!("/v1/conversations/{conversation}")).await.json();
    let said = shown["messages"].as_array().unwrap().iter().filter(|message| message["role"] == "user").count();
    assert_eq!(said, 1, "{shown}");
    let long = "k".repeat(201);
    for key in ["", long.as_str(), "caf\u{e9}"] {
        let refused = ada.try_run(&conversation, key, &body).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &Value::from("idempotency.key")), "{key}");
    }
    let without = ada.post(&format!("/v1/conversations/{conversation}/runs"), &body).await;
    assert_eq!(without.json()["error"]["code"], "idempotency.key");
    if let Some(other) = other {
        other.finish().await;
    }
    gate.finish().await;
}

fn shop_elsewhere(database: Option<String>) -> Setup {
    shop(Setup { database, name: Some("gate-elsewhere"), ..Setup::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_repetitions_begin_one_run() {
    once_of_fifty(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_repetitions_at_two_gateways_begin_one_run() {
    once_of_fifty(Some(Postgres::shared().fresh_database())).await;
}

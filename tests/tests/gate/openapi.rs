//! What the document says of `/v1/` holds at the gateway: Schemathesis asks for all that it allows, and for much that it does not, and
//! compares the answers with it.

use gate_tests::clients::schemathesis;
use gate_tests::{BackEnd, HOST_SECRET, HostUser, Setup, TestGate, eventually, exchange, host, request};
use policy::HostAction;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const AURORA: &str = "Create a tile called Aurora to the north-east";
const LONG: Duration = Duration::from_secs(290);

fn shop() -> Setup {
    // Links for confirmations need an address at which people are.
    let public_url = Some("http://localhost:7410".to_owned());
    let mut setup = Setup { callers: true, hosts: vec![host("shop"), host("forum")], public_url, ..Setup::default() };
    // A question is there as long as the test takes.
    (setup.runs.wall_clock, setup.runs.confirmation_wait) = (LONG, LONG);
    setup
}

/// What the cases may find: conversations, a run that has ended, and a question that waits; also the run that asks it.
async fn there(ada: HostUser<'_>) -> (Value, String) {
    let mut conversations = Vec::new();
    for _ in 0..8 {
        conversations.push(ada.conversation().await);
    }
    let run = ada.run(&conversations[0], AURORA, true).await;
    ada.events(&run, 0).await;
    let asks = ada.run(&ada.conversation().await, "Delete the tile Aurora", true).await;
    let waiting = async || ada.get("/v1/confirmations").await.json();
    eventually("a question waits", Duration::from_secs(60), async || waiting().await != json!([])).await;
    let question = waiting().await[0]["id"].clone();
    let there = json!({
        "conversations": conversations, "runs": [run], "run": [run], "confirmations": [question], "app": ["hexmap"],
        "tool": ["addItem", "updateItem", "moveItem", "deleteItem"], "uri": ["map://items"],
        "return_to": ["https://shop.example/orders/17"], "Origin": ["https://shop.example"],
    });
    (there, asks)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_as_its_document_says() {
    let mut gate = TestGate::start(shop()).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let ada = shop.user(&gate, "ada");
    let (there, asks) = there(ada).await;
    let document = shop.ask_with_key("/v1/openapi.json").await;
    assert_eq!((document.status, document.header("content-type")), (200, "application/json"));
    let [path, seen] = ["openapi.json", "seen"].map(|name| gate.folder.path().join(name).display().to_string());
    std::fs::write(&path, document.text()).unwrap();

    let (content, said) = schemathesis(
        &["run", &path, "--url", &format!("http://{}", gate.callers())],
        &[
            ("HEXWARD_KEY", &shop.token),
            ("HEXWARD_SECRET", HOST_SECRET),
            ("HEXWARD_ISSUER", &shop.issuer),
            ("HEXWARD_THERE", &there.to_string()),
            ("HEXWARD_SEEN", &seen),
        ],
        gate.folder.path(),
    )
    .await;
    assert!(content, "{said}");
    answered_well(&document.json(), &std::fs::read_to_string(&seen).unwrap());
    ada.post(&format!("/v1/runs/{asks}/stop"), &json!({})).await;
    gate.finish().await;
}

/// Each operation did what it is for at least once. That takes an agent that does unusually much for one, and for the other a run that
/// has not ended when it is stopped.
fn answered_well(document: &Value, seen: &str) {
    let mut answers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (operation, status) in seen.lines().filter_map(|line| line.split_once(' ')) {
        answers.entry(operation).or_default().push(status);
    }
    let items = document["paths"].as_object().unwrap().values();
    for operation in items.flat_map(|item| item.as_object().unwrap().values()) {
        let id = operation["operationId"].as_str().unwrap();
        let statuses = &answers[id];
        assert!(statuses.len() > 10, "{id}: {statuses:?}");
        let done = statuses.iter().any(|status| status.starts_with('2'));
        assert!(done || ["answerChallenge", "stopRun"].contains(&id), "{id}: {statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_for_whoever_shows_a_key() {
    let mut gate = TestGate::start(shop()).await;
    let shop = BackEnd::new(&mut gate, "shop", &["--action", "undo"]).await;
    let gone = BackEnd { token: format!("hxw_{}", "0".repeat(64)), ..shop.clone() };
    assert_eq!(shop.ask_with_key("/v1/openapi.json").await.text(), web::openapi());
    let refused = gone.ask_with_key("/v1/openapi.json").await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (401, &"key".into()));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_text_is_the_address_of_nothing() {
    let mut gate = TestGate::start(shop()).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let ada = shop.user(&gate, "ada");
    for path in ["conversations/%ff", "runs/%c3%28", "runs/%ff/events", "apps/%ff/resource?uri=map://items"] {
        let nothing = ada.get(&format!("/v1/{path}")).await;
        assert_eq!((nothing.status, &nothing.json()["error"]["code"]), (404, &"not_found".into()), "{path}");
    }
    let nothing = ada.post("/v1/apps/hexmap/tools/%ff", &json!({"arguments": {}})).await;
    assert_eq!((nothing.status, &nothing.json()["error"]["code"]), (404, &"not_found".into()));
    let person = gate.person().await;
    let at_the_page =
        exchange(gate.address, request("GET", "/api/runs/%ff/events", &[("cookie", &person.cookie)], String::new())).await;
    assert_eq!((at_the_page.status, &at_the_page.json()["error"]["code"]), (404, &"not_found".into()));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_values_is_not_taken_for_an_object() {
    let mut gate = TestGate::start(shop()).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let ada = shop.user(&gate, "ada");
    let conversation = ada.conversation().await;
    for (path, body) in [
        ("/v1/conversations".to_owned(), json!(["hexmap", null])),
        (format!("/v1/conversations/{conversation}/runs"), json!(["Hello", true])),
        (format!("/v1/runs/{conversation}/stop"), json!([])),
        ("/v1/apps/hexmap/tools/addItem".to_owned(), json!([{}])),
    ] {
        let refused = ada.post(&path, &body).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &"body.json".into()), "{path}");
    }
    assert_eq!(ada.get("/v1/conversations").await.json().as_array().unwrap().len(), 1);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_is_for_whoever_may_not() {
    let mut gate = TestGate::start(shop()).await;
    let all = BackEnd::new(&mut gate, "shop", &[]).await;
    let nobody = BackEnd { token: format!("hxw_{}", "0".repeat(64)), ..all.clone() };
    let mut without = BTreeMap::new();
    for action in HostAction::ALL {
        let others = HostAction::ALL.into_iter().filter(|other| *other != action).flat_map(|other| ["--action", other.as_str()]);
        without.insert(action.as_str(), BackEnd::new(&mut gate, "shop", &others.collect::<Vec<_>>()).await);
    }
    let document: Value = serde_json::from_str(web::openapi()).unwrap();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(action) = operation["x-hexward-action"].as_str() else {
                assert!(["describe", "askForRunEvents"].contains(&operation["operationId"].as_str().unwrap()), "{path}");
                continue;
            };
            asked += 1;
            let path = path.replace("{id}", &"0".repeat(36));
            let refused = async |who: &BackEnd, assertion: bool| {
                let assertion = if assertion { all.assertion("ada", gate.gateway.clock.now()) } else { "x".to_owned() };
                let answer = who.ask_with(&method.to_uppercase(), &path, &assertion, &[], &json!({})).await;
                (answer.status, answer.json()["error"]["code"].as_str().unwrap().to_owned())
            };
            assert_eq!(refused(&nobody, true).await, (401, "key".to_owned()), "{method} {path}");
            assert_eq!(refused(&without[action], true).await, (403, "host.action".to_owned()), "{method} {path}");
            assert_eq!(refused(&all, false).await, (401, "assertion.malformed".to_owned()), "{method} {path}");
        }
    }
    assert!(asked > 15, "{asked}");
    gate.finish().await;
}

//! What can't be undone is answered by a host's user in their own browser, at our own origin, and by nobody else.

use gate_tests::{Answer, BackEnd, Setup, TestGate, exchange, host, request};
use hexmap::coord::{Coord, Path};
use hexmap::map::Maps;
use hexmap::tile::{ItemType, NewTile, Visibility};
use serde_json::{Value, json};
use std::time::Duration;

const READING: Duration = Duration::from_millis(750);
const BACK: &str = "https://shop.example/map?x=1&y=2";
const DELETES: &str = r#"
name = "deletes"
about = "Looks up the person, then deletes the tile to the north-east."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "getCurrentUser", input = {} } }]
[[reply]]
when = { turn = 2 }
[[reply.steps]]
tool_use = { name = "deleteItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [2] } } }
[[reply]]
steps = [{ text = "So be it." }]
"#;

async fn plant(gate: &TestGate, title: &str) {
    let user = gate.gateway.store.user_named("hexward:host:shop", "ada").await.unwrap().unwrap().to_string();
    let tile = NewTile {
        title: title.to_owned(),
        content: String::new(),
        preview: None,
        link: None,
        item_type: ItemType::Context,
        visibility: Visibility::Private,
    };
    let maps = Maps::new(gate.gateway.store.clone(), gate.gateway.clock.clone());
    maps.create_tile(&Coord::new(&user, 0, Path::parse("2").unwrap()).unwrap(), tile).await.unwrap();
}

/// A browser at people's listener, with a cookie or none.
async fn browse(gate: &TestGate, method: &str, path: &str, cookie: &str, more: &[(&str, &str)], body: &str) -> Answer {
    let mut headers = vec![("cookie", cookie)];
    headers.extend_from_slice(more);
    exchange(gate.address, request(method, path, &headers, body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_s_user_answers_in_their_own_browser() {
    let mut setup = Setup {
        callers: true,
        hosts: vec![host("shop")],
        scenarios: vec![("deletes", DELETES.to_owned())],
        public_url: Some("http://localhost:7410".to_owned()),
        ..Setup::default()
    };
    setup.runs.confirmation_wait = Duration::from_secs(30);
    let mut gate = TestGate::start(setup).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let (ada, bob) = (shop.user(&gate, "ada"), shop.user(&gate, "bob"));
    let conversation = ada.conversation().await;
    plant(&gate, "Aurora <b>").await;
    let run = ada.run(&conversation, "[[scenario:deletes]] Delete it.", true).await;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        waiting = ada.get("/v1/confirmations").await.json().as_array().unwrap().clone();
        if !waiting.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let id = waiting.first().expect("a question waits")["id"].as_str().unwrap().to_owned();
    let links = format!("/v1/confirmations/{id}/links");
    assert_eq!(bob.get("/v1/confirmations").await.json(), json!([]));
    assert_eq!(bob.post(&links, &json!({})).await.status, 404, "another's");
    let elsewhere = ada.post(&links, &json!({"return_to": "https://evil.example/"})).await;
    assert_eq!((elsewhere.status, &elsewhere.json()["error"]["code"]), (400, &json!("confirm.return_to")));
    let busy = ada.delete(&format!("/v1/conversations/{conversation}")).await;
    assert_eq!(busy.status, 409, "{}", busy.text());
    let made = ada.post(&links, &json!({"return_to": BACK})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let url = made.json()["url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("http://localhost:7410").unwrap();

    // Reading it by the back end was not showing it; the link is good once, also if somebody comes from the host's page.
    let from_host = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    let entered = browse(&gate, "GET", path, "", &from_host, "").await;
    assert_eq!((entered.status, entered.header("location")), (303, "/confirm"));
    let cookie = entered.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(entered.header("set-cookie").contains("HttpOnly") && entered.header("set-cookie").contains("SameSite=Lax"));
    assert_eq!(browse(&gate, "GET", path, "", &[], "").await.status, 410, "once");
    assert_eq!(browse(&gate, "GET", "/confirm", "", &[], "").await.status, 410, "nobody without the session");
    let page = browse(&gate, "GET", "/confirm", &cookie, &[], "").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("deleteItem") && page.text().contains("Aurora &lt;b&gt;"), "{}", page.text());
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));

    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", "http://localhost:7410")];
    let early = browse(&gate, "POST", "/confirm", &cookie, &form, "answer=yes").await;
    assert_eq!(early.status, 409, "nobody read so fast");
    let foreign = [("content-type", "application/x-www-form-urlencoded"), ("origin", "https://shop.example")];
    assert_eq!(browse(&gate, "POST", "/confirm", &cookie, &foreign, "answer=yes").await.status, 403, "not from the host's page");
    tokio::time::sleep(READING).await;
    assert_eq!(browse(&gate, "POST", "/confirm", "", &form, "answer=yes").await.status, 410);
    assert_eq!(browse(&gate, "POST", "/confirm", &cookie, &form, "answer=perhaps").await.status, 400);
    // The session is for this question alone.
    assert_eq!(browse(&gate, "GET", "/api/confirmations", &cookie, &[], "").await.status, 401);
    let done = browse(&gate, "POST", "/confirm", &cookie, &form, "answer=yes").await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(done.text().contains("It was done.") && done.text().contains("href=\"https://shop.example/map?x=1&amp;y=2\""));
    let events = ada.events(&run, 0).await;
    assert!(events.iter().any(|event| event["type"] == "confirmation_ended" && event["state"] == "done"), "{events:?}");
    let map: Value = ada.get("/v1/apps/hexmap/resource?uri=map://items").await.json();
    assert_eq!(map["children"], json!([]));
    let again = browse(&gate, "GET", "/confirm", &cookie, &[], "").await;
    assert!(again.status == 200 && again.text().contains("It was done."));
    gate.finish().await;
}

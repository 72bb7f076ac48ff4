//! What one person can't do to another, and what nobody can say.

use gate_tests::{Person, Postgres, Setup, TestGate, exchange, probe, request};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

const NO_ID: &str = "01a2003d-4b8f-7184-956f-decd7e16b0f6";

async fn quiet() -> TestGate {
    TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_someone_else_does_not_exist() {
    let gate = TestGate::start(Setup { event_delay_ms: 30, ..Setup::default() }).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    assert_ne!((&ada.user, &ada.cookie), (&eve.user, &eve.cookie));
    let conversation = ada.conversation().await;
    let run = ada.say(&conversation, "Create a tile called Aurora to the north-east", true).await;
    let mut stream = ada.watch(&run).await;
    stream.until("text_delta").await;
    // While the run goes on, and in the same words as for what exists nowhere.
    let nowhere = shape(eve.get(&format!("/api/conversations/{NO_ID}")).await.json());
    for address in [format!("/api/conversations/{conversation}"), format!("/api/runs/{run}/events")] {
        let answer = eve.get(&address).await;
        assert_eq!((answer.status, shape(answer.json())), (404, nowhere.clone()), "{address}");
    }
    let stop = eve.post(&format!("/api/runs/{run}/stop"), &json!({})).await;
    assert_eq!((stop.status, shape(stop.json())), (404, nowhere.clone()));
    let said = eve.try_say(&conversation, "Hello", true).await;
    assert_eq!((said.status, shape(said.json())), (404, nowhere.clone()));
    let gone = async |who: &Person| {
        let headers = [("cookie", who.cookie.as_str())];
        exchange(gate.address, request("DELETE", &format!("/api/conversations/{conversation}"), &headers, "")).await
    };
    let forgotten = gone(&eve).await;
    assert_eq!((forgotten.status, shape(forgotten.json())), (404, nowhere.clone()));
    let busy = gone(&ada).await;
    assert_eq!((busy.status, &busy.json()["error"]["code"]), (409, &json!("run.active")), "nothing goes while it is worked in");
    let end = stream.rest().await;
    assert_eq!(end.last().unwrap()["outcome"], "finished", "eve stopped nothing: {end:?}");
    // And afterwards.
    assert_eq!(ada.tiles().await, ["Aurora"]);
    assert!(eve.tiles().await.is_empty());
    assert_eq!(eve.get("/api/conversations").await.json(), json!([]));
    assert_eq!(eve.get(&format!("/api/runs/{run}/events")).await.status, 404);
    assert_eq!(ada.history(&conversation).await.iter().filter(|m| m["role"] == "user").count(), 1, "eve said nothing");
    // Its own person deletes it.
    assert_eq!(gone(&ada).await.status, 204);
    assert_eq!(ada.get("/api/conversations").await.json(), json!([]));
    assert_eq!((ada.get(&format!("/api/conversations/{conversation}")).await.status, gone(&ada).await.status), (404, 404));
    gate.finish().await;
}

/// An error without what differs from one to the next.
fn shape(mut answer: Value) -> Value {
    assert!(answer["request_id"].take().is_string(), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_lead_nowhere() {
    let gate = quiet().await;
    let ada = gate.person().await;
    let long = "a".repeat(5000);
    for id in
        ["x", "0", "%00", "..", "%2e%2e", NO_ID, "01A2003D-4B8F-7184-956F-DECD7E16B0F6 ", &long, "%F0%9F%92%A9", "'%20OR%201=1--"]
    {
        let id = id.replace(' ', "%20");
        for path in [
            format!("/api/conversations/{id}"),
            format!("/api/runs/{id}/events"),
            format!("/api/apps/{id}/resource?uri=map://items"),
        ] {
            assert_eq!(ada.get(&path).await.status, 404, "{path}");
        }
        assert_eq!(ada.post(&format!("/api/runs/{id}/stop"), &json!({})).await.status, 404, "{id}");
        assert_eq!(ada.try_say(&id, "Hello", false).await.status, 404, "{id}");
    }
    for uri in ["", "map://nothing", "file:///etc/passwd", "http://169.254.169.254/", "map://items/../../x", &long] {
        let path = format!("/api/apps/hexmap/resource?uri={uri}");
        assert_eq!(ada.get(&path).await.status, 404, "{uri}");
    }
    for path in [
        "/nothing",
        "/api",
        "/api/",
        "/assets/../Cargo.toml",
        "/assets/%2e%2e/x",
        "/.env",
        "/v1/messages",
        "/api/anthropic-proxy/v1/messages",
    ] {
        assert_eq!(ada.get(path).await.status, 404, "{path}");
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_cookie_there_is_no_session() {
    let gate = quiet().await;
    let ada = gate.person().await;
    let token = ada.cookie.split('=').nth(1).unwrap();
    let other = token.chars().rev().collect::<String>();
    let cookies = [
        String::new(),
        "hexward-session=".to_owned(),
        "hexward-session=x".to_owned(),
        format!("hexward-session={other}"),
        format!("hexward-session={token}A"),
        format!("hexward-session={token}; hexward-session={other}"),
        format!("HEXWARD-SESSION={token}"),
        format!("__Host-hexward-session={token}"),
        format!("hexward-session={}", "%00".repeat(40)),
    ];
    for cookie in &cookies {
        for path in ["/api/conversations", "/api/changes", "/api/apps/hexmap/resource?uri=map://items"] {
            let answer = exchange(gate.address, request("GET", path, &[("cookie", cookie)], "")).await;
            assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (401, Some("session.none")), "{path} {cookie}");
        }
    }
    // A new session instead of somebody else's.
    let fresh = exchange(gate.address, request("GET", "/api/session", &[("cookie", &cookies[3])], "")).await;
    assert_ne!(fresh.json()["user"]["id"], ada.user.as_str());
    let set = fresh.header("set-cookie").to_ascii_lowercase();
    assert!(set.contains("httponly") && set.contains("samesite=strict") && !set.contains("domain"), "{set}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_and_other_names_are_refused() {
    let gate = quiet().await;
    let ada = gate.person().await;
    let own = gate.address.to_string();
    let post = async |headers: &[(&str, &str)]| {
        let mut all = vec![("cookie", ada.cookie.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        exchange(gate.address, request("POST", "/api/conversations", &all, "{}")).await.status
    };
    assert_eq!(post(&[("origin", &format!("http://{own}"))]).await, 201);
    for origin in ["http://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1", "https://evil.example", "file://"] {
        assert_eq!(post(&[("origin", origin)]).await, 403, "{origin}");
    }
    for site in ["cross-site", "same-site", "nonsense"] {
        assert_eq!(post(&[("sec-fetch-site", site)]).await, 403, "{site}");
    }
    // Reading counts too: a session begun by a foreign page would take the place of the person's own.
    for site in ["cross-site", "same-site"] {
        let headers = [("host", "127.0.0.1"), ("sec-fetch-site", site)];
        let answer = exchange(gate.address, request("GET", "/api/session", &headers, "")).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, ""), "{site}");
        assert_eq!(exchange(gate.address, request("GET", "/", &headers, "")).await.status, 200, "pages may be linked to");
    }
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "169.254.169.254"] {
        for path in ["/", "/api/session", "/api/conversations", "/assets/x.js", "/nothing"] {
            let answer = exchange(gate.address, request("GET", path, &[("host", host), ("cookie", &ada.cookie)], "")).await;
            assert_eq!((answer.status, answer.header("set-cookie")), (421, ""), "{host}{path}");
        }
    }
    assert_eq!(ada.get("/api/conversations").await.json().as_array().unwrap().len(), 1, "only the first was made");
    gate.finish().await;
}

async fn refused(ada: &Person, conversation: &str, content_type: &str, body: impl Into<Vec<u8>>) -> (u16, String) {
    let answer = ada.post_as(&format!("/api/conversations/{conversation}/messages"), content_type, body.into()).await;
    let error = answer.json();
    assert!(error["error"]["message"].as_str().unwrap().ends_with('.') && error["request_id"].is_string(), "{error}");
    (answer.status, error["error"]["code"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_refused_with_a_reason() {
    let gate = quiet().await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let json_type = "application/json";
    let too_long = json!({"text": "x".repeat(2001)}).to_string();
    let huge = json!({"text": "x".repeat(70_000)}).to_string();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("text/plain", b"{\"text\":\"x\"}".to_vec(), 415, "body.content_type"),
        ("", b"{\"text\":\"x\"}".to_vec(), 415, "body.content_type"),
        ("application/x-www-form-urlencoded", b"text=x".to_vec(), 415, "body.content_type"),
        (json_type, b"{\"text\":\"\xff\xfe\"}".to_vec(), 400, "body.utf8"),
        (json_type, b"".to_vec(), 400, "body.json"),
        (json_type, b"{".to_vec(), 400, "body.json"),
        (json_type, b"[]".to_vec(), 400, "body.json"),
        (json_type, b"{\"text\":\"x\",\"writes\":\"yes\"}".to_vec(), 400, "body.json"),
        (json_type, b"{\"text\":\"x\",\"admin\":true}".to_vec(), 400, "body.json"),
        (json_type, b"{\"text\":\"x\",\"text\":\"y\"}".to_vec(), 400, "body.json"),
        (json_type, b"{\"text\":1}".to_vec(), 400, "body.json"),
        (json_type, "[".repeat(60_000).into_bytes(), 400, "body.json"),
        (json_type, b"{\"text\":\"\"}".to_vec(), 400, "message.empty"),
        (json_type, b"{\"text\":\" \\n\\t \"}".to_vec(), 400, "message.empty"),
        (json_type, b"{\"text\":\"a\\u0000b\"}".to_vec(), 400, "message.control"),
        (json_type, too_long.into_bytes(), 400, "message.too_long"),
        (json_type, huge.into_bytes(), 413, "body.too_large"),
    ];
    for (content_type, body, status, code) in cases {
        let shown = String::from_utf8_lossy(&body).chars().take(60).collect::<String>();
        assert_eq!(refused(&ada, &conversation, content_type, body).await, (status, code.to_owned()), "{shown}");
    }
    assert!(ada.history(&conversation).await.is_empty(), "nothing was kept of them");
    assert_eq!(gate.sandboxes_started(), 0);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_message_at_a_time() {
    let gate = quiet().await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let slow = json!({"orders": [{"do": "sleep", "ms": 1500}]}).to_string();
    let (one, two) = tokio::join!(ada.try_say(&conversation, &slow, false), ada.try_say(&conversation, &slow, false));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409]);
    let (won, lost) = if one.status == 202 { (one, two) } else { (two, one) };
    assert_eq!(lost.json()["error"]["code"], "run.active");
    assert_eq!(ada.try_say(&conversation, "Hello", false).await.status, 409);
    let run = won.json()["run_id"].as_str().unwrap().to_owned();
    let active = ada.get(&format!("/api/conversations/{conversation}")).await.json()["active_run"].clone();
    assert_eq!(active, run.as_str());
    let end = ada.watch(&run).await.rest().await;
    assert_eq!(end.last().unwrap()["outcome"], "finished");
    assert_eq!(ada.history(&conversation).await.len(), 1, "who was refused left nothing behind");
    assert_eq!(ada.run(&conversation, &json!({"orders": []}).to_string(), false).await.last().unwrap()["outcome"], "finished");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_admit_one() {
    two_hundred_at_once(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_admit_one_on_postgresql() {
    two_hundred_at_once(Some(Postgres::shared().fresh_database())).await;
}

async fn two_hundred_at_once(database: Option<String>) {
    let gate = TestGate::start(Setup { agent: Some(probe()), database, ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let slow = json!({"orders": [{"do": "sleep", "ms": 4000}]}).to_string();
    let sends = (0..200).map(|_| ada.try_say(&conversation, &slow, false));
    let answers = futures_util::future::join_all(sends).await;
    let admitted: Vec<_> = answers.iter().filter(|answer| answer.status == 202).collect();
    assert_eq!(admitted.len(), 1);
    // Over the bound of runs the answer is "later", never a second run.
    assert!(answers.iter().all(|answer| [202, 409].contains(&answer.status) || answer.json()["error"]["code"] == "run.waiting"));
    let run = admitted[0].json()["run_id"].as_str().unwrap().to_owned();
    ada.watch(&run).await.rest().await;
    assert_eq!((gate.sandboxes_started(), ada.history(&conversation).await.len()), (1, 1));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_policy_of_the_page() {
    let gate = quiet().await;
    let ada = gate.person().await;
    let asked = [
        ("GET", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/api/session", 200),
        ("GET", "/api/conversations", 200),
        ("GET", "/nothing", 404),
        ("GET", "/assets/nothing.js", 404),
        ("PUT", "/api/conversations", 405),
        ("DELETE", "/api/session", 405),
        ("POST", "/", 405),
        ("GET", "/api/runs/x/stop", 405),
        ("POST", "/api/conversations", 415),
    ];
    for (method, path, status) in asked {
        let answer = exchange(gate.address, request(method, path, &[("cookie", &ada.cookie)], "")).await;
        assert_eq!(answer.status, status, "{method} {path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{method} {path}: {policy}");
        assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!((answer.header("x-content-type-options"), answer.header("referrer-policy")), ("nosniff", "no-referrer"));
        assert_eq!(answer.header("access-control-allow-origin"), "", "no other site may read anything");
    }
    let refused = exchange(gate.address, request("GET", "/", &[("host", "evil.example")], "")).await;
    assert!(refused.header("content-security-policy").contains("default-src 'none'"));
    let head = exchange(gate.address, request(Method::HEAD.as_str(), "/", &[], "")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_changes_for_its_owner_only() {
    let gate = TestGate::start(Setup::default()).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    const LISTENED: Duration = Duration::from_secs(6);
    let conversation = ada.conversation().await;
    let running = async {
        // Both streams are open before anything changes.
        tokio::time::sleep(Duration::from_millis(500)).await;
        ada.run(&conversation, "Create a tile called Aurora to the north-east", true).await
    };
    let (hers, not_hers, _) = tokio::join!(ada.changes(LISTENED), eve.changes(LISTENED), running);
    // The map says so, and so does the journal.
    assert!(!hers.is_empty() && hers.iter().all(|told| *told == json!({"type": "app_changed", "app": "hexmap"})), "{hers:?}");
    assert!(not_hers.is_empty(), "{not_hers:?}");
    gate.finish().await;
}

//! The route for back ends elsewhere, byte by byte.

use gate_tests::{Answer, Postgres, Setup, TestGate, exchange, probe, request};
use policy::Microusd;
use serde_json::{Value, json};
use std::time::Duration;

const ROUTE: &str = "/api/anthropic-proxy/v1/messages";
const MODEL: &str = "claude-sonnet-5-5";

async fn gate(day_limit: Microusd) -> TestGate {
    TestGate::start(Setup { agent: Some(probe()), callers: true, day_limit, ..Setup::default() }).await
}

fn body(text: &str, stream: bool, max_tokens: u64) -> String {
    json!({"model": MODEL, "max_tokens": max_tokens, "stream": stream, "messages": [{"role": "user", "content": text}]})
        .to_string()
}

async fn ask(gate: &TestGate, path: &str, extra: &[(&str, &str)], body: String) -> Answer {
    let mut headers = vec![("content-type", "application/json"), ("anthropic-version", "2023-06-01")];
    headers.extend_from_slice(extra);
    exchange(gate.callers(), request("POST", path, &headers, body)).await
}

/// The client may have its bytes a moment before the ledger has the call.
async fn settled(gate: &TestGate) {
    let open = async || {
        gate.gateway.settle_up().await.unwrap();
        gate.database.0.open_model_calls().await.unwrap() == 0
    };
    gate_tests::eventually("every call is settled", Duration::from_secs(5), open).await;
}

async fn call(gate: &TestGate, text: &str, stream: bool) -> Answer {
    ask(gate, ROUTE, &[("x-api-key", &gate.caller_secret)], body(text, stream, 200)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_the_secret_gets_the_provider_s_bytes() {
    let gate = gate(Microusd::dollars(5)).await;
    let bearer = format!("Bearer {}", gate.caller_secret);
    let secret = gate.caller_secret.clone();
    for (header, value) in [("x-api-key", &secret), ("authorization", &bearer)] {
        for stream in [true, false] {
            let sent = body("Hello", stream, 200);
            let answer =
                ask(&gate, ROUTE, &[(header, value), ("x-stainless-lang", "js"), ("anthropic-beta", "new-2030")], sent.clone())
                    .await;
            assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
            let saw = gate.provider_saw().pop().unwrap();
            assert_eq!(answer.body, saw.sent, "not one byte differs");
            assert_eq!(saw.body, sent.as_bytes(), "nor on the way there");
            assert_eq!(
                (&saw.headers["x-stainless-lang"], &saw.headers["anthropic-beta"]),
                (&"js".parse().unwrap(), &"new-2030".parse().unwrap())
            );
            assert!(
                !saw.headers.contains_key("authorization") && saw.headers["x-api-key"] != secret.as_str(),
                "another key left for the provider"
            );
            assert!(answer.text().contains("x_fake_unknown"), "fields nobody knows pass");
            assert_eq!(answer.header("anthropic-organization-id"), "", "the operator's account is nobody's business");
            assert!(!answer.header("request-id").is_empty());
        }
    }
    let counted =
        ask(&gate, "/api/anthropic-proxy/v1/messages/count_tokens", &[("x-api-key", &secret)], body("Hello", false, 1)).await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);
    settled(&gate).await;
    let calls = gate.database.calls().await;
    let paid: i64 = calls.iter().filter(|call| call.path == "/v1/messages").map(|call| call.cost).sum();
    assert!(paid > 0 && calls.iter().filter(|call| call.path.ends_with("count_tokens")).all(|call| call.cost == 0), "{calls:?}");
    assert_eq!(gate.today("global").await, (paid, 0));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_secret_there_is_only_a_401() {
    let gate = gate(Microusd::dollars(5)).await;
    let (secret, bearer) = (gate.caller_secret.clone(), format!("Bearer {}", gate.caller_secret));
    let other = secret.chars().rev().collect::<String>();
    let wrong: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("x-api-key", "")],
        vec![("x-api-key", &other)],
        vec![("x-api-key", &secret[..63])],
        vec![("authorization", &secret)],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "Basic eDp5")],
        vec![("x-api-key", &secret), ("authorization", "Bearer another")],
        vec![("x-api-key", &other), ("authorization", &bearer)],
        vec![("x-api-key", &secret), ("x-api-key", &other)],
        vec![("cookie", &secret)],
    ];
    for headers in &wrong {
        let answer = ask(&gate, ROUTE, headers, body("Hello", true, 200)).await;
        let error = answer.json();
        assert_eq!(answer.status, 401, "{error}");
        assert_eq!((&error["type"], &error["error"]["type"]), (&Value::from("error"), &Value::from("authentication_error")));
        assert_eq!(error["error"]["message"], "invalid x-api-key");
    }
    let both = ask(&gate, ROUTE, &[("x-api-key", &secret), ("authorization", &bearer)], body("Hello", false, 200)).await;
    assert_eq!(both.status, 200, "twice the right one is right");
    assert_eq!(gate.provider_saw().len(), 1, "nothing else reached the provider");
    // People's door knows nothing of it, and the callers' knows nothing of people.
    let elsewhere =
        exchange(gate.address, request("POST", ROUTE, &[("x-api-key", &secret), ("content-type", "application/json")], "{}"))
            .await;
    assert_eq!(elsewhere.status, 404);
    let page = exchange(gate.callers(), request("GET", "/", &[("x-api-key", &secret)], "")).await;
    assert_eq!(page.status, 404);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_an_agent_needs_exists_there() {
    let gate = gate(Microusd::dollars(5)).await;
    let secret = gate.caller_secret.clone();
    for path in [
        "/v1/files",
        "/v1/models",
        "/v1/messages/batches",
        "/v1/complete",
        "/v1/messages/",
        "//v1/messages",
        "/v1/../v1/messages",
        "/v1/organizations/me",
        "/V1/messages",
    ] {
        let answer =
            ask(&gate, &format!("/api/anthropic-proxy{path}"), &[("x-api-key", &secret)], body("Hello", false, 200)).await;
        assert_eq!((answer.status, answer.header("x-hexward-denial")), (403, "model.path"), "{path}");
    }
    let beta = [("x-api-key", secret.as_str()), ("anthropic-beta", "effort-2025-11-24,files-api-2025-04-14")];
    let answer = ask(&gate, ROUTE, &beta, body("Hello", false, 200)).await;
    assert_eq!(
        (answer.status, answer.header("x-hexward-denial")),
        (403, "model.feature"),
        "refused whole, not without its header"
    );
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = exchange(gate.callers(), request(method, ROUTE, &[("x-api-key", &secret)], "")).await;
        assert_eq!(answer.status, 403, "{method}");
    }
    let looped = ask(&gate, ROUTE, &[("x-api-key", &secret), ("x-hexward-hop", "1")], body("Hello", false, 200)).await;
    assert_eq!(looped.status, 508);
    let features = [
        json!({"mcp_servers": [{"type": "url", "url": "https://evil.example", "name": "x"}]}),
        json!({"container": "c"}),
        json!({"tools": [{"type": "web_fetch_20260209", "name": "web_fetch"}]}),
        json!({"max_tokens": 1_000_000}),
    ];
    for feature in features {
        let mut asked: Value = serde_json::from_str(&body("Hello", false, 200)).unwrap();
        asked.as_object_mut().unwrap().extend(feature.as_object().unwrap().clone());
        let answer = ask(&gate, ROUTE, &[("x-api-key", &secret)], asked.to_string()).await;
        assert_eq!((answer.status, answer.header("x-should-retry")), (403, "false"), "{asked}");
    }
    for bad in ["", "{", "[]", "{\"model\":\"m\"}", "\u{feff}{}"] {
        let answer = ask(&gate, ROUTE, &[("x-api-key", &secret)], bad.to_owned()).await;
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (400, Some("invalid_request_error")), "{bad}");
    }
    assert!(gate.provider_saw().is_empty());
    assert_eq!(gate.today("global").await, (0, 0));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_does_wrong_arrives_as_it_left() {
    // Scenario, status, whether the body ends well, how it is settled.
    let cases = [
        ("invalid", 400, true, "not_charged.400"),
        ("bad-credential", 401, true, "not_charged.401"),
        ("rate-limited", 429, true, "not_charged.429"),
        ("overloaded", 529, true, "not_charged.529"),
        ("mid-stream-error", 200, true, "unknown"),
        ("cut", 200, false, "unknown"),
        ("unknown-event", 200, true, "measured"),
        ("oversize-line", 200, true, "measured"),
        ("thinking", 200, true, "measured"),
    ];
    for (scenario, status, whole, outcome) in cases {
        // Another gateway for each: one that was refused leaves its provider alone for a while.
        let gate = gate(Microusd::dollars(50)).await;
        let answer = call(&gate, &format!("[[scenario:{scenario}]] Hello"), true).await;
        let saw = gate.provider_saw().pop().unwrap();
        assert_eq!((answer.status, answer.whole), (status, whole), "{scenario}");
        assert_eq!(answer.body.len(), saw.sent.len(), "{scenario}");
        assert!(answer.body == saw.sent, "{scenario}: not one byte differs");
        for name in ["content-type", "retry-after", "x-should-retry", "request-id"] {
            let theirs = saw.response_headers.get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!(answer.header(name), theirs, "{scenario}: {name}");
        }
        settled(&gate).await;
        let settled = gate.database.calls().await.pop().unwrap();
        assert_eq!(settled.outcome.as_deref(), Some(outcome), "{scenario}");
        match outcome {
            "unknown" => assert_eq!(settled.cost, settled.reserved, "{scenario}: what is unknown costs what was reserved"),
            "measured" => assert!(0 < settled.cost && settled.cost <= settled.reserved, "{scenario}: {settled:?}"),
            _ => assert_eq!(settled.cost, 0, "{scenario}"),
        }
        assert_eq!(gate.today("global").await, (settled.cost, 0), "{scenario}");
        gate.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_in_the_middle_pays_what_was_reserved() {
    let gate = gate(Microusd::dollars(5)).await;
    let waiting = tokio::time::timeout(Duration::from_millis(700), call(&gate, "[[scenario:stall]] Hello", true)).await;
    assert!(waiting.is_err(), "the provider is silent for a minute");
    settled(&gate).await;
    let settled = gate.database.calls().await.pop().unwrap();
    assert_eq!((settled.outcome.as_deref(), settled.cost), (Some("unknown"), settled.reserved));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_s_budget_ends_it() {
    let gate = gate(Microusd(7_000)).await;
    let secret = gate.caller_secret.clone();
    let too_much = ask(&gate, ROUTE, &[("x-api-key", &secret)], body("Hello", true, 2_000)).await;
    assert_eq!((too_much.status, too_much.header("x-should-retry")), (429, "false"));
    assert_eq!(too_much.header("x-hexward-denial"), "budget.day");
    let seconds: i64 = too_much.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&seconds), "until the next day: {seconds}");
    let error = too_much.json();
    assert_eq!((&error["type"], &error["error"]["type"]), (&Value::from("error"), &Value::from("billing_error")));
    assert!(gate.provider_saw().is_empty() && gate.database.calls().await.is_empty(), "nothing left and nothing is owed");
    let fits = ask(&gate, ROUTE, &[("x-api-key", &secret)], body("Hello", true, 50)).await;
    assert_eq!(fits.status, 200, "what fits still passes");
    gate.finish().await;
}

/// What a call sets aside.
async fn reserved_for(asked: &str) -> i64 {
    let gate = gate(Microusd::dollars(5)).await;
    let secret = gate.caller_secret.clone();
    ask(&gate, ROUTE, &[("x-api-key", &secret)], asked.to_owned()).await;
    settled(&gate).await;
    let reserved = gate.database.calls().await.pop().unwrap().reserved;
    gate.finish().await;
    reserved
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_can_t_spend_more_than_there_is() {
    fifty_at_once(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_can_t_spend_more_than_there_is_on_postgresql() {
    fifty_at_once(Some(Postgres::shared().fresh_database())).await;
}

async fn fifty_at_once(database: Option<String>) {
    const FIT: i64 = 7;
    let asked = body("[[scenario:pause]] Hello", true, 200);
    let pause = r#"
name = "pause"
about = "Long enough for fifty calls to be open at once."
[[reply]]
steps = [{ text = "One moment." }, { stall = { ms = 2500, after_events = 2 } }]
"#;
    let reserved = reserved_for(&asked.replace("pause", "other")).await;
    let day_limit = Microusd(reserved * FIT + reserved / 2);
    let setup = Setup {
        agent: Some(probe()),
        database,
        callers: true,
        day_limit,
        scenarios: vec![("pause", pause.to_owned())],
        ..Setup::default()
    };
    let gate = TestGate::start(setup).await;
    let secret = gate.caller_secret.clone();
    let headers = [("x-api-key", secret.as_str())];
    let calls = (0..50).map(|_| ask(&gate, ROUTE, &headers, asked.clone()));
    let answers = futures_util::future::join_all(calls).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(i64::try_from(passed).unwrap(), FIT, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status)));
    assert_eq!(i64::try_from(gate.provider_saw().len()).unwrap(), FIT);
    settled(&gate).await;
    let (spent, reserved) = gate.today("global").await;
    assert!(reserved == 0 && 0 < spent && spent <= day_limit.0, "{spent} {reserved}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_nobody_listens() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    assert_eq!(gate.gateway.callers, None);
    gate.finish().await;
}

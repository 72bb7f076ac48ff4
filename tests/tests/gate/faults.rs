//! What a provider can do wrong on its connection and in its stream: what of it the caller sees, and what is charged.

use gate_tests::{Answer, Setup, TestGate, eventually, exchange, logged, probe, request};
use policy::Microusd;
use serde_json::{Value, json};
use std::time::Duration;

const ROUTE: &str = "/api/anthropic-proxy/v1/messages";

async fn gate() -> TestGate {
    TestGate::start(Setup { agent: Some(probe()), callers: true, day_limit: Microusd::dollars(50), ..Setup::default() }).await
}

async fn call(gate: &TestGate, scenario: &str, stream: bool) -> Answer {
    let text = format!("[[scenario:{scenario}]] Hello");
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 200, "stream": stream,
        "messages": [{"role": "user", "content": text}]});
    let headers =
        [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", gate.caller_secret.as_str())];
    let asked = exchange(gate.callers(), request("POST", ROUTE, &headers, body.to_string()));
    // A connection that ends before the head of an answer is one that was cut.
    let cut = Answer { status: 0, headers: http::HeaderMap::new(), body: bytes::Bytes::new(), whole: false };
    let answer = tokio::spawn(asked).await.unwrap_or(cut);
    let none_open = async || {
        gate.gateway.settle_up().await.unwrap();
        gate.database.0.open_model_calls().await.unwrap() == 0
    };
    eventually("the call is settled", Duration::from_secs(5), none_open).await;
    answer
}

/// How much of what the provider sent has to arrive.
enum Arrives {
    All,
    /// All but so many bytes, as the provider's own length says.
    AllBut(usize),
    Beginning,
    /// The gateway's own words.
    Nothing,
}
use Arrives::{All, AllBut, Beginning, Nothing};

async fn check(gate: &TestGate, (scenario, stream, arrives, whole, outcome): (&str, bool, Arrives, bool, &str)) {
    let what = format!("{scenario}, {}", if stream { "streamed" } else { "in one piece" });
    let answer = call(gate, scenario, stream).await;
    let sent = gate.provider_saw().pop().unwrap().sent;
    assert_eq!(answer.whole, whole, "{what}");
    match arrives {
        All => assert!(answer.body == sent, "{what}: not one byte differs\n{}", answer.text()),
        AllBut(bytes) => assert!(answer.body == sent[..sent.len() - bytes], "{what}: {}", answer.text()),
        Beginning => assert!(sent.starts_with(&answer.body), "{what}: nothing was made up: {}", answer.text()),
        Nothing => {
            assert_eq!((answer.status, answer.header("x-should-retry")), (502, "false"), "{what}");
            let error = answer.json();
            assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("api_error")), "{what}");
            assert!(error["request_id"].as_str().unwrap().starts_with("req_"), "{what}: {error}");
        }
    }
    let settled = gate.database.calls().await.pop().unwrap();
    assert_eq!(settled.outcome.as_deref(), Some(outcome), "{what}");
    match outcome {
        "unknown" => assert_eq!(settled.cost, settled.reserved, "{what}: what is unknown costs what was reserved"),
        _ => assert!(0 < settled.cost && settled.cost < settled.reserved, "{what}: {settled:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fails_is_seen_as_it_failed() {
    let cases = [
        ("split-bytes", true, All, true, "measured"),
        ("split-bytes", false, All, true, "measured"),
        ("reset-before-head", true, Nothing, true, "unknown"),
        ("reset-before-head", false, Nothing, true, "unknown"),
        ("reset-after-head", true, Beginning, false, "unknown"),
        ("reset-middle", true, Beginning, false, "unknown"),
        ("reset-middle", false, Beginning, false, "unknown"),
        // The usage had come by then.
        ("length-too-long", true, All, false, "measured"),
        ("length-too-long", false, Beginning, false, "unknown"),
        ("length-too-short", true, AllBut(25), true, "measured"),
        ("length-too-short", false, AllBut(25), true, "unknown"),
        ("chunk-bad-size", true, Beginning, false, "unknown"),
        ("chunk-no-end", true, All, false, "measured"),
        // It can't have understood the request; but nothing proves that these bytes belong to this request.
        ("http2-only", true, Nothing, true, "unknown"),
        ("http2-only", false, Nothing, true, "unknown"),
    ];
    for case in cases {
        // One each: several failures in a row would end the asking.
        let gate = gate().await;
        check(&gate, case).await;
        // What was left over on a connection is nobody else's answer.
        check(&gate, ("bench-1k", false, All, true, "measured")).await;
        gate.finish().await;
    }
}

/// The gateway asks for answers as they are; one that is compressed nevertheless passes, and nothing in it is taken for a measure.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_can_meter_costs_its_ceiling_and_is_told() {
    let gate = gate().await;
    for stream in [true, false] {
        check(&gate, ("gzip", stream, All, true, "unknown")).await;
        let saw = gate.provider_saw().pop().unwrap();
        assert!(saw.headers["accept-encoding"] == "identity" && saw.response_headers["content-encoding"] == "gzip");
    }
    assert!(logged("the provider compressed its answer although it was asked not to"), "the operator is told");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_streams_pass_unchanged_and_are_measured() {
    let gate = gate().await;
    for scenario in ["lines-cr", "lines-crlf", "bom", "nameless", "comments", "trailing-garbage", "oversize-line"] {
        check(&gate, (scenario, true, All, true, "measured")).await;
    }
    check(&gate, ("trailing-garbage", false, All, true, "unknown")).await;
    gate.finish().await;
}

/// Sonnet 5.5: 2 micro-dollars a token of input, 10 a token of output; 10,000 a search.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_cost_what_they_cost_and_lies_cost_the_ceiling() {
    let mut gate = gate().await;
    // Nobody may ask for a search, so none is reserved for.
    gate.expect_above_ceilings(1);
    for (scenario, cost) in [
        ("usage-two-deltas", Some(12 * 2 + 7 * 10)),
        ("usage-null-cache", Some(9 * 2 + 7 * 10)),
        ("usage-iterations", Some(39 * 2 + 11 * 10)),
        ("usage-server-tools", Some(9 * 2 + 7 * 10 + 3 * 10_000)),
        ("usage-zero", None),
        ("usage-no-delta", None),
        ("usage-start-only", None),
        ("usage-huge", None),
        ("usage-negative", None),
    ] {
        let answer = call(&gate, scenario, true).await;
        assert!(answer.body == gate.provider_saw().pop().unwrap().sent, "{scenario}: usage is forwarded, never rebuilt");
        let settled = gate.database.calls().await.pop().unwrap();
        let expected = cost.map_or(("unknown", settled.reserved), |cost| ("measured", cost));
        assert_eq!((settled.outcome.as_deref().unwrap(), settled.cost), expected, "{scenario}");
    }
    let spent: i64 = gate.database.calls().await.iter().map(|call| call.cost).sum();
    assert_eq!(gate.today("global").await, (spent, 0));
    gate.finish().await;
}

/// The provider's refusals arrive as they are; while the gateway keeps from asking again too soon, it says so itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_passes_and_costs_nothing() {
    for (scenario, status, retry_after) in [("storm-429", 429, "1"), ("storm-529", 529, "")] {
        let gate = gate().await;
        let mut seen = Vec::new();
        for _ in 0..60 {
            let before = gate.provider_saw().len();
            let answer = call(&gate, scenario, true).await;
            seen.push(answer.status);
            match answer.status {
                200 => break,
                503 => {
                    assert_eq!(gate.provider_saw().len(), before, "{scenario}: our own word asks nobody");
                    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                other => {
                    assert_eq!(
                        (other, answer.header("retry-after"), answer.header("x-should-retry")),
                        (status, retry_after, "true")
                    );
                    assert!(answer.body == gate.provider_saw().pop().unwrap().sent, "{scenario}: not one byte differs");
                }
            }
        }
        assert_eq!(seen.last(), Some(&200), "{scenario} passes: {seen:?}");
        assert_eq!(gate.provider_saw().len(), 6, "{scenario}: five refusals and an answer: {seen:?}");
        let charged = gate.database.calls().await.iter().filter(|call| call.cost > 0).count();
        assert_eq!(charged, 1, "{scenario}: only the answer costs");
        gate.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_is_no_json_arrives_as_it_is() {
    let gate = gate().await;
    let answer = call(&gate, "html-error", true).await;
    assert_eq!((answer.status, answer.header("content-type")), (502, "text/html"));
    assert_eq!(answer.text(), "<html><body>502 Bad Gateway</body></html>\n");
    assert_eq!(gate.database.calls().await.pop().unwrap().cost, 0);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_for_callers_and_cost_nothing() {
    let gate = gate().await;
    let secret = gate.caller_secret.clone();
    let headers = [("x-api-key", secret.as_str()), ("anthropic-version", "2023-06-01")];
    let get =
        async |path: &str| exchange(gate.callers(), request("GET", &format!("/api/anthropic-proxy{path}"), &headers, "")).await;
    let page: Value = get("/v1/models?limit=4").await.json();
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (4, &json!(true)));
    let next = get(&format!("/v1/models?limit=4&after_id={}", page["last_id"].as_str().unwrap())).await.json();
    assert_eq!(next["data"].as_array().unwrap().len(), 2);
    assert_eq!(get("/v1/models/claude-sonnet-5-5").await.json()["id"], "claude-sonnet-5-5");
    assert_eq!(get("/v1/models/claude-unheard-of").await.status, 404, "the provider's own words");
    let asked = gate.fake.requests();
    assert!(
        asked.iter().all(|request| request.method == "GET" && request.body.is_empty() && request.path.starts_with("/v1/models"))
    );
    for elsewhere in ["/v1/models/..", "/v1/models/a/b", "/v1/models/a%2fb", "/v1/models/", "/v1/modelsx", "/v1/files"] {
        let answer = get(elsewhere).await;
        assert_eq!((answer.status, answer.header("x-hexward-denial")), (403, "model.path"), "{elsewhere}");
    }
    assert_eq!(gate.fake.requests().len(), asked.len(), "nothing else left");
    assert_eq!(gate.today("global").await, (0, 0));
    gate.finish().await;
}

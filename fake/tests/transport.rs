//! The shape of the bytes: headers, events, counts, refusals.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]

mod client;

use client::{KEY, ask, post, raw};
use fake::{Fake, FakeConfig};
use serde_json::{Value, json};

async fn fake() -> Fake {
    Fake::start(FakeConfig::for_tests(KEY)).await.unwrap()
}

#[tokio::test]
async fn a_stream_has_the_documented_events_in_order() {
    let fake = fake().await;
    let reply = post(fake.addr(), "/v1/messages?beta=true", &ask("hello", true)).await;
    assert_eq!((reply.status, reply.whole), (200, true));
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events = reply.events();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.get(..3).unwrap(), ["message_start", "content_block_start", "ping"]);
    let last = names.len() - 3;
    assert_eq!(names.get(last..).unwrap(), ["content_block_stop", "message_delta", "message_stop"]);
    assert!(names.get(3..last).unwrap().iter().all(|name| *name == "content_block_delta"));
    assert!(last > 5, "text comes in several pieces");
    for (name, data) in &events {
        assert_eq!(data.get("type").and_then(Value::as_str), Some(name.as_str()));
    }
}

#[tokio::test]
async fn usage_is_cumulative_and_counts_the_cache_apart() {
    let fake = fake().await;
    let mut body = ask("hello", true);
    *body.pointer_mut("/messages/0/content").unwrap() =
        json!([{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]);
    body.as_object_mut().unwrap().insert("system".into(), json!("s".repeat(4000)));
    let events = post(fake.addr(), "/v1/messages", &body).await.events();
    let first = events.first().unwrap().1.pointer("/message/usage").unwrap().clone();
    let last = events.iter().find(|(name, _)| name == "message_delta").unwrap().1.get("usage").unwrap().clone();
    assert_eq!(first.get("output_tokens"), Some(&json!(1)));
    assert!(last.get("output_tokens").unwrap().as_u64() > Some(1));
    for field in ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"] {
        assert_eq!(first.get(field), last.get(field), "{field}");
    }
    assert!(first.get("cache_creation_input_tokens").unwrap().as_u64() > Some(900));
    assert!(first.get("input_tokens").unwrap().as_u64() < Some(100));
}

#[tokio::test]
async fn a_document_has_the_same_content_as_the_stream() {
    let fake = fake().await;
    let whole = post(fake.addr(), "/v1/messages", &ask("hello", false)).await;
    assert_eq!(whole.header("content-type"), Some("application/json"));
    let whole = whole.json();
    let events = post(fake.addr(), "/v1/messages", &ask("hello", true)).await.events();
    let streamed: String = events.iter().filter_map(|(_, data)| data.pointer("/delta/text").and_then(Value::as_str)).collect();
    assert_eq!(whole.pointer("/content/0/text"), Some(&json!(streamed)));
    assert_eq!(whole.get("stop_reason"), Some(&json!("end_turn")));
    assert_eq!(whole.get("role"), Some(&json!("assistant")));
    assert!(whole.get("x_fake_unknown").is_some());
}

#[tokio::test]
async fn headers_are_those_of_the_real_one() {
    let fake = fake().await;
    let reply = post(fake.addr(), "/v1/messages", &ask("hello", false)).await;
    assert!(reply.header("request-id").unwrap().starts_with("req_"));
    assert!(reply.header("anthropic-organization-id").is_some());
    for kind in ["requests", "tokens", "input-tokens", "output-tokens"] {
        for part in ["limit", "remaining"] {
            let value = reply.header(&format!("anthropic-ratelimit-{kind}-{part}")).unwrap();
            assert!(value.parse::<u64>().is_ok());
        }
        let reset = reply.header(&format!("anthropic-ratelimit-{kind}-reset")).unwrap();
        assert!(reset.ends_with('Z') && reset.len() == 20, "{reset}");
    }
}

#[tokio::test]
async fn a_wrong_credential_is_refused_in_the_exact_shape() {
    let fake = fake().await;
    let common = "anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n";
    let body = ask("hello", true).to_string();
    let send = async |credential: &str| {
        raw(fake.addr(), "POST", "/v1/messages", &format!("{common}{credential}"), body.as_bytes()).await
    };
    let reply = send("x-api-key: wrong\r\n").await;
    let id = reply.header("request-id").unwrap();
    let expected = format!(
        r#"{{"type":"error","error":{{"type":"authentication_error","message":"invalid x-api-key"}},"request_id":"{id}"}}"#
    );
    assert_eq!((reply.status, reply.text()), (401, expected.as_str()));
    assert_eq!(send("").await.status, 401);
    assert_eq!(send("authorization: Bearer wrong\r\n").await.status, 401);
    assert_eq!(send(&format!("authorization: Bearer {KEY}\r\n")).await.status, 200);
    assert_eq!(send(&format!("x-api-key: {KEY}\r\n")).await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let fake = fake().await;
    let key = format!("x-api-key: {KEY}\r\n");
    let version = "anthropic-version: 2023-06-01\r\n";
    let json = "content-type: application/json\r\n";
    let good = ask("hello", false).to_string();
    let cases: Vec<(String, String, &str)> = vec![
        (format!("{key}{json}"), good.clone(), "anthropic-version: header is required"),
        (format!("{key}{json}anthropic-version: 1\r\n"), good.clone(), "anthropic-version: \"1\" is not a valid version"),
        (format!("{key}{version}"), good.clone(), "Content type must be application/json"),
        (format!("{key}{version}{json}"), "[]".into(), "Input should be an object"),
        (format!("{key}{version}{json}"), r#"{"model":"claude-x","messages":[]}"#.into(), "max_tokens: Field required"),
        (
            format!("{key}{version}{json}"),
            r#"{"model":"claude-x","max_tokens":1,"messages":[]}"#.into(),
            "messages: at least one message is required",
        ),
        (
            format!("{key}{version}{json}"),
            r#"{"max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#.into(),
            "model: Field required",
        ),
        (
            format!("{key}{version}{json}"),
            r#"{"model":"claude-x","max_tokens":1,"messages":[{"role":"robot","content":"x"}]}"#.into(),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
    ];
    for (headers, body, message) in cases {
        let reply = raw(fake.addr(), "POST", "/v1/messages", &headers, body.as_bytes()).await;
        assert_eq!(reply.status, 400, "{message}");
        assert_eq!(reply.error_type(), "invalid_request_error");
        assert_eq!(reply.json().pointer("/error/message"), Some(&json!(message)));
    }
}

#[tokio::test]
async fn results_must_answer_the_calls_before_them() {
    let fake = fake().await;
    let mut body = ask("hello", false);
    *body.get_mut("messages").unwrap() = json!([
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "t", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2", "content": "x"}]}]);
    let reply = post(fake.addr(), "/v1/messages", &body).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("unexpected `tool_use_id` found in `tool_result` blocks: toolu_2"));
    body.pointer_mut("/messages").unwrap().as_array_mut().unwrap().truncate(2);
    let reply = post(fake.addr(), "/v1/messages", &body).await;
    assert!(reply.text().contains("must end with a user message"));
}

#[tokio::test]
async fn other_routes() {
    let fake = fake().await;
    let headers = format!("x-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n");
    let hello = raw(fake.addr(), "HEAD", "/api/hello", "", b"").await;
    assert_eq!((hello.status, hello.body.len()), (200, 0));
    let models = raw(fake.addr(), "GET", "/v1/models?limit=1000", &headers, b"").await.json();
    assert!(models.get("data").unwrap().as_array().unwrap().iter().any(|model| model["id"] == "claude-sonnet-5-5"));
    let body = ask("hello", false);
    let count = post(fake.addr(), "/v1/messages/count_tokens", &body).await.json();
    assert_eq!(count, json!({"input_tokens": body.to_string().len().div_ceil(4)}));
    let missing = raw(fake.addr(), "POST", "/v1/files", &headers, b"{}").await;
    assert_eq!((missing.status, missing.error_type().as_str()), (404, "not_found_error"));
    let mut unknown = ask("hello", false);
    unknown["model"] = json!("gpt-9");
    let unknown = post(fake.addr(), "/v1/messages", &unknown).await;
    assert_eq!((unknown.status, unknown.error_type().as_str()), (404, "not_found_error"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let fake = fake().await;
    let headers = format!(
        "x-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\ncontent-length: 33554433\r\n"
    );
    let reply = raw(fake.addr(), "POST", "/v1/messages", &headers, b"").await;
    assert_eq!((reply.status, reply.error_type().as_str()), (413, "request_too_large"));
}

#[tokio::test]
async fn max_tokens_ends_an_answer() {
    let fake = fake().await;
    let mut body = ask("hello", false);
    body["max_tokens"] = json!(3);
    let reply = post(fake.addr(), "/v1/messages", &body).await.json();
    assert_eq!(reply["stop_reason"], "max_tokens");
    assert!(reply["content"][0]["text"].as_str().unwrap().len() <= 12);
    assert_eq!(reply["usage"]["output_tokens"], 3);
}

#[tokio::test]
async fn the_record_holds_what_came_and_what_was_sent() {
    let fake = fake().await;
    let body = ask("hello", true);
    let reply = post(fake.addr(), "/v1/messages?beta=true", &body).await;
    let exchanges = fake.requests();
    let [exchange] = exchanges.as_slice() else { unreachable!("one request was made") };
    assert_eq!(exchange.method, "POST");
    assert_eq!((exchange.path.as_str(), exchange.query.as_deref()), ("/v1/messages", Some("beta=true")));
    assert_eq!(exchange.body, body.to_string().as_bytes());
    assert_eq!(exchange.headers["x-api-key"], KEY);
    assert_eq!(exchange.sent, reply.body);
    assert!(exchange.finished);
    assert_eq!(exchange.response_headers["request-id"], reply.header("request-id").unwrap());
}

#[tokio::test]
async fn a_dropped_fake_is_gone() {
    let fake = fake().await;
    let addr = fake.addr();
    drop(fake);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_key_is_needed() {
    assert!(Fake::start(FakeConfig::for_tests("")).await.is_err());
    let mut config = FakeConfig::for_tests(KEY);
    config.scenario = Some("no-such".into());
    assert_eq!(Fake::start(config).await.unwrap_err().to_string(), "no scenario is named \"no-such\"");
}

//! What goes wrong below the events: bytes, framing, connections.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]

mod client;

use client::{KEY, Reply, ask, post, raw};
use fake::{Fake, FakeConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn fake() -> Fake {
    Fake::start(FakeConfig::for_tests(KEY)).await.unwrap()
}

async fn told(name: &str, stream: bool) -> Reply {
    post(fake().await.addr(), "/v1/messages", &ask(&format!("[[scenario:{name}]] hello"), stream)).await
}

/// All that came, and whether the connection ended with a reset.
async fn bytes_of(name: &str) -> (Vec<u8>, bool) {
    let fake = fake().await;
    let mut stream = tokio::net::TcpStream::connect(fake.addr()).await.unwrap();
    let body = ask(&format!("[[scenario:{name}]] hello"), true).to_string();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: fake\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes).await;
    (bytes, read.is_err())
}

#[tokio::test]
async fn resets_come_where_they_were_asked_for() {
    assert_eq!(bytes_of("reset-before-head").await, (Vec::new(), true));
    let (head, reset) = bytes_of("reset-after-head").await;
    assert!(reset && head.starts_with(b"HTTP/1.1 200 OK\r\n") && head.ends_with(b"\r\n\r\n"));
    let (middle, reset) = bytes_of("reset-middle").await;
    let text = String::from_utf8_lossy(&middle).into_owned();
    assert!(reset && text.contains("message_start") && !text.contains("message_stop"), "{text}");
}

#[tokio::test]
async fn framing_is_wrong_in_the_way_that_was_asked_for() {
    for stream in [true, false] {
        assert!(!told("length-too-long", stream).await.whole);
        assert!(!told("length-too-short", stream).await.whole);
    }
    let no_end = told("chunk-no-end", true).await;
    assert!(!no_end.whole && no_end.text().contains("message_stop"));
    let (bad, _) = bytes_of("chunk-bad-size").await;
    assert!(String::from_utf8_lossy(&bad).contains("\r\nxyz\r\n"));
    let (http2, _) = bytes_of("http2-only").await;
    assert_eq!((http2[3], http2[9 + 3]), (4, 7), "SETTINGS, then GOAWAY");
}

#[tokio::test]
async fn bytes_that_travel_alone_are_the_same_bytes() {
    let reply = told("split-bytes", true).await;
    assert!(reply.whole);
    assert_eq!(reply.events().last().unwrap().0, "message_stop");
}

#[tokio::test]
async fn streams_are_written_in_every_way_the_format_has() {
    let cr = told("lines-cr", true).await;
    assert!(!cr.text().contains('\n') && cr.text().contains("\r\r"));
    assert!(told("lines-crlf", true).await.text().contains("\r\n\r\n"));
    assert!(told("bom", true).await.text().starts_with("\u{feff}event: message_start\n"));
    let nameless = told("nameless", true).await;
    assert!(nameless.text().starts_with("data: ") && !nameless.text().contains("event:"));
    assert!(told("comments", true).await.text().contains("\n\n: a comment\n\ndata\n\nevent: nothing\n\n"));
    assert!(told("trailing-garbage", true).await.text().ends_with("\n\n%PDF-1.7 and half a line"));
    assert!(told("trailing-garbage", false).await.text().ends_with("}%PDF-1.7 and half a line"));
}

#[tokio::test]
async fn usage_is_what_the_file_says() {
    let usages = async |name: &str| {
        let events = told(name, true).await.events();
        let deltas = events.iter().filter(|(event, _)| event == "message_delta");
        (events[0].1["message"]["usage"].clone(), deltas.map(|(_, data)| data["usage"].clone()).collect::<Vec<Value>>())
    };
    assert_eq!(usages("usage-no-delta").await, (json!({"input_tokens": 9, "output_tokens": 1}), vec![]));
    let (_, two) = usages("usage-two-deltas").await;
    assert_eq!(two, [json!({"output_tokens": 5}), json!({"input_tokens": 12, "output_tokens": 7})]);
    assert_eq!(told("usage-two-deltas", false).await.json()["usage"]["output_tokens"], 7);
    assert!(told("usage-huge", true).await.text().contains("9223372036854775808"));
}

#[tokio::test]
async fn a_storm_passes() {
    let fake = fake().await;
    for (name, status) in [("storm-429", 429), ("storm-529", 529)] {
        let body = ask(&format!("[[scenario:{name}]] hello"), false);
        for _ in 0..5 {
            assert_eq!(post(fake.addr(), "/v1/messages", &body).await.status, status);
        }
        assert_eq!(post(fake.addr(), "/v1/messages", &body).await.status, 200);
    }
}

#[tokio::test]
async fn models_come_in_pages_and_by_name() {
    let fake = fake().await;
    let headers = format!("x-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n");
    let get = async |path: &str| raw(fake.addr(), "GET", path, &headers, b"").await;
    let first = get("/v1/models?limit=4").await.json();
    assert_eq!((first["data"].as_array().unwrap().len(), &first["has_more"]), (4, &json!(true)));
    let next = get(&format!("/v1/models?limit=4&after_id={}", first["last_id"].as_str().unwrap())).await.json();
    assert_eq!((next["data"].as_array().unwrap().len(), &next["has_more"]), (2, &json!(false)));
    assert_eq!(get("/v1/models/claude-sonnet-5-5").await.json()["display_name"], "Claude Sonnet 5.5");
    let missing = get("/v1/models/gpt-9").await;
    assert_eq!((missing.status, missing.error_type().as_str()), (404, "not_found_error"));
    assert_eq!(get("/v1/models?limit=0").await.status, 400);
}

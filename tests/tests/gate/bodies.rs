//! Bodies that are too large, too slow, or say what no request can: the provider's error shape, and nothing is charged.

use gate_tests::{Answer, Probe, Setup, TestGate, exchange, probe, request};
use policy::Microusd;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ROUTE: &str = "/api/anthropic-proxy/v1/messages";
const MB: usize = 1 << 20;

fn setup() -> Setup {
    Setup { agent: Some(probe()), callers: true, day_limit: Microusd::dollars(50), ..Setup::default() }
}

async fn ask(gate: &TestGate, body: &str) -> Answer {
    let headers =
        [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", gate.caller_secret.as_str())];
    exchange(gate.callers(), request("POST", ROUTE, &headers, body.to_owned())).await
}

/// An error as the provider would write it.
fn error_of(answer: &Answer) -> (u16, String) {
    let said = answer.json();
    assert_eq!(said["type"], "error", "{said}");
    let message = said["error"]["message"].as_str().unwrap_or_default();
    assert!(message.ends_with('.') && message.len() > 10, "a sentence: {said}");
    assert_eq!(said["request_id"], answer.header("request-id"), "{said}");
    (answer.status, said["error"]["type"].as_str().unwrap().to_owned())
}

async fn nothing_was_charged(gate: &TestGate) {
    assert!(gate.provider_saw().is_empty(), "nothing left");
    gate.gateway.settle_up().await.unwrap();
    assert!(gate.database.calls().await.is_empty(), "nothing was opened");
    assert_eq!(gate.today("global").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_request_can_say_is_refused_in_the_provider_s_shape() {
    let gate = TestGate::start(setup()).await;
    let with = |max_tokens: &str| {
        format!(r#"{{"model":"claude-sonnet-5-5","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"Hello"}}]}}"#)
    };
    for number in ["-1", "1.5", "1e3", "007", "1e400", "18446744073709551616", "9223372036854775808", "\"9\"", "true", "[9]"] {
        let answer = ask(&gate, &with(number)).await;
        assert_eq!(error_of(&answer), (400, "invalid_request_error".to_owned()), "{number}");
    }
    // A number that a request may say and this gateway does not allow.
    let much = ask(&gate, &with("10000000")).await;
    assert_eq!((error_of(&much), much.header("x-hexward-denial")), ((403, "permission_error".to_owned()), "model.output"));
    for bad in [
        "",
        "null",
        "[]",
        "{",
        "\u{feff}{}",
        r#"{"model":"claude-sonnet-5-5","max_tokens":9,"max_tokens":1,"messages":[]}"#,
        r#"{"model":"claude-sonnet-5-5","max_tokens":9,"messages":[],"messages":[]}"#,
        r#"{"model":"a","mod\u0065l":"b","max_tokens":9,"messages":[]}"#,
        r#"{"model":7,"max_tokens":9,"messages":[]}"#,
        r#"{"max_tokens":9,"messages":[]}"#,
    ] {
        assert_eq!(error_of(&ask(&gate, bad).await), (400, "invalid_request_error".to_owned()), "{bad}");
    }
    let headers = [("content-type", "text/plain"), ("x-api-key", gate.caller_secret.as_str())];
    let plain = exchange(gate.callers(), request("POST", ROUTE, &headers, with("9"))).await;
    assert_eq!(error_of(&plain), (400, "invalid_request_error".to_owned()));
    nothing_was_charged(&gate).await;

    // What nobody here reads does no harm here: it passes, and is the provider's to refuse.
    let deep = format!(r#"{{"model":"m","max_tokens":9,"messages":[],"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let refused = ask(&gate, &deep).await;
    assert_eq!((refused.status, refused.body.as_ref()), (400, gate.provider_saw()[0].sent.as_slice()));
    gate.gateway.settle_up().await.unwrap();
    let calls = gate.database.calls().await;
    assert_eq!((calls[0].outcome.as_deref(), gate.today("global").await), (Some("not_charged.400"), (0, 0)));
    gate.finish().await;
}

fn head(gate: &TestGate, length: &str) -> String {
    let secret = &gate.caller_secret;
    format!("POST {ROUTE} HTTP/1.1\r\nhost: gate\r\ncontent-type: application/json\r\nx-api-key: {secret}\r\n{length}\r\n\r\n")
}

/// What comes back until the connection is closed, or `wait` is over.
async fn answer_of(mut stream: TcpStream, wait: Duration) -> String {
    let mut seen = Vec::new();
    let _ = tokio::time::timeout(wait, stream.read_to_end(&mut seen)).await;
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_32_mb_is_refused_as_the_provider_does() {
    let gate = TestGate::start(setup()).await;
    let refused = |answer: &str| {
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains(r#""type":"request_too_large""#), "{answer}");
        assert!(answer.contains("larger than 32 MB"), "{answer}");
    };
    // One that says so is not read at all.
    let mut stream = TcpStream::connect(gate.callers()).await.unwrap();
    stream.write_all(head(&gate, &format!("content-length: {}", 32 * MB + 1)).as_bytes()).await.unwrap();
    refused(&answer_of(stream, Duration::from_secs(3)).await);
    for absurd in ["18446744073709551615", "99999999999999999999999", "-1"] {
        let mut stream = TcpStream::connect(gate.callers()).await.unwrap();
        stream.write_all(head(&gate, &format!("content-length: {absurd}")).as_bytes()).await.unwrap();
        let answer = answer_of(stream, Duration::from_secs(3)).await;
        assert!(
            ["HTTP/1.1 400 ", "HTTP/1.1 413 ", "HTTP/1.1 431 "].iter().any(|known| answer.starts_with(known)),
            "{absurd}: {answer}"
        );
    }
    // One that does not is read up to there.
    let mut stream = TcpStream::connect(gate.callers()).await.unwrap();
    stream.write_all(head(&gate, "transfer-encoding: chunked").as_bytes()).await.unwrap();
    let chunk = format!("{MB:x}\r\n{}\r\n", "x".repeat(MB));
    for _ in 0..33 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let answer = answer_of(stream, Duration::from_secs(3)).await;
    // It may be closed before all of it was sent; then the answer can be lost on its way.
    if !answer.is_empty() {
        refused(&answer);
    }
    nothing_was_charged(&gate).await;
    gate.finish().await;
}

/// A minute for a body, a quarter of one for headers, however many drip in.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_is_not_waited_for() {
    let gate = TestGate::start(setup()).await;
    let began = Instant::now();
    let mut slow = Vec::new();
    for (start, pause) in [
        (format!("{}{{", head(&gate, "content-length: 1000")), Duration::from_secs(7)),
        (head(&gate, "transfer-encoding: chunked"), Duration::from_secs(120)),
        (format!("POST {ROUTE} HTTP/1.1\r\nhost: gate\r\nx-a: "), Duration::from_secs(2)),
    ] {
        let mut stream = TcpStream::connect(gate.callers()).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        slow.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                match tokio::time::timeout(pause, stream.read_buf(&mut seen)).await {
                    Ok(Ok(1..)) => {}
                    Ok(_) => break,
                    // A byte now and then doesn't help.
                    Err(_) => drop(stream.write_all(b" ").await),
                }
                assert!(began.elapsed() < Duration::from_secs(100), "it is waited for without end");
                if seen.ends_with(b"}") {
                    break;
                }
            }
            (String::from_utf8_lossy(&seen).into_owned(), began.elapsed())
        }));
    }
    let quick = ask(&gate, r#"{"model":"claude-sonnet-5-5","max_tokens":0,"messages":[],"x":"#).await;
    assert!(quick.status == 400 && began.elapsed() < Duration::from_secs(5), "others are answered meanwhile");
    for (number, slow) in slow.into_iter().enumerate() {
        let (answer, took) = slow.await.unwrap();
        if number < 2 {
            assert!((59..75).contains(&took.as_secs()), "{number}: {took:?}");
            assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains(r#""type":"timeout_error""#), "{number}: {answer}");
        } else {
            assert!((14..30).contains(&took.as_secs()), "headers: {took:?}");
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
        }
    }
    nothing_was_charged(&gate).await;
    gate.finish().await;
}

/// A run that finds the day's budget used up is told when the next day begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_told_when_the_day_s_budget_begins_anew() {
    let gate = TestGate::start(Setup { day_limit: Microusd(45_000), ..setup() }).await;
    // As much as may be said, and none of it may be left out: $0.044 for it alone.
    let changes =
        json!([{"at": "/max_tokens", "to": 4000}, {"at": "/thinking", "to": {"type": "enabled", "budget_tokens": 3999}}]);
    let seen = Probe::new(gate.person().await).await.tell(&gate, json!([{"do": "say", "changes": changes}])).await;
    let refused = &seen[0];
    assert_eq!((&refused["status"], &refused["denial"]), (&json!(429), &json!("budget.day")), "{refused}");
    assert_eq!((&refused["should_retry"], &refused["error"]), (&json!("false"), &json!("billing_error")));
    let told: i64 = refused["retry_after"].as_str().unwrap().parse().unwrap();
    let left = gate.gateway.clock.now().secs_to_next_day();
    assert!((left..left + 60).contains(&told), "{told} and not {left}");
    gate.finish().await;
}

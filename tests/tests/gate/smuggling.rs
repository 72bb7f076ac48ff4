//! Requests that two parsers could read in two ways, byte by byte on the callers' listener.

use gate_tests::{Setup, TestGate, eventually, probe};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BODY: &str = r#"{"model":"claude-sonnet-5-5","max_tokens":50,"messages":[{"role":"user","content":"Hello"}]}"#;
const ROUTE: &str = "/api/anthropic-proxy/v1/messages";
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Nothing more comes after this.
const SILENCE: Duration = Duration::from_secs(2);

async fn gate() -> TestGate {
    TestGate::start(Setup { agent: Some(probe()), callers: true, ..Setup::default() }).await
}

/// The statuses of all answers on one connection, in order, until it is closed or silent. `cut` ends our side at once.
async fn statuses(gate: &TestGate, bytes: &[u8], cut: bool) -> Vec<u16> {
    let mut stream = TcpStream::connect(gate.callers()).await.unwrap();
    // Who refuses early may not read the rest.
    let _ = stream.write_all(bytes).await;
    if cut {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    loop {
        let wait = if answer.is_empty() { ANSWER_WAIT } else { SILENCE };
        match tokio::time::timeout(wait, stream.read_buf(&mut answer)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => break,
            Err(_) => {
                assert!(!answer.is_empty(), "neither an answer nor an end");
                break;
            }
        }
    }
    let text = String::from_utf8_lossy(&answer);
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].parse().unwrap()).collect()
}

/// A good request with another request line, further headers, and a body.
fn raw(gate: &TestGate, line: &str, headers: &str, body: &str) -> Vec<u8> {
    let secret = &gate.caller_secret;
    format!(
        "{line}\r\nHost: gateway\r\nx-api-key: {secret}\r\nContent-Type: application/json\r\nanthropic-version: 2023-06-01\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn length(bytes: usize) -> String {
    format!("Content-Length: {bytes}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_read_in_two_ways_is_refused() {
    let gate = gate().await;
    let line = format!("POST {ROUTE} HTTP/1.1");
    let good = length(BODY.len());
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("two lengths", raw(&gate, &line, &format!("{good}{}", length(3)), BODY)),
        ("a list of lengths", raw(&gate, &line, "Content-Length: 3, 90\r\n", BODY)),
        ("a signed length", raw(&gate, &line, &format!("Content-Length: +{}\r\n", BODY.len()), BODY)),
        ("a huge length", raw(&gate, &line, "Content-Length: 99999999999999999999\r\n", BODY)),
        ("a folded header", raw(&gate, &line, &format!("{good}x-a: b\r\n c\r\n"), BODY)),
        ("a folded length", raw(&gate, &line, &format!("Content-Length:\r\n {}\r\n", BODY.len()), BODY)),
        ("a blank before the colon", raw(&gate, &line, &format!("Content-Length : {}\r\n", BODY.len()), BODY)),
        ("a blank in a name", raw(&gate, &line, &format!("{good}x a: b\r\n"), BODY)),
        ("a NUL in a value", raw(&gate, &line, &format!("{good}x-a: b\0c\r\n"), BODY)),
        ("a NUL in a name", raw(&gate, &line, &format!("{good}x\0a: b\r\n"), BODY)),
        ("a bare CR", raw(&gate, &line, &format!("{good}x-a: b\rx-b: c\r\n"), BODY)),
        ("chunked twice", raw(&gate, &line, "Transfer-Encoding: chunked, identity\r\n", &chunked)),
        ("an unknown coding", raw(&gate, &line, "Transfer-Encoding: xchunked\r\n", &chunked)),
        ("a chunk of no size", raw(&gate, &line, "Transfer-Encoding: chunked\r\n", "zz\r\n")),
        ("a huge chunk", raw(&gate, &line, "Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n")),
        ("HTTP/0.9", b"GET /api/anthropic-proxy/v1/models\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("an absolute target elsewhere", raw(&gate, "POST http://api.anthropic.com/v1/messages HTTP/1.1", &good, BODY)),
        ("a tunnel", raw(&gate, "CONNECT api.anthropic.com:443 HTTP/1.1", "", "")),
        ("two slashes", raw(&gate, "POST //api/anthropic-proxy/v1/messages HTTP/1.1", &good, BODY)),
        ("two slashes inside", raw(&gate, "POST /api/anthropic-proxy//v1/messages HTTP/1.1", &good, BODY)),
        ("an encoded slash", raw(&gate, "POST /api/anthropic-proxy/v1%2fmessages HTTP/1.1", &good, BODY)),
        ("an encoded letter", raw(&gate, "POST /api/anthropic-proxy/v1/%6dessages HTTP/1.1", &good, BODY)),
        ("dots", raw(&gate, "POST /api/anthropic-proxy/x/../v1/messages HTTP/1.1", &good, BODY)),
        ("encoded dots", raw(&gate, "POST /api/anthropic-proxy/x/%2e%2e/v1/messages HTTP/1.1", &good, BODY)),
        ("a semicolon", raw(&gate, "POST /api/anthropic-proxy/v1/messages;x HTTP/1.1", &good, BODY)),
        ("a backslash", raw(&gate, "POST /api/anthropic-proxy\\v1\\messages HTTP/1.1", &good, BODY)),
        ("a huge header", raw(&gate, &line, &format!("{good}x-a: {}\r\n", "a".repeat(200_000)), BODY)),
        ("many headers", raw(&gate, &line, &format!("{good}{}", "x-a: b\r\n".repeat(2_000)), BODY)),
        ("a huge target", raw(&gate, &format!("POST {ROUTE}?{} HTTP/1.1", "a".repeat(200_000)), &good, BODY)),
        ("a body that ends early", raw(&gate, &line, &length(BODY.len() + 5), BODY)),
    ];
    for (what, bytes) in &cases {
        let got = statuses(&gate, bytes, *what == "a body that ends early").await;
        let refused = got.iter().all(|status| [400, 403, 404, 405, 408, 413, 414, 431, 505].contains(status));
        assert!(refused && got.len() <= 1, "{what}: {got:?}");
    }
    assert!(gate.fake.requests().is_empty(), "nothing of it left: {:?}", gate.fake.requests());
    assert_eq!(gate.today("global").await, (0, 0));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_request_needs_a_secret_of_its_own() {
    let gate = gate().await;
    let line = format!("POST {ROUTE} HTTP/1.1");
    let hidden = format!("POST {ROUTE} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len());
    // The coding says where the first one ends, not the length (RFC 9112, 6.3); what follows is a request, and nobody's.
    let chunks = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let both = raw(
        &gate,
        &line,
        &format!("Transfer-Encoding: chunked\r\n{}", length(chunks.len() + hidden.len())),
        &format!("{chunks}{hidden}"),
    );
    let got = statuses(&gate, &both, false).await;
    assert!(matches!(got.as_slice(), [] | [400] | [200] | [200, 400 | 401]), "{got:?}");
    let pipelined = raw(&gate, &line, &length(BODY.len()), &format!("{BODY}{hidden}"));
    assert_eq!(statuses(&gate, &pipelined, false).await, [200, 401], "the second has no secret");
    let none_open = async || {
        gate.gateway.settle_up().await.unwrap();
        gate.database.0.open_model_calls().await.unwrap() == 0
    };
    eventually("all is settled", Duration::from_secs(5), none_open).await;
    for seen in gate.provider_saw() {
        assert_eq!(seen.body, BODY.as_bytes(), "the provider gets one request with one body");
        assert_eq!(seen.headers.get_all("content-length").iter().count(), 1);
        assert!(!seen.headers.contains_key("transfer-encoding"));
        assert_eq!(seen.headers["accept-encoding"], "identity");
    }
    gate.finish().await;
}

/// Whom the request names changes nothing about where it goes.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_not_believed() {
    let gate = gate().await;
    let secret = gate.caller_secret.clone();
    let head = format!(
        "x-api-key: {secret}\r\nContent-Type: application/json\r\nanthropic-version: 2023-06-01\r\n{}",
        length(BODY.len())
    );
    for hosts in
        ["Host: evil.example\r\n", "Host: 169.254.169.254\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n"]
    {
        let before = gate.provider_saw().len();
        let bytes = format!("POST {ROUTE} HTTP/1.1\r\n{hosts}{head}Connection: close\r\n\r\n{BODY}");
        assert_eq!(statuses(&gate, bytes.as_bytes(), false).await, [200]);
        let saw = gate.provider_saw();
        assert_eq!(saw.len(), before + 1, "it went to the provider that the operator named");
        let last = saw.last().unwrap();
        assert_eq!(last.headers["host"], gate.fake.addr().to_string().as_str());
        assert!(!last.headers.contains_key("x-forwarded-host") && !last.headers.contains_key("forwarded"));
    }
    gate.finish().await;
}

//! What is allowed passes, unchanged but for credentials.

use super::house::{House, SECRET, ask, read, rule, send, with_credential};
use super::upstream::Upstream;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BIG_BYTES: usize = 20 << 20;

async fn opened(credential: bool) -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let rule = rule("localhost", upstream.port);
    let rules = vec![if credential { with_credential(rule) } else { rule }, super::house::rule("other.example", upstream.port)];
    (House::open(rules, upstream.roots.clone()).await, upstream)
}

fn host(upstream: &Upstream) -> String {
    format!("localhost:{}", upstream.port)
}

fn big() -> Bytes {
    (0..BIG_BYTES).map(|at| u8::try_from((at * 31 + at / 251) % 256).expect("a byte")).collect::<Vec<u8>>().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn big_bodies_pass_unchanged_in_both_protocols() {
    let (house, upstream) = opened(true).await;
    let body = big();
    let mut client = house.client("localhost", upstream.port).await;
    let request = Request::post("/open/repeat").header("host", host(&upstream)).body(Full::new(body.clone())).expect("a request");
    let response = send(&mut client, request).await;
    assert_eq!(response.headers()["content-length"], BIG_BYTES.to_string());
    assert!(read(response).await.2 == body, "HTTP/1.1");
    let mut client = house.client_2("localhost", upstream.port).await;
    let uri = format!("https://{}/open/repeat?q=1%202", host(&upstream));
    let request = Request::post(uri).body(Full::new(body.clone())).expect("a request");
    assert!(read(client.send_request(request).await.expect("an answer")).await.2 == body, "HTTP/2");
    assert_eq!(upstream.saw.lock()[1].uri, "/open/repeat?q=1%202");
    assert_eq!(upstream.saw.lock()[1].headers["host"], host(&upstream));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_s_credential_leaves_and_it_does_not_return() {
    let (house, upstream) = opened(true).await;
    let mut client = house.client("localhost", upstream.port).await;
    let mut request = ask("GET", &host(&upstream), "/open/reflect");
    for (name, value) in [
        ("authorization", "Bearer the-attacker-s"),
        ("x-api-key", "the-attacker-s"),
        ("cookie", "a=the-attacker-s"),
        ("accept-encoding", "gzip, br"),
        ("range", "bytes=0-9"),
        ("accept", "text/plain"),
    ] {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let response = send(&mut client, request).await;
    let blanked = format!("Bearer {}", "*".repeat(SECRET.len()));
    assert_eq!(response.headers()["x-you-said"], blanked);
    assert!(!response.headers().contains_key("set-cookie"), "a session of the operator's");
    assert_eq!(read(response).await.2, blanked, "also where it came in single bytes");
    let head = upstream.saw.lock()[0].clone();
    assert_eq!(head.headers.get_all("authorization").iter().collect::<Vec<_>>(), [&format!("Bearer {SECRET}")]);
    assert_eq!(
        (&head.headers["accept-encoding"], &head.headers["accept"]),
        (&"identity".parse().unwrap(), &"text/plain".parse().unwrap())
    );
    assert!(!format!("{:?}", head.headers).contains("attacker") && !head.headers.contains_key("range"));

    let response = send(&mut client, ask("GET", &host(&upstream), "/open/packed")).await;
    let (status, _, body) = read(response).await;
    assert!(status == 502 && !body.is_empty(), "what can't be searched for the secret does not pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_no_credential_leaves() {
    let (house, upstream) = opened(false).await;
    let mut client = house.client("localhost", upstream.port).await;
    let mut request = ask("GET", &host(&upstream), "/open/x");
    request.headers_mut().insert("authorization", "Bearer the-attacker-s".parse().expect("a value"));
    assert_eq!(read(send(&mut client, request).await).await.0, 200);
    assert!(!format!("{:?}", upstream.saw.lock()[0].headers).contains("attacker"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_passed_both_ways_without_the_secret() {
    let (house, upstream) = opened(true).await;
    let mut client = house.client("localhost", upstream.port).await;
    let mut request = ask("GET", &host(&upstream), "/open/ws");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let response = send(&mut client, request).await;
    assert_eq!(response.status(), 101);
    assert!(!upstream.saw.lock()[0].headers.contains_key("sec-websocket-extensions"), "packed frames can't be searched");
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.expect("an upgrade"));
    let mut greeting = vec![0; "Bearer ".len() + SECRET.len()];
    stream.read_exact(&mut greeting).await.expect("a greeting");
    assert_eq!(greeting, format!("Bearer {}", "*".repeat(SECRET.len())).into_bytes());
    for message in ["one", "two and more"] {
        stream.write_all(message.as_bytes()).await.expect("sent");
        let mut back = vec![0; message.len()];
        stream.read_exact(&mut back).await.expect("an echo");
        assert_eq!(back, message.as_bytes());
    }
    assert!(house.run.close(Duration::from_secs(1)).await, "the end of a run does not wait for what is cut");
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0, "nothing of a run outlives it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_the_client_s_business() {
    let (house, upstream) = opened(false).await;
    let mut client = house.client("localhost", upstream.port).await;
    let response = send(&mut client, ask("GET", &host(&upstream), "/open/redirect")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (302, &"https://169.254.169.254/latest/".parse().unwrap())
    );
    assert_eq!(upstream.saw.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_at_the_end_of_a_run_is_cut() {
    let (house, upstream) = opened(false).await;
    let mut client = house.client("localhost", upstream.port).await;
    let response = send(&mut client, ask("GET", &host(&upstream), "/open/forever")).await;
    let mut body = response.into_body();
    assert!(body.frame().await.expect("a piece").is_ok());
    assert!(house.run.close(Duration::from_secs(1)).await);
    let rest = tokio::time::timeout(Duration::from_secs(5), async { while let Some(Ok(_)) = body.frame().await {} }).await;
    assert!(rest.is_ok(), "it ends");
    let mut client = house.client("localhost", upstream.port).await;
    let response = send(&mut client, ask("GET", &host(&upstream), "/open/x")).await;
    assert_eq!(read(response).await.1, "run.none", "bound still, but over");
    house.gate.unbind();
    let response = send(&mut client, ask("GET", &host(&upstream), "/open/x")).await;
    assert_eq!(read(response).await.1, "run.none");
    assert_eq!(upstream.saw.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hello_may_come_in_single_bytes() {
    let (house, upstream) = opened(false).await;
    let stream = house.dial(house.address("localhost", upstream.port)).await;
    let (mut near, far) = tokio::io::duplex(1 << 16);
    // Every byte of the client travels alone.
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(far);
        let (mut back, mut out) = stream.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut back, &mut to).await });
        let mut byte = [0];
        while from.read_exact(&mut byte).await.is_ok() && out.write_all(&byte).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let config = house.trust(false);
    let kinds: Vec<String> = config.crypto_provider().kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
    assert!(kinds.iter().any(|kind| kind.contains("MLKEM")), "a hello of post-quantum size: {kinds:?}");
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
    let stream = connector.connect(name, &mut near).await.expect("a handshake");
    let (mut stream, wanted) =
        (stream, format!("GET /open/x HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", host(&upstream)));
    stream.write_all(wanted.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"hello"), "{}", String::from_utf8_lossy(&answer));
}

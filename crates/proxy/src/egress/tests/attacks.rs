//! What is not allowed is refused fast, with an answer for machines and an entry that says what was wanted.

use super::house::{House, ask, read, rule, send};
use super::upstream::Upstream;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use policy::{EgressRule, Scheme};
use rustls::client::{EchConfig, EchGreaseConfig, EchMode};
use rustls::crypto::hpke::Hpke;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn opened() -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let rules = vec![rule("localhost", upstream.port), rule("other.example", upstream.port), rule("third.example", 443)];
    (House::open(rules, upstream.roots.clone()).await, upstream)
}

async fn raw(house: &House, dialled: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = house.dial(dialled).await;
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let begun = Instant::now();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok() && begun.elapsed() < Duration::from_secs(2), "refused at once, and closed");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_behind_another_name_is_not_reached() {
    let (house, upstream) = opened().await;
    let port = upstream.port;
    let mut client = house.client("localhost", port).await;
    let fronted = ask("GET", &format!("other.example:{port}"), "/open/x");
    let (status, code, body) = read(send(&mut client, fronted).await).await;
    assert_eq!((status, code.as_str()), (421, "egress.host"));
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&body["error"]["type"], &body["error"]["code"]), (&"egress_denied".into(), &"egress.host".into()));
    assert_eq!(house.refused("egress.host").await, format!("other.example:{port} over TLS for localhost"));
    // The same connection still serves its own host.
    let own = ask("GET", &format!("localhost:{port}"), "/open/x");
    assert_eq!(read(send(&mut client, own).await).await.0, 200);
    // An allowed host at another allowed host's address.
    let mut client = {
        let stream = house.tls(house.address("other.example", port), "localhost", false).await.expect("a handshake");
        let io = hyper_util::rt::TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("a connection");
        tokio::spawn(connection);
        sender
    };
    let own = ask("GET", &format!("localhost:{port}"), "/open/x");
    assert_eq!(read(send(&mut client, own).await).await.0, 421);
    assert_eq!(upstream.saw.lock().len(), 1);
}

/// RFC 9849: a hello in front, for `public_name`, and one inside it that only the holder of a key can read.
fn encrypted_hello(public_name: &str) -> EchMode {
    let suite = rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;
    let (key, _) = suite.generate_key_pair().expect("a key");
    let (key_length, name_length) = (u16::try_from(key.0.len()).expect("short"), u8::try_from(public_name.len()).expect("short"));
    let mut contents = vec![7, 0x00, 0x20];
    contents.extend(key_length.to_be_bytes());
    contents.extend(&key.0);
    // One suite (HKDF-SHA256, AES-128-GCM), names of any length, the name in front, no extensions.
    contents.extend([0, 4, 0, 1, 0, 1, 0, name_length]);
    contents.extend(public_name.as_bytes());
    contents.extend([0, 0]);
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("short").to_be_bytes();
    let config = [[0xfe, 0x0d].as_slice(), &length(&contents), &contents].concat();
    let list = [length(&config).as_slice(), &config].concat();
    EchConfig::new(list.into(), &[suite]).expect("a configuration").into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_an_encrypted_hello_leads_nowhere() {
    let (house, upstream) = opened().await;
    let port = upstream.port;
    // The allowed name in front, another one inside: what answers is the one in front, with which such a client is not content.
    let hidden = house.trust_hiding(encrypted_hello("localhost"));
    let refused = house.tls_as(hidden, house.address("localhost", port), "other.example").await.expect_err("not the hidden name");
    assert!(refused.to_string().contains("EncryptedClientHello"), "{refused}");
    // The other way round there is no such host.
    let hidden = house.trust_hiding(encrypted_hello("denied.example"));
    house.tls_as(hidden, house.address("localhost", port), "localhost").await.expect_err("not the name in front");
    assert_eq!(house.refused("egress.tls").await, "denied.example");
    // A client that only pretends to hide one is served like any other, and no further.
    let suite = rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;
    let (key, _) = suite.generate_key_pair().expect("a key");
    let pretending = house.trust_hiding(EchGreaseConfig::new(suite, key).into());
    let stream = house.tls_as(pretending, house.address("localhost", port), "localhost").await.expect("a handshake");
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let fronted = ask("GET", &format!("other.example:{port}"), "/open/x");
    assert_eq!(read(send(&mut client, fronted).await).await.0, 421);
    let own = ask("GET", &format!("localhost:{port}"), "/open/x");
    assert_eq!(read(send(&mut client, own).await).await.0, 200);
    assert_eq!(upstream.saw.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_an_http_2_connection_is_judged() {
    let (house, upstream) = opened().await;
    let port = upstream.port;
    let mut client = house.client_2("localhost", port).await;
    for (authority, path, expected) in [
        (format!("localhost:{port}"), "/open/x", (200, "")),
        (format!("other.example:{port}"), "/open/x", (421, "egress.host")),
        ("evil.example".to_owned(), "/open/x", (421, "egress.host")),
        ("localhost".to_owned(), "/open/x", (200, "")),
        ("localhost:1".to_owned(), "/open/x", (403, "egress.host")),
        (format!("localhost:{port}"), "/closed/x", (403, "egress.rule")),
        (format!("localhost:{port}"), "/open/../closed/x", (403, "egress.rule")),
        (format!("localhost:{port}"), "/open/%2e%2e/closed/x", (403, "egress.rule")),
    ] {
        let request = Request::get(format!("https://{authority}{path}")).body(Full::new(Bytes::new())).expect("a request");
        let (status, code, _) = read(client.send_request(request).await.expect("an answer")).await;
        assert_eq!((status, code.as_str()), expected, "{authority}{path}");
    }
    let mut request = Request::get(format!("https://localhost:{port}/open/x")).body(Full::new(Bytes::new())).expect("a request");
    request.headers_mut().insert("host", "other.example".parse().expect("a value"));
    assert_eq!(read(client.send_request(request).await.expect("an answer")).await.1, "egress.host", "a Host beside :authority");
    let request = Request::delete(format!("https://localhost:{port}/open/x")).body(Full::new(Bytes::new())).expect("a request");
    assert_eq!(
        read(client.send_request(request).await.expect("an answer")).await.1,
        "egress.rule",
        "a method that no rule names"
    );
    assert_eq!(upstream.saw.lock().len(), 2);
    let mut last = String::new();
    for _ in 0..4 {
        last = house.refused("egress.rule").await;
    }
    assert_eq!(last, format!("DELETE localhost:{port}/open/x"), "what was wanted is written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_said_in_two_ways_is_no_host() {
    let (house, upstream) = opened().await;
    let rules = vec![EgressRule { scheme: Scheme::Http, ..rule("plain.example", 80) }];
    let plain = House::open(rules, upstream.roots.clone()).await;
    let at = plain.address("plain.example", 80);
    for request in [
        "GET /open/x HTTP/1.1\r\nhost: plain.example\r\nhost: evil.example\r\n\r\n",
        "GET http://evil.example/open/x HTTP/1.1\r\nhost: plain.example\r\n\r\n",
        "GET http://plain.example/open/x HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        "GET /open/x HTTP/1.1\r\nhost: plain.example@evil.example\r\n\r\n",
        "GET /open/x HTTP/1.1\r\nhost: plain.example:8080\r\n\r\n",
        "GET /open/x HTTP/1.0\r\n\r\n",
    ] {
        let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let answer = raw(&plain, at, request.as_bytes()).await;
        assert!(answer.contains(" 403 ") && answer.contains("egress.host"), "{request:?} got {answer:?}");
    }
    for request in [
        "CONNECT plain.example:80 HTTP/1.1\r\nhost: plain.example:80\r\n\r\n",
        "TRACE /open/x HTTP/1.1\r\nhost: plain.example\r\n\r\n",
        "POST /open/x HTTP/1.1\r\nhost: plain.example\r\nx-http-method-override: DELETE\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03 hello of TLS",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let request = request.replacen("HTTP/1.1\r\n", "HTTP/1.1\r\nconnection: close\r\n", 1);
        let answer = raw(&plain, at, request.as_bytes()).await;
        assert!(!answer.contains(" 200 "), "{request:?} got {answer:?}");
        plain.refused("egress.protocol").await;
    }
    assert!(upstream.saw.lock().is_empty());
    drop(house);
}

/// A body of two lengths: whoever believes the other one would see a second request in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_inside_a_body_stays_there_or_is_judged() {
    let (house, upstream) = opened().await;
    let host = format!("localhost:{}", upstream.port);
    let inner = format!("GET /closed/x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let head = format!("POST /open/x HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n", inner.len() + 5);
    for (head, body) in
        [(format!("{head}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"), &inner), (format!("{head}\r\n0\r\n\r\n"), &inner)]
    {
        let mut stream = house.tls(house.address("localhost", upstream.port), "localhost", false).await.expect("a handshake");
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.expect("an answer");
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    }
    for seen in upstream.saw.lock().iter() {
        let lengths = ["content-length", "transfer-encoding"].map(|name| seen.headers.get_all(name).iter().count());
        assert!(seen.uri == "/open/x" && lengths.iter().sum::<usize>() == 1, "{seen:?}");
    }
    assert_eq!(upstream.saw.lock().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_allowed_server_name_there_is_no_tls() {
    let (house, upstream) = opened().await;
    let at = house.address("localhost", upstream.port);
    for name in ["evil.example", "model.hexward.internal", "third.example", "x.localhost", "127.0.0.1", "api.anthropic.com"] {
        let begun = Instant::now();
        let error = house.tls(at, name, false).await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("UnrecognizedName") || error.contains("UnrecognisedName"), "{name}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(1), "at once");
        // An address is no server name, so none is said.
        let said = if name == "127.0.0.1" { "(no server name)" } else { name };
        assert_eq!(house.refused("egress.tls").await, said.to_owned());
    }
    let answer = raw(&house, SocketAddr::from(([198, 18, 1, 0], 443)), b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(!answer.contains("HTTP/1.1"), "no plain HTTP on the port of TLS: {answer:?}");
    let plain = format!("GET /open/x HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\n\r\n", upstream.port);
    let answer = raw(&house, at, plain.as_bytes()).await;
    assert!(answer.contains("egress.host"), "a rule for TLS allows nothing plain: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_this_host_is_not_connected_to() {
    let upstream = Upstream::start().await;
    let rebound = EgressRule { danger_allow_private: false, ..rule("localhost", upstream.port) };
    let house = House::open(vec![rebound], upstream.roots.clone()).await;
    let mut client = house.client("localhost", upstream.port).await;
    let request = ask("GET", &format!("localhost:{}", upstream.port), "/open/x");
    let (status, code, _) = read(send(&mut client, request).await).await;
    assert_eq!((status, code.as_str()), (403, "egress.address"));
    assert_eq!(house.refused("egress.address").await, format!("localhost:{} is a loopback address", upstream.port));
    assert!(upstream.saw.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_can_t_prove_its_name_gets_nothing() {
    let upstream = Upstream::named("somebody.example").await;
    let house = House::open(vec![rule("localhost", upstream.port)], upstream.roots.clone()).await;
    let mut client = house.client("localhost", upstream.port).await;
    let request = ask("GET", &format!("localhost:{}", upstream.port), "/open/x");
    let (status, _, body) = read(send(&mut client, request).await).await;
    assert_eq!(status, 502);
    assert!(String::from_utf8_lossy(&body).contains("prove its name"), "{body:?}");
    assert!(upstream.saw.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_has_a_bounded_number_of_exchanges() {
    let (house, upstream) = opened().await;
    let mut client = house.client_2("localhost", upstream.port).await;
    let uri = format!("https://localhost:{}/open/forever", upstream.port);
    let ask = || Request::get(&uri).body(Full::new(Bytes::new())).expect("a request");
    let mut held = Vec::new();
    for _ in 0..63 {
        held.push(client.send_request(ask()).await.expect("an answer"));
    }
    let mut second = house.client_2("localhost", upstream.port).await;
    held.push(second.send_request(ask()).await.expect("an answer"));
    let (status, code, _) = read(second.send_request(ask()).await.expect("an answer")).await;
    assert_eq!((status, code.as_str()), (429, "egress.busy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sandbox_s_authority_is_nobody_else_s() {
    let ((one, _), (other, upstream)) = (opened().await, opened().await);
    let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
    let stream = other.dial(other.address("localhost", upstream.port)).await;
    let trusting_one = tokio_rustls::TlsConnector::from(std::sync::Arc::new(one.trust(false)));
    let error = trusting_one.connect(name, stream).await.expect_err("not trusted").to_string();
    assert!(error.contains("invalid peer certificate"), "{error}: its certificate is good in its own sandbox only");
}

//! A host that the operator allowed, seen from a real sandbox: it and nothing beside it.

use gate_tests::{Probe, Setup, TestGate, probe};
use hexward::config::Egress;
use policy::{CredentialSlot, EgressRule, EgressRules, HostName, PathPattern, Scheme};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &str = "sk-operator-canary-0123456789";

/// Repeats the head of each request in its answer, and counts them.
async fn repeating_host() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", head.len());
                stream.write_all(answer.as_bytes()).await?;
                stream.write_all(&head).await
            });
        }
    });
    (port, served)
}

fn rule(host: &str, port: u16) -> EgressRule {
    EgressRule {
        host: HostName::parse(host).unwrap(),
        port,
        scheme: Scheme::Http,
        methods: vec!["GET".to_owned()],
        paths: vec![PathPattern::parse("/v1/*").unwrap()],
        credential: Some(CredentialSlot {
            env: "CANARY".to_owned(),
            header: "authorization".to_owned(),
            prefix: "Bearer ".to_owned(),
        }),
        danger_allow_private: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_host_is_reached_and_nothing_beside_it() {
    let (port, served) = repeating_host().await;
    let rebound = EgressRule { danger_allow_private: false, credential: None, ..rule("localhost", port + 1) };
    let rules = EgressRules::new(vec![rule("localhost", port), rebound]).unwrap();
    let secrets = HashMap::from([("CANARY".to_owned(), SecretString::from(SECRET))]);
    let egress = Egress { rules, secrets };
    let gate = TestGate::start(Setup { agent: Some(probe()), egress, ..Setup::default() }).await;
    let agent = Probe::new(gate.person().await).await;
    let (host, at) = (format!("localhost:{port}"), format!("198.18.1.0:{port}"));
    let own_key = json!([["authorization", "Bearer the-attacker-s"]]);
    let seen = agent
        .tell(
            &gate,
            json!([
                {"do": "name", "name": "localhost", "kind": 1},
                {"do": "http", "to": at, "host": host, "path": "/v1/x", "headers": own_key},
                {"do": "http", "to": at, "host": host, "path": "/v2/x"},
                {"do": "http", "to": at, "host": host, "path": "/v1/../v2"},
                {"do": "http", "to": at, "host": host, "path": "/v1/x", "method": "POST"},
                {"do": "http", "to": at, "host": "model.hexward.internal", "path": "/v1/messages"},
                {"do": "http", "to": format!("127.0.0.1:{port}"), "host": host, "path": "/v1/x"},
                {"do": "http", "to": format!("198.18.1.0:{}", port + 1), "host": format!("localhost:{}", port + 1), "path": "/v1/x"},
                {"do": "connect", "to": format!("198.18.1.0:{}", port + 2)},
            ]),
        )
        .await;
    assert_eq!((&seen[0]["code"], &seen[0]["answers"]), (&json!(0), &json!(1)), "{}", seen[0]);
    let passed = &seen[1];
    let said = passed["body"].as_str().unwrap_or_default();
    assert!(passed["status"] == 200 && said.starts_with("GET /v1/x HTTP/1.1"), "{passed}");
    assert!(
        said.contains(&format!("Bearer {}", "*".repeat(SECRET.len()))),
        "the credential was there, and is not told: {passed}"
    );
    assert!(!Value::from(seen.clone()).to_string().contains(SECRET) && !said.contains("attacker"), "{passed}");
    let denied = |answer: &Value| (answer["status"].as_u64().unwrap_or(0), answer["headers"]["x-hexward-denial"].clone());
    for refused in &seen[2..5] {
        assert_eq!(denied(refused), (403, json!("egress.rule")), "{refused}");
    }
    assert_eq!(denied(&seen[5]), (403, json!("egress.host")), "our own names are at ports 80 and 443 only");
    assert_eq!(denied(&seen[6]), (421, json!("egress.host")), "not at its address");
    assert_eq!(denied(&seen[7]), (403, json!("egress.address")), "this host's own address");
    assert_eq!(seen[8]["kind"], "ConnectionRefused");
    assert_eq!(served.load(Ordering::SeqCst), 1, "one request came");
    let recorded = gate.database.denials().await;
    for wanted in [
        format!("egress.rule GET localhost:{port}/v2/x"),
        format!("egress.rule POST localhost:{port}/v1/x"),
        format!("egress.host localhost:{port} at 127.0.0.1"),
        format!("egress.address localhost:{} is a loopback address", port + 1),
    ] {
        assert!(recorded.contains(&wanted), "{wanted} is not in {recorded:?}");
    }
    let database = gate.database.clone();
    gate.finish().await;
    let refused = database.ports_refused().await;
    assert!(refused.iter().any(|entry| entry["tcp"].as_u64() >= Some(1)), "counted by the sandbox's network: {refused:?}");
}

//! The back end of a host application: it has a service key, speaks for users of its own, and is no browser.

use crate::wire::{Answer, exchange, request};
use crate::{TestGate, hexward};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use policy::{AssertionAlgorithm, HostAccount, HostRules, KeyId, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use web::{HostKeys, HostSettings};

/// The host's secret in tests.
pub const HOST_SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A host with a secret, as it would be configured.
#[must_use]
pub fn host(id: &str) -> HostSettings {
    let account = HostAccount { id: id.to_owned(), day: None, user_day: None, messages_per_hour: None };
    HostSettings {
        rules: HostRules {
            account,
            issuer: format!("https://{id}.example"),
            audience: "hexward".to_owned(),
            tier_claim: None,
            tiers: std::collections::BTreeMap::new(),
            apps: vec!["hexmap".to_owned()],
            origins: vec![format!("https://{id}.example")],
        },
        algorithms: vec![AssertionAlgorithm::Hs256],
        keys: HostKeys::Secret(SecretString::from(HOST_SECRET)),
    }
}

/// One back end.
#[derive(Clone)]
pub struct BackEnd {
    /// The callers' listener.
    pub address: SocketAddr,
    /// Its service key.
    pub token: String,
    /// The key's id.
    pub key: KeyId,
    /// What it signs as.
    pub issuer: String,
}

impl BackEnd {
    /// Makes a key as the operator does, with these further arguments.
    pub async fn new(gate: &mut TestGate, host: &str, more: &[&str]) -> Self {
        let mut command = Command::new(hexward());
        let database = gate.database_url.clone();
        command.args(["key", "create", "backend", "--purpose", "service", "--host", host]).args(more);
        command.current_dir(gate.folder.path()).env_clear().env("DATABASE_URL", database);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let token = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        gate.keep_secret("a host's key", &token);
        let row = gate.gateway.store.key_of(policy::key_digest(token.as_bytes())).await.unwrap().unwrap();
        Self { address: gate.callers(), token, key: row.id, issuer: format!("https://{host}.example") }
    }

    /// What an assertion of a user says: good from now on for two minutes, and never made before.
    #[must_use]
    pub fn claims(&self, subject: &str, now: Timestamp) -> Value {
        let secs = now.0.div_euclid(1_000_000);
        let id = policy::CallId::random().to_string();
        json!({"iss": self.issuer, "aud": "hexward", "sub": subject, "jti": id, "iat": secs, "exp": secs + 120})
    }

    /// A new assertion of a user.
    #[must_use]
    pub fn assertion(&self, subject: &str, now: Timestamp) -> String {
        sign(&self.claims(subject, now))
    }

    /// A request with these headers beside the key and this assertion.
    pub async fn ask_with(&self, method: &str, path: &str, assertion: &str, more: &[(&str, &str)], body: &Value) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", bearer.as_str()), ("x-hexward-user", assertion)];
        headers.extend_from_slice(more);
        let body = if method == "GET" {
            String::new()
        } else {
            headers.push(("content-type", "application/json"));
            body.to_string()
        };
        exchange(self.address, request(method, path, &headers, body)).await
    }

    /// `GET` with the key alone: for nobody in particular.
    pub async fn ask_with_key(&self, path: &str) -> Answer {
        exchange(self.address, request("GET", path, &[("authorization", &format!("Bearer {}", self.token))], String::new())).await
    }

    /// Somebody for whom it speaks.
    #[must_use]
    pub fn user<'a>(&'a self, gate: &'a TestGate, subject: &'a str) -> HostUser<'a> {
        HostUser { back_end: self, gate, subject }
    }
}

/// Signs with the host's secret.
#[must_use]
pub fn sign(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(HOST_SECRET.as_bytes())).unwrap()
}

/// A user of a host, each of whose requests has an assertion of its own.
#[derive(Clone, Copy)]
pub struct HostUser<'a> {
    back_end: &'a BackEnd,
    gate: &'a TestGate,
    subject: &'a str,
}

impl HostUser<'_> {
    async fn ask(&self, method: &str, path: &str, more: &[(&str, &str)], body: &Value) -> Answer {
        let assertion = self.back_end.assertion(self.subject, self.gate.gateway.clock.now());
        self.back_end.ask_with(method, path, &assertion, more, body).await
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], &Value::Null).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], body).await
    }

    /// `DELETE`
    pub async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], &json!({})).await
    }

    /// A new conversation.
    pub async fn conversation(&self) -> String {
        let made = self.post("/v1/conversations", &json!({"app": "hexmap"})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().unwrap().to_owned()
    }

    /// Tries to begin a run under an idempotency key.
    pub async fn try_run(&self, conversation: &str, key: &str, body: &Value) -> Answer {
        self.ask("POST", &format!("/v1/conversations/{conversation}/runs"), &[("idempotency-key", key)], body).await
    }

    /// Begins a run; returns it.
    pub async fn run(&self, conversation: &str, text: &str, writes: bool) -> String {
        let key = policy::CallId::random().to_string();
        let begun = self.try_run(conversation, &key, &json!({"text": text, "writes": writes})).await;
        assert_eq!(begun.status, 202, "{}", begun.text());
        begun.json()["run_id"].as_str().unwrap().to_owned()
    }

    /// A run's events up to its end, from after a number on.
    pub async fn events(&self, run: &str, last: u64) -> Vec<Value> {
        let last = last.to_string();
        let all = self.ask("GET", &format!("/v1/runs/{run}/events"), &[("last-event-id", &last)], &Value::Null).await;
        assert_eq!(all.status, 200, "{}", all.text());
        events_of(&all)
    }
}

/// The events of a whole stream.
#[must_use]
pub fn events_of(stream: &Answer) -> Vec<Value> {
    let text = stream.text();
    text.lines().filter_map(|line| line.strip_prefix("data:")).map(|data| serde_json::from_str(data.trim()).unwrap()).collect()
}

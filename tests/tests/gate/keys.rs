//! Keys of remote callers: made, used, rotated and ended while the gateway runs.

use gate_tests::{Answer, Postgres, Setup, TestGate, exchange, hexward, logged, probe, request};
use policy::{KeyScope, Microusd};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const ROUTE: &str = "/api/anthropic-proxy/v1/messages";
const COUNT: &str = "/api/anthropic-proxy/v1/messages/count_tokens";
const MODEL: &str = "claude-sonnet-5-5";
/// What is promised of a revocation.
const DEAD_WITHIN: Duration = Duration::from_secs(1);

struct House {
    gate: TestGate,
    database: String,
}

/// What a command printed.
struct Said {
    good: bool,
    out: String,
    err: String,
}

impl House {
    async fn new(setup: Setup) -> Self {
        let database = setup.database.clone();
        let gate = TestGate::start(Setup { agent: Some(probe()), callers: true, ..setup }).await;
        let own = format!("sqlite:{}", gate.folder.path().join("gate.db").display());
        Self { gate, database: database.unwrap_or(own) }
    }

    fn key(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(hexward());
        command.arg("key").args(arguments).current_dir(self.gate.folder.path()).env_clear().env("DATABASE_URL", &self.database);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { good: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Makes a key; its token must stand nowhere in the end. The key's id is the second.
    fn token(&mut self, arguments: &[&str]) -> (String, String) {
        let said = self.key(arguments);
        assert!(said.good, "{}", said.err);
        let token = said.out.trim_end().to_owned();
        assert!(token.starts_with("hxw_") && token.len() == 68 && !said.err.contains(&token), "{token:?} {}", said.err);
        self.gate.keep_secret("a caller's token", &token);
        (token, said.err.split_whitespace().nth(1).unwrap().to_owned())
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)], model: &str) -> Answer {
        let mut all = vec![("content-type", "application/json"), ("anthropic-version", "2023-06-01")];
        all.extend_from_slice(headers);
        let body = json!({"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": "Hello"}]});
        exchange(self.gate.callers(), request("POST", path, &all, body.to_string())).await
    }

    async fn status(&self, token: &str) -> u16 {
        self.ask(COUNT, &[("x-api-key", token)], MODEL).await.status
    }

    /// A gateway knows of a change within a second.
    async fn becomes(&self, token: &str, status: u16) {
        let known = async || self.status(token).await == status;
        gate_tests::eventually("the key is known for what it is", DEAD_WITHIN, known).await;
    }

    async fn refused(&self, token: &str, path: &str, model: &str) -> (u16, String) {
        let answer = self.ask(path, &[("x-api-key", token)], model).await;
        (answer.status, answer.header("x-hexward-denial").to_owned())
    }

    async fn spent(&self, principal: &str) -> i64 {
        let settled = async || self.gate.database.0.open_model_calls().await.unwrap() == 0;
        gate_tests::eventually("every call is settled", Duration::from_secs(5), settled).await;
        let now = self.gate.gateway.clock.now();
        let user = self.gate.database.0.user_of("hexward:callers", principal, now).await.unwrap();
        self.gate.today(&format!("user:{user}")).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_used_and_dead_within_a_second_of_its_revocation() {
    made_used_revoked(Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_used_and_dead_within_a_second_of_its_revocation_on_postgresql() {
    made_used_revoked(Setup { database: Some(Postgres::shared().fresh_database()), ..Setup::default() }).await;
}

async fn made_used_revoked(setup: Setup) {
    let mut house = House::new(setup).await;
    let (token, id) = house.token(&["create", "shop"]);
    house.becomes(&token, 200).await;
    let bearer = format!("Bearer {token}");
    let answer = house.ask(ROUTE, &[("authorization", &bearer), ("x-api-key", &token)], MODEL).await;
    assert_eq!(answer.status, 200, "both headers alike: {}", answer.text());
    let saw = house.gate.provider_saw().pop().unwrap();
    assert!(!saw.headers.values().any(|value| value.as_bytes().ends_with(token.as_bytes())), "the token stays here");
    assert!(house.spent("shop").await > 0 && house.spent("internal").await == 0, "its own principal pays");
    let secret = house.gate.caller_secret.clone();
    let mixed = house.ask(COUNT, &[("x-api-key", &token), ("authorization", &format!("Bearer {secret}"))], MODEL).await;
    assert_eq!(mixed.status, 401, "two keys are not one");
    let listed = house.key(&["list"]);
    assert!(listed.out.contains(&id) && listed.out.contains("INTERNAL_PROXY_SECRET"), "{}", listed.out);
    assert!(!listed.out.contains(&token[8..]), "a list shows no token");
    assert!(house.key(&["revoke", &id]).good);
    house.becomes(&token, 401).await;
    assert_eq!(house.status(&secret).await, 200, "others go on");
    let shown: Value = serde_json::from_str(&house.key(&["show", &id]).out).unwrap();
    assert_eq!((&shown["state"], &shown["principal"]), (&Value::from("revoked"), &Value::from("shop")));
    assert!(!house.key(&["revoke", "nobody"]).good && house.key(&["revoke", &id]).err.contains("before"));
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_key_the_answer_is_the_same() {
    let mut house = House::new(Setup::default()).await;
    let (elsewhere, _) = house.token(&["create", "elsewhere", "--network", "10.0.0.0/8", "--network", "2001:db8::/32"]);
    let (here, _) = house.token(&["create", "here", "--network", "127.0.0.0/8"]);
    let (revoked, id) = house.token(&["create", "revoked"]);
    house.becomes(&here, 200).await;
    house.becomes(&revoked, 200).await;
    assert!(house.key(&["revoke", &id]).good);
    house.becomes(&revoked, 401).await;
    let injection = "' OR '1'='1' --";
    let cases: [(&str, Vec<(&str, &str)>); 6] = [
        ("missing", vec![]),
        ("unknown", vec![("x-api-key", injection)]),
        ("unknown", vec![("authorization", "Bearer hxw_%' UNION SELECT token_digest FROM caller_keys --")]),
        ("revoked", vec![("x-api-key", &revoked)]),
        ("network", vec![("x-api-key", &elsewhere)]),
        ("network", vec![("x-api-key", &elsewhere), ("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "10.0.0.1")]),
    ];
    for (fault, headers) in &cases {
        let answer = house.ask(ROUTE, headers, MODEL).await;
        let error = answer.json();
        assert_eq!((answer.status, error["error"]["message"].as_str()), (401, Some("invalid x-api-key")), "{fault}");
        assert_eq!(answer.header("x-hexward-denial"), "", "{fault}: the reason is nobody's business");
    }
    let written = async || house.gate.database.caller_refusals().await.iter().filter(|fault| *fault == "network").count() == 2;
    gate_tests::eventually("the audit log has the reasons", Duration::from_secs(5), written).await;
    let faults = house.gate.database.caller_refusals().await;
    for (fault, _) in &cases {
        assert!(faults.iter().any(|written| written == fault), "{fault} is not in {faults:?}");
    }
    assert!(!logged(injection), "what was shown is not logged");
    assert!(house.gate.provider_saw().is_empty());
    for _ in 0..60 {
        assert_eq!(house.status("guess").await, 401);
    }
    assert!(house.gate.database.caller_refusals().await.len() <= 60, "a flood of guesses is not written down whole");
    assert_eq!(house.status(&here).await, 200);
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_narrows_and_nothing_else() {
    let mut house = House::new(Setup::default()).await;
    let scope =
        ["create", "narrow", "--model", MODEL, "--path", "messages", "--output-tokens-max", "250", "--requests-per-hour", "6"];
    let (token, _) = house.token(&scope);
    let (counter, _) = house.token(&["create", "counter", "--path", "count_tokens", "--path", "models"]);
    house.becomes(&counter, 200).await;
    assert_eq!(house.refused(&token, COUNT, MODEL).await, (403, "key.scope".to_owned()));
    assert_eq!(house.refused(&token, ROUTE, "claude-opus-5").await, (403, "key.scope".to_owned()));
    assert_eq!(house.refused(&token, "/api/anthropic-proxy/v1/files", MODEL).await, (403, "key.scope".to_owned()));
    assert_eq!(house.refused(&counter, ROUTE, MODEL).await, (403, "key.scope".to_owned()));
    assert_eq!(house.refused(&counter, "/api/anthropic-proxy/v1/files", MODEL).await.0, 403);
    for _ in 0..70 {
        assert_eq!(house.refused(&counter, ROUTE, MODEL).await.1, "key.scope");
    }
    let written = house.gate.database.denials().await;
    assert!(written.iter().any(|denial| denial == "key.scope /v1/messages"), "{written:?}");
    assert!(written.len() < 70, "{} of them are written down: a flood is not", written.len());
    let much = json!({"model": MODEL, "max_tokens": 251, "messages": [{"role": "user", "content": "Hello"}]}).to_string();
    let headers = [("content-type", "application/json"), ("x-api-key", token.as_str())];
    let answer = exchange(house.gate.callers(), request("POST", ROUTE, &headers, much)).await;
    assert_eq!((answer.status, answer.header("x-hexward-denial")), (403, "model.output"));
    assert!(house.gate.provider_saw().is_empty());
    let mut passed = 0;
    for _ in 0..8 {
        let (status, denial) = house.refused(&token, ROUTE, MODEL).await;
        assert!(
            (status, denial.as_str()) == (200, "") || (status, denial.as_str()) == (429, "key.requests"),
            "{status} {denial}"
        );
        passed += usize::from(status == 200);
    }
    // Two of the six were used up above, unless the hour just turned.
    assert!((4..=6).contains(&passed), "{passed} of 8");
    for bad in [["create", "a b"], ["create", "x';--"]] {
        assert!(!house.key(&bad).good, "{bad:?}");
    }
    for (flag, value) in [("--network", "10.0.0.1/8"), ("--path", "files"), ("--day-usd", "0"), ("--expires-days", "0")] {
        assert!(!house.key(&["create", "bad", flag, value]).good, "{flag} {value}");
    }
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires() {
    let house = House::new(Setup::default()).await;
    let now = house.gate.gateway.clock.now();
    let new = store::NewKey {
        digest: policy::key_digest(b"hxw_short"),
        principal: "shop".to_owned(),
        name: "short".to_owned(),
        scope: KeyScope::default(),
        source: store::KeySource::Made,
        expires_at: Some(now.plus_secs(3)),
    };
    house.gate.database.0.create_key(new, now).await.unwrap();
    house.becomes("hxw_short", 200).await;
    gate_tests::eventually("it expires", Duration::from_secs(6), async || house.status("hxw_short").await == 401).await;
    assert!(house.gate.gateway.clock.now() >= now.plus_secs(3), "and not before its time");
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_internal_secret_is_rotated_by_one_command_without_a_gap() {
    let mut house = House::new(Setup::default()).await;
    let secret = house.gate.caller_secret.clone();
    assert_eq!(house.status(&secret).await, 200);
    let (second, _) = house.token(&["rotate", "internal", "--grace", "600"]);
    house.becomes(&second, 200).await;
    assert_eq!(house.status(&secret).await, 200, "the old one is good for its grace");
    let (third, _) = house.token(&["rotate", "internal"]);
    house.becomes(&third, 200).await;
    for old in [&secret, &second] {
        assert_eq!(house.status(old).await, 401, "old ones are dead at the moment at which the new one lives");
    }
    assert_eq!(house.ask(ROUTE, &[("x-api-key", &third)], MODEL).await.status, 200);
    assert!(house.spent("internal").await > 0, "the same principal pays");
    assert!(!house.key(&["rotate", "nobody"]).good);
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_internal_secret_has_its_own_budget_and_networks() {
    let networks = Some(vec!["10.0.0.0/8".parse().unwrap()]);
    let elsewhere = House::new(Setup { internal: KeyScope { networks, ..KeyScope::default() }, ..Setup::default() }).await;
    let secret = elsewhere.gate.caller_secret.clone();
    assert_eq!(elsewhere.status(&secret).await, 401, "the right secret from the wrong place");
    elsewhere.gate.finish().await;

    let internal = KeyScope { day_limit_microusd: Some(Microusd(10)), ..KeyScope::default() };
    let mut house = House::new(Setup { internal, ..Setup::default() }).await;
    let secret = house.gate.caller_secret.clone();
    let (other, _) = house.token(&["create", "shop", "--day-usd", "2.5"]);
    let (poor, _) = house.token(&["create", "poor", "--day-usd", "0.00001"]);
    house.becomes(&poor, 200).await;
    house.becomes(&other, 200).await;
    assert_eq!(house.refused(&secret, ROUTE, MODEL).await, (429, "budget.day".to_owned()));
    assert_eq!(house.refused(&poor, ROUTE, MODEL).await, (429, "budget.day".to_owned()));
    assert_eq!(house.refused(&other, ROUTE, MODEL).await, (200, String::new()), "another principal's budget is its own");
    let (rotated, _) = house.token(&["rotate", "internal"]);
    house.becomes(&rotated, 200).await;
    assert_eq!(house.refused(&rotated, ROUTE, MODEL).await.0, 429, "a new key of the same principal has no new budget");
    assert_eq!((house.spent("internal").await, house.spent("poor").await), (0, 0));
    assert!(house.spent("shop").await > 0);
    house.gate.finish().await;
}

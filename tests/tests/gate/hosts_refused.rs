//! What host applications' back ends are refused, and browsers with their tickets.

use gate_tests::{Answer, BackEnd, HOST_SECRET, Setup, TestGate, events_of, eventually, exchange, host, probe, request, sign};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use policy::{HostAction, Microusd, Standing};
use serde_json::{Value, json};
use std::time::Duration;

const LIST: &str = "/v1/conversations?app=hexmap";
const ORIGIN: &str = "https://shop.example";
const SLOW: &str = r#"
name = "unhurried"
about = "Takes its time."
[[reply]]
steps = [{ text = "One moment." }, { stall = { ms = 6000, after_events = 2 } }]
"#;

async fn house() -> (TestGate, BackEnd) {
    let setup = Setup { callers: true, hosts: vec![host("shop"), host("forum")], agent: Some(probe()), ..Setup::default() };
    let mut gate = TestGate::start(setup).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    (gate, shop)
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// Claims with some changed; null takes one out.
fn with(claims: &Value, changes: &Value) -> Value {
    let mut claims = claims.as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    Value::Object(claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_is_not_in_order_lets_nobody_in() {
    let (gate, shop) = house().await;
    let now = gate.gateway.clock.now();
    let secs = now.0.div_euclid(1_000_000);
    let claims = || shop.claims("ada", now);
    let refused = [
        (json!({"iss": "https://forum.example"}), "assertion.issuer"),
        (json!({"iss": "https://shop.example/"}), "assertion.issuer"),
        (json!({"aud": "other"}), "assertion.audience"),
        (json!({"aud": []}), "assertion.audience"),
        (json!({"aud": null}), "assertion.malformed"),
        (json!({"sub": ""}), "assertion.malformed"),
        (json!({"sub": "a".repeat(201)}), "assertion.malformed"),
        (json!({"jti": null}), "assertion.malformed"),
        (json!({"exp": secs - 61, "iat": secs - 200}), "assertion.time"),
        (json!({"exp": secs + 302, "iat": secs}), "assertion.time"),
        (json!({"exp": secs + 400, "iat": secs + 120}), "assertion.time"),
        (json!({"nbf": secs + 100}), "assertion.time"),
        (json!({"exp": null}), "assertion.malformed"),
    ];
    for (changes, expected) in refused {
        let answer = shop.ask_with("GET", LIST, &sign(&with(&claims(), &changes)), &[], &Value::Null).await;
        assert_eq!(code(&answer), (401, expected.to_owned()), "{changes}");
    }
    for changes in [
        json!({"exp": secs - 30, "iat": secs - 200}),
        json!({"iat": secs + 30, "nbf": secs + 30}),
        json!({"aud": ["x", "hexward"]}),
    ] {
        let answer = shop.ask_with("GET", LIST, &sign(&with(&claims(), &changes)), &[], &Value::Null).await;
        assert_eq!(answer.status, 200, "{changes}: a minute is forgiven: {}", answer.text());
    }
    let signed_with =
        |secret: &str| encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(secret.as_bytes())).unwrap();
    let header = |header: Value| {
        let part = |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        format!("{}.{}.", part(&header), part(&claims()))
    };
    let critical = format!("{}c2ln", header(json!({"alg": "HS256", "crit": ["exp"]})));
    let cut = sign(&claims())[..40].to_owned();
    for (token, expected) in [
        (signed_with("another secret of thirty-two bytes"), "assertion.signature"),
        (signed_with(""), "assertion.signature"),
        (header(json!({"alg": "none"})), "assertion.algorithm"),
        (format!("{}c2ln", header(json!({"alg": "HS512"}))), "assertion.algorithm"),
        (critical, "assertion.algorithm"),
        (header(json!({"alg": "HS256"})), "assertion.signature"),
        (cut, "assertion.malformed"),
        (HOST_SECRET.to_owned(), "assertion.malformed"),
    ] {
        let answer = shop.ask_with("GET", LIST, &token, &[], &Value::Null).await;
        assert_eq!(code(&answer), (401, expected.to_owned()), "{token}");
    }
    let good = sign(&claims());
    let bearer = format!("Bearer {}", shop.token);
    let none = exchange(shop.address, request("GET", LIST, &[("authorization", &bearer)], "")).await;
    assert_eq!(code(&none), (401, "assertion.missing".to_owned()));
    let two = [("authorization", bearer.as_str()), ("x-hexward-user", &good), ("x-hexward-user", &good)];
    assert_eq!(code(&exchange(shop.address, request("GET", LIST, &two, "")).await), (401, "assertion.missing".to_owned()));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_good_for_one_change_and_one_key() {
    let (mut gate, shop) = house().await;
    let second = BackEnd::new(&mut gate, "shop", &[]).await;
    let now = gate.gateway.clock.now();
    let (begin, body) = ("/v1/conversations", json!({"app": "hexmap"}));
    let replayed = (401, "assertion.replayed".to_owned());
    let assertion = shop.assertion("ada", now);
    for _ in 0..3 {
        assert_eq!(shop.ask_with("GET", LIST, &assertion, &[], &Value::Null).await.status, 200, "reading may be repeated");
    }
    assert_eq!(code(&second.ask_with("GET", LIST, &assertion, &[], &Value::Null).await), replayed, "another key");
    assert_eq!(code(&second.ask_with("POST", begin, &assertion, &[], &body).await), replayed, "another key");
    // Of many at once one changes something.
    let many = (0..20).map(|_| shop.ask_with("POST", begin, &assertion, &[], &body));
    let answers = futures_util::future::join_all(many).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().filter(|answer| answer.status != 201).all(|answer| code(answer) == replayed));
    assert_eq!(shop.ask_with("GET", LIST, &assertion, &[], &Value::Null).await.json().as_array().unwrap().len(), 1);
    // The same id in other bytes is another's.
    let claims = shop.claims("ada", now);
    assert_eq!(shop.ask_with("GET", LIST, &sign(&claims), &[], &Value::Null).await.status, 200);
    let other = with(&claims, &json!({"sub": "bob"}));
    assert_eq!(code(&shop.ask_with("GET", LIST, &sign(&other), &[], &Value::Null).await), replayed);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_for_its_host_its_apps_its_actions_its_network_and_its_time() {
    let (mut gate, shop) = house().await;
    let now = gate.gateway.clock.now();
    let ada = shop.user(&gate, "ada").conversation().await;
    let conversation = format!("/v1/conversations/{ada}");
    let reads = BackEnd::new(&mut gate, "shop", &["--action", "read"]).await;
    let elsewhere = BackEnd::new(&mut gate, "shop", &["--network", "192.0.2.0/24"]).await;
    let other_app = BackEnd::new(&mut gate, "shop", &["--app", "magic"]).await;
    let unknown_host = BackEnd::new(&mut gate, "nobody", &[]).await;
    let forum = BackEnd::new(&mut gate, "forum", &[]).await;

    assert_eq!(reads.user(&gate, "ada").get(&conversation).await.status, 200);
    for (method, path, action) in [
        ("POST", "/v1/conversations", HostAction::Runs),
        ("POST", "/v1/undo", HostAction::Undo),
        ("DELETE", conversation.as_str(), HostAction::Users),
        ("POST", "/v1/confirmations/x/links", HostAction::Confirm),
    ] {
        let refused = reads.ask_with(method, path, &reads.assertion("ada", now), &[], &json!({})).await;
        assert_eq!(code(&refused), (403, "host.action".to_owned()), "{}", action.as_str());
    }
    let of_other_app = other_app.user(&gate, "ada");
    assert_eq!(code(&of_other_app.post("/v1/conversations", &json!({"app": "hexmap"})).await), (403, "host.app".to_owned()));
    assert_eq!(code(&of_other_app.get(&conversation).await), (404, "not_found".to_owned()));
    assert_eq!(of_other_app.get("/v1/apps/hexmap/resource?uri=map://items").await.status, 404);
    let no_key = (401, "key".to_owned());
    assert_eq!(code(&elsewhere.user(&gate, "ada").get(LIST).await), no_key);
    assert_eq!(code(&unknown_host.user(&gate, "ada").get(LIST).await), no_key);
    assert_eq!(forum.user(&gate, "ada").get(&conversation).await.status, 404, "a namesake at another host");
    let signed_by_shop = shop.assertion("ada", now);
    assert_eq!(
        code(&forum.ask_with("GET", LIST, &signed_by_shop, &[], &Value::Null).await),
        (401, "assertion.issuer".to_owned())
    );

    // Keys of other purposes open nothing here, and this one opens nothing elsewhere.
    let model = BackEnd { token: gate.caller_secret.clone(), ..shop.clone() };
    assert_eq!(code(&model.user(&gate, "ada").get(LIST).await), no_key);
    let bearer = format!("Bearer {}", shop.token);
    for (method, path) in
        [("POST", "/api/anthropic-proxy/v1/messages"), ("POST", "/api/mcp/hexmap"), ("POST", "/api/mcp-sessions")]
    {
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        assert_eq!(exchange(shop.address, request(method, path, &headers, "{}")).await.status, 401, "{path}");
    }
    let person = gate.person().await;
    let cookie = exchange(shop.address, request("GET", LIST, &[("cookie", &person.cookie)], "")).await;
    assert_eq!(code(&cookie), no_key, "a session is nothing to this door");
    assert_eq!(exchange(gate.address, request("GET", LIST, &[("authorization", &bearer)], "")).await.status, 404);

    gate.gateway.store.revoke_key(shop.key, now, now).await.unwrap();
    eventually("the key is dead", Duration::from_secs(1), async || shop.user(&gate, "ada").get(LIST).await.status == 401).await;
    let written: Vec<String> = gate.database.host_refusals().await;
    for expected in ["host.action", "host.app", "host.unknown", "assertion.issuer"] {
        assert!(written.iter().any(|code| code == expected), "{expected} is written down: {written:?}");
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_s_tiers_budget_and_rate_are_its_own() {
    let mut shop = host("shop");
    shop.rules.tier_claim = Some("tier".to_owned());
    shop.rules.tiers = std::collections::BTreeMap::from([("gold".to_owned(), Standing::SignedIn)]);
    shop.rules.account.messages_per_hour = Some(2);
    shop.rules.account.user_day = Some(Microusd(7_000_000));
    let mut poor = host("poor");
    poor.rules.account.day = Some(Microusd(1));
    let mut gate = TestGate::start(Setup { callers: true, hosts: vec![shop, poor], ..Setup::default() }).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let poor = BackEnd::new(&mut gate, "poor", &[]).await;
    let now = gate.gateway.clock.now();
    let told = async |tier: Value| {
        let claims = with(&shop.claims("ada", now), &json!({"tier": tier}));
        shop.ask_with("GET", "/v1/user", &sign(&claims), &[], &Value::Null).await.json()
    };
    assert_eq!(told(json!("gold")).await["tier"], "signed-in");
    for unknown in [json!("silver"), json!(7), Value::Null] {
        assert_eq!(told(unknown.clone()).await["tier"], "anonymous", "{unknown}");
    }
    let of_poor = poor.user(&gate, "ada");
    let conversation = of_poor.conversation().await;
    let run = of_poor.run(&conversation, "Hello", false).await;
    let end = of_poor.events(&run, 0).await.pop().unwrap();
    assert_eq!((&end["outcome"], &end["code"]), (&json!("failed"), &json!("budget.host")), "{end}");

    let (ada, bob) = (shop.user(&gate, "ada"), shop.user(&gate, "bob"));
    let (of_ada, of_bob) = (ada.conversation().await, bob.conversation().await);
    let run = ada.run(&of_ada, "Hello", false).await;
    ada.events(&run, 0).await;
    let shown = ada.get(&format!("/v1/runs/{run}")).await.json();
    assert_eq!(
        (&shown["state"], &shown["outcome"], &shown["conversation_id"]),
        (&json!("ended"), &json!("finished"), &json!(of_ada))
    );
    let user = ada.get("/v1/user").await.json();
    assert_eq!(user["user"], "ada");
    assert_eq!(
        (&user["cost"]["day_microusd"], &user["cost"]["total_microusd"]),
        (&shown["cost_microusd"], &shown["cost_microusd"])
    );
    assert!(shown["cost_microusd"].as_i64().unwrap() > 0 && user["cost"]["day_limit_microusd"] == 7_000_000, "{user}");
    let host_hour = user["quota"].as_array().unwrap().iter().find(|quota| quota["window"] == "host_hour").unwrap().clone();
    assert_eq!((&host_hour["limit"], &host_hour["used"]), (&json!(2), &json!(1)));
    bob.run(&of_bob, "Hello", false).await;
    let body = json!({"text": "Hello", "writes": false});
    let third = ada.try_run(&of_ada, "third", &body).await;
    assert_eq!(code(&third), (429, "rate.host".to_owned()));
    assert!(!third.header("retry-after").is_empty());
    let account = gate.today("host:shop").await;
    assert_eq!(account, (0, 0), "a host without a budget has no account");
    assert_eq!(ada.delete(&format!("/v1/conversations/{of_ada}")).await.status, 204);
    assert_eq!(ada.get(&format!("/v1/conversations/{of_ada}")).await.status, 404);
    assert_eq!(ada.get(&format!("/v1/runs/{run}")).await.status, 404);
    assert_eq!(ada.delete(&format!("/v1/conversations/{of_bob}")).await.status, 404, "another's");
    gate.finish().await;
}

async fn with_ticket(shop: &BackEnd, ticket: &str, run: &str, more: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {ticket}");
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend_from_slice(more);
    exchange(shop.address, request("GET", &format!("/v1/runs/{run}/events"), &headers, "")).await
}

/// A gateway of two hosts, whose model takes its time.
async fn unhurried() -> TestGate {
    let setup = Setup {
        callers: true,
        hosts: vec![host("shop"), host("forum")],
        scenarios: vec![("unhurried", SLOW.to_owned())],
        scenario: Some("unhurried"),
        ..Setup::default()
    };
    TestGate::start(setup).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_the_events_of_one_run_one_stream_at_a_time() {
    let mut gate = unhurried().await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let ada = shop.user(&gate, "ada");
    let (first, second) = (ada.conversation().await, ada.conversation().await);
    let (run, other) = (ada.run(&first, "Hello", false).await, ada.run(&second, "Hello", false).await);
    let made = ada.post(&format!("/v1/runs/{run}/tickets"), &json!({})).await;
    let ticket = made.json()["ticket"].as_str().unwrap().to_owned();
    assert!(made.status == 201 && ticket.starts_with("hxt_"));
    assert_eq!(made.json()["events_url"], format!("/v1/runs/{run}/events"));

    // What a browser asks first.
    let path = format!("/v1/runs/{run}/events");
    let preflight = |origin: &str| {
        let asks = [("origin", origin.to_owned()), ("access-control-request-method", "GET".to_owned())];
        let headers: Vec<(&str, &str)> = asks.iter().map(|(name, value)| (*name, value.as_str())).collect();
        request("OPTIONS", &path, &headers, "")
    };
    let allowed = exchange(shop.address, preflight(ORIGIN)).await;
    assert!(allowed.status == 204 && allowed.header("access-control-allow-origin") == ORIGIN);
    assert_eq!((allowed.header("access-control-allow-methods"), allowed.header("access-control-allow-credentials")), ("GET", ""));
    for origin in ["https://evil.example", "null", "https://shop.example.evil.example", "http://shop.example"] {
        let refused = exchange(shop.address, preflight(origin)).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, ""), "{origin}");
    }
    let asks = [("origin", ORIGIN), ("access-control-request-method", "GET")];
    let elsewhere = exchange(shop.address, request("OPTIONS", LIST, &asks, "")).await;
    assert_eq!((elsewhere.status, elsewhere.header("access-control-allow-origin")), (405, ""), "nothing else is shared");

    // One stream at a time.
    let reading = {
        let (shop, ticket, run) = (shop.clone(), ticket.clone(), run.clone());
        tokio::spawn(async move { with_ticket(&shop, &ticket, &run, &[("origin", ORIGIN)]).await })
    };
    let invalid = (401, "ticket.invalid".to_owned());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let twice = with_ticket(&shop, &ticket, &run, &[("origin", ORIGIN)]).await;
    assert_eq!(code(&twice), (409, "ticket.in_use".to_owned()));
    assert_eq!(twice.header("access-control-allow-origin"), ORIGIN, "the page may read why");

    // It opens nothing else.
    assert_eq!(code(&with_ticket(&shop, &ticket, &other, &[]).await), invalid);
    assert_eq!(code(&with_ticket(&shop, "hxt_0000", &run, &[]).await), invalid);
    let bearer = format!("Bearer {ticket}");
    for (method, path) in [("GET", LIST.to_owned()), ("GET", format!("/v1/runs/{run}")), ("POST", format!("/v1/runs/{run}/stop"))]
    {
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        assert_eq!(
            code(&exchange(shop.address, request(method, &path, &headers, "{}")).await),
            (401, "key".to_owned()),
            "{path}"
        );
    }
    for origin in ["https://evil.example", "https://forum.example"] {
        let foreign = with_ticket(&shop, &ticket, &run, &[("origin", origin)]).await;
        assert_eq!(code(&foreign), (403, "origin".to_owned()), "{origin}");
    }

    let seen = reading.await.unwrap();
    let events = events_of(&seen);
    assert!(seen.status == 200 && seen.header("access-control-allow-origin") == ORIGIN);
    assert_eq!(events.last().unwrap()["type"], "run_ended", "{events:?}");
    // Closed, it can be opened again, from where it was.
    let again = with_ticket(&shop, &ticket, &run, &[("origin", ORIGIN), ("last-event-id", "2")]).await;
    assert_eq!(events_of(&again), events[2..]);
    let of_bob = shop.user(&gate, "bob").post(&format!("/v1/runs/{run}/tickets"), &json!({})).await;
    assert_eq!(of_bob.status, 404, "another's run");
    let now = gate.gateway.clock.now();
    gate.gateway.store.revoke_key(shop.key, now, now).await.unwrap();
    assert_eq!(code(&with_ticket(&shop, &ticket, &run, &[]).await), invalid, "it dies with the key that made it");
    ended(&gate, &other).await;
    gate.keep_secret("a ticket", &ticket);
    gate.finish().await;
}

async fn ended(gate: &TestGate, run: &str) {
    eventually("the run has ended", Duration::from_secs(60), async || gate.database.run(run).await.0 != "active").await;
}

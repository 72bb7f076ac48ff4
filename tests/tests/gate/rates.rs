//! How many messages and calls may come: exact, told, and not forgotten.

use gate_tests::{Answer, Person, Postgres, ProgramSetup, Setup, TestGate, eventually, exchange, probe, request};
use policy::{KeyPath, KeyScope, Microusd, RateRules, TierRules};
use serde_json::json;
use std::time::{Duration, Instant};

const ROUTE: &str = "/api/anthropic-proxy/v1/messages";
const DONE: &str = r#"{"orders": []}"#;

fn setup(rates: RateRules) -> Setup {
    let mut setup = Setup { agent: Some(probe()), callers: true, ..Setup::default() };
    setup.runs.rates = rates;
    setup
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap()
}

async fn call(gate: &TestGate, path: &str) -> Answer {
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]});
    let headers =
        [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", &*gate.caller_secret)];
    exchange(gate.callers(), request("POST", path, &headers, body.to_string())).await
}

/// Two hundred people (sessions are for the asking) who all come from one address.
async fn two_hundred_at_once(gates: &[&TestGate]) -> (usize, Vec<Answer>) {
    let mut senders: Vec<(Person, String)> = Vec::new();
    for number in 0..200 {
        let person = gates[number % gates.len()].person().await;
        let conversation = person.conversation().await;
        senders.push((person, conversation));
    }
    let sending: Vec<_> = senders
        .into_iter()
        .map(|(person, conversation)| tokio::spawn(async move { person.try_say(&conversation, DONE, true).await }))
        .collect();
    let (mut taken, mut refused) = (0, Vec::new());
    for sent in sending {
        match sent.await.unwrap() {
            answer if answer.status == 202 => taken += 1,
            answer => refused.push(answer),
        }
    }
    (taken, refused)
}

async fn exactly_three_of_two_hundred(gates: Vec<TestGate>) {
    let (taken, refused) = two_hundred_at_once(&gates.iter().collect::<Vec<_>>()).await;
    assert_eq!((taken, refused.len()), (3, 197));
    for answer in refused {
        assert_eq!((answer.status, code(&answer).as_str()), (429, "rate.address"), "{}", answer.text());
        assert!((1..=28_800).contains(&retry_after(&answer)), "a third of a day: {}", answer.header("retry-after"));
    }
    // Only what was taken began.
    let database = &gates[0].database;
    eventually("the three end", Duration::from_secs(20), async || database.active_runs().await == 0).await;
    for gate in gates {
        gate.finish().await;
    }
}

fn three_a_day() -> RateRules {
    RateRules { address_per_day: 3, ..RateRules::unreachable() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_messages_at_once_exactly_as_many_as_may_are_taken() {
    exactly_three_of_two_hundred(vec![TestGate::start(setup(three_a_day())).await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_messages_at_once_to_two_gateways_exactly_as_many_as_may_are_taken() {
    let database = Postgres::shared().fresh_database();
    let mut gates = Vec::new();
    for name in ["one", "two"] {
        let setup = Setup { database: Some(database.clone()), name: Some(name), ..setup(three_a_day()) };
        gates.push(TestGate::start(setup).await);
    }
    exactly_three_of_two_hundred(gates).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_that_is_told_is_enough() {
    let gate = TestGate::start(setup(RateRules { address_per_minute: 60, ..RateRules::unreachable() })).await;
    let (ada, bob) = (gate.person().await, gate.person().await);
    let (of_ada, of_bob) = (ada.conversation().await, bob.conversation().await);
    let mut refused = None;
    let begun = Instant::now();
    for _ in 0..200 {
        let sent = ada.try_say(&of_ada, DONE, true).await;
        match sent.status {
            // One that comes while the last is worked on counts as well: it was sent.
            202 | 409 => {}
            _ => {
                refused = Some(sent);
                break;
            }
        }
    }
    let refused = refused.unwrap_or_else(|| panic!("nothing was refused in {:?}", begun.elapsed()));
    assert_eq!((refused.status, code(&refused).as_str(), retry_after(&refused)), (429, "rate.address", 1), "{}", refused.text());
    assert_eq!(bob.try_say(&of_bob, DONE, true).await.status, 429, "another person at the same address");
    tokio::time::sleep(Duration::from_secs(retry_after(&refused))).await;
    let idle = async || gate.database.active_runs().await == 0;
    eventually("the runs end", Duration::from_secs(20), idle).await;
    assert_eq!(ada.try_say(&of_ada, DONE, true).await.status, 202, "after the wait that was told");
    eventually("the runs end", Duration::from_secs(20), idle).await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_s_messages_leave_another_s_alone() {
    let tier = TierRules { user_per_hour: 2, together_per_minute: 1_000_000, weight: 1 };
    let gate = TestGate::start(setup(RateRules { anonymous: tier, ..RateRules::unreachable() })).await;
    let (ada, bob) = (gate.person().await, gate.person().await);
    let conversation = ada.conversation().await;
    for _ in 0..2 {
        ada.run(&conversation, DONE, true).await;
    }
    let refused = ada.try_say(&conversation, DONE, true).await;
    assert_eq!((refused.status, code(&refused).as_str()), (429, "rate.user"));
    assert!((1790..=1800).contains(&retry_after(&refused)), "{}", retry_after(&refused));
    assert_eq!(ada.history(&conversation).await.iter().filter(|message| message["role"] == "user").count(), 2, "not kept");
    let other = ada.conversation().await;
    assert_eq!(code(&ada.try_say(&other, DONE, true).await), "rate.user", "in another conversation just the same");
    let of_bob = bob.conversation().await;
    bob.run(&of_bob, DONE, true).await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_told_its_own_rate_and_refused_in_the_provider_s_shape() {
    let gate = TestGate::start(setup(RateRules { key_per_hour: 3, ..RateRules::unreachable() })).await;
    let told = |answer: &Answer| {
        let part = |name: &str| answer.header(&format!("anthropic-ratelimit-requests-{name}")).to_owned();
        assert!(part("reset").ends_with('Z') && part("reset").starts_with("20"), "{}", part("reset"));
        (part("limit"), part("remaining"))
    };
    let counted = call(&gate, &format!("{ROUTE}/count_tokens")).await;
    assert_eq!((counted.status, told(&counted)), (200, ("3".to_owned(), "2".to_owned())), "a tenth of one is gone");
    for remaining in ["1", "0"] {
        let answer = call(&gate, ROUTE).await;
        assert_eq!((answer.status, told(&answer)), (200, ("3".to_owned(), remaining.to_owned())));
        assert_eq!(answer.header("retry-after"), "");
    }
    let before = gate.provider_saw().len();
    let refused = call(&gate, ROUTE).await;
    assert_eq!((refused.status, refused.json()["error"]["type"].as_str()), (429, Some("rate_limit_error")), "{}", refused.text());
    assert_eq!((refused.header("x-hexward-denial"), refused.header("x-should-retry")), ("rate.key", "false"));
    assert!((100..=121).contains(&retry_after(&refused)), "a tenth of 20 minutes: {}", retry_after(&refused));
    assert_eq!(told(&refused), ("3".to_owned(), "0".to_owned()));
    // An answer that is no success tells it too, and without the secret nothing is told or counted.
    let other = call(&gate, "/api/anthropic-proxy/v1/models").await;
    assert_eq!((other.status, told(&other).1.as_str()), (429, "0"), "whatever it asks for");
    let stranger = exchange(gate.callers(), request("POST", ROUTE, &[("x-api-key", "no")], "{}")).await;
    assert_eq!((stranger.status, stranger.header("anthropic-ratelimit-requests-limit")), (401, ""));
    assert_eq!(gate.provider_saw().len(), before, "nothing that was refused reached the provider");
    let written = async || gate.database.rate_refusals().await == [("rate.key".to_owned(), 0)];
    eventually("the first refusal is in the audit log, and it alone", Duration::from_secs(5), written).await;
    let settled = async || gate.database.0.open_model_calls().await.unwrap() == 0;
    eventually("every call is settled", Duration::from_secs(5), settled).await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_is_not_for_says_how_its_rate_stands() {
    let mut setup = setup(RateRules { key_per_hour: 3, ..RateRules::unreachable() });
    setup.internal = KeyScope { paths: Some(vec![KeyPath::CountTokens]), ..KeyScope::default() };
    let gate = TestGate::start(setup).await;
    let remaining = |answer: &Answer| answer.header("anthropic-ratelimit-requests-remaining").to_owned();
    for expected in ["3", "3", "2", "2"] {
        if expected == "2" {
            assert_eq!(call(&gate, &format!("{ROUTE}/count_tokens")).await.status, 200);
        }
        let refused = call(&gate, ROUTE).await;
        assert_eq!((refused.status, refused.header("x-hexward-denial")), (403, "key.scope"), "{}", refused.text());
        assert_eq!(remaining(&refused), expected, "and it takes nothing of it");
    }
    let stranger = exchange(gate.callers(), request("POST", ROUTE, &[("x-api-key", "no")], "{}")).await;
    assert_eq!((stranger.status, remaining(&stranger).as_str()), (401, ""), "who is not known is told nothing");
    gate.finish().await;
}

const DEAR: &str = r#"
name = "dear"
about = "Sixty thousand tokens of output: $0.60 of Sonnet 5.5."
[[reply]]
usage = { start = '{"input_tokens":100,"output_tokens":1}', deltas = ['{"output_tokens":60000}'] }
steps = [{ text = "Much." }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn near_the_end_of_a_budget_a_call_counts_four_times() {
    let mut setup = setup(RateRules { key_per_hour: 100, ..RateRules::unreachable() });
    (setup.day_limit, setup.scenarios) = (Microusd(666_000), vec![("dear", DEAR.to_owned())]);
    let gate = TestGate::start(setup).await;
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 60_000, "stream": true,
        "messages": [{"role": "user", "content": "[[scenario:dear]] Hello"}]});
    let headers =
        [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", &*gate.caller_secret)];
    let remaining = |answer: &Answer| answer.header("anthropic-ratelimit-requests-remaining").to_owned();
    assert_eq!(remaining(&call(&gate, ROUTE).await), "99");
    let dear = exchange(gate.callers(), request("POST", ROUTE, &headers, body.to_string())).await;
    assert_eq!((dear.status, remaining(&dear).as_str()), (200, "98"), "{}", dear.text());
    let settled = async || {
        gate.gateway.settle_up().await.unwrap();
        gate.database.0.open_model_calls().await.unwrap() == 0
    };
    eventually("every call is settled", Duration::from_secs(5), settled).await;
    assert_eq!(remaining(&call(&gate, ROUTE).await), "94", "nine tenths are spent");
    eventually("every call is settled", Duration::from_secs(5), settled).await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_waits_as_long_as_told_is_admitted() {
    let gate = TestGate::start(setup(RateRules { key_per_hour: 3600, calls_per_minute: 30, ..RateRules::unreachable() })).await;
    let mut refused = None;
    for _ in 0..100 {
        let answer = call(&gate, &format!("{ROUTE}/count_tokens")).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    // Thirty units are three hundred counts: a hundred fit.
    assert!(refused.is_none());
    for _ in 0..60 {
        let answer = call(&gate, ROUTE).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the limit of all callers is reached");
    assert_eq!((refused.header("x-hexward-denial"), refused.header("x-should-retry")), ("rate.global", "true"));
    assert!((1..=2).contains(&retry_after(&refused)));
    tokio::time::sleep(Duration::from_secs(retry_after(&refused))).await;
    assert_eq!(call(&gate, ROUTE).await.status, 200);
    let settled = async || gate.database.0.open_model_calls().await.unwrap() == 0;
    eventually("every call is settled", Duration::from_secs(5), settled).await;
    gate.finish().await;
}

/// Over SQLite the rates are in the gateway's memory: neither its end nor its death hands out a new burst.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_no_rate() {
    let folder = tempfile::Builder::new().prefix("hexward-rates-").tempdir().unwrap();
    let mut setup = ProgramSetup::new(folder.path(), "http://127.0.0.1:1", "sk-ant-api03-of-this-test-alone");
    setup.config = setup.config.replace("address_per_day = 1000000", "address_per_day = 2");
    for (number, signal) in ["TERM", "KILL", "TERM"].into_iter().enumerate() {
        let mut program = setup.start();
        let ada = program.person().await;
        let conversation = ada.conversation().await;
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let sent = ada.try_say(&conversation, "Hello", true).await;
            if sent.status == 202 {
                let run = sent.json()["run_id"].as_str().unwrap().to_owned();
                ada.watch(&run).await.rest().await;
            }
            statuses.push(sent.status);
        }
        let expected: &[u16] = if number == 0 { &[202, 202, 429] } else { &[429, 429, 429] };
        assert_eq!(statuses, expected, "life {number}");
        program.signal(signal);
        program.wait();
    }
}

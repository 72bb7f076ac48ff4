//! Money: what is left stays usable, what is nearly gone goes slower, and whatever happens nothing is charged too little.

use fake::{Exchange, Fake, FakeConfig};
use gate_tests::{Answer, Call, Database, Program, ProgramSetup, Setup, TestGate, eventually, exchange, probe, request};
use policy::{KeyScope, Microusd};
use proxy::messages::{Protocol, ProviderConfig};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ROUTE: &str = "/api/anthropic-proxy/v1/messages";
const MODEL: &str = "claude-sonnet-5-5";
const KEY: &str = "sk-ant-api03-of-this-test-alone";

fn setup() -> Setup {
    Setup { agent: Some(probe()), callers: true, day_limit: Microusd::dollars(50), ..Setup::default() }
}

fn body(text: &str, max_tokens: u64) -> String {
    json!({"model": MODEL, "max_tokens": max_tokens, "stream": true, "messages": [{"role": "user", "content": text}]}).to_string()
}

async fn send(callers: SocketAddr, secret: &str, body: String) -> Answer {
    let headers = [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", secret)];
    exchange(callers, request("POST", ROUTE, &headers, body)).await
}

async fn ask(gate: &TestGate, body: String) -> Answer {
    send(gate.callers(), &gate.caller_secret, body).await
}

async fn settled(gate: &TestGate) {
    let none_open = async || {
        gate.gateway.settle_up().await.unwrap();
        gate.database.0.open_model_calls().await.unwrap() == 0
    };
    eventually("every call is settled", Duration::from_secs(10), none_open).await;
}

fn max_tokens(exchange: &Exchange) -> u64 {
    serde_json::from_slice::<Value>(&exchange.body).unwrap()["max_tokens"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_remainder_stays_usable() {
    const DAY: i64 = 25_000;
    // 2,000 tokens beside the body's bytes at $2.20 a million, and $11 for a million of output.
    const OUTPUT_TOKEN: i64 = 11;
    let gate = TestGate::start(Setup { day_limit: Microusd(DAY), ..setup() }).await;
    let thinking = json!({"model": MODEL, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2048},
        "messages": [{"role": "user", "content": "Hello"}]});
    let refused = ask(&gate, thinking.to_string()).await;
    assert_eq!((refused.status, refused.header("x-should-retry")), (429, "false"), "{}", refused.text());
    assert_eq!(
        (refused.json()["error"]["type"].as_str(), refused.header("x-hexward-denial")),
        (Some("billing_error"), "budget.day")
    );
    assert!(gate.provider_saw().is_empty() && gate.database.calls().await.is_empty(), "nothing left and nothing is owed");
    assert!(gate.database.every_alert().await.is_empty(), "nothing is used up");

    // Numbers and names that must not be mistaken for it, and spaces that nobody else would write.
    let asked = format!(
        " {{\"metadata\":{{\"user_id\":\"max_tokens 4000\"}} ,\"max_tokens\" :  4000,\t\"model\":\"{MODEL}\",\r\n\
         \"messages\":[{{\"role\":\"user\",\"content\":\"\\u0048ello, \\\"max_tokens\\\": 4000\"}}]}} "
    );
    let answer = ask(&gate, asked.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let saw = gate.provider_saw();
    let [saw] = saw.as_slice() else { panic!("asked once, not {} times", saw.len()) };
    let output = max_tokens(saw);
    assert!((256..4000).contains(&output), "{output}");
    assert_eq!(std::str::from_utf8(&saw.body).unwrap(), asked.replace(":  4000,", &format!(":  {output},")));
    assert_eq!(answer.body, saw.sent, "nor does one byte of the answer differ");
    settled(&gate).await;
    let call = gate.database.calls().await.pop().unwrap();
    assert!(call.reserved <= DAY && DAY < call.reserved + OUTPUT_TOKEN, "no more than there was, and no less: {call:?}");
    assert_eq!((call.outcome.as_deref(), gate.today("global").await), (Some("measured"), (call.cost, 0)));
    gate.finish().await;
}

const DEAR: &str = r#"
name = "dear"
about = "Four thousand tokens of output: $0.04 of Sonnet 5.5."
[[reply]]
usage = { start = '{"input_tokens":100,"output_tokens":1}', deltas = ['{"output_tokens":4000}'] }
steps = [{ text = "Much." }]
"#;
const MIDDLING: &str = r#"
name = "middling"
about = "A thousand tokens of output: $0.01 of Sonnet 5.5."
[[reply]]
usage = { start = '{"input_tokens":100,"output_tokens":1}', deltas = ['{"output_tokens":1000}'] }
steps = [{ text = "Something." }]
"#;
/// As much as fits into the smallest answer that is asked for.
const BRIEF: &str = r#"
name = "brief"
about = "256 tokens of output."
[[reply]]
usage = { start = '{"input_tokens":100,"output_tokens":1}', deltas = ['{"output_tokens":256}'] }
steps = [{ text = "Little." }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn near_its_end_a_budget_makes_calls_smaller_and_tells_once() {
    const DAY: i64 = 400_000;
    let scenarios = vec![("dear", DEAR.to_owned()), ("middling", MIDDLING.to_owned()), ("brief", BRIEF.to_owned())];
    let internal = KeyScope { output_tokens_max: Some(4000), ..KeyScope::default() };
    let gate = TestGate::start(Setup { day_limit: Microusd(DAY), scenarios, internal, ..setup() }).await;
    let now = gate.gateway.clock.now();
    let global = async || gate.database.0.budget_alerts("global", now.utc_day()).await.unwrap();
    for (number, expected) in (1..).zip([&[][..], &[], &[], &[], &[50], &[50], &[50], &[50, 75], &[50, 75, 90]]) {
        let answer = ask(&gate, body("[[scenario:dear]] Hello", 4000)).await;
        assert_eq!(answer.status, 200, "call {number}: {}", answer.text());
        assert_eq!(max_tokens(&gate.provider_saw().pop().unwrap()), 4000, "call {number}: there is enough");
        settled(&gate).await;
        assert_eq!((gate.today("global").await, global().await), ((number * 40_200, 0), expected.to_vec()), "call {number}");
    }
    let answer = ask(&gate, body("[[scenario:middling]] Hello", 4000)).await;
    assert_eq!((answer.status, max_tokens(&gate.provider_saw().pop().unwrap())), (200, 1000), "a quarter: {}", answer.text());
    let little = ask(&gate, body("Hello", 300)).await;
    assert_eq!((little.status, max_tokens(&gate.provider_saw().pop().unwrap())), (200, 300), "who wants little gets it");
    let (mut refused, mut smaller) = (Vec::new(), Vec::new());
    for _ in 0..16 {
        let before = gate.provider_saw().len();
        let answer = ask(&gate, body("[[scenario:brief]] Hello", 4000)).await;
        let saw = gate.provider_saw();
        match answer.status {
            200 => {
                assert!(refused.is_empty(), "what was too much stays too much");
                smaller.extend(saw.iter().skip(before).map(max_tokens));
            }
            _ => {
                assert_eq!((answer.status, answer.header("x-hexward-denial")), (429, "budget.day"), "{}", answer.text());
                assert_eq!(saw.len(), before, "nothing left");
                refused.push(answer.status);
            }
        }
        settled(&gate).await;
    }
    assert!(smaller.iter().all(|output| (256..=1000).contains(output)), "{smaller:?}");
    assert!(smaller.iter().any(|output| *output < 1000), "what is less than a quarter is still of use: {smaller:?}");
    assert!(refused.len() >= 5, "{} calls were refused", refused.len());
    let user = gate.database.0.user_of("hexward:callers", "internal", now).await.unwrap();
    let (own, everybody) = (gate.database.alerts(&format!("user:{user}")).await, gate.database.alerts("global").await);
    // Both are as large and as empty; the narrower one is what refuses.
    assert_eq!((own, everybody), (vec![50, 75, 90, 100], vec![50, 75, 90]));
    let (spent, reserved) = gate.today("global").await;
    assert!(reserved == 0 && spent <= DAY, "{spent} {reserved}");
    gate.finish().await;
}

/// Two providers of which the first one is asked first.
struct Pair {
    gate: TestGate,
    first: Fake,
    second: Fake,
}

async fn one(scenario: Option<&str>) -> Fake {
    Fake::start(FakeConfig { scenario: scenario.map(str::to_owned), ..FakeConfig::for_tests(KEY) }).await.unwrap()
}

fn provider(name: &str, address: &str, order: u32) -> ProviderConfig {
    ProviderConfig {
        name: name.to_owned(),
        protocol: Protocol::Anthropic,
        address: address.to_owned(),
        keys: vec![(SecretString::from(KEY), 1)],
        models: Vec::new(),
        order,
        weight: 1,
    }
}

impl Pair {
    /// The first one is at `address`, if it is anywhere else than the scripted one.
    async fn new(first: Option<&str>, address: Option<&str>, second: Option<&str>) -> Self {
        let (first, second) = (one(first).await, one(second).await);
        let address = address.map_or_else(|| first.url(), str::to_owned);
        let providers = vec![provider("second", &second.url(), 2), provider("first", &address, 1)];
        let mut gate = TestGate::start(Setup { providers, ..setup() }).await;
        gate.keep_secret("the providers' key", KEY);
        Self { gate, first, second }
    }

    /// Asks once; the calls are new since then.
    async fn ask(&self) -> (Answer, Vec<Call>) {
        let before = self.gate.database.calls().await.len();
        let answer = ask(&self.gate, body("Hello", 200)).await;
        settled(&self.gate).await;
        (answer, self.gate.database.calls().await.split_off(before))
    }

    /// How often each was asked.
    fn asked(&self) -> (usize, usize) {
        (self.first.requests().len(), self.second.requests().len())
    }

    async fn finish(self) {
        assert!(self.gate.fake.requests().is_empty(), "nobody else was asked");
        self.gate.finish().await;
    }
}

/// (provider, outcome)
fn outcomes(calls: &[Call]) -> Vec<(&str, &str)> {
    calls.iter().map(|call| (call.provider.as_str(), call.outcome.as_deref().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_provider_answers_when_one_fails() {
    for (scenario, address, outcome) in [
        (Some("overloaded"), None, "not_charged.529"),
        (Some("rate-limited"), None, "not_charged.429"),
        (Some("html-error"), None, "not_charged.502"),
        (None, Some("http://127.0.0.1:1"), "not_charged.0"),
        // It may have understood, and worked.
        (Some("reset-before-head"), None, "unknown"),
    ] {
        let pair = Pair::new(scenario, address, None).await;
        let (answer, calls) = pair.ask().await;
        let good = pair.second.requests().pop().unwrap();
        assert_eq!((answer.status, answer.whole), (200, true), "{outcome}: {}", answer.text());
        assert_eq!(answer.body, good.sent, "{outcome}: the good answer and nothing else");
        assert_eq!(answer.header("request-id"), good.response_headers["request-id"], "{outcome}");
        assert_eq!(pair.asked(), (usize::from(address.is_none()), 1), "{outcome}: each once");
        assert_eq!(outcomes(&calls), [("first", outcome), ("second", "measured")]);
        assert!(calls.iter().all(|call| call.reserved > 0 && call.reserved == calls[0].reserved), "each its own: {calls:?}");
        assert_eq!(calls[0].cost, if outcome == "unknown" { calls[0].reserved } else { 0 }, "{outcome}");
        assert!(0 < calls[1].cost && calls[1].cost < calls[1].reserved, "{calls:?}");
        assert_eq!(pair.gate.today("global").await, (calls[0].cost + calls[1].cost, 0), "{outcome}");
        pair.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_provider_is_asked_for_what_began_or_was_wrong() {
    for (scenario, status, whole, outcome) in [
        ("cut", 200, false, "unknown"),
        ("mid-stream-error", 200, true, "unknown"),
        ("reset-after-head", 200, false, "unknown"),
        ("invalid", 400, true, "not_charged.400"),
        ("bad-credential", 401, true, "not_charged.401"),
    ] {
        let pair = Pair::new(Some(scenario), None, None).await;
        let (answer, calls) = pair.ask().await;
        assert_eq!((answer.status, answer.whole), (status, whole), "{scenario}");
        assert!(pair.first.requests().pop().unwrap().sent.starts_with(&answer.body), "{scenario}: {}", answer.text());
        assert_eq!((pair.asked(), outcomes(&calls)), ((1, 0), vec![("first", outcome)]), "{scenario}");
        pair.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_provider_s_error_passes_as_it_is() {
    let pair = Pair::new(Some("rate-limited"), None, Some("overloaded")).await;
    let (answer, calls) = pair.ask().await;
    let last = pair.second.requests().pop().unwrap();
    assert_eq!((answer.status, answer.body.as_ref()), (529, last.sent.as_slice()), "not one byte differs");
    for name in ["content-type", "retry-after", "x-should-retry", "request-id"] {
        assert_eq!(answer.headers.get(name), last.response_headers.get(name), "{name}");
    }
    assert_eq!(outcomes(&calls), [("first", "not_charged.429"), ("second", "not_charged.529")]);
    assert_eq!(pair.gate.today("global").await, (0, 0));
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_again_and_again_is_left_alone() {
    let pair = Pair::new(Some("overloaded"), None, None).await;
    for number in 1..=5 {
        assert_eq!(pair.ask().await.0.status, 200);
        assert_eq!(pair.asked(), (number, number));
    }
    let opened = Instant::now();
    for number in 6..=9 {
        let (answer, calls) = pair.ask().await;
        assert_eq!((answer.status, outcomes(&calls)), (200, vec![("second", "measured")]), "call {number}");
    }
    assert_eq!(pair.asked(), (5, 9), "{:?} after it was given up", opened.elapsed());
    pair.finish().await;
}

/// The real program with callers, and its provider.
struct House {
    setup: ProgramSetup,
    fake: Fake,
    secret: String,
    folder: TempDir,
}

const PAUSE: &str = r#"
name = "pause"
about = "Begins, and goes on after all calls were cut."
[[reply]]
steps = [{ text = "One moment, please: this takes a while." }, { stall = { ms = 60000, after_events = 2 } }]
"#;

impl House {
    async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("hexward-money-").tempdir().unwrap();
        let scenarios = folder.path().join("scenarios");
        std::fs::create_dir(&scenarios).unwrap();
        std::fs::write(scenarios.join("pause.toml"), PAUSE).unwrap();
        let fake = Fake::start(FakeConfig { scenario_dirs: vec![scenarios], ..FakeConfig::for_tests(KEY) }).await.unwrap();
        let secret = "8f3b1c0d9e7a62541f0e3d2c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978".to_owned();
        let setup = ProgramSetup::new(folder.path(), &fake.url(), KEY).with("INTERNAL_PROXY_SECRET", &secret);
        Self { setup, fake, secret, folder }
    }

    fn ledger(&self) -> std::path::PathBuf {
        self.folder.path().join("state/ledger")
    }

    /// Twenty calls, of which `finished` are answered; then the program is killed while the others go on.
    async fn killed(&self, finished: usize) -> Program {
        let mut program = self.setup.start();
        let (callers, before) = (program.callers(), self.fake.requests().len());
        let one = |text: &str| {
            let (secret, asked) = (self.secret.clone(), body(text, 200));
            tokio::spawn(async move { send(callers, &secret, asked).await })
        };
        let open: Vec<_> = (finished..20).map(|_| one("[[scenario:pause]] Hello")).collect();
        let done: Vec<_> = (0..finished).map(|_| one("Hello")).collect();
        for call in done {
            assert_eq!(call.await.unwrap().status, 200);
        }
        let all_there = async || self.fake.requests().len() - before == 20;
        eventually("all calls are at the provider", Duration::from_secs(10), all_there).await;
        program.signal("KILL");
        assert!(!program.wait().success());
        for call in open {
            assert!(!call.await.is_ok_and(|answer| answer.whole), "it was cut");
        }
        program
    }
}

/// Settled and reserved of everybody's account, and everything that is set aside.
async fn sums(database: &Database) -> (i64, i64, i64) {
    let (settled, reserved) = database.ever("global").await;
    (settled, reserved, database.reserved().await)
}

fn counts(calls: &[Call]) -> (usize, usize) {
    let of = |outcome: &str| calls.iter().filter(|call| call.outcome.as_deref() == Some(outcome)).count();
    (of("measured"), of("unknown"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_in_the_middle_of_calls_never_undercharges() {
    let house = House::new().await;
    let killed = house.killed(8).await;
    let (_, reserved, _) = sums(&killed.database().await).await;
    assert!(reserved > 0, "nobody has settled yet");
    drop(killed);
    let mut again = house.setup.start();
    let database = again.database().await;
    let calls = database.calls().await;
    assert_eq!((calls.len(), counts(&calls)), (20, (8, 12)), "{calls:?}");
    for call in &calls {
        match call.outcome.as_deref().unwrap() {
            "measured" => assert!(0 < call.cost && call.cost < call.reserved, "as it was measured: {call:?}"),
            _ => assert_eq!(call.cost, call.reserved, "at its ceiling"),
        }
    }
    let spent: i64 = calls.iter().map(|call| call.cost).sum();
    assert_eq!((sums(&database).await, database.0.open_model_calls().await.unwrap()), ((spent, 0, 0), 0));
    again.signal("TERM");
    assert!(again.wait().success(), "{}", again.log());
    assert_eq!(sums(&database).await, (spent, 0, 0), "and its end changes nothing");

    // The machine loses power: the journal was never on a disk. What was granted may have been spent.
    let killed = house.killed(8).await;
    let (settled, reserved, everywhere) = sums(&killed.database().await).await;
    let ceilings = 12 * calls.iter().find(|call| call.outcome.as_deref() == Some("unknown")).unwrap().reserved;
    assert!(settled >= spent && reserved >= ceilings && everywhere == 2 * reserved, "{settled} {reserved} {everywhere}");
    remove_journals(&house.ledger());
    drop(killed);
    let again = house.setup.start();
    let database = again.database().await;
    assert_eq!((sums(&database).await, database.0.open_model_calls().await.unwrap()), ((settled + reserved, 0, 0), 0));
    let written: i64 = database.calls().await.iter().map(|call| call.cost).sum();
    assert!(written <= settled + reserved, "no less than what is written down of calls");
    assert_eq!(send(again.callers(), &house.secret, body("Hello", 200)).await.status, 200, "and it goes on");
}

fn remove_journals(folder: &Path) {
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        std::fs::remove_file(file).unwrap();
    }
}

const SHORT: &str = r#"
name = "short"
about = "Begins, and ends a second later."
[[reply]]
steps = [{ text = "One moment, please: this takes a second." }, { stall = { ms = 1000, after_events = 4 } }]
"#;

/// Reads until the answer has begun, and goes away.
async fn leave_in_the_middle(gate: &TestGate, asked: &str) {
    let mut stream = TcpStream::connect(gate.callers()).await.unwrap();
    let head = format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: gate\r\ncontent-type: application/json\r\nanthropic-version: 2023-06-01\r\n\
         x-api-key: {}\r\ncontent-length: {}\r\n\r\n{asked}",
        gate.caller_secret,
        asked.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("text_delta") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "{}", String::from_utf8_lossy(&seen));
    }
    assert!(!String::from_utf8_lossy(&seen).contains("message_stop"), "it was not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_stream_is_charged_what_it_cost() {
    let gate = TestGate::start(Setup { scenarios: vec![("short", SHORT.to_owned())], ..setup() }).await;
    leave_in_the_middle(&gate, &body("[[scenario:short]] Hello", 200)).await;
    settled(&gate).await;
    let short = gate.database.calls().await.pop().unwrap();
    assert_eq!(short.outcome.as_deref(), Some("measured"));
    assert!(0 < short.cost && short.cost < short.reserved, "what it cost, and not its ceiling: {short:?}");

    leave_in_the_middle(&gate, &body("[[scenario:stall]] Hello", 200)).await;
    let left = Instant::now();
    settled(&gate).await;
    assert!(left.elapsed() < Duration::from_secs(6), "the provider would be silent for a minute: {:?}", left.elapsed());
    let long = gate.database.calls().await.pop().unwrap();
    assert_eq!((long.outcome.as_deref(), long.cost), (Some("unknown"), long.reserved));
    assert_eq!(gate.today("global").await, (short.cost + long.cost, 0));
    gate.finish().await;
}

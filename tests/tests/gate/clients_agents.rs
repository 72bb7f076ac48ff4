//! The Agent SDKs and the agent itself as callers from elsewhere, unmodified, with the environment that the documentation gives them.

use fake::{Exchange, Fake, FakeConfig};
use gate_tests::clients::Elsewhere;
use gate_tests::{Ear, Setup, TestGate, agent, eventually, exchange, probe, request};
use http::HeaderMap;
use policy::{KeyScope, Microusd, RateRules};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const KEY: &str = "the-provider-s-own-key";
const MODEL: &str = "claude-sonnet-5-5";
const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");
const PREFIX: &str = "/api/anthropic-proxy";
const BASE_URL: &str = "ANTHROPIC_BASE_URL";
const API_KEY: &str = "ANTHROPIC_API_KEY";
const OUTPUT_MAX: &str = "CLAUDE_CODE_MAX_OUTPUT_TOKENS";
const DOCUMENTED: &str = include_str!("../../../docs/api.md");
/// A note that agents read.
const NOTE: &str = "what stands in the note";
const WHO: &str = "Ada, as far as the script knows";

/// The environment as it is documented, with another address and a real key.
pub(crate) fn environment(base_url: &str, key: &str) -> Vec<(String, String)> {
    let (_, after) = DOCUMENTED.split_once("### Agent SDKs and `claude` as callers").unwrap();
    let (block, _) = after.split_once("```sh\n").unwrap().1.split_once("```").unwrap();
    let mut named: Vec<(String, String)> = block
        .lines()
        .map(|line| line.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, value) in [(BASE_URL, base_url), (API_KEY, key)] {
        named.iter_mut().find(|one| one.0 == name).unwrap().1 = value.to_owned();
    }
    named
}

fn folder_with_a_note() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note.txt"), NOTE).unwrap();
    folder
}

fn scenarios(work: &Path) -> Vec<(&'static str, String)> {
    let uses = |name: &'static str, tool: &str, input: &str| {
        let text = format!(
            "name = '{name}'\nabout = 'Uses a tool.'\n[[reply]]\nwhen = {{ turn = 1 }}\n\
             steps = [{{ tool_use = {{ name = '{tool}', input = {{ {input} }} }} }}]\n\
             [[reply]]\nsteps = [{{ text = 'It says: ${{{tool}}}' }}]\n"
        );
        (name, text)
    };
    let silent = "name = 'falls-silent'\nabout = 'Says one piece, and no more for a minute.'\n[[reply]]\n\
                  steps = [{ text = 'It begins well.' }, { stall = { ms = 60000, after_events = 4 } }]\n";
    let note = format!("file_path = '{}'", work.join("note.txt").display());
    vec![uses("own-tool", "whoIsThere", ""), uses("reads", "Read", &note), ("falls-silent", silent.to_owned())]
}

/// A provider that no gateway stands before.
async fn provider(scenarios: &[(&'static str, String)]) -> (Fake, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in scenarios {
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let mut config = FakeConfig::for_tests(KEY);
    config.scenario_dirs.push(folder.path().to_owned());
    (Fake::start(config).await.unwrap(), folder)
}

fn setup(work: &Path, day_limit: Microusd) -> Setup {
    Setup { agent: Some(probe()), callers: true, day_limit, scenarios: scenarios(work), ..Setup::default() }
}

fn base_url(gateway: SocketAddr) -> String {
    format!("http://{gateway}{PREFIX}")
}

/// What a header list has beside the names that are documented, in a form that can be compared.
fn beside(headers: &HeaderMap, documented: &[&str]) -> Vec<(String, String)> {
    let named =
        |name: &str| documented.iter().any(|one| one.strip_suffix('*').map_or(*one == name, |begin| name.starts_with(begin)));
    let mut left: Vec<_> = headers
        .iter()
        .filter(|(name, _)| !named(name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        .collect();
    left.sort();
    left
}

fn id(exchange: &Exchange) -> &str {
    exchange.response_headers.get("request-id").map_or("none", |id| id.to_str().unwrap())
}

/// What a client said arrived at the provider, and what that answered arrived at the client: all of it, once, and byte for byte.
fn same_on_both_sides(heard: &[Exchange], provider: &[Exchange], caller_key: &str) {
    let asked = |side: &[Exchange]| {
        let mut ids: Vec<_> =
            side.iter().map(|one| format!("{} {} {}", id(one), one.method, one.path.replace(PREFIX, ""))).collect();
        ids.sort();
        ids
    };
    assert_eq!(asked(heard), asked(provider), "each request was passed on once, and nothing else was asked");
    for client in heard {
        let there = provider.iter().find(|there| id(there) == id(client)).unwrap();
        let what = format!("{} {} {}", client.method, client.path, client.status);
        assert_eq!((&client.query, client.status), (&there.query, there.status), "{what}");
        assert!(client.body == there.body, "{what}: the body was changed");
        let own = ["host", "connection", "content-length", "x-api-key", "authorization", "accept-encoding"];
        let set = ["host", "content-length", "x-api-key", "accept-encoding", "x-hexward-hop"];
        assert_eq!(beside(&client.headers, &own), beside(&there.headers, &set), "{what}");
        assert_eq!(there.headers["accept-encoding"], "identity");
        assert!(there.headers["x-api-key"] != caller_key, "{what}: the caller's key left");
        let back = ["date", "connection", "keep-alive", "content-length", "transfer-encoding", "anthropic-ratelimit-*"];
        let kept = ["content-length", "anthropic-ratelimit-*", "anthropic-organization-id"];
        assert_eq!(beside(&client.response_headers, &back), beside(&there.response_headers, &kept), "{what}");
        // One that its client left in the middle has the beginning.
        assert!(if client.finished { client.sent == there.sent } else { there.sent.starts_with(&client.sent) }, "{what}");
    }
}

async fn all_is_settled(gate: &TestGate) {
    let none_open = async || {
        gate.gateway.settle_up().await.unwrap();
        gate.database.0.open_model_calls().await.unwrap() == 0
    };
    eventually("all is settled", Duration::from_secs(10), none_open).await;
}

/// The answer that ended a turn.
fn result<'a>(seen: &'a Value, turn: &str) -> &'a Value {
    let messages = seen[turn].as_array().unwrap_or_else(|| panic!("no {turn}: {seen}"));
    messages.iter().find(|message| message.get("is_error").is_some()).unwrap_or_else(|| panic!("{turn}: {messages:?}"))
}

/// The script did what it is for; two failures would be the same too.
fn did_everything(script: &str, seen: &Value) {
    let said = |turn: &str| result(seen, turn)["result"].as_str().unwrap_or_default().to_owned();
    for turn in ["plain", "own tool", "file tool", "thinking", "overloaded once", "after the interruption", "resumed"] {
        assert_eq!(result(seen, turn)["is_error"], false, "{script}, {turn}: {seen}");
    }
    assert!(said("own tool").contains(WHO) && said("file tool").contains(NOTE), "{script}: {seen}");
    assert!(said("resumed").contains("And once more"), "{script}: {seen}");
    let deltas = |turn: &str| {
        let events = seen[turn].as_array().unwrap().iter();
        events.filter(|event| event["type"] == "content_block_delta").map(|event| event["delta"].clone()).collect::<Vec<_>>()
    };
    assert!(deltas("plain").len() > 5, "{script}: an answer is seen as it is written: {seen}");
    assert_eq!(deltas("interrupted"), [json!({"type": "text_delta", "text": "It b"})], "{script}");
    assert_eq!(result(seen, "interrupted")["terminal_reason"], "aborted_streaming", "{script}");
    assert!(said("refused").contains("the fake was told to refuse this"), "{script}: the provider's own words: {seen}");
    assert_eq!(result(seen, "refused")["api_error_status"], 400, "{script}");
}

async fn same_through_the_gateway(script: &str) {
    let work = folder_with_a_note();
    let (provider, _scenarios) = provider(&scenarios(work.path())).await;
    let gate = TestGate::start(setup(work.path(), Microusd::dollars(50))).await;
    let (outside, ear) = (Ear::before(None).await, Ear::before(Some(gate.callers())).await);
    let here = Elsewhere::new(environment(&provider.url(), KEY), work.path(), outside.address());
    let there = Elsewhere::new(environment(&base_url(ear.address()), &gate.caller_secret), work.path(), outside.address());
    let (directly, through) = tokio::join!(here.sdk(script, None), there.sdk(script, None));

    did_everything(script, &directly);
    for (what, seen) in directly.as_object().unwrap() {
        assert_eq!(Some(seen), through.get(what), "{script}: {what}");
    }
    let (heard, saw) = (ear.heard(), gate.fake.requests());
    same_on_both_sides(&heard, &saw, &gate.caller_secret);
    let of = |side: &[Exchange]| {
        let mut asked: Vec<_> = side.iter().map(|one| (one.path.clone(), one.query.clone(), one.status)).collect();
        asked.sort();
        asked
    };
    assert_eq!(of(&saw), of(&provider.requests()), "{script}: it asks what it would ask the provider, and as often");
    for path in ["/v1/messages", "/v1/messages/count_tokens", "/v1/models"] {
        assert!(saw.iter().any(|one| one.path == path), "{script}: {path}");
    }
    let version = std::process::Command::new(agent()).arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap().split(' ').next().unwrap().to_owned();
    let is_pinned = |one: &Exchange| one.headers["user-agent"].to_str().unwrap().contains(&format!("/{version} "));
    assert!(saw.iter().filter(|one| one.path == "/v1/messages").all(is_pinned), "{script}: it is the agent installed here");
    let resumed = saw.iter().rfind(|one| String::from_utf8_lossy(&one.body).contains("And once more")).unwrap();
    assert!(String::from_utf8_lossy(&resumed.body).contains(WHO), "{script}: a resumed session has what was said before");
    assert_eq!(outside.connections(), 0, "{script}: nobody else was asked for anything");

    all_is_settled(&gate).await;
    let cut: Vec<_> = heard.iter().filter(|one| !one.finished).collect();
    assert_eq!(cut.len(), 1, "{script}: only the answer that was interrupted has no end");
    let calls = gate.database.calls().await;
    let unknown: Vec<_> = calls.iter().filter(|call| call.outcome.as_deref() == Some("unknown")).collect();
    assert_eq!(unknown.len(), 1, "{script}: all but that one was measured: {calls:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_agent_sdk_sees_the_provider() {
    same_through_the_gateway("agent.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_agent_sdk_sees_the_provider() {
    same_through_the_gateway("agent.mjs").await;
}

/// With all its own tools, its own prompt, and the key in either header.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_itself_is_a_caller_as_it_is() {
    let work = folder_with_a_note();
    let gate = TestGate::start(setup(work.path(), Microusd::dollars(50))).await;
    let (outside, ear) = (Ear::before(None).await, Ear::before(Some(gate.callers())).await);
    let with_key = environment(&base_url(ear.address()), &gate.caller_secret);
    let mut with_token = with_key.clone();
    for (name, _) in &mut with_token {
        *name = name.replace(API_KEY, "ANTHROPIC_AUTH_TOKEN");
    }
    with_token.push((OUTPUT_MAX.to_owned(), "4000".to_owned()));
    let printed = ["--model", MODEL, "--output-format", "stream-json", "--verbose", "--include-partial-messages"];
    for (environment, header, output) in [(with_key, "x-api-key", 128_000), (with_token, "authorization", 4000)] {
        let before = ear.heard().len();
        let elsewhere = Elsewhere::new(environment, work.path(), outside.address());
        let asked = ["-p", "[[scenario:reads]] What does the note say?", "--allowedTools", "Read"];
        let (content, lines) = elsewhere.claude(&[asked.as_slice(), &printed].concat()).await;
        assert!(content, "{lines:?}");
        let end = lines.iter().find(|line| line["type"] == "result").unwrap();
        assert_eq!((&end["is_error"], end["result"].as_str().unwrap().contains(NOTE)), (&json!(false), true), "{end}");
        let events = lines.iter().filter(|line| line["type"] == "stream_event");
        assert!(events.count() > 10, "{lines:?}");
        let heard = ear.heard().split_off(before);
        let messages: Vec<_> = heard.iter().filter(|one| one.path.ends_with("/v1/messages")).collect();
        assert_eq!(messages.len(), 2, "the question, and what the tool said");
        for one in messages {
            let body: Value = serde_json::from_slice(&one.body).unwrap();
            assert_eq!(body["max_tokens"], output, "it asks for what it would ask for");
            assert!(body["tools"].as_array().unwrap().len() > 5, "{}", body["tools"]);
            let both = ["x-api-key", "authorization"].map(|name| one.headers.contains_key(name));
            assert_eq!(both, ["x-api-key", "authorization"].map(|name| name == header), "{:?}", one.headers);
        }
    }
    same_on_both_sides(&ear.heard(), &gate.fake.requests(), &gate.caller_secret);
    assert_eq!(outside.connections(), 0, "nobody else was asked for anything");
    all_is_settled(&gate).await;
    let calls = gate.database.calls().await;
    let measured = calls.iter().filter(|call| call.path == "/v1/messages" && call.outcome.as_deref() == Some("measured"));
    assert_eq!(measured.count(), 4, "{calls:?}");
    gate.finish().await;
}

/// It asks for far more than a small budget has, and still gets an answer; nothing but that number is another one.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_asks_for_more_than_is_left_gets_a_shorter_answer() {
    let work = folder_with_a_note();
    let gate = TestGate::start(setup(work.path(), Microusd::dollars(1))).await;
    let (outside, ear) = (Ear::before(None).await, Ear::before(Some(gate.callers())).await);
    let named = environment(&base_url(ear.address()), &gate.caller_secret);
    let elsewhere = Elsewhere::new(named, work.path(), outside.address());
    let (content, lines) = elsewhere.claude(&["-p", "Hello", "--model", MODEL, "--output-format", "json"]).await;
    assert!(content, "{lines:?}");
    let body = |side: Vec<Exchange>| -> Value {
        let messages: Vec<_> = side.into_iter().filter(|one| one.path.ends_with("/v1/messages")).collect();
        assert_eq!(messages.len(), 1);
        serde_json::from_slice(&messages[0].body).unwrap()
    };
    let (mut asked, mut arrived) = (body(ear.heard()), body(gate.fake.requests()));
    let (wanted, got) = (asked["max_tokens"].take().as_u64().unwrap(), arrived["max_tokens"].take().as_u64().unwrap());
    assert!(wanted == 128_000 && (1_000..wanted).contains(&got), "{wanted} became {got}");
    assert_eq!(asked, arrived);
    assert!(gate.today("global").await.0 < 1_000_000);
    gate.finish().await;
}

/// What is left of a rate comes back in seconds, and the agent waits for it as it would for the provider's.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_finds_a_rate_used_up_waits_as_long_as_told() {
    let work = folder_with_a_note();
    let mut setup = setup(work.path(), Microusd::dollars(50));
    setup.runs.rates = RateRules { calls_per_minute: 6, ..RateRules::unreachable() };
    let gate = TestGate::start(setup).await;
    let (outside, ear) = (Ear::before(None).await, Ear::before(Some(gate.callers())).await);
    let headers = [("x-api-key", gate.caller_secret.as_str()), ("content-type", "application/json"), VERSION];
    let hello = json!({"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}).to_string();
    let mut used_up = 0;
    while exchange(gate.callers(), request("POST", &format!("{PREFIX}/v1/messages"), &headers, hello.clone())).await.status == 200
    {
        used_up += 1;
        assert!(used_up <= 6);
    }
    let elsewhere = Elsewhere::new(environment(&base_url(ear.address()), &gate.caller_secret), work.path(), outside.address());
    let asked = ["-p", "Hello", "--model", MODEL, "--output-format", "json", "--tools", "", "--system-prompt", "You are brief."];
    let (content, lines) = elsewhere.claude(&asked).await;
    assert!(content && lines[0]["is_error"] == false, "{lines:?}");
    let statuses = |one: Exchange| one.path.ends_with("/v1/messages").then(|| one.status.as_u16());
    assert_eq!(ear.heard().into_iter().filter_map(statuses).collect::<Vec<_>>(), [429, 200], "asked again once, in time");
    gate.finish().await;
}

/// Our own refusals are said once, to the person who asked, in our words.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_elsewhere_says_why_it_was_refused_and_does_not_insist() {
    let work = folder_with_a_note();
    let internal = KeyScope { output_tokens_max: Some(4000), ..KeyScope::default() };
    let gate = TestGate::start(Setup { internal, ..setup(work.path(), Microusd(10)) }).await;
    let (outside, ear) = (Ear::before(None).await, Ear::before(Some(gate.callers())).await);
    let (url, mut before) = (base_url(ear.address()), 0);
    let mut refused_with = |status: u16| {
        let heard: Vec<_> = ear.heard().into_iter().skip(before).filter(|one| one.path.ends_with("/v1/messages")).collect();
        before += ear.heard().len() - before;
        assert_eq!(heard.iter().map(|one| one.status.as_u16()).collect::<Vec<_>>(), [status], "it was asked once");
        let body: Value = serde_json::from_slice(&heard[0].sent).unwrap();
        body["error"]["message"].as_str().unwrap().to_owned()
    };
    let told_nothing = environment(&url, &gate.caller_secret);
    let mut told_what_the_key_may = told_nothing.clone();
    told_what_the_key_may.push((OUTPUT_MAX.to_owned(), "4000".to_owned()));
    let elsewhere = Elsewhere::new(told_what_the_key_may, work.path(), outside.address());
    for script in ["agent.py", "agent.mjs"] {
        let seen = elsewhere.sdk(script, Some("Hello")).await;
        let sentence = refused_with(429);
        let end = result(&seen, "refused");
        assert_eq!((&end["is_error"], &end["api_error_status"]), (&json!(true), &json!(429)), "{script}: {end}");
        assert!(end["result"].as_str().unwrap().contains(&sentence), "{script}: {sentence}: {end}");
    }
    let asked = ["-p", "Hello", "--model", MODEL, "--output-format", "json"];
    let (content, lines) = elsewhere.claude(&asked).await;
    let sentence = refused_with(429);
    assert!(!content && lines[0]["result"].as_str().unwrap().contains(&sentence), "{sentence}: {lines:?}");

    let unaware = Elsewhere::new(told_nothing, work.path(), outside.address());
    let (content, lines) = unaware.claude(&asked).await;
    let sentence = refused_with(403);
    assert!(sentence.contains("max_tokens"), "it asks for more than its key may: {sentence}");
    assert!(!content && lines[0]["result"].as_str().unwrap().contains(&sentence), "{sentence}: {lines:?}");

    // As at the provider, it would insist for minutes.
    let mut of_nobody = environment(&url, "sk-of-nobody");
    of_nobody.push(("CLAUDE_CODE_MAX_RETRIES".to_owned(), "0".to_owned()));
    let stranger = Elsewhere::new(of_nobody, work.path(), outside.address());
    let (content, lines) = stranger.claude(&asked).await;
    refused_with(401);
    assert!(!content && lines[0]["api_error_status"] == 401, "{lines:?}");
    assert!(gate.provider_saw().is_empty(), "none of it left");
    assert_eq!(outside.connections(), 0, "nobody else was asked for anything");
    gate.finish().await;
}

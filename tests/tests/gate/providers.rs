//! Providers' keys: changed by command while the gateway runs; and what the commands refuse.

use gate_tests::{Setup, TestGate, eventually, exchange, probe, request};
use hexward::provider_keys;
use secrecy::SecretString;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

async fn ask(gate: &TestGate) -> u16 {
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]});
    let headers =
        [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", gate.caller_secret.as_str())];
    exchange(gate.callers(), request("POST", "/api/anthropic-proxy/v1/messages", &headers, body.to_string())).await.status
}

/// The key of the newest request that the provider saw.
fn key_seen(gate: &TestGate) -> String {
    gate.provider_saw().pop().unwrap().headers["x-api-key"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_is_used_within_a_second_and_forgotten_again() {
    let gate = TestGate::start(Setup { agent: Some(probe()), callers: true, ..Setup::default() }).await;
    assert_eq!(ask(&gate).await, 200);
    let configured = key_seen(&gate);
    let state = gate.folder.path().join("state");
    provider_keys::store(&state, "default", &SecretString::from("sk-ant-api03-rotated")).unwrap();
    let uses = async |key: &str| {
        ask(&gate).await;
        key_seen(&gate) == key
    };
    // The scripted provider does not know this key; that it refuses shows that the old one is not used any more.
    eventually("the new key is used", Duration::from_secs(5), || uses("sk-ant-api03-rotated")).await;
    assert_eq!(ask(&gate).await, 401, "and only the new one");
    assert!(provider_keys::forget(&state, "default").unwrap());
    eventually("the configured key is used again", Duration::from_secs(5), || uses(&configured)).await;
    assert_eq!(ask(&gate).await, 200);
    gate.finish().await;
}

fn hexward(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(gate_tests::hexward());
    command.args(arguments).current_dir(folder).env_clear().env("ANTHROPIC_API_KEY", "sk-ant-api03-configured");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses before it reads closes its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_commands_take_no_admin_key_and_show_none() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], input: &str| {
        let output = hexward(folder.path(), arguments, input);
        (output.status.success(), text(&output))
    };
    let (done, said) = run(&["provider", "rotate", "default", "--state-dir", "state"], "sk-ant-admin01-x\n");
    assert!(!done && said.contains("admin key") && !folder.path().join("state").exists(), "{said}");
    let (done, said) = run(&["provider", "rotate", "other", "--state-dir", "state"], "sk-ant-api03-new\n");
    assert!(!done && said.contains("there is no provider \"other\""), "{said}");
    let listed = run(&["provider", "list", "--state-dir", "state"], "").1;
    assert!(listed.contains("(environment)") && !listed.contains("configured"), "{listed}");
    let (done, said) = run(&["provider", "rotate", "default", "--state-dir", "state"], "sk-ant-api03-new\n");
    assert!(done && !said.contains("api03"), "{said}");
    let rotated = run(&["provider", "list", "--state-dir", "state"], "").1;
    assert!(rotated.contains("(rotated)") && rotated != listed && !rotated.contains("api03"), "{rotated}");
    assert!(run(&["provider", "forget", "default", "--state-dir", "state"], "").0);
    assert_eq!(run(&["provider", "list", "--state-dir", "state"], "").1, listed);
}

#[test]
fn prices_are_shown_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let run = |config: &str, arguments: &[&str]| {
        std::fs::write(folder.path().join("hexward.toml"), config).unwrap();
        let output = hexward(folder.path(), &[&["prices", "--config", "hexward.toml"], arguments].concat(), "");
        (output.status.success(), text(&output))
    };
    let (done, said) = run("", &["--check", "--at", "2026-11-01"]);
    assert!(done && said.contains("claude-opus-5-5") && !said.contains("warning"), "{said}");
    let (done, said) = run("", &["--check", "--at", "2027-06-01"]);
    assert!(done && said.contains("warning: the built-in prices were compared"), "{said}");
    let own = "[[prices]]\nmodel = 'claude-opus-5-5'\nfrom = '2026-12-01'\ninput = 3.5\noutput = '17.25'\ncache_read = '0.175'\n";
    let (_, before) = run(own, &["--at", "2026-11-30"]);
    let (_, after) = run(own, &["--at", "2026-12-01"]);
    assert!(!before.contains("17.25") && after.contains("17.25") && after.contains("2026-12-01 own"), "{after}");
    let (done, said) = run("[[prices]]\nmodel = 'm'\ninput = -1\noutput = 0.0001\nfrom = 'today'\n", &[]);
    assert!(
        !done && ["prices[1].input", "prices[1].output", "prices[1].from"].iter().all(|place| said.contains(place)),
        "{said}"
    );
}

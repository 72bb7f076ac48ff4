//! The Agent SDK outside of any sandbox, unmodified, with the key of a session for its tools.

use crate::clients_agents::environment;
use gate_tests::clients::Elsewhere;
use gate_tests::{Ear, Setup, TestGate, eventually, exchange, hexward, probe, request};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const SESSIONS: &str = "/api/mcp-sessions";

fn scenarios() -> Vec<(&'static str, String)> {
    let uses = |name: &'static str, tool: &str, input: &str| {
        let text = format!(
            "name = '{name}'\nabout = 'Uses a tool.'\n[[reply]]\nwhen = {{ turn = 1 }}\n\
             steps = [{{ tool_use = {{ name = '{tool}', input = {{ {input} }} }} }}]\n\
             [[reply]]\nsteps = [{{ text = 'It says: ${{{tool}}}' }}]\n"
        );
        (name, text)
    };
    let tile = "title = 'Aurora', coords = { userId = 'x', groupId = 0, path = [2] }";
    vec![uses("who-am-i", "getCurrentUser", ""), uses("adds", "addItem", tile)]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_sdk_uses_tools_with_the_key_of_a_session_and_no_longer() {
    let work = tempfile::tempdir().unwrap();
    let setup = Setup { agent: Some(probe()), callers: true, scenarios: scenarios(), ..Setup::default() };
    let mut gate = TestGate::start(setup).await;
    let database = format!("sqlite:{}", gate.folder.path().join("gate.db").display());
    let mut command = Command::new(hexward());
    command.args(["key", "create", "shop", "--sessions", "--app", "hexmap", "--writes"]).current_dir(gate.folder.path());
    let made = command.env_clear().env("DATABASE_URL", database).output().unwrap();
    let service = String::from_utf8(made.stdout).unwrap().trim_end().to_owned();
    gate.keep_secret("a service's key", &service);
    let callers = gate.callers();
    let session = async || {
        let headers = [("x-api-key", service.as_str()), ("content-type", "application/json")];
        let body = json!({"user": "alice", "app": "hexmap", "writes": true}).to_string();
        exchange(callers, request("POST", SESSIONS, &headers, body)).await
    };
    eventually("the service is known", Duration::from_secs(5), async || session().await.status == 201).await;
    let opened = session().await.json();
    let token = opened["token"].as_str().unwrap().to_owned();
    gate.keep_secret("a session's key", &token);

    let outside = Ear::before(None).await;
    let model = format!("http://{callers}/api/anthropic-proxy");
    let elsewhere = Elsewhere::new(environment(&model, &gate.caller_secret), work.path(), outside.address());
    let ask = async |message: &str| -> Value {
        let told = json!({"url": format!("http://{callers}/api/mcp"), "token": token, "message": message}).to_string();
        elsewhere.sdk("tools.mjs", Some(&told)).await
    };
    let seen = ask("[[scenario:who-am-i]] Who am I?").await;
    assert!(seen["tools"].to_string().contains("mcp__map__getCurrentUser"), "{seen}");
    assert!(seen["results"].to_string().contains(opened["user"].as_str().unwrap()), "{seen}");
    let seen = ask("[[scenario:adds]] Add a tile").await;
    assert!(seen["results"].to_string().contains("confirmation in the browser"), "the reason reaches the model: {seen}");
    let calls = gate.database.tool_calls().await;
    assert_eq!(calls, [("getCurrentUser".to_owned(), "done".to_owned())], "what was refused is no call");

    let end = format!("{SESSIONS}/{}", opened["id"].as_str().unwrap());
    assert_eq!(exchange(callers, request("DELETE", &end, &[("x-api-key", &service)], "")).await.status, 200);
    let seen = ask("[[scenario:who-am-i]] Who am I?").await;
    assert!(!seen["results"].to_string().contains(opened["user"].as_str().unwrap()), "after the end there is nothing: {seen}");
    assert_eq!(gate.database.tool_calls().await.len(), 1);
    assert_eq!(outside.connections(), 0, "nobody else was asked for anything");
    gate.finish().await;
}

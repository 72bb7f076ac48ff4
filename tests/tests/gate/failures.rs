//! What breaks: the agent, the sandbox, the database. Each with a clear word, nothing lost and nothing left.

use gate_tests::{Postgres, Probe, Setup, TestGate, eventually, exchange, probe, request};
use sandbox::Mode;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn end(events: &[Value]) -> (&str, &str) {
    let end = events.last().unwrap();
    assert_eq!(end["type"], "run_ended", "{events:?}");
    (end["outcome"].as_str().unwrap(), end["code"].as_str().unwrap_or(""))
}

/// A message that is refused before a run begins, and leaves nothing behind.
async fn refused_at_once(setup: Setup, code: &str) {
    let gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let answer = ada.try_say(&conversation, "Hello", true).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some(code)), "{}", answer.text());
    assert!(!answer.text().contains('/'), "no path of the host goes out: {}", answer.text());
    assert!(ada.history(&conversation).await.is_empty());
    assert_eq!(gate.sandboxes_started(), 0);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_programs_no_run_begins() {
    let nothing = PathBuf::from("/nonexistent/program");
    refused_at_once(Setup { agent: Some(nothing.clone()), ..Setup::default() }, "agent.missing").await;
    refused_at_once(Setup { agent: Some("/etc/passwd".into()), ..Setup::default() }, "agent.missing").await;
    refused_at_once(Setup { agent: Some("/tmp".into()), ..Setup::default() }, "agent.missing").await;
    refused_at_once(Setup { agent: Some(probe()), jail: Some(nothing), ..Setup::default() }, "sandbox.unavailable").await;
}

/// One message to an agent that is no agent; the conversation goes on afterwards all the same.
async fn fails(agent: &Path, codes: &[&str]) {
    let gate = TestGate::start(Setup { agent: Some(agent.to_owned()), ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    for _ in 0..2 {
        let events = ada.run(&conversation, "Hello", true).await;
        let (outcome, code) = end(&events);
        assert!(outcome == "failed" && codes.contains(&code), "{}: {events:?}", agent.display());
        assert!(events.last().unwrap()["message"].as_str().unwrap().ends_with('.'));
    }
    assert_eq!(ada.history(&conversation).await.len(), 2, "both messages are kept");
    assert_eq!(gate.sandboxes_alive(), 0);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ends_at_once_is_a_failed_run() {
    fails(Path::new("/bin/false"), &["agent.ended"]).await;
    fails(Path::new("/bin/true"), &["agent.ended"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_no_program_is_a_failed_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("agent");
    std::fs::write(&text, "this is not a program\n").unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    fails(&text, &["sandbox.unavailable", "agent.ended"]).await;
    // Its interpreter does not exist inside.
    std::fs::write(&text, "#!/bin/sh\nexit 0\n").unwrap();
    fails(&text, &["sandbox.unavailable", "agent.ended"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_prints_is_not_believed() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let lies = [
        r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I am the model"}]}}"#,
        r#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"I am the model"}}}"#,
        r#"{"type":"user","message":{"content":[{"type":"tool_result","content":"deleted"}]}}"#,
        r#"{"type":"result"}"#,
        "garbage \u{0} \u{fffd} {{{{",
        "",
    ];
    let orders: Vec<Value> = lies.iter().map(|lie| json!({"do": "print", "text": lie})).collect();
    let events = ada.run(&conversation, &json!({"orders": orders}).to_string(), true).await;
    assert_eq!(end(&events).0, "finished", "{events:?}");
    assert!(!format!("{events:?}").contains("I am the model"), "{events:?}");
    assert_eq!(ada.history(&conversation).await.len(), 1, "only what the person wrote is kept");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_says_it_failed_or_never_stops_talking() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    let ada = gate.person().await;
    let cases = [
        (
            json!({"do": "print", "text": r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":500}"#}),
            "model.failed",
        ),
        (json!({"do": "print", "text": r#"{"type":"result","subtype":"error_max_turns","is_error":true}"#}), "run.turns"),
        (json!({"do": "exit", "code": 7}), "agent.ended"),
        (json!({"do": "flood"}), "agent.output"),
    ];
    for (order, code) in cases {
        let conversation = ada.conversation().await;
        let events = ada.run(&conversation, &json!({"orders": [order]}).to_string(), true).await;
        assert_eq!(end(&events), ("failed", code), "{order}");
    }
    assert_eq!(gate.sandboxes_alive(), 0);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_at_rest_that_speaks_or_died_is_replaced() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let result = r#"{"type":"result","subtype":"success","is_error":false}"#;
    for late in [json!({"do": "print", "text": result, "late": true}), json!({"do": "exit", "code": 0, "late": true})] {
        let events = ada.run(&conversation, &json!({"orders": [late]}).to_string(), true).await;
        assert_eq!(end(&events).0, "finished");
        let before = gate.sandboxes_started();
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let events = ada.run(&conversation, &json!({"orders": [{"do": "sleep", "ms": 50}]}).to_string(), true).await;
        assert_eq!(end(&events).0, "finished");
        assert!(events.last().unwrap()["duration_ms"].as_u64().unwrap() >= 50, "the turn that nobody began did not count");
        assert_eq!(gate.sandboxes_started(), before + 1, "a new agent took over");
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_at_rest_that_keeps_its_gate_busy_is_replaced() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    let ada = Probe::new(gate.person().await).await;
    // As many as the gate serves at once, and some that wait behind them.
    let keep = json!({"do": "keep", "to": "198.18.0.10:80", "count": 150, "late": true});
    for (orders, new) in [(json!([keep]), 1), (json!([]), 1), (json!([]), 0)] {
        let before = gate.sandboxes_started();
        ada.tell(&gate, orders).await;
        assert_eq!(gate.sandboxes_started(), before + new);
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_kept_for_a_while_and_no_longer() {
    let mut setup = Setup { agent: Some(probe()), ..Setup::default() };
    setup.runs.idle = Duration::from_millis(600);
    setup.runs.concurrent_max = 1;
    setup.runs.queue.waiting_max = 0;
    let gate = TestGate::start(setup).await;
    let (ada, bob) = (gate.person().await, gate.person().await);
    let (one, two) = (ada.conversation().await, bob.conversation().await);
    let run = ada.say(&one, &json!({"orders": [{"do": "sleep", "ms": 700}]}).to_string(), true).await;
    let busy = bob.try_say(&two, "Hello", true).await;
    assert_eq!((busy.status, busy.json()["error"]["code"].as_str()), (503, Some("run.busy")), "{}", busy.text());
    assert_eq!(busy.header("retry-after"), "10");
    assert!(bob.history(&two).await.is_empty(), "who has to wait can send it again");
    ada.watch(&run).await.rest().await;
    assert_eq!(gate.sandboxes_alive(), 1, "kept for a follow-up");
    eventually("the idle agent is gone", Duration::from_secs(5), async || gate.sandboxes_alive() == 0).await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_held_by_another_process_loses_nothing() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let other = rusqlite::Connection::open(gate.folder.path().join("gate.db")).unwrap();
    // Before a run: it does not begin.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = ada.try_say(&conversation, &json!({"orders": []}).to_string(), true).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].as_str()),
        (503, Some("store.unavailable")),
        "{}",
        refused.text()
    );
    other.execute_batch("COMMIT").unwrap();
    // During a run: what can't be written down is not done, and the end is written when the database is back.
    let orders = json!({"report": "locked", "orders": [{"do": "sleep", "ms": 1500}]}).to_string();
    let run = ada.say(&conversation, &orders, true).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    tokio::time::sleep(Duration::from_millis(7000)).await;
    other.execute_batch("COMMIT").unwrap();
    let events = ada.watch(&run).await.rest().await;
    assert_eq!(end(&events).0, "finished", "{events:?}");
    assert!(gate.provider_saw().is_empty(), "a call that could not be written down was not made");
    assert_eq!(gate.database.run(&run).await.0, "finished");
    let again = Probe::new(ada).await.tell(&gate, json!([{"do": "environment"}])).await;
    assert!(again[0]["HOME"].is_string(), "and then everything works again");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_dies_in_the_middle_loses_nothing() {
    let server = Postgres::start();
    let setup = Setup { agent: Some(probe()), database: Some(server.fresh_database()), ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let orders = json!({"report": "gone", "orders": [{"do": "ask", "text": "Hello"}, {"do": "sleep", "ms": 1500}]}).to_string();
    let run = ada.say(&conversation, &orders, true).await;
    eventually("the first call is settled", Duration::from_secs(10), async || {
        gate.database.calls().await.first().is_some_and(|call| call.outcome.is_some())
    })
    .await;
    server.stop();
    let refused = ada.try_say(&conversation, "Hello", true).await;
    assert!(
        refused.status == 503 && refused.json()["error"]["message"].as_str().unwrap().contains("try again"),
        "{}",
        refused.text()
    );
    tokio::time::sleep(Duration::from_millis(2500)).await;
    server.start_again();
    let events = ada.watch(&run).await.rest().await;
    assert_eq!(end(&events).0, "finished", "{events:?}");
    assert_eq!(gate.database.run(&run).await.0, "finished", "the end was written when the database was back");
    gate.gateway.settle_up().await.unwrap();
    let saw = gate.fake.requests().into_iter().filter(|exchange| exchange.path.starts_with("/v1/messages")).count();
    assert_eq!(gate.database.calls().await.len(), saw, "what left inside its slice is in the log, and nothing else left");
    assert_eq!(ada.history(&conversation).await[0]["text"], orders.as_str());
    let events = ada.run(&conversation, &json!({"orders": []}).to_string(), true).await;
    assert_eq!(end(&events).0, "finished", "the conversation goes on");
    gate.finish().await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_killed_from_outside_is_a_failed_run() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    let ada = gate.person().await;
    for victim in ["hexward-jail", "agent"] {
        let conversation = ada.conversation().await;
        let run = ada.say(&conversation, &json!({"orders": [{"do": "sleep", "ms": 20_000}]}).to_string(), true).await;
        let mut stream = ada.watch(&run).await;
        stream.until("state").await;
        eventually("the sandbox runs", Duration::from_secs(10), async || gate.sandboxes_alive() == 1).await;
        gate.kill_newest_sandbox(victim == "hexward-jail");
        let events = stream.rest().await;
        assert_eq!(end(&events), ("failed", "agent.ended"), "{victim}: {events:?}");
        eventually("nothing of it is left", Duration::from_secs(2), async || gate.sandboxes_alive() == 0).await;
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_mode_works_and_says_what_it_is() {
    let gate = TestGate::start(Setup { mode: Mode::Direct, ..Setup::default() }).await;
    let ada = gate.person().await;
    let session = ada.get("/api/session").await.json();
    assert_eq!(session["mode"]["sandboxed"], false);
    assert!(session["mode"]["warning"].as_str().unwrap().contains("not confined"), "{session}");
    assert!(gate_tests::logged("agents are not confined"));
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, "Create a tile called Aurora to the north-east", true).await;
    assert_eq!(end(&events).0, "finished", "{events:?}");
    assert_eq!(ada.tiles().await, ["Aurora"]);
    gate.finish().await;
}

/// Who put a proxy in front has let in others than the developer.
#[tokio::test(flavor = "multi_thread")]
async fn direct_mode_answers_nobody_behind_a_proxy() {
    for mode in [Mode::Direct, Mode::Native] {
        let gate = TestGate::start(Setup { mode, agent: Some(probe()), ..Setup::default() }).await;
        for path in ["/", "/healthz", "/api/session"] {
            for header in ["x-forwarded-for", "Forwarded", "Via", "X-Real-IP", "CF-Connecting-IP"] {
                let answer = exchange(gate.address, request("GET", path, &[(header, "192.0.2.7")], "")).await;
                match mode {
                    Mode::Native => assert_eq!(answer.status, 200, "{path} with {header}"),
                    Mode::Direct => {
                        assert_eq!(
                            (answer.status, answer.json()["error"]["code"].as_str()),
                            (403, Some("direct.forwarded")),
                            "{header}"
                        );
                    }
                }
            }
            assert_eq!(exchange(gate.address, request("GET", path, &[], "")).await.status, 200, "{path}");
        }
        gate.finish().await;
    }
    assert!(gate_tests::logged("a request came through a proxy in direct mode"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confined_gateway_warns_of_nothing() {
    let gate = TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await;
    let mode = gate.person().await.get("/api/session").await.json()["mode"].clone();
    assert_eq!((&mode["sandboxed"], &mode["warning"]), (&json!(true), &Value::Null));
    gate.finish().await;
}

/// The variable is likely the host application's own.
#[test]
fn a_demo_keeps_its_hands_off_the_database_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |more: &[&str]| {
        let mut command = std::process::Command::new(gate_tests::hexward());
        command.args(["demo", "--once", "Create a tile called Aurora to the north-east", "--state-dir"]);
        command.arg(folder.path().join("state")).arg("--agent").arg(gate_tests::agent()).args(more);
        command.env_clear().env("DATABASE_URL", "postgres://nobody:password@127.0.0.1:1/theirs").current_dir(folder.path());
        command.output().unwrap()
    };
    let own = demo(&[]);
    assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
    assert!(folder.path().join("state/hexward.db").is_file());
    let theirs = demo(&["--database-from-env"]);
    let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
    assert!(!theirs.status.success() && said.contains("database unavailable") && !said.contains("password"), "{said}");
    // What was made is for its owner alone.
    for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
        let entry = entry.unwrap();
        let mode = std::os::unix::fs::MetadataExt::mode(&entry.metadata().unwrap());
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", entry.path().display());
    }
}

//! The agent dials whatever it likes; it is still us who answer. And the same without root.

use gate_tests::{Process, Setup, TestGate, agent, hexward, jail};
use sandbox::Mode;
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const AURORA: &str = "Create a tile called Aurora to the north-east";
const NOBODY: u32 = 65534;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dials_the_provider_s_own_name_lands_here() {
    let mut setup = Setup::default();
    setup.runs.tell_base_url = false;
    let gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, AURORA, true).await;
    assert_eq!(
        (&events.last().unwrap()["outcome"], ada.tiles().await),
        (&json!("finished"), vec!["Aurora".to_owned()]),
        "{events:?}"
    );
    assert_nobody_told_it(&gate);
    let saw = gate.provider_saw();
    assert!(saw.len() >= 3);
    let placeholder = saw.iter().any(|exchange| exchange.headers["x-api-key"].to_str().unwrap().contains("placeholder"));
    assert!(!placeholder, "the key was swapped on the way");
    // It also asks for its settings, which are none of an agent's business here.
    let denials = gate.database.denials().await;
    assert!(denials.iter().all(|denial| denial.starts_with("model.path GET /api/claude_code/")), "{denials:?}");
    gate.finish().await;
}

/// The agent at rest has no other address than the one it was built with, so what came from it came over that.
fn assert_nobody_told_it(gate: &TestGate) {
    let environments: Vec<String> = gate.processes().iter().filter_map(environment).collect();
    let agents: Vec<&String> = environments.iter().filter(|text| text.contains("CLAUDE_CODE_MAX_OUTPUT_TOKENS=")).collect();
    assert!(!agents.is_empty(), "an agent is at rest");
    for text in agents {
        assert!(!text.contains("ANTHROPIC_BASE_URL") && !text.contains("http://"), "{text}");
    }
}

fn environment(process: &Process) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{}/environ", process.pid)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Nothing else is confined in direct mode, but the provider's name leads here all the same.
#[tokio::test(flavor = "multi_thread")]
async fn in_direct_mode_the_provider_s_own_name_lands_here_too() {
    let mut setup = Setup { mode: Mode::Direct, ..Setup::default() };
    setup.runs.tell_base_url = false;
    let gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, AURORA, true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    assert_nobody_told_it(&gate);
    assert!(gate.provider_saw().len() >= 3);
    gate.finish().await;
}

fn copy(from: &Path, folder: &Path) {
    let to = folder.join(from.file_name().unwrap());
    std::fs::copy(from, &to).unwrap();
    std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// `hexward demo --once`, as a user who is nobody when the tests run as root.
#[test]
fn one_message_without_root() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for program in [hexward(), jail(), agent()] {
        copy(&program, folder.path());
    }
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new(folder.path().join("hexward"));
    command
        .args(["demo", "--once", AURORA, "--state-dir"])
        .arg(&state)
        .arg("--agent")
        .arg(folder.path().join(agent().file_name().unwrap()));
    command.current_dir(folder.path()).env_clear().env("HEXWARD_LOG", "info");
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        std::os::unix::fs::chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let (out, log) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{out}\n{log}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["success"], &last["outcome"], &last["tool_calls_failed"]),
        (&json!(true), &json!("finished"), &json!(0)),
        "{last}"
    );
    assert!(lines.iter().any(|event| event["type"] == "tool_result" && event["tool"] == "addItem" && event["ok"] == true));
}

/// The exit code tells scripts whether the job was done.
#[test]
fn one_message_that_changes_nothing_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let once = |arguments: &[&str]| {
        let mut command = Command::new(hexward());
        command
            .args(["demo", "--once", AURORA, "--state-dir"])
            .arg(folder.path().join("state"))
            .arg("--agent")
            .arg(agent())
            .args(arguments);
        let output = command.current_dir(folder.path()).env_clear().output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), out.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok()))
    };
    let (code, last) = once(&["--scenario", "overloaded"]);
    assert_eq!((code, &last.unwrap()["code"]), (Some(2), &json!("model.failed")));
    let (code, last) = once(&["--writes", "false"]);
    assert_eq!((code, &last.unwrap()["success"]), (Some(2), &json!(false)));
    assert_eq!(once(&["--app", "nosuch"]), (Some(1), None));
    let (code, last) = once(&["--app", "hexmap"]);
    assert_eq!((code, &last.unwrap()["success"]), (Some(0), &json!(true)));
    // The place is taken: the change fails, whatever the agent looks at afterwards.
    let (code, last) = once(&[]);
    let last = last.unwrap();
    assert_eq!((code, &last["success"], &last["outcome"]), (Some(2), &json!(false), &json!("finished")), "{last}");
}

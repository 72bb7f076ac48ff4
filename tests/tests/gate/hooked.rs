//! Direct mode where no namespace can be had: the real jail is started in a user namespace in which none can be made.

use gate_tests::{Probe, Process, ProgramSetup, Setup, TestGate, agent, eventually, jail, logged};
use sandbox::Mode;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Only this user namespace is affected, and only the jail is in it.
fn without_namespaces(folder: &Path) -> PathBuf {
    let limits = "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_net_namespaces";
    let drop = "/usr/bin/setpriv --bounding-set=-all --inh-caps=-all";
    let jail = jail();
    let text = format!(
        "#!/bin/sh\nexec /usr/bin/unshare -U -r /bin/sh -c '{limits} && exec {drop} \"$0\" \"$@\"' '{}' \"$@\"\n",
        jail.display()
    );
    executable(&folder.join("jail"), &text)
}

fn executable(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}

fn script(folder: &Path) -> PathBuf {
    executable(&folder.join("agent.mjs"), include_str!("../../src/agents/hooked.mjs"))
}

fn direct(folder: &Path, agent: PathBuf) -> Setup {
    Setup { mode: Mode::Direct, jail: Some(without_namespaces(folder)), agent: Some(agent), ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_javascript_is_redirected_by_the_hook_and_nothing_goes_around_it() {
    let folder = tempfile::tempdir().unwrap();
    let gate = TestGate::start(direct(folder.path(), script(folder.path()))).await;
    let agent = Probe::new(gate.person().await).await;
    let own = format!("http://{}/healthz", gate.address);
    let seen = agent.tell(&gate, json!([{"own": own}])).await;
    let denied = |code: &str| json!(format!("403 {code}"));
    let tried = json!(["EHEXWARD", 403]);
    let expected = json!({
        "tools": 200, "fetch": denied("model.path"), "https": denied("model.path"), "http": denied("model.path"),
        "http2": denied("model.path"), "net": "HTTP/1.1 403 Forbidden", "tls": true,
        "another_name_in_host": denied("egress.host"), "lookup": true, "worker": tried, "worker_with_options_of_its_own": tried,
        "child": tried, "child_without_environment": tried, "child_sync": "EHEXWARD",
    });
    assert_eq!(seen[0], expected, "what must be reached: {:#}", seen[0]);
    let refused = seen[1].as_object().unwrap();
    let got_through: Vec<_> = refused.iter().filter(|(_, held)| **held != json!(true)).collect();
    assert!(refused.len() == 25 && got_through.is_empty(), "{got_through:?}");
    assert_eq!(seen[2], json!(std::process::id()), "no jail is around it");
    assert!(logged("no network namespace can be had"), "it is loud");
    // The next message goes to the same agent, whose gate was tried before.
    agent.tell(&gate, json!([{"own": own}])).await;
    assert_eq!(gate.sandboxes_started(), 1);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_agent_is_not_started_where_it_can_t_be_redirected() {
    let folder = tempfile::tempdir().unwrap();
    let gate = TestGate::start(direct(folder.path(), agent())).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, "Create a tile called Aurora to the north-east", true).await;
    let end = events.last().unwrap();
    assert_eq!((&end["outcome"], &end["code"]), (&json!("failed"), &json!("sandbox.unavailable")), "{events:?}");
    assert!(logged("only an agent in JavaScript, run by Node, can be redirected"), "the log says why and what to do");
    gate.finish().await;
}

/// Native mode is never less than that.
#[tokio::test(flavor = "multi_thread")]
async fn confined_mode_does_not_fall_back_to_the_hook() {
    let folder = tempfile::tempdir().unwrap();
    let gate = TestGate::start(Setup { mode: Mode::Native, ..direct(folder.path(), script(folder.path())) }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, "Hello", true).await;
    assert_eq!(events.last().unwrap()["code"], "sandbox.unavailable", "{events:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_takes_the_agent_along() {
    let folder = tempfile::tempdir().unwrap();
    let fake = fake::Fake::start(fake::FakeConfig::for_tests("sk-ant-api03-of-the-test")).await.unwrap();
    let mut setup = ProgramSetup::new(folder.path(), &fake.url(), "sk-ant-api03-of-the-test").with("USE_SANDBOX", "false");
    let (agent_path, jail_path) = (script(folder.path()), without_namespaces(folder.path()));
    setup.config = setup.config.replace(&agent().display().to_string(), &agent_path.display().to_string());
    setup.config.push_str(&format!("jail = \"{}\"\n[runs]\nwarm_agents_max = 0\n", jail_path.display()));
    let mut program = setup.start();
    let ada = program.person().await;
    let conversation = ada.conversation().await;
    ada.say(&conversation, &json!({"report": "x", "orders": [{"own": "http://127.0.0.1:1/", "stay": true}]}).to_string(), true)
        .await;
    let node = || -> Option<Process> {
        let is_ours = |process: &Process| {
            let words = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            String::from_utf8_lossy(&words).contains(&agent_path.display().to_string())
        };
        program.descendants().into_iter().find(is_ours)
    };
    eventually("the agent runs", Duration::from_secs(30), async || node().is_some()).await;
    let node = node().unwrap();
    eventually("it has done its work", Duration::from_secs(30), async || !fake.requests().is_empty()).await;
    assert!(node.is_alive());
    program.signal("KILL");
    program.wait();
    eventually("the agent is gone", Duration::from_secs(10), async || !node.is_alive()).await;
}

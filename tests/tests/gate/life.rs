//! The gateway as a process: how it refuses to start, how it stops, and what is left when it is killed.

use fake::{Fake, FakeConfig};
use gate_tests::{Process, Program, ProgramSetup, control_group_of, control_groups, eventually, exchange, request};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const KEY: &str = "sk-ant-api03-of-this-test-alone";
const AURORA: &str = "Create a tile called Aurora to the north-east";

async fn slow_fake() -> Fake {
    Fake::start(FakeConfig { event_delay_ms: 150, ..FakeConfig::for_tests(KEY) }).await.unwrap()
}

fn setup(folder: &Path, fake: &Fake) -> ProgramSetup {
    ProgramSetup::new(folder, &fake.url(), KEY)
}

/// What it says when it refuses to start.
fn refusal(setup: &ProgramSetup) -> String {
    let output = setup.refused();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(!out.contains("ready"), "no port was open: {out}");
    assert!(!error.contains(KEY), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_refused_with_every_fault() {
    let folder = tempfile::tempdir().unwrap();
    let fake = slow_fake().await;
    let good = || setup(folder.path(), &fake);
    let many = ProgramSetup { config: good().config + "[budget]\nday_usd = 0\n[runs]\nconcurrent_max = 0\n", ..good() };
    let many = many
        .with("AUTH_SECRET", "short")
        .with("ANTHROPIC_API_KEY", "")
        .with("VERCEL_OIDC_TOKEN", "token")
        .with("INTERNAL_PROXY_SECRET", "change-me")
        .with("USE_SANDBOX", "perhaps");
    let said = refusal(&many);
    for place in [
        "budget.day_usd",
        "runs.concurrent_max",
        "AUTH_SECRET",
        "ANTHROPIC_API_KEY",
        "VERCEL_OIDC_TOKEN",
        "INTERNAL_PROXY_SECRET",
        "USE_SANDBOX",
    ] {
        assert!(said.contains(place), "{place} is not named in {said}");
    }
    assert!(!said.contains("change-me") && !said.contains("token\n"), "no value is repeated: {said}");
    let unknown = refusal(&ProgramSetup { config: format!("{}\n[listen2]\nx = 1\n", good().config), ..good() });
    assert!(unknown.contains("listen2") && unknown.contains("line"), "{unknown}");
    // As it is before `hexward agent install`: the default is a path from where it was started.
    let agent = gate_tests::agent().display().to_string();
    let missing = refusal(&ProgramSetup { config: good().config.replace(&agent, "nowhere/agent"), ..good() });
    assert!(missing.contains("/nowhere/agent: No such file") && missing.contains("`hexward agent install`"), "{missing}");
    let weak = refusal(&good().with("INTERNAL_PROXY_SECRET", &"0123456789abcdef".repeat(4)));
    assert!(weak.contains("openssl rand -hex 32"), "{weak}");
    let production = refusal(&good().with("USE_SANDBOX", "false").with("NODE_ENV", "production"));
    assert!(production.contains("USE_SANDBOX") && production.contains("production"), "{production}");
    let open = ProgramSetup { config: good().config.replace("people = \"127.0.0.1:0\"", "people = \"0.0.0.0:0\""), ..good() };
    let open = refusal(&open.with("USE_SANDBOX", "false"));
    assert!(open.contains("loopback"), "{open}");
    let database = refusal(&good().with("DATABASE_URL", "mysql://root:hunter2@127.0.0.1/x"));
    assert!(database.contains("DATABASE_URL") && !database.contains("hunter2"), "{database}");
    let gone = refusal(&good().with("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x"));
    assert!(gone.contains("unavailable") && !gone.contains("hunter2"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let fake = slow_fake().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let good = setup(folder.path(), &fake);
    let people =
        ProgramSetup { config: good.config.replace("people = \"127.0.0.1:0\"", &format!("people = \"{address}\"")), ..good };
    let said = refusal(&people);
    assert!(said.contains("listen.people") && said.contains(&address), "{said}");
    let good = setup(folder.path(), &fake)
        .with("INTERNAL_PROXY_SECRET", "8f3b1c0d9e7a62541f0e3d2c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978");
    let callers =
        ProgramSetup { config: good.config.replace("callers = \"127.0.0.1:0\"", &format!("callers = \"{address}\"")), ..good };
    let said = refusal(&callers);
    assert!(said.contains("listen.callers") && said.contains(&address), "{said}");
    let state = folder.path().join("state");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = refusal(&setup(folder.path(), &fake));
    assert!(said.contains("700") && said.contains("--state-dir"), "secrets are not kept where others can look: {said}");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    let first = setup(folder.path(), &fake).start();
    let second = refusal(&setup(folder.path(), &fake));
    assert!(second.contains("another hexward"), "one gateway for one folder: {second}");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_the_callers_port_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let fake = slow_fake().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = setup(folder.path(), &fake);
    let config = good.config.replace("callers = \"127.0.0.1:0\"", &format!("callers = \"{free}\""));
    let program = ProgramSetup { config, ..good }.start();
    assert!(tokio::net::TcpStream::connect(free).await.is_err(), "nobody listens");
    let page = exchange(program.address, request("GET", "/healthz", &[], "")).await;
    assert_eq!((page.status, page.text().as_str()), (200, "ok\n"));
}

/// A run in the middle of its answer.
struct Midway {
    program: Program,
    person: gate_tests::Person,
    conversation: String,
    run: String,
    groups: BTreeSet<String>,
    processes: Vec<Process>,
}

async fn midway(setup: &ProgramSetup) -> Midway {
    let program = setup.start();
    let person = program.person().await;
    let conversation = person.conversation().await;
    let run = person.say(&conversation, AURORA, true).await;
    person.watch(&run).await.until("text_delta").await;
    let (sandboxes, processes) = (program.sandboxes(), program.descendants());
    // This run's, and those of agents that are started ahead of need.
    assert!(!sandboxes.is_empty() && processes.len() >= 2, "{sandboxes:?} {processes:?}");
    let groups = processes.iter().filter_map(|process| control_group_of(*process)).collect();
    Midway { program, person, conversation, run, groups, processes }
}

async fn nothing_left(midway: &Midway, within: Duration) {
    eventually("every process of the sandbox is gone", within, async || {
        !midway.processes.iter().any(|process| process.is_alive())
    })
    .await;
    for group in &midway.groups {
        eventually("its control groups are gone", within, async || control_groups(group).is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_ends_everything_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let fake = slow_fake().await;
    let setup = setup(folder.path(), &fake);
    let mut midway = midway(&setup).await;
    midway.program.signal("TERM");
    assert!(midway.program.wait().success(), "{}", midway.program.log());
    nothing_left(&midway, Duration::from_millis(200)).await;
    let database = midway.program.database().await;
    assert_eq!(database.run(&midway.run).await.0, "stopped");
    assert_eq!((database.active_runs().await, database.0.open_model_calls().await.unwrap()), (0, 0));
    assert!(!midway.program.log().contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_in_the_middle_leaves_nothing_running_and_owes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fake = slow_fake().await;
    let setup = setup(folder.path(), &fake);
    let mut midway = midway(&setup).await;
    midway.program.signal("KILL");
    assert!(!midway.program.wait().success());
    nothing_left(&midway, Duration::from_secs(2)).await;

    let again = setup.start();
    let database = again.database().await;
    let (state, code) = database.run(&midway.run).await;
    assert_eq!((state.as_str(), code.as_deref()), ("failed", Some("gateway.restarted")));
    let left = database.calls().await.pop().unwrap();
    assert_eq!((left.outcome.as_deref(), left.cost), (Some("unknown"), left.reserved), "an unknown cost is charged");
    assert_eq!((database.active_runs().await, database.0.open_model_calls().await.unwrap()), (0, 0));
    // The same person, with the same session, sees how it ended and goes on.
    let person = midway.person.clone().at(again.address);
    let events = person.watch(&midway.run).await.rest().await;
    assert_eq!((&events[0]["outcome"], &events[0]["code"]), (&Value::from("failed"), &Value::from("gateway.restarted")));
    assert_eq!(person.history(&midway.conversation).await[0]["text"], AURORA, "what was said is kept");
    let events = person.run(&midway.conversation, AURORA, true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    assert_eq!(person.tiles().await, ["Aurora"]);
}

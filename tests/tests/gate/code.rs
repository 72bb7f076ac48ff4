//! The example app `docs/examples/code-agent`: a Node script on the Agent SDK's `query()`, with a shell, in a real sandbox.

use gate_tests::{CodeApp, Person, Setup, TestGate, code_runtime};
use serde_json::{Value, json};
use std::time::Duration;

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
echo "print('from a file')" > /work/job.py && python3 /work/job.py
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
    let look = "ls -A /work; cat /work/job.py 2>&1 || echo nothing";
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

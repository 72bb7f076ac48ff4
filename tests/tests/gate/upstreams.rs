//! Tool servers of strangers, from their manifests alone: with an address or as a program, each with the gateway's own credential.

use gate_tests::{
    Answer, Person, SUITE_CREDENTIAL, Setup, Speaks, SuiteServer, TestGate, code_runtime, eventually, exchange, probe, request,
};
use hexward::config::{AppFolder, ToolExtras};
use policy::{Manifest, McpServer};
use sandbox::Mode;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECRET: &str = "the program's own secret";

/// An app's folder whose tool server is a program.
fn program(folder: &Path, mcp: &str) -> AppFolder {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let files = folder.join("server");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("tools.py"), include_str!("../../src/tools.py")).unwrap();
    std::fs::set_permissions(&files, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(files.join("tools.py"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let tools = ["look", "remember", "scan", "die"].map(|tool| format!("[tools.{tool}]\neffect = 'read'\n")).concat();
    let text = format!(
        "id = 'own'\ntitle = 'Own'\ngreeting = 'Hello'\n[agent]\nmodel = 'claude-sonnet-5-5'\n[mcp]\nname = 'own'\nserver = 'stdio'\n\
         command = ['python3', '/app/tools.py']\nfiles = 'server'\n{mcp}\n{tools}"
    );
    std::fs::write(folder.join("app.toml"), text).unwrap();
    std::fs::write(folder.join("prompt.md"), "Help.").unwrap();
    AppFolder::read(folder, Mode::Native).unwrap()
}

async fn gate(app: AppFolder) -> TestGate {
    let is_program = app.manifest.mcp.as_ref().is_some_and(|mcp| mcp.server == McpServer::Stdio);
    let runtime = if is_program { code_runtime() } else { PathBuf::new() };
    TestGate::start(Setup { agent: Some(probe()), callers: true, apps: vec![app], runtime, ..Setup::default() }).await
}

/// A key of this person's for the app.
async fn key(gate: &mut TestGate, person: &Person, app: &str) -> String {
    let headers = [("cookie", person.cookie.as_str()), ("content-type", "application/json")];
    let made =
        exchange(gate.address, request("POST", "/api/keys", &headers, json!({"name": "desk", "app": app}).to_string())).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let token = made.json()["token"].as_str().unwrap().to_owned();
    gate.keep_secret("a person's key", &token);
    token
}

async fn ask(gate: &TestGate, token: &str, tool: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"b": 1, "a": 2}}});
    exchange(gate.callers(), request("POST", "/api/mcp", &headers, body.to_string())).await
}

async fn call(gate: &TestGate, token: &str, tool: &str) -> Value {
    let answer = ask(gate, token, tool).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["result"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_serves_one_person_confined_and_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = program(folder.path(), "credential = { variable = 'API_TOKEN' }");
    app.credential = Some(SECRET.to_owned().into());
    let mut gate = gate(app).await;
    let (ada, bob) = (gate.person().await, gate.person().await);
    let (hers, his) = (key(&mut gate, &ada, "own").await, key(&mut gate, &bob, "own").await);
    call(&gate, &hers, "remember").await;
    let (one, two) = (call(&gate, &hers, "look").await, call(&gate, &his, "look").await);
    let said = |result: &Value, what: &str| result["structuredContent"][what].clone();
    assert_eq!((said(&one, "user"), said(&two, "user")), (json!(ada.user), json!(bob.user)));
    assert_eq!((said(&one, "remembered"), said(&two, "remembered")), (json!([ada.user]), json!([])), "a process is one person's");
    let seen = call(&gate, &hers, "scan").await;
    assert_eq!(said(&seen, "secret"), SECRET, "it has what its operator gave it");
    let environment = said(&seen, "environment").to_string();
    for foreign in ["ANTHROPIC", "AUTH_SECRET", "DATABASE", "INTERNAL", "HEXWARD"] {
        assert!(!environment.contains(foreign), "{environment}");
    }
    assert!(!said(&seen, "network").to_string().contains("reached"), "{seen}");
    assert!(!said(&seen, "root").to_string().contains("root") && said(&seen, "write") == json!(false), "{seen}");
    assert_ne!(said(&seen, "uid"), json!(0));
    let dead = call(&gate, &hers, "die").await;
    assert_eq!((&dead["isError"], &dead["_meta"]["hexward/reason"]), (&json!(true), &json!("tool.uncertain")), "{dead}");
    let again = call(&gate, &hers, "look").await;
    assert_eq!(said(&again, "remembered"), json!([]), "a new one");
    assert_eq!(call(&gate, &his, "look").await["structuredContent"]["user"], json!(bob.user), "another's goes on");
    assert!(gate.sandboxes_started() >= 3);
    let alive = gate.sandboxes_alive();
    assert_eq!(alive, 2, "hers that was started again, and his");
    // That nothing is left of them is checked at the end.
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_can_t_be_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string({
        program(folder.path(), "");
        folder.path().join("app.toml")
    })
    .unwrap();
    let refused = |from: &str, to: &str| {
        std::fs::write(folder.path().join("app.toml"), text.replace(from, to)).unwrap();
        AppFolder::read(folder.path(), Mode::Native).map(|_| ()).unwrap_err()
    };
    assert!(refused("files = 'server'", "files = 'elsewhere'").contains("elsewhere"));
    assert!(refused("'python3', '/app/tools.py'", "'/bin/sh', '-c', 'id'").contains("mcp.command must begin"));
    std::fs::write(folder.path().join("app.toml"), &text).unwrap();
    let direct = AppFolder::read(folder.path(), Mode::Direct).map(|_| ()).unwrap_err();
    assert!(direct.contains("needs the sandbox"), "{direct}");
}

/// An app over a server with an address, and how it is shown a credential.
fn elsewhere(server: &SuiteServer, credential: &str) -> Manifest {
    let text = format!(
        "id = 'far'\ntitle = 'Far'\ngreeting = 'Hello'\n[agent]\nmodel = 'claude-sonnet-5-5'\n[mcp]\nname = 'far'\nserver = '{}'\n\
         credential = {credential}\n[tools.test_simple_text]\neffect = 'read'\n",
        server.url()
    );
    Manifest::parse(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_elsewhere_gets_the_user_s_own_credential_and_a_signed_word_of_whose_request_it_is() {
    let server = SuiteServer::start(Speaks::Modern).await;
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().to_owned();
    let manifest = elsewhere(&server, "{ secret = 'user', assertion_for = 'https://far.example' }");
    let extras = ToolExtras { user_secrets: Some(users.clone()), ..ToolExtras::default() };
    let app = AppFolder { manifest, prompt: "Help.".to_owned(), files: None, credential: None, extras };
    let mut gate = gate(app).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let (hers, eves) = (key(&mut gate, &ada, "far").await, key(&mut gate, &eve, "far").await);
    std::fs::write(users.join(&ada.user), SUITE_CREDENTIAL).unwrap();
    std::fs::set_permissions(users.join(&ada.user), std::fs::Permissions::from_mode(0o600)).unwrap();
    let done = call(&gate, &hers, "test_simple_text").await;
    assert_eq!(done["content"][0]["text"], "This is a simple text response for testing.", "{done}");
    let before = server.seen().len();
    let refused = call(&gate, &eves, "test_simple_text").await;
    assert_eq!(refused["_meta"]["hexward/reason"], "tool.unavailable", "who has no secret is shown nobody else's: {refused}");
    assert_eq!(server.seen().len(), before, "and nothing was sent");
    let (headers, body) = server.seen().into_iter().find(|(_, body)| body["method"] == "tools/call").unwrap();
    let token = headers["x-hexward-assertion"].to_str().unwrap().to_owned();
    let claims = decoded(token.split('.').nth(1).unwrap());
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!(ada.user), &json!("https://far.example")));
    assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 60);
    let digest = policy::canonical_digest(&body["params"]["arguments"]).unwrap();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(claims["args_sha256"], json!(hex), "it is good for these arguments");
    let state = gate.folder.path().join("state");
    let public: Value = serde_json::from_str(&std::fs::read_to_string(state.join("assertion-keys.json")).unwrap()).unwrap();
    assert_eq!(decoded(token.split('.').next().unwrap())["kid"], public["keys"][0]["kid"]);
    let mode = std::fs::metadata(state.join("assertion-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the key is the gateway's alone");
    for (headers, body) in server.seen() {
        let all = format!("{headers:?}{body}");
        assert!(!all.contains(&hers[8..]) && !all.contains(&eves[8..]), "a caller's key never goes on");
    }
    std::fs::remove_file(users.join(&ada.user)).unwrap();
    eventually("a secret that is taken away is gone with the next request", Duration::from_secs(1), async || {
        call(&gate, &hers, "test_simple_text").await["isError"] == json!(true)
    })
    .await;
    gate.finish().await;
}

fn decoded(part: &str) -> Value {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for byte in part.bytes() {
        bits = (bits << 6) | u32::try_from(alphabet.iter().position(|known| *known == byte).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_stands_where_the_manifest_says() {
    let server = SuiteServer::start(Speaks::Legacy).await;
    let manifest = elsewhere(&server, "{ header = 'x-api-key', template = 'key {secret}' }");
    let credential = Some(SECRET.to_owned().into());
    let app = AppFolder { manifest, prompt: "Help.".to_owned(), files: None, credential, extras: ToolExtras::default() };
    let mut gate = gate(app).await;
    let ada = gate.person().await;
    let hers = key(&mut gate, &ada, "far").await;
    let refused = call(&gate, &hers, "test_simple_text").await;
    assert_eq!(refused["isError"], true, "this server wants another one");
    let (headers, _) = server.seen().pop().unwrap();
    assert_eq!(headers["x-api-key"], format!("key {SECRET}"));
    assert!(!headers.contains_key("authorization") && !headers.contains_key("x-hexward-assertion"));
    gate.finish().await;
}

//! The official conformance suite of the Model Context Protocol, through the gateway, in both eras; and the official Inspector.

use gate_tests::{SUITE_CREDENTIAL, Setup, Speaks, SuiteServer, TestGate, exchange, mcp_tool, probe, request};
use hexward::config::{AppFolder, ToolExtras};
use policy::Manifest;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use tokio::process::Command;

/// The whole suite takes seconds.
const WAIT: Duration = Duration::from_secs(120);
const BASELINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mcp");

/// An app over that server which is open to whoever connects to its channel, or to nobody.
fn app(server: &SuiteServer, open: bool) -> AppFolder {
    let tools = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_error_handling",
        "test_tool_with_logging",
        "test_tool_with_progress",
        "test_missing_capability",
        "test_streaming_elicitation",
        "test_logging_tool",
        "json_schema_2020_12_tool",
        "test_input_required_result_elicitation",
        "test_input_required_result_sampling",
        "test_input_required_result_list_roots",
        "test_input_required_result_request_state",
        "test_input_required_result_multiple_inputs",
        "test_input_required_result_multi_round",
        "test_input_required_result_tampered_state",
        "test_input_required_result_capabilities",
        "test_asks_for_an_address",
    ];
    let tools: String = tools.iter().map(|tool| format!("[tools.{tool}]\neffect = 'read'\n")).collect();
    let text = format!(
        "id = 'fixture'\ntitle = 'Fixture'\ngreeting = 'Hello'\n\
         resources = ['test://static-text', 'test://static-binary', 'test://template/']\n\
         prompts = ['test_simple_prompt', 'test_prompt_with_arguments', 'test_prompt_with_embedded_resource', 'test_prompt_with_image', 'test_input_required_result_prompt']\n\
         [agent]\nmodel = 'claude-sonnet-5-5'\n[mcp]\nname = 'fixture'\nserver = '{}'\ndanger_without_provenance = {open}\n{tools}",
        server.url()
    );
    let manifest = Manifest::parse(&text).unwrap();
    AppFolder {
        manifest,
        prompt: "Help.".to_owned(),
        files: None,
        credential: Some(SUITE_CREDENTIAL.to_owned().into()),
        extras: ToolExtras::default(),
    }
}

async fn gate(server: &SuiteServer, open: bool) -> TestGate {
    TestGate::start(Setup { agent: Some(probe()), callers: true, apps: vec![app(server, open)], ..Setup::default() }).await
}

async fn run(mut command: Command) -> Output {
    let output = tokio::time::timeout(WAIT, command.kill_on_drop(true).output()).await;
    output.expect("it ends").expect("it starts")
}

/// Runs a version of the suite; what it does not pass has to be in the baseline, and all that is in the baseline has to fail.
async fn conforms(package: &str, speaks: Speaks, arguments: &[&str], baseline: &str) {
    let server = SuiteServer::start(speaks).await;
    let gate = gate(&server, true).await;
    let user = gate.person().await.user.parse().unwrap();
    let address = gate.gateway.open_fixture("fixture", user).await.unwrap();
    let results = tempfile::tempdir().unwrap();
    let mut command = mcp_tool(&format!("{package}/dist/index.js"));
    command.current_dir(results.path()).args(["server", "--url", &format!("http://{address}/mcp")]).args(arguments);
    command.arg("--expected-failures").arg(Path::new(BASELINES).join(baseline)).arg("-o").arg(results.path());
    let output = run(command).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("tools-call-simple-text"), "{said}");
    let journal = gate.database.tool_calls().await;
    assert!(journal.iter().any(|(tool, state)| tool == "test_simple_text" && state == "done"), "{journal:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_suite_of_2025_passes_through_the_gateway() {
    conforms("conformance-2025", Speaks::Legacy, &["--suite", "all"], "expected-failures-2025.yml").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_suite_of_2026_passes_through_the_gateway_in_the_old_era() {
    conforms("conformance-2026", Speaks::Modern, &["--requirements", "2025-11-25"], "expected-failures-2026-old.yml").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_suite_of_2026_passes_through_the_gateway() {
    conforms("conformance-2026", Speaks::Modern, &["--requirements", "2026-07-28"], "expected-failures-2026.yml").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_app_has_a_channel_without_a_credential() {
    let server = SuiteServer::start(Speaks::Modern).await;
    let gate = gate(&server, false).await;
    let user = gate.person().await.user.parse().unwrap();
    for app in ["fixture", "hexmap"] {
        let refused = gate.gateway.open_fixture(app, user).await.unwrap_err().to_string();
        assert!(refused.contains("danger_without_provenance"), "{refused}");
    }
    assert!(gate.gateway.open_fixture("nothing", user).await.is_err());
    gate.finish().await;
}

/// Makes a key for one's own client.
async fn key(gate: &mut TestGate) -> (String, String) {
    let person = gate.person().await;
    let headers = [("cookie", person.cookie.as_str()), ("content-type", "application/json")];
    let body = json!({"name": "desk", "app": "fixture"}).to_string();
    let made = exchange(gate.address, request("POST", "/api/keys", &headers, body)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let token = made.json()["token"].as_str().unwrap().to_owned();
    gate.keep_secret("a person's key", &token);
    (token, person.user)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_inspector_works_with_a_key_of_one_s_own() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let server = SuiteServer::start(speaks).await;
        let mut gate = gate(&server, false).await;
        let (token, user) = key(&mut gate).await;
        let url = format!("http://{}/api/mcp", gate.callers());
        let inspect = async |era: &str, arguments: &[&str]| {
            let mut command = mcp_tool("@modelcontextprotocol/inspector");
            command.args(["--cli", &url, "--transport", "http", "--protocol-era", era, "--format", "json"]);
            command.args(["--header", &format!("Authorization: Bearer {token}")]).args(arguments);
            let output = run(command).await;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{era} {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
            said
        };
        for era in ["legacy", "modern", "auto"] {
            let tools = inspect(era, &["--method", "tools/list"]).await;
            assert!(tools.contains("test_simple_text") && !tools.contains("not_in_the_manifest"), "{era}: {tools}");
            let called = inspect(era, &["--method", "tools/call", "--tool-name", "test_simple_text"]).await;
            assert!(called.contains("This is a simple text response for testing."), "{era}: {called}");
            let read = inspect(era, &["--method", "resources/read", "--uri", "test://static-text"]).await;
            assert!(read.contains("This is the content of the static text resource."), "{era}: {read}");
        }
        for (headers, body) in server.seen() {
            assert!(!headers.values().any(|value| value.as_bytes().ends_with(token.as_bytes())), "the key stays here");
            assert!(!body.to_string().contains(&token));
            assert_eq!(headers["x-hexward-user"].to_str().unwrap(), user, "the server is told whose request it is");
        }
        gate.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_manifest_does_not_list_a_client_does_not_see() {
    let server = SuiteServer::start(Speaks::Modern).await;
    let mut gate = gate(&server, false).await;
    let (token, _) = key(&mut gate).await;
    let bearer = format!("Bearer {token}");
    let ask = async |method: &str, params: Value| {
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("accept", "application/json")];
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        exchange(gate.callers(), request("POST", "/api/mcp", &headers, body)).await.json()
    };
    for (method, params) in [
        ("resources/read", json!({"uri": "test://not-in-the-manifest"})),
        ("prompts/get", json!({"name": "not_in_the_manifest"})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "not_in_the_manifest"}, "argument": {"name": "a", "value": ""}}),
        ),
        ("prompts/get", json!({"name": "test_simple_prompt", "arguments": {"a": 1}})),
        ("completion/complete", json!({"ref": {"type": "ref/other"}, "argument": {"name": "a", "value": ""}})),
        ("logging/setLevel", json!({"level": "loud"})),
    ] {
        let answer = ask(method, params).await;
        assert!(answer["error"]["code"].as_i64().unwrap() < 0, "{method}: {answer}");
        assert!(!answer.to_string().contains("nobody may see this") && !answer.to_string().contains("own words"), "{answer}");
    }
    for (method, list) in [("resources/list", "resources"), ("prompts/list", "prompts"), ("tools/list", "tools")] {
        let answer = ask(method, json!({})).await;
        assert!(!answer["result"][list].as_array().unwrap().is_empty() && !answer.to_string().contains("not"), "{answer}");
    }
    let hidden = ask("tools/call", json!({"name": "not_in_the_manifest"})).await;
    assert_eq!(hidden["result"]["_meta"]["hexward/reason"], "tool.unknown", "{hidden}");
    let asks_back = ask("tools/call", json!({"name": "test_missing_capability"})).await;
    assert_eq!(asks_back["error"]["data"]["requiredCapabilities"], json!({"sampling": {}}), "{asks_back}");
    gate.finish().await;
}

/// Asks as a client of the newer era that can answer so much.
async fn asked(gate: &TestGate, bearer: &str, (method, name): (&str, &str), can: Value, more: Value) -> Value {
    let meta =
        json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": can});
    let mut params = json!({"name": name, "arguments": {}, "_meta": meta});
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    let headers = [
        ("authorization", bearer),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
        ("mcp-name", name),
    ];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    exchange(gate.callers(), request("POST", "/api/mcp", &headers, body)).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_back_goes_to_who_can_answer_it_and_its_state_to_nobody_else() {
    let server = SuiteServer::start(Speaks::Modern).await;
    let mut gate = gate(&server, false).await;
    let ((hers, _), (eves, _)) = (key(&mut gate).await, key(&mut gate).await);
    let (hers, eves) = (format!("Bearer {hers}"), format!("Bearer {eves}"));
    let tool = |name: &'static str| ("tools/call", name);
    let (forms, both) = (json!({"elicitation": {}}), json!({"elicitation": {}, "roots": {}, "sampling": {}}));
    let state_tool = tool("test_input_required_result_request_state");

    let first = asked(&gate, &hers, state_tool, forms.clone(), json!({})).await["result"].clone();
    assert_eq!(first["resultType"], "input_required", "{first}");
    assert_eq!(first["inputRequests"]["confirm"]["params"]["message"], "Fixture asks: Please confirm", "who asks is said");
    let state = first["requestState"].as_str().unwrap().to_owned();
    assert!(!state.contains("the server's own state"), "{state}");
    let answer = |state: &str| json!({"inputResponses": {"confirm": {"action": "accept", "content": {"ok": true}}}, "requestState": state});
    let done = asked(&gate, &hers, state_tool, forms.clone(), answer(&state)).await;
    assert_eq!(done["result"]["content"][0]["text"], "state-ok", "the server has its own back: {done}");

    let before = server.seen().len();
    let mut other = answer(&state);
    other["arguments"] = json!({"more": 1});
    for (bearer, tool, more) in [
        (&eves, state_tool, answer(&state)),
        (&hers, tool("test_input_required_result_tampered_state"), answer(&state)),
        (&hers, state_tool, other),
        (&hers, state_tool, answer("the server's own state")),
        (&hers, state_tool, answer(&format!("{state}A"))),
        (&hers, ("prompts/get", "test_input_required_result_prompt"), answer(&state)),
    ] {
        let refused = asked(&gate, bearer, tool, forms.clone(), more.clone()).await;
        assert_eq!(refused["error"]["code"], -32602, "{tool:?} {more}: {refused}");
    }
    assert_eq!(server.seen().len(), before, "nothing of that reached the server");

    for (name, can) in [
        ("test_input_required_result_sampling", both.clone()),
        ("test_input_required_result_multiple_inputs", both.clone()),
        ("test_input_required_result_elicitation", json!({})),
        ("test_input_required_result_list_roots", forms.clone()),
        ("test_asks_for_an_address", both.clone()),
    ] {
        let refused = asked(&gate, &hers, tool(name), can, json!({})).await;
        assert!(
            refused["result"]["inputRequests"].is_null() && !refused.to_string().contains("evil.example"),
            "{name}: {refused}"
        );
        assert!(refused["error"].is_object() || refused["result"]["isError"] == true, "{name}: {refused}");
    }
    let declared = |body: &Value| body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone();
    assert!(server.seen().iter().any(|(_, body)| declared(body) == json!({"elicitation": {"form": {}}, "roots": {}})));
    assert!(
        server.seen().iter().all(|(_, body)| declared(body)["sampling"].is_null()),
        "no server is told that a model may be used"
    );

    // A prompt asks as well.
    let prompt = ("prompts/get", "test_input_required_result_prompt");
    let asked_for = asked(&gate, &hers, prompt, forms.clone(), json!({})).await["result"].clone();
    assert_eq!(asked_for["inputRequests"]["user_context"]["method"], "elicitation/create", "{asked_for}");
    let answer = json!({"inputResponses": {"user_context": {"action": "accept", "content": {"context": "tests"}}}});
    let filled = asked(&gate, &hers, prompt, forms, answer).await["result"].clone();
    assert_eq!(filled["messages"][0]["content"]["text"], "Go on with \"tests\"", "{filled}");
    gate.finish().await;
}

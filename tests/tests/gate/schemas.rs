//! Arguments are compared with what a tool says of them before the tool is called, and what does not fit can be corrected.

use gate_tests::{Person, Probe, Setup, TestGate, ToolServer, exchange, logged, probe, request};
use serde_json::{Value, json};

const CORRECTS: &str = r#"
name = "corrects"
about = "Says an argument wrong, and then right."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "mcp__notes__look", input = { depth = "deep", where = "here" } } }]
[[reply]]
when = { turn = 2 }
steps = [{ tool_use = { name = "mcp__notes__look", input = { depth = 2 } } }]
[[reply]]
steps = [{ text = "Seen." }]
"#;
const SENDS: &str = r#"
name = "sends"
about = "Sends something that can't be sent."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "mcp__notes__send", input = { to = 7 } } }]
[[reply]]
steps = [{ text = "So be it." }]
"#;
const TOOLS: &str = "[tools.look]\neffect = 'read'\n[tools.send]\neffect = 'write'\n[tools.far]\neffect = 'read'\n\
                     [tools.ask]\neffect = 'read'\n[tools.ask.arguments]\nwhom = { from = ['user'] }\n";

fn tools() -> Value {
    let look = json!({"type": "object", "required": ["depth"], "additionalProperties": false,
        "properties": {"depth": {"type": "integer", "minimum": 1, "maximum": 3}}});
    let send =
        json!({"type": "object", "properties": {"to": {"$ref": "#/$defs/address"}}, "$defs": {"address": {"type": "string"}}});
    let far = json!({"type": "object", "properties": {"a": {"$ref": "https://schemas.example/a.json"}}});
    json!([
        {"name": "look", "description": "Looks.", "inputSchema": look},
        {"name": "send", "description": "Sends.", "inputSchema": send},
        {"name": "far", "description": "Looks far.", "inputSchema": far},
        {"name": "ask", "description": "Asks.", "inputSchema": {"type": "object", "properties": {"whom": {"type": "string"}}}},
    ])
}

fn reason(result: &Value) -> &str {
    result["_meta"]["hexward/reason"].as_str().unwrap_or("")
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_do_not_fit_come_back_for_the_model_to_correct() {
    let server = ToolServer::start(tools()).await;
    let scenarios = vec![("corrects", CORRECTS.to_owned()), ("sends", SENDS.to_owned())];
    let gate = TestGate::start(Setup { apps: vec![server.app(TOOLS)], scenarios, ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation_with(&json!({"app": "notes"})).await;
    let events = ada.run(&conversation, "[[scenario:corrects]] Look.", false).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    let results: Vec<&Value> = events.iter().filter(|event| event["type"] == "tool_result").collect();
    let [wrong, right] = results[..] else { panic!("{events:?}") };
    assert_eq!((&wrong["ok"], &wrong["denial"]["code"], &right["ok"]), (&json!(false), &json!("tool.input"), &json!(true)));
    let told = gate.provider_saw().iter().any(|exchange| {
        let body = String::from_utf8_lossy(&exchange.body).into_owned();
        body.contains("depth: must be a whole number") && body.contains("where: there is no such field; there are: depth")
    });
    assert!(told, "the model hears what to correct");
    assert_eq!(server.calls().len(), 1, "what does not fit never left");
    assert_eq!(server.calls()[0]["arguments"], json!({"depth": 2}));
    assert_eq!(gate.database.tool_calls().await, [("look".to_owned(), "done".to_owned())]);
    assert!(gate.database.denials().await.contains(&"tool.input look".to_owned()));

    // Nobody is asked about what can't be made.
    let conversation = ada.conversation_with(&json!({"app": "notes"})).await;
    let events = ada.run(&conversation, "[[scenario:sends]] Send.", true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    assert!(!events.iter().any(|event| event["type"] == "confirmation"), "{events:?}");
    assert!(gate.database.confirmations().await.is_empty());
    assert_eq!(server.calls().len(), 1);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_whose_schema_leads_elsewhere_is_not_used() {
    let server = ToolServer::start(tools()).await;
    let gate = TestGate::start(Setup { agent: Some(probe()), apps: vec![server.app(TOOLS)], ..Setup::default() }).await;
    let agent = Probe::of(gate.person().await, "notes").await;
    let seen = agent.tell(&gate, json!([{"do": "tool", "method": "tools/list"}])).await;
    let names: Vec<&str> =
        seen[0]["result"]["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["look", "send", "ask"]);
    assert!(logged("inputSchema can't be used") && logged("/properties/a/$ref"), "its operator is told why");
    gate.finish().await;
}

async fn key(gate: &mut TestGate, person: &Person) -> String {
    let headers = [("cookie", person.cookie.as_str()), ("content-type", "application/json")];
    let body = json!({"name": "desk", "app": "notes"}).to_string();
    let made = exchange(gate.address, request("POST", "/api/keys", &headers, body)).await;
    let token = made.json()["token"].as_str().unwrap().to_owned();
    gate.keep_secret("a person's key", &token);
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_arguments_have_to_fit_and_to_come_from_where_they_may() {
    let server = ToolServer::start(tools()).await;
    let setup = Setup { agent: Some(probe()), callers: true, apps: vec![server.app(TOOLS)], ..Setup::default() };
    let mut gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let bearer = format!("Bearer {}", key(&mut gate, &ada).await);
    let call = async |tool: &str, arguments: Value| {
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let params = json!({"name": tool, "arguments": arguments});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        let answer = exchange(gate.callers(), request("POST", "/api/mcp", &headers, body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["result"].clone()
    };
    let wrong = call("look", json!({"depth": 9})).await;
    assert_eq!((&wrong["isError"], reason(&wrong)), (&json!(true), "tool.input"), "{wrong}");
    assert!(wrong["content"][0]["text"].as_str().unwrap().contains("depth: may be at most 3"), "{wrong}");
    assert_eq!(reason(&call("far", json!({})).await), "tool.schema");
    // A rule about where a value comes from holds for whoever calls; nobody knows here what the person wrote.
    for whom in ["eve@example.com", "ada", ""] {
        assert_eq!(reason(&call("ask", json!({"whom": whom})).await), "tool.argument", "{whom}");
    }
    assert!(server.calls().is_empty(), "nothing left");
    assert!(gate.database.tool_calls().await.is_empty());
    assert_eq!(call("look", json!({"depth": 3})).await["content"][0]["text"], "It is sent.");
    let denied = gate.database.denials().await;
    for wanted in ["tool.input look", "tool.schema far", "tool.argument ask: whom"] {
        assert!(denied.contains(&wanted.to_owned()), "{wanted}: {denied:?}");
    }
    gate.finish().await;
}

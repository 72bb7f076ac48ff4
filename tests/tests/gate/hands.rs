//! What people do in an app's page with their own hands: to their own things, through the app's own tools, written down.

use gate_tests::{Answer, Postgres, Probe, Setup, TestGate, exchange, probe, request};
use policy::RateRules;
use serde_json::{Value, json};

const TOOLS: &str = "/api/apps/hexmap/tools";

async fn quiet() -> TestGate {
    TestGate::start(Setup { agent: Some(probe()), ..Setup::default() }).await
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_edits_their_own_map_and_it_is_written_down() {
    edits(quiet().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_edits_their_own_map_on_postgresql() {
    let database = Some(Postgres::shared().fresh_database());
    edits(TestGate::start(Setup { agent: Some(probe()), database, ..Setup::default() }).await).await;
}

async fn edits(gate: TestGate) {
    let (ada, eve) = (gate.person().await, gate.person().await);
    let call = async |person: &gate_tests::Person, tool: &str, arguments: Value| {
        let answer = person.post(&format!("{TOOLS}/{tool}"), &json!({"arguments": arguments})).await;
        assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
        answer.json()
    };
    let place = format!("{},0:2", ada.user);
    let made = call(&ada, "addItem", json!({"coords": place, "title": "Aurora"})).await;
    assert_eq!((&made["ok"], &made["result"]["coordinates"]), (&json!(true), &json!(place)), "{made}");
    assert_eq!(ada.tiles().await, ["Aurora"]);
    assert!(eve.tiles().await.is_empty());
    // Nobody's hand reaches another's map: it is answered as what is not there.
    for (tool, arguments) in [
        ("updateItem", json!({"coords": place, "updates": {"title": "Eve was here"}})),
        ("deleteItem", json!({"coords": place})),
        ("listVersions", json!({"coords": place})),
        ("exportMap", json!({"coords": place})),
        ("markSeen", json!({"itemId": made["result"]["id"]})),
    ] {
        let refused = call(&eve, tool, arguments).await;
        assert_eq!(refused["ok"], false, "{tool}");
        assert!(refused["message"].as_str().unwrap().starts_with("No tile found"), "{tool}: {refused}");
    }
    let taken = call(&ada, "addItem", json!({"coords": place, "title": "Again"})).await;
    assert!(taken["message"].as_str().unwrap().contains("already a tile"), "{taken}");
    let exported = call(&ada, "exportMap", json!({})).await["result"].clone();
    let document = json!({"format": exported["format"], "version": exported["version"], "tiles": exported["tiles"]}).to_string();
    let brought = call(&eve, "importMap", json!({"document": document})).await;
    assert_eq!((&brought["result"]["tiles"], &brought["undo"]["tool"]), (&json!(2), &json!("undoChange")), "{brought}");
    assert_eq!(eve.tiles().await, ["Aurora"]);
    assert_eq!(call(&eve, "undoChange", brought["undo"]["arguments"].clone()).await["ok"], true);
    assert!(eve.tiles().await.is_empty(), "her map is as it was");
    call(&eve, "importMap", json!({"document": document})).await;
    // Each is in the journal, under its own id and no run's, and in the audit log.
    let journal = gate.database.person_calls().await;
    assert_eq!(journal.len(), 11, "{journal:?}");
    assert_eq!(journal[0], (ada.user.clone(), "addItem".to_owned(), "write".to_owned(), "done".to_owned()));
    assert_eq!(journal[6], (ada.user.clone(), "addItem".to_owned(), "write".to_owned(), "failed".to_owned()));
    assert!(journal[1..6].iter().all(|(user, ..)| *user == eve.user), "{journal:?}");
    assert!(journal.iter().all(|(_, _, _, state)| state != "open"));
    let audited = gate.database.audited_person_calls().await;
    assert_eq!(audited.len(), 11);
    assert_eq!((&audited[0]["user"], &audited[0]["tool"]), (&json!(ada.user), &json!("addItem")));
    assert!(audited.iter().all(|entry| !entry.to_string().contains("Aurora")), "no contents in the audit log");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_manifest_lists_for_people_can_be_called() {
    let gate = TestGate::start(Setup { agent: Some(probe()), magic: true, ..Setup::default() }).await;
    let ada = gate.person().await;
    let arguments = json!({"arguments": {}});
    let nowhere = ada.post("/api/nothing", &arguments).await;
    assert_eq!(code(&nowhere), (404, "not_found".to_owned()));
    for path in [
        "/api/apps/hexmap/tools/getCurrentUser",
        "/api/apps/hexmap/tools/getItemsForRootItem",
        "/api/apps/hexmap/tools/dropTables",
        "/api/apps/hexmap/tools/additem",
        "/api/apps/hexmap/tools/..",
        "/api/apps/hexmap/tools/%2e%2e%2faddItem",
        "/api/apps/hexmap/tools/",
        "/api/apps/magic/tools/addItem",
        "/api/apps/magic/tools/search_cards",
        "/api/apps/none/tools/addItem",
        "/api/apps/HEXMAP/tools/addItem",
    ] {
        let refused = ada.post(path, &arguments).await;
        assert_eq!(code(&refused), (404, "not_found".to_owned()), "{path}");
    }
    let got = ada.get(&format!("{TOOLS}/addItem")).await;
    assert_eq!(code(&got), (405, "method".to_owned()));
    assert!(gate.database.person_calls().await.is_empty(), "nothing left");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_needs_a_session_its_own_page_and_a_body_that_is_one() {
    let gate = quiet().await;
    let ada = gate.person().await;
    let (path, json_type) = (format!("{TOOLS}/addItem"), "application/json");
    let place = format!("{},0:1", ada.user);
    let good = json!({"arguments": {"coords": place, "title": "x"}}).to_string();
    let unsigned = exchange(gate.address, request("POST", &path, &[("content-type", json_type)], good.clone())).await;
    assert_eq!(code(&unsigned), (401, "session.none".to_owned()));
    for (name, value) in
        [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")]
    {
        let headers = [("cookie", ada.cookie.as_str()), ("content-type", json_type), (name, value)];
        let foreign = exchange(gate.address, request("POST", &path, &headers, good.clone())).await;
        assert_eq!(code(&foreign), (403, "origin".to_owned()), "{name}: {value}");
    }
    let large = json!({"arguments": {"coords": place, "title": "x", "content": "x".repeat(257 << 10)}}).to_string();
    let cases: Vec<(&str, &str, Vec<u8>, u16, &str)> = vec![
        ("addItem", "text/plain", good.clone().into(), 415, "body.content_type"),
        ("addItem", "application/x-www-form-urlencoded", b"arguments=x".to_vec(), 415, "body.content_type"),
        ("addItem", json_type, b"{\"arguments\":{\"title\":\"\xff\"}}".to_vec(), 400, "body.utf8"),
        ("addItem", json_type, Vec::new(), 400, "body.json"),
        ("addItem", json_type, b"{}".to_vec(), 400, "body.json"),
        ("addItem", json_type, b"{\"arguments\":[]}".to_vec(), 400, "body.json"),
        ("addItem", json_type, b"{\"arguments\":{},\"user\":\"x\"}".to_vec(), 400, "body.json"),
        ("addItem", json_type, b"{\"arguments\":{},\"arguments\":{}}".to_vec(), 400, "body.json"),
        ("addItem", json_type, large.into(), 413, "body.too_large"),
        ("importMap", json_type, vec![b' '; (32 << 20) + 1], 413, "body.too_large"),
    ];
    for (tool, content_type, body, status, expected) in cases {
        let shown: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        let refused = ada.post_as(&format!("{TOOLS}/{tool}"), content_type, body).await;
        assert_eq!(code(&refused), (status, expected.to_owned()), "{tool}: {shown}");
    }
    // A document may be larger than what else is sent, and says itself what is wrong with it.
    let document = " ".repeat(300 << 10);
    let read = ada.post(&format!("{TOOLS}/importMap"), &json!({"arguments": {"document": document}})).await;
    assert_eq!((read.status, &read.json()["message"]), (200, &json!("The file is empty")), "{}", read.text());
    assert!(ada.tiles().await.is_empty(), "nothing was done");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_none_of_people_s_tools() {
    let gate = quiet().await;
    let agent = Probe::new(gate.person().await).await;
    let orders = json!([
        {"do": "tool", "method": "tools/list"},
        {"do": "tool", "name": "importMap", "arguments": {"document": "{}"}, "id": "toolu_none"},
        {"do": "tool", "name": "deleteMap", "arguments": {"groupId": 0}, "id": "toolu_none"},
    ]);
    let seen = agent.tell_with(&gate, orders, true).await;
    let listed = seen[0]["result"]["tools"].to_string();
    assert!(listed.contains("addItem"), "{listed}");
    for tool in ["importMap", "exportMap", "listVersions", "restoreVersion", "markSeen", "listMaps", "createMap", "deleteMap"] {
        assert!(!listed.contains(tool), "{tool}");
    }
    for refused in &seen[1..] {
        assert_eq!(refused["result"]["isError"], true, "{refused}");
    }
    assert!(gate.database.tool_calls().await.is_empty(), "none of it left");
    gate.finish().await;
}

/// Also a model that says it, in its own words and in the conversation, gets nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_model_says_of_people_s_tools_is_refused() {
    const SAYS: &str = r#"
name = "says"
about = "Asks for a tool of people's."
[[reply]]
steps = [{ tool_use = { name = "mcp__hexmap__importMap", input = { document = "{}" } } }]
"#;
    let setup = Setup { agent: Some(probe()), scenarios: vec![("says", SAYS.to_owned())], ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let agent = Probe::new(gate.person().await).await;
    let orders = json!([
        {"do": "ask", "text": "[[scenario:says]] Import it"},
        {"do": "tool", "name": "importMap", "arguments": {"document": "{}"}, "id": "LAST"},
    ]);
    let seen = agent.tell_with(&gate, orders, true).await;
    assert_eq!(seen[1]["result"]["_meta"]["hexward/reason"], "tool.unknown", "{}", seen[1]);
    assert!(gate.database.tool_calls().await.is_empty(), "it never left");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hands_have_a_rate_of_their_own() {
    let mut setup = Setup { agent: Some(probe()), ..Setup::default() };
    setup.runs.rates = RateRules { edits_per_minute: 3, ..RateRules::unreachable() };
    let gate = TestGate::start(setup).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let seen = json!({"arguments": {}});
    for _ in 0..3 {
        assert_eq!(ada.post(&format!("{TOOLS}/markSeen"), &seen).await.status, 200);
    }
    let refused = ada.post(&format!("{TOOLS}/markSeen"), &seen).await;
    assert_eq!(code(&refused), (429, "rate.edits".to_owned()));
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(ada.post(&format!("{TOOLS}/listMaps"), &seen).await.status, 200, "who looks changes nothing");
    assert_eq!(eve.post(&format!("{TOOLS}/markSeen"), &seen).await.status, 200, "another's is her own");
    assert_eq!(gate.database.person_calls().await.len(), 5, "what came too often never left");
    gate.finish().await;
}

/// Whoever wants to be another person only has to forget a cookie.
#[tokio::test(flavor = "multi_thread")]
async fn look_ups_are_counted_for_the_address_they_come_from() {
    let mut setup = Setup { agent: Some(probe()), magic: true, ..Setup::default() };
    setup.runs.rates = RateRules { lookups_per_minute: 6, ..RateRules::unreachable() };
    let gate = TestGate::start(setup).await;
    let look = json!({"arguments": {}});
    for turn in 0..6 {
        let somebody = gate.person().await;
        let path = if turn % 2 == 0 { format!("{TOOLS}/listMaps") } else { "/api/apps/magic/tools/mtg_data_status".to_owned() };
        assert_eq!(somebody.post(&path, &look).await.status, 200, "{turn}");
    }
    let newest = gate.person().await;
    let refused = newest.post("/api/apps/magic/tools/mtg_data_status", &look).await;
    assert_eq!(code(&refused), (429, "rate.lookups".to_owned()));
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(newest.post(&format!("{TOOLS}/markSeen"), &look).await.status, 200, "who changes something is counted apart");
    let journal = gate.database.person_calls().await;
    assert_eq!(journal.len(), 7, "{journal:?}");
    assert!(journal.iter().all(|(_, _, _, state)| state == "done"), "{journal:?}");
    assert_eq!(gate.database.audited_person_calls().await.len(), 7, "each has its audit entry");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_may_keep_is_the_operator_s_to_say() {
    let mut setup = Setup { agent: Some(probe()), ..Setup::default() };
    setup.map_limits.usual.tiles_max = 100;
    setup.map_limits.tiers = [("free".to_owned(), hexmap::map::Limits { tiles_max: 2, ..setup.map_limits.usual })].into();
    let gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let add = async |step: usize| {
        let arguments = json!({"coords": format!("{},0:{step}", ada.user), "title": "x"});
        ada.post(&format!("{TOOLS}/addItem"), &json!({"arguments": arguments})).await.json()
    };
    assert_eq!(add(1).await["ok"], true);
    let full = add(2).await;
    assert!(full["message"].as_str().unwrap().contains("you may have 2"), "{full}");
    assert_eq!(ada.tiles().await.len(), 1);
    gate.finish().await;
}

//! The Magic assistant: the real agent looks cards and rules up, and what an operator imports meanwhile is found.

use gate_tests::{Person, Setup, TestGate, hexward, probe};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

const ASKED: &str = "Find red instants that cost one";
/// A model that has a deck judged.
const JUDGE: &str = r#"
name = "judge"
about = "The model asks whether a deck is legal."
[[reply]]
when = { turn = 1 }
[[reply.steps]]
tool_use = { name = "mtg_deck_legality", input = { deck = "40 Mossy Hollow\n5 Burrowkit\n15 Burowkit", format = "standard" } }
[[reply]]
steps = [{ text = "It said: ${mtg_deck_legality}" }]
"#;
/// One card in the form of Scryfall's bulk files.
const IMPORTED: &str = r#"[{"object": "card", "oracle_id": "0c0ffee0-0000-4000-8000-000000000002", "lang": "en", "name": "Imported Spark", "layout": "normal",
    "mana_cost": "{R}", "cmc": 1.0, "type_line": "Instant", "oracle_text": "It sparks.", "colors": ["R"], "color_identity": ["R"],
    "keywords": [], "legalities": {"standard": "legal"}}]"#;

async fn conversation(person: &Person) -> String {
    person.conversation_with(&json!({"app": "magic"})).await
}

fn said(events: &[Value]) -> String {
    events.iter().filter(|event| event["type"] == "text_delta").map(|event| event["text"].as_str().unwrap()).collect()
}

fn event<'e>(events: &'e [Value], kind: &str) -> &'e Value {
    events.iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("no {kind}: {events:?}"))
}

fn cards(folder: &Path, arguments: &[&str]) -> Output {
    let database = format!("sqlite:{}", folder.join("gate.db").display());
    let mut command = Command::new(hexward());
    command.arg("cards").args(arguments).current_dir(folder).env_clear().env("DATABASE_URL", database);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_looks_up_cards_rules_and_decks() {
    let gate = TestGate::start(Setup { magic: true, scenarios: vec![("judge", JUDGE.to_owned())], ..Setup::default() }).await;
    let ada = gate.person().await;
    let conversation = conversation(&ada).await;
    // Changes are off: everything that the assistant has only reads.
    let events = ada.run(&conversation, ASKED, false).await;
    let call = event(&events, "tool_call");
    assert_eq!(call["tool"], "mtg_card_search");
    assert_eq!(call["arguments"]["filters"], json!({"colors": ["R"], "type": "Instant", "manaValue": 1}));
    assert_eq!((&event(&events, "tool_result")["ok"], &events.last().unwrap()["outcome"]), (&json!(true), &json!("finished")));
    assert!(said(&events).contains("I found one card: Sparkfinger Jab."), "{}", said(&events));

    let events = ada.run(&conversation, "What do the rules say about flying?", false).await;
    assert_eq!(event(&events, "tool_call")["tool"], "mtg_rules_lookup");
    assert!(said(&events).contains("blocked only by creatures with flying or reach"), "{}", said(&events));

    let events = ada.run(&conversation, "[[scenario:judge]] Is my deck legal?", false).await;
    let judged = said(&events);
    for part in ["\"verdict\":\"illegal\"", "5 of Burrowkit; standard allows 4", "Did they mean Burrowkit"] {
        assert!(judged.contains(part), "{part}: {judged}");
    }
    assert_eq!(gate.sandboxes_started(), 1);
    let calls = gate.database.tool_calls().await;
    assert_eq!(
        calls.iter().map(|(tool, _)| tool.as_str()).collect::<Vec<_>>(),
        ["mtg_card_search", "mtg_rules_lookup", "mtg_deck_legality"]
    );
    assert!(ada.tiles().await.is_empty(), "the map is another app");

    // What the model was offered is what the manifest lists, no tool of the map among it, and the notice stands in its prompt.
    let body: Value = serde_json::from_slice(&gate.provider_saw()[0].body).unwrap();
    let tools: Vec<&str> = body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(tools.len(), 9);
    assert!(tools.iter().all(|tool| tool.starts_with("mcp__magic__mtg_")), "{tools:?}");
    assert!(body["system"].to_string().contains("Not approved/endorsed by Wizards"));
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_while_the_gateway_runs_is_found_and_a_cut_file_is_not() {
    let gate = TestGate::start(Setup { magic: true, ..Setup::default() }).await;
    let ada = gate.person().await;
    let folder = gate.folder.path();
    let file = folder.join("oracle-cards.json");
    std::fs::write(&file, &IMPORTED.as_bytes()[..IMPORTED.len() - 5]).unwrap();
    let refused = cards(folder, &["import", "oracle-cards.json"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("oracle-cards.json: nothing was imported: it is cut or damaged"), "{why}");
    let events = ada.run(&conversation(&ada).await, ASKED, false).await;
    assert!(said(&events).contains("Sparkfinger Jab"), "nothing was lost: {}", said(&events));

    std::fs::write(&file, IMPORTED).unwrap();
    let taken = cards(folder, &["import", "oracle-cards.json"]);
    let out = String::from_utf8_lossy(&taken.stdout).into_owned();
    assert!(taken.status.success() && out.starts_with("1 cards from scryfall as of 2"), "{out}");
    let status = String::from_utf8_lossy(&cards(folder, &["status"]).stdout).into_owned();
    assert!(status.contains("imported 0 days ago") && status.contains("rules            invented ones"), "{status}");
    // The running gateway looks every few seconds; a message takes about one.
    for _ in 0..30 {
        let events = ada.run(&conversation(&ada).await, ASKED, false).await;
        if said(&events).contains("I found one card: Imported Spark.") {
            return gate.finish().await;
        }
        assert!(said(&events).contains("Sparkfinger Jab"), "the old cards or the new ones: {}", said(&events));
    }
    panic!("the gateway never noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_looks_cards_rules_and_decks_up_without_an_account_an_agent_or_a_message() {
    let gate = TestGate::start(Setup { agent: Some(probe()), magic: true, ..Setup::default() }).await;
    let ada = gate.person().await;
    let session = ada.get("/api/session").await.json();
    assert_eq!(session["user"]["kind"], "anonymous");
    let offered: Vec<&str> = session["apps"].as_array().unwrap().iter().map(|app| app["id"].as_str().unwrap()).collect();
    assert_eq!(offered, ["hexmap", "magic"], "the page knows that there is something to look up");
    let look = async |tool: &str, arguments: Value| {
        let answer = ada.post(&format!("/api/apps/magic/tools/{tool}"), &json!({"arguments": arguments})).await;
        assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
        answer.json()
    };
    let status = look("mtg_data_status", json!({})).await["result"].clone();
    assert!(status["notices"].to_string().contains("Not approved/endorsed by Wizards"), "{status}");
    let filters = json!({"colors": ["R"], "colorMatch": "including", "type": "Instant", "manaValueMax": "1", "format": "modern"});
    let found = look("mtg_card_search", json!({"filters": filters, "page": 1})).await;
    assert_eq!((&found["ok"], &found["result"]["cards"][0]["name"]), (&json!(true), &json!("Sparkfinger Jab")), "{found}");
    let card = look("mtg_card_details", json!({"name": "Quenchfall"})).await;
    assert_eq!(card["result"]["faces"].as_array().unwrap().len(), 2, "{card}");
    let rules = look("mtg_rules_lookup", json!({"ruleNumber": "310.1", "page": 1})).await;
    assert_eq!(rules["result"]["total"], 2, "{rules}");
    // Larger than a message may be: a deck has a field of its own.
    let deck = format!("Deck\n40 Mossy Hollow\n5 Burrowkit\n{}", "1 Somebody's own card\n".repeat(300));
    assert!(deck.len() > 6_000);
    assert_eq!(look("mtg_deck_parse", json!({"deck": deck})).await["result"]["sections"][0]["cards"], 345);
    assert_eq!(look("mtg_deck_analyze", json!({"deck": deck})).await["result"]["lands"]["count"], 40);
    let verdicts = look("mtg_deck_legality", json!({"deck": deck})).await["result"]["formats"].clone();
    assert!(verdicts.as_array().unwrap().iter().all(|one| one["verdict"] == "illegal"), "{verdicts}");
    assert!(look("mtg_deck_advice", json!({"deck": deck})).await["result"]["findings"].is_array());
    assert_eq!(look("mtg_draw_odds", json!({"copies": 4})).await["result"]["percent"], 39.9);
    let unknown = look("mtg_card_details", json!({"name": "Burowkit"})).await;
    assert_eq!(unknown["ok"], false);
    assert!(unknown["message"].as_str().unwrap().contains("Did you mean: Burrowkit"), "{unknown}");
    // Nobody was asked for anything, and nothing was spent.
    assert!(gate.provider_saw().is_empty());
    assert_eq!(gate.database.tool_calls().await.len(), gate.database.person_calls().await.len(), "no agent called anything");
    assert_eq!(gate.sandboxes_started(), 0);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_did_not_switch_it_on_has_no_such_app() {
    let gate = TestGate::start(Setup::default()).await;
    let ada = gate.person().await;
    let closed = ada.post("/api/apps/magic/tools/mtg_data_status", &json!({"arguments": {}})).await;
    assert_eq!(closed.status, 404, "{}", closed.text());
    assert!(!ada.get("/api/session").await.json()["apps"].to_string().contains("magic"), "and no page leads to it");
    let refused = ada.post("/api/conversations", &json!({"app": "magic"})).await;
    assert_eq!(refused.status, 404, "{}", refused.text());
    gate.finish().await;
}

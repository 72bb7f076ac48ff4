//! The server as the gateway sees it, over plain HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use magic::{Library, ServerConfig, USER_HEADER};
use policy::{Clock, Manifest, Timestamp, ToolEffect};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const CREDENTIAL: &str = "0123456789abcdef0123456789abcdef";
/// The gateway cuts results to 48,000 characters; ours stay below.
const RESULT_CHARS_MAX: usize = 40_000;

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Always the same moment.
struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000)
    }
}

async fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("magic.db").display());
    let store = Store::open(&url, &[&magic::SCHEMA]).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let library = Library::new(store, Arc::new(Then));
    tokio::spawn(library.clone().keep_fresh(shutdown.clone().cancelled_owned()));
    let config = ServerConfig { credential: CREDENTIAL.to_owned(), hosts: Vec::new() };
    tokio::spawn(magic::serve(listener, library, config, shutdown.clone()));
    Server { address, shutdown, _folder: folder }
}

impl Server {
    async fn send(&self, bearer: &str, user: Option<&str>, body: &Value) -> (u16, String) {
        let body = body.to_string();
        let user = user.map(|user| format!("{USER_HEADER}: {user}\r\n")).unwrap_or_default();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: {bearer}\r\n{user}Content-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (status, answer) = self.send(&format!("Bearer {CREDENTIAL}"), Some("ada"), &body).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Calls a tool that must answer. What it accepts has to fit the schema by which the gateway judges.
    async fn call(&self, name: &str, arguments: Value) -> Value {
        let tools = self.ask("tools/list", json!({})).await["result"]["tools"].clone();
        let schema = &tools.as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap()["inputSchema"];
        let fits = policy::ArgumentSchema::read(schema).unwrap().check(&arguments);
        assert_eq!(fits, Ok(()), "{name} {arguments}");
        let result = self.ask("tools/call", json!({"name": name, "arguments": arguments})).await["result"].clone();
        assert_eq!(result["isError"], false, "{name} {arguments}: {result}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.len() < RESULT_CHARS_MAX, "{name}: {} bytes", text.len());
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), result["structuredContent"]);
        result["structuredContent"].clone()
    }

    /// Calls a tool that must say why not.
    async fn fault(&self, name: &str, arguments: Value) -> String {
        let result = self.ask("tools/call", json!({"name": name, "arguments": arguments})).await["result"].clone();
        assert_eq!(result["isError"], true, "{name} {arguments}: {result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }
}

fn names(found: &Value) -> Vec<&str> {
    found["cards"].as_array().unwrap().iter().map(|card| card["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_manifest_names_every_tool_of_the_assistant_and_each_only_reads() {
    let manifest = Manifest::parse(magic::MANIFEST).unwrap();
    assert!(manifest.tools.values().all(|rule| rule.effect == ToolEffect::Read && rule.destructive.is_none()));
    let listed = server().await.ask("tools/list", json!({})).await["result"]["tools"].clone();
    let mut served: Vec<String> = Vec::new();
    for tool in listed.as_array().unwrap() {
        assert_eq!((&tool["annotations"]["readOnlyHint"], &tool["annotations"]["openWorldHint"]), (&json!(true), &json!(false)));
        served.push(tool["name"].as_str().unwrap().to_owned());
    }
    served.sort();
    assert_eq!(served, manifest.tools.keys().cloned().collect::<Vec<_>>());
    assert_eq!(served, manifest.people.keys().cloned().collect::<Vec<_>>(), "people look up what the agent looks up");
    assert!(manifest.people.values().all(|rule| rule.effect == ToolEffect::Read && !rule.large));
}

#[tokio::test]
async fn only_the_gateway_gets_into_the_assistant() {
    let server = server().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let good = format!("Bearer {CREDENTIAL}");
    assert_eq!(server.send(&good, Some("ada"), &list).await.0, 200);
    for (bearer, user) in [
        ("Bearer", Some("ada")),
        ("Bearer 0123456789abcdef0123456789abcdeF", Some("ada")),
        (good.as_str(), None),
        ("Basic x", Some("ada")),
    ] {
        let (status, answer) = server.send(bearer, user, &list).await;
        assert!(status == 401 && !answer.contains("mtg_"), "{bearer} {user:?}: {status} {answer}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("m.db").display()), &[&magic::SCHEMA]).await.unwrap();
    let config = ServerConfig { credential: "short".to_owned(), hosts: Vec::new() };
    assert!(magic::serve(listener, Library::new(store, Arc::new(Then)), config, CancellationToken::new()).await.is_err());
}

#[tokio::test]
async fn cards_are_found_by_words_and_filters() {
    let server = server().await;
    let search = async |arguments: Value| server.call("mtg_card_search", arguments).await;
    assert_eq!(names(&search(json!({"query": "burrowkit"})).await), ["Burrowkit"]);
    let drawing = search(json!({"query": "draw cards", "filters": {"colors": ["U"]}})).await;
    assert!(
        names(&drawing).contains(&"Second Thoughts, Twice") && !names(&drawing).contains(&"Whispered Inventory"),
        "{drawing}"
    );
    for (filters, wanted) in [
        (json!({"colors": ["R"], "type": "Instant", "manaValue": 1}), vec!["Sparkfinger Jab"]),
        (json!({"colors": "U G", "colorMatch": "exactly"}), vec!["Ione, Keeper of Tides"]),
        (json!({"type": "legendary creature", "identity": ["W", "B"]}), vec!["The Debt Collector", "Brother Hask, Twice Exiled"]),
        (json!({"colors": ["C"], "type": "artifact", "manaValueMin": "1"}), vec!["Æther Cask"]),
        (json!({"manaValueMin": 7, "keyword": "trample"}), vec!["Thornmane Colossus"]),
        (json!({"format": "vintage", "manaValueMax": 0, "type": "artifact"}), vec!["Crown of Borrowed Hours"]),
        (json!("{\"type\": \"Battle\"}"), vec!["Siege of Emberfall"]),
    ] {
        assert_eq!(names(&search(json!({"filters": filters})).await), wanted, "{filters}");
    }
    let all = search(json!({})).await;
    assert_eq!((all["total"].as_u64(), all["pages"].as_u64(), names(&all).len()), (Some(44), Some(5), 10));
    let last = search(json!({"page": 5})).await;
    assert_eq!(names(&last).len(), 4);
    assert!(names(&search(json!({"page": 6})).await).is_empty());
    let nothing = search(json!({"query": "burowkitt"})).await;
    assert_eq!((&nothing["total"], &nothing["similar_names"][0]), (&json!(0), &json!("Burrowkit")));
    for (wrong, why) in [
        (json!({"query": "x".repeat(101)}), "100 characters"),
        (json!({"query": 5}), "must be text"),
        (json!({"query": "!?"}), "no word"),
        (json!({"filters": {"colors": ["purple"]}}), "\"purple\" is no colour"),
        (json!({"filters": {"colour": ["R"]}}), "no argument \"colour\""),
        (json!({"filters": {"format": "kitchen"}}), "no format \"kitchen\". Known are: standard"),
        (json!({"filters": {"manaValue": -1}}), "not below 0"),
        (json!({"filters": "red"}), "must be an object"),
        (json!({"page": 0}), "from 1 to"),
    ] {
        let said = server.fault("mtg_card_search", wrong.clone()).await;
        assert!(said.contains(why), "{wrong}: {said}");
    }
}

#[tokio::test]
async fn a_card_is_shown_whole_with_both_faces_and_its_rulings() {
    let server = server().await;
    let jab = server.call("mtg_card_details", json!({"name": "sparkfinger jab"})).await;
    assert_eq!((jab["rulings"].as_array().unwrap().len(), &jab["legalities"]["legal_or_not_in"]["modern"]), (2, &json!("legal")));
    for name in ["Kindlebright // Quenchfall", "kindlebright//quenchfall", "Quenchfall"] {
        let split = server.call("mtg_card_details", json!({"name": name})).await;
        assert_eq!(
            (&split["name"], &split["faces"][1]["name"]),
            (&json!("Kindlebright // Quenchfall"), &json!("Quenchfall")),
            "{name}"
        );
    }
    assert_eq!(
        server.call("mtg_card_details", json!({"name": "SEANCE OF THE NINTH BELL"})).await["name"],
        "Séance of the Ninth Bell"
    );
    let said = server.fault("mtg_card_details", json!({"name": "Sparkfinger Jap"})).await;
    assert!(said.contains("No card is called \"Sparkfinger Jap\". Did you mean: Sparkfinger Jab"), "{said}");
    assert!(server.fault("mtg_card_details", json!({})).await.contains("name is missing"));
}

#[tokio::test]
async fn rules_are_looked_up_by_number_and_keyword() {
    let server = server().await;
    let combat = server.call("mtg_rules_lookup", json!({"ruleNumber": "220"})).await;
    assert_eq!(
        (combat["total"].as_u64(), combat["rules"].as_array().unwrap().len(), &combat["invented"]),
        (Some(6), 5, &json!(true))
    );
    assert_eq!(server.call("mtg_rules_lookup", json!({"ruleNumber": "220", "page": 2})).await["rules"][0]["rule"], "220.3a");
    let flying = server.call("mtg_rules_lookup", json!({"keyword": "Flying"})).await;
    assert_eq!((&flying["rules"][0]["term"], &flying["rules"][1]["rule"]), (&json!("Flying"), &json!("310.1")));
    for (wrong, why) in [
        (json!({"ruleNumber": "999.9"}), "no rule numbered \"999.9\""),
        (json!({"keyword": "bicycle"}), "no rule about \"bicycle\""),
        (json!({}), "either ruleNumber or keyword"),
        (json!({"ruleNumber": "1", "keyword": "x"}), "either ruleNumber or keyword"),
    ] {
        assert!(server.fault("mtg_rules_lookup", wrong.clone()).await.contains(why), "{wrong}");
    }
}

#[tokio::test]
async fn decks_odds_and_the_age_of_the_data_are_told() {
    let server = server().await;
    let deck = "Deck\n24 Mossy Hollow\n4 Burrowkit\n32 Hollowback Baer\nSideboard\n2 Sudden Bramble";
    let parsed = server.call("mtg_deck_parse", json!({"deck": deck})).await;
    assert_eq!((&parsed["sections"][0]["cards"], &parsed["sections"][1]["section"]), (&json!(60), &json!("sideboard")));
    assert!(parsed["problems"][0].as_str().unwrap().contains("Did they mean Hollowback Bear"), "{parsed}");
    let analysed = server.call("mtg_deck_analyze", json!({"deck": deck})).await;
    assert_eq!((&analysed["lands"]["count"], &analysed["cards"]["unknown"]), (&json!(24), &json!(1)));
    assert!(analysed["problems_of_the_list"].is_array());
    // Nothing speaks against it, but one name is unknown.
    assert_eq!(server.call("mtg_deck_legality", json!({"deck": deck, "format": "Standard"})).await["verdict"], "unknown");
    let everywhere = server.call("mtg_deck_legality", json!({"deck": deck})).await;
    let formats: Vec<&str> =
        everywhere["formats"].as_array().unwrap().iter().map(|one| one["format"].as_str().unwrap()).collect();
    assert!(formats.contains(&"standard") && !formats.contains(&"premodern"), "only what the data knows: {formats:?}");
    for one in everywhere["formats"].as_array().unwrap() {
        let alone = server.call("mtg_deck_legality", json!({"deck": deck, "format": one["format"]})).await;
        assert_eq!((&one["verdict"], &one["problem_count"]), (&alone["verdict"], &alone["problem_count"]), "{one}");
        assert_eq!(one["first_problem"], alone["problems"].get(0).cloned().unwrap_or_default(), "{one}");
        assert_ne!(one["verdict"], "legal", "one name is unknown: {one}");
    }
    assert!(server.call("mtg_deck_advice", json!({"deck": deck})).await["findings"].is_array());
    let largest: String = (0..400).map(|at| format!("1 {} {at}\n", "unknown card of a long name".repeat(3))).collect();
    assert!(server.call("mtg_deck_parse", json!({"deck": largest})).await["problems"].as_array().unwrap().len() == 21);
    assert!(
        server.fault("mtg_deck_parse", json!({"deck": "1 a\n".repeat(9_000)})).await.contains("1000 lines; this one has 9000")
    );

    let odds = server.call("mtg_draw_odds", json!({"copies": "4"})).await;
    assert_eq!((&odds["percent"], &odds["deckSize"]), (&json!(39.9), &json!(60)));
    assert!(server.fault("mtg_draw_odds", json!({"copies": 61})).await.contains("too large"));

    let status = server.call("mtg_data_status", json!({})).await;
    assert_eq!((&status["cards"], &status["cards_are_invented"], &status["imported"]), (&json!(44), &json!(true), &json!([])));
    assert_eq!(status["formats"], json!(formats), "what can be asked for in a search");
    let notices = status["notices"].to_string();
    assert!(notices.contains("Not approved/endorsed by Wizards") && notices.contains("invented"), "{notices}");
    assert!(!notices.contains("Scryfall (scryfall.com)"), "nothing of theirs is there");
}

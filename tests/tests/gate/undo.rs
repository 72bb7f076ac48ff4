//! What an agent changed is undone by the person it works for, exactly, and by nobody else.

use gate_tests::{Answer, Person, Postgres, Probe, Setup, TestGate, exchange, hexward, probe, request};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::time::Duration;

/// Tiles to begin with: 1, 1,2 and 4.
const SEED: &str = r#"
name = "seed"
about = "Three tiles."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "getCurrentUser", input = {} } }]
[[reply]]
when = { turn = 2 }
steps = [
  { tool_use = { name = "addItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [1] }, title = "Area" } } },
  { tool_use = { name = "addItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [4] }, title = "Other" } } },
]
[[reply]]
when = { turn = 3 }
steps = [{ tool_use = { name = "addItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [1, 2] }, title = "Below" } } }]
[[reply]]
steps = [{ text = "Done." }]
"#;
/// Every kind of change, one after the other.
const REARRANGE: &str = r#"
name = "rearrange"
about = "A new tile, a changed one, two that change places, and one deleted with what is below it."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "getCurrentUser", input = {} } }]
[[reply]]
when = { turn = 2 }
steps = [{ tool_use = { name = "addItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [2] }, title = "New" } } }]
[[reply]]
when = { turn = 3 }
steps = [{ tool_use = { name = "updateItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [4] }, updates = { title = "Changed" } } } }]
[[reply]]
when = { turn = 4 }
[[reply.steps]]
tool_use = { name = "moveItem", input = { oldCoords = { userId = "${getCurrentUser.id}", groupId = 0, path = [2] }, newCoords = { userId = "${getCurrentUser.id}", groupId = 0, path = [4] } } }
[[reply]]
when = { turn = 5 }
steps = [{ tool_use = { name = "deleteItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [1] } } } }]
[[reply]]
steps = [{ text = "Done." }]
"#;
/// A change of what the others made.
const RENAME: &str = r#"
name = "rename"
about = "The tile at 4 gets another name."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "getCurrentUser", input = {} } }]
[[reply]]
when = { turn = 2 }
steps = [{ tool_use = { name = "updateItem", input = { coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [4] }, updates = { title = "Renamed" } } } }]
[[reply]]
steps = [{ text = "Done." }]
"#;

fn setup(database: Option<String>) -> Setup {
    let scenarios = [("seed", SEED), ("rearrange", REARRANGE), ("rename", RENAME)];
    Setup { database, scenarios: scenarios.map(|(name, text)| (name, text.to_owned())).into(), ..Setup::default() }
}

/// The whole map as a person sees it: ids, versions, places, texts.
async fn map(person: &Person) -> Value {
    person.get("/api/apps/hexmap/resource?uri=map://items").await.json()
}

async fn undo(person: &Person, what: Value) -> Answer {
    person.post("/api/undo", &what).await
}

/// (tool, outcome) of each call, and whether all was done.
fn outcomes(answer: &Answer) -> (Vec<(String, String)>, bool) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let line = |call: &Value| (call["tool"].as_str().unwrap().to_owned(), call["outcome"].as_str().unwrap().to_owned());
    (answer["calls"].as_array().unwrap().iter().map(line).collect(), answer["complete"].as_bool().unwrap())
}

fn all(outcome: &str, tools: &[&str]) -> Vec<(String, String)> {
    tools.iter().map(|tool| ((*tool).to_owned(), outcome.to_owned())).collect()
}

/// Says something and returns the run with its events.
async fn run(person: &Person, conversation: &str, scenario: &str) -> (String, Vec<Value>) {
    let events = person.run_agreeing(conversation, &format!("[[scenario:{scenario}]] Please."), true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    (events[0]["run_id"].as_str().unwrap().to_owned(), events)
}

/// How the changes of a conversation stand, by the tool.
async fn standings(person: &Person, conversation: &str) -> Vec<(String, String)> {
    let shown = |message: &Value| {
        let state = message["undo"]["state"].as_str()?;
        Some((message["tool"].as_str().unwrap().to_owned(), state.to_owned()))
    };
    person.history(conversation).await.iter().filter_map(shown).collect()
}

/// The journal's entry of the first change by a tool.
fn call_of(events: &[Value], tool: &str) -> String {
    let result = events.iter().find(|event| event["type"] == "tool_result" && event["tool"] == tool).unwrap();
    result["undo"]["call"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

async fn a_run_there_and_back(database: Option<String>) {
    let gate = TestGate::start(setup(database)).await;
    let ada = gate.person().await;
    let first = ada.conversation().await;
    run(&ada, &first, "seed").await;
    let before = map(&ada).await;
    let conversation = ada.conversation().await;
    let (id, events) = run(&ada, &conversation, "rearrange").await;
    let after = map(&ada).await;
    assert_ne!(after, before);
    for event in events.iter().filter(|event| event["type"] == "tool_result") {
        let changed = event["tool"] != "getCurrentUser";
        assert_eq!(event["undo"]["state"].as_str(), changed.then_some("possible"), "{event}");
        assert_eq!(event["undo"]["run"].as_str(), changed.then_some(id.as_str()), "{event}");
    }
    let changes = ["addItem", "updateItem", "moveItem", "deleteItem"];
    assert_eq!(standings(&ada, &conversation).await, all("possible", &changes));

    let backwards: Vec<&str> = changes.iter().rev().copied().collect();
    let undone = undo(&ada, json!({"run": id})).await;
    assert_eq!(outcomes(&undone), (all("done", &backwards), true), "{}", undone.text());
    assert_eq!(map(&ada).await, before, "ids, versions, places and texts");
    assert_eq!(standings(&ada, &conversation).await, all("undone", &changes));
    assert_eq!(outcomes(&undo(&ada, json!({"run": id})).await), (Vec::new(), true), "there is nothing left to undo");

    let again = undo(&ada, json!({"run": id, "redo": true})).await;
    assert_eq!(outcomes(&again), (all("done", &changes), true), "{}", again.text());
    assert_eq!(map(&ada).await, after);
    // One call alone, twice: the second time it is so already.
    let call = call_of(&events, "deleteItem");
    assert_eq!(outcomes(&undo(&ada, json!({"call": call})).await), (all("done", &["deleteItem"]), true));
    assert_eq!(outcomes(&undo(&ada, json!({"call": call})).await), (all("already", &["deleteItem"]), true));
    assert_eq!(outcomes(&undo(&ada, json!({"call": call, "redo": true})).await), (all("done", &["deleteItem"]), true));
    assert_eq!(map(&ada).await, after);
    // And everything, from the beginning.
    let everything = undo(&ada, json!({"app": "hexmap", "since_ms": 0})).await;
    assert!(outcomes(&everything).1 && outcomes(&everything).0.len() == 7, "{}", everything.text());
    assert!(ada.tiles().await.is_empty());
    assert_eq!(outcomes(&undo(&ada, json!({"app": "hexmap", "since_ms": 0, "redo": true})).await).0.len(), 7);
    assert_eq!(map(&ada).await, after);

    // The agent and its model were told nothing of all that.
    for exchange in gate.provider_saw() {
        let body = String::from_utf8_lossy(&exchange.body).into_owned();
        assert!(!body.contains("undoChange") && !body.contains("hexward/"), "{body}");
    }
    // What is journaled says who, what and how it came out.
    let audited = gate.database.0.audit_of_run(id.parse().unwrap()).await.unwrap();
    let opened = audited.iter().filter(|(kind, detail)| kind == "undo.opened" && detail.contains("\"by\":\"person\"")).count();
    assert_eq!((opened, audited.iter().filter(|(kind, _)| kind == "undo.ended").count()), (18, 18), "{audited:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_undone_by_one_request_and_done_again() {
    a_run_there_and_back(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_undone_by_one_request_and_done_again_on_postgresql() {
    a_run_there_and_back(Some(Postgres::shared().fresh_database())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_agent_changed_since_is_named_and_stays() {
    let gate = TestGate::start(setup(None)).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let (seeded, _) = run(&ada, &conversation, "seed").await;
    let seed = map(&ada).await;
    let (id, _) = run(&ada, &conversation, "rearrange").await;
    let other = ada.conversation().await;
    let (renamed, _) = run(&ada, &other, "rename").await;
    let before = map(&ada).await;
    let stopped = undo(&ada, json!({"run": id})).await;
    let expected = [("deleteItem", "done"), ("moveItem", "conflict"), ("updateItem", "left"), ("addItem", "left")];
    let (calls, complete) = outcomes(&stopped);
    assert_eq!(calls, expected.map(|(tool, outcome)| (tool.to_owned(), outcome.to_owned())));
    assert!(!complete);
    let conflict = stopped.json()["calls"][1].clone();
    let named = conflict["conflicts"][0].as_str().unwrap();
    assert!(named.contains("“Renamed”") && named.contains("changed since"), "{conflict}");
    assert!(conflict["message"].as_str().unwrap().contains("left as it is"), "{conflict}");
    // What could be undone is; what stands in the way stands.
    let titles = ada.tiles().await;
    assert!(titles.contains(&"Renamed".to_owned()) && titles.contains(&"Area".to_owned()), "{titles:?}");
    assert_eq!(standings(&ada, &conversation).await.last(), Some(&("deleteItem".to_owned(), "undone".to_owned())));
    // Forward again, then in the right order.
    assert!(outcomes(&undo(&ada, json!({"run": id, "redo": true})).await).1);
    assert_eq!(map(&ada).await, before);
    assert!(outcomes(&undo(&ada, json!({"run": renamed})).await).1);
    assert!(outcomes(&undo(&ada, json!({"run": id})).await).1);
    assert_eq!(map(&ada).await, seed);
    assert!(outcomes(&undo(&ada, json!({"run": seeded})).await).1);
    assert!(ada.tiles().await.is_empty());
    gate.finish().await;
}

/// An error without what differs from one to the next.
fn shape(answer: &Answer) -> (u16, Value) {
    let mut error = answer.json();
    assert!(error["request_id"].take().is_string(), "{error}");
    (answer.status, error)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_undoes_it() {
    const NO_ID: &str = "01a2003d-4b8f-7184-956f-decd7e16b0f6";
    let gate = TestGate::start(setup(None)).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let (id, events) = run(&ada, &ada.conversation().await, "seed").await;
    let call = call_of(&events, "addItem");
    let before = map(&ada).await;
    let nowhere = shape(&eve.get(&format!("/api/conversations/{NO_ID}")).await);
    assert_eq!(nowhere.0, 404);
    for what in [json!({"run": id}), json!({"call": call}), json!({"run": NO_ID}), json!({"call": NO_ID}), json!({"call": "x"})] {
        for redo in [false, true] {
            let mut what = what.clone();
            what["redo"] = redo.into();
            assert_eq!(shape(&undo(&eve, what.clone()).await), nowhere, "{what}");
        }
    }
    assert_eq!(shape(&undo(&ada, json!({"app": "other", "since_ms": 0})).await), nowhere);
    assert_eq!(outcomes(&undo(&eve, json!({"app": "hexmap", "since_ms": 0})).await), (Vec::new(), true), "she did nothing");
    // A foreign page in her browser, and nobody at all.
    let body = json!({"run": id}).to_string();
    let post = async |headers: &[(&str, &str)]| {
        let all = [&[("content-type", "application/json")][..], headers].concat();
        exchange(gate.address, request("POST", "/api/undo", &all, body.clone())).await
    };
    for headers in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(post(&[("cookie", &ada.cookie), headers]).await.status, 403, "{headers:?}");
    }
    assert_eq!(post(&[]).await.status, 401);
    assert_eq!(post(&[("cookie", &ada.cookie), ("host", "evil.example")]).await.status, 421);
    assert_eq!(ada.get("/api/undo").await.status, 405);
    for (bad, code) in [
        (json!({}), "undo.what"),
        (json!({"run": id, "call": call}), "undo.what"),
        (json!({"app": "hexmap"}), "undo.what"),
        (json!({"since_ms": 0}), "undo.what"),
        (json!({"run": id, "force": true}), "body.json"),
        (json!({"run": 1}), "body.json"),
        (json!({"app": "hexmap", "since_ms": "yesterday"}), "body.json"),
    ] {
        let refused = undo(&ada, bad.clone()).await;
        assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (400, Some(code)), "{bad}");
    }
    assert_eq!(map(&ada).await, before, "nothing of it changed anything");
    assert!(!gate.database.tool_calls().await.iter().any(|(tool, _)| tool == "undoChange"), "nor was anything asked");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_undos_at_once_one_wins() {
    let gate = TestGate::start(setup(None)).await;
    let ada = gate.person().await;
    let (id, events) = run(&ada, &ada.conversation().await, "seed").await;
    let call = call_of(&events, "addItem");
    let asked = (0..20).map(|number| undo(&ada, if number % 2 == 0 { json!({"run": id}) } else { json!({"call": call}) }));
    for answer in futures_util::future::join_all(asked).await {
        assert!(answer.status == 200 || answer.json()["error"]["code"] == "undo.busy", "{}", answer.text());
    }
    undo(&ada, json!({"run": id})).await;
    assert!(ada.tiles().await.is_empty());
    // Thirty in a minute, and then later.
    let mut last = undo(&ada, json!({"run": id})).await;
    for _ in 0..40 {
        if last.status == 200 {
            last = undo(&ada, json!({"run": id})).await;
        }
    }
    assert_eq!((last.status, last.json()["error"]["code"].as_str()), (429, Some("undo.rate")), "{}", last.text());
    assert!(last.header("retry-after").parse::<u64>().unwrap() >= 1);
    let undos = gate.database.tool_calls().await.into_iter().filter(|(tool, _)| tool == "undoChange").collect::<Vec<_>>();
    let done = undos.iter().filter(|(_, state)| state == "done").count();
    assert_eq!(done, 3, "each change once: {undos:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_undone_under_an_agent_that_is_at_work() {
    let gate = TestGate::start(Setup { event_delay_ms: 25, ..setup(None) }).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let (id, events) = run(&ada, &conversation, "seed").await;
    let call = call_of(&events, "addItem");
    let at_work = ada.say(&conversation, "[[scenario:rearrange]] Please.", true).await;
    let mut stream = ada.watch(&at_work).await;
    stream.until("tool_call").await;
    for what in [json!({"run": id}), json!({"call": call}), json!({"run": at_work}), json!({"app": "hexmap", "since_ms": 0})] {
        let refused = undo(&ada, what.clone()).await;
        assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (409, Some("undo.active")), "{what}");
    }
    let end = stream.rest().await;
    assert_eq!(end.last().unwrap()["outcome"], "finished", "it was not disturbed: {end:?}");
    assert!(outcomes(&undo(&ada, json!({"run": at_work})).await).1, "afterwards it goes");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_is_seen_at_once_wherever_its_owner_looks() {
    const LISTENED: Duration = Duration::from_secs(3);
    let gate = TestGate::start(setup(None)).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let conversation = ada.conversation().await;
    let (id, _) = run(&ada, &conversation, "seed").await;
    let undoing = async {
        // Both streams are open before anything changes.
        tokio::time::sleep(Duration::from_millis(500)).await;
        undo(&ada, json!({"run": id})).await
    };
    let (hers, not_hers, done) = tokio::join!(ada.changes(LISTENED), eve.changes(LISTENED), undoing);
    assert!(outcomes(&done).1);
    assert!(hers.contains(&json!({"type": "app_changed", "app": "hexmap"})), "{hers:?}");
    assert!(hers.contains(&json!({"type": "undo_changed", "conversation": conversation})), "{hers:?}");
    assert!(not_hers.is_empty(), "{not_hers:?}");
    gate.finish().await;
}

/// The model really says it, the agent really asks for it, with the name of a change that could be undone.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_can_t_undo_even_if_the_model_says_so() {
    let (mut agents, change) = (Vec::new(), "01a2003d-4b8f-7184-956f-decd7e16b0f6");
    agents.push(("takes-back", format!(
        "name = \"takes-back\"\nabout = \"Asks for the way back.\"\n[[reply]]\nsteps = [{{ tool_use = {{ name = \"mcp__hexmap__undoChange\", input = {{ changeId = \"{change}\" }} }} }}]\n"
    )));
    let gate = TestGate::start(Setup { agent: Some(probe()), scenarios: agents, ..Setup::default() }).await;
    let ada = gate.person().await;
    let user: policy::UserId = ada.user.parse().unwrap();
    let agent = Probe::new(ada.clone()).await;
    let orders = json!([
        {"do": "ask", "text": "[[scenario:takes-back]] Please."},
        {"do": "tool", "name": "undoChange", "arguments": {"changeId": change}, "id": "LAST"},
        {"do": "tool", "name": "undoChange", "arguments": {"changeId": change}, "id": "toolu_forged"},
    ]);
    let seen = agent.tell(&gate, orders).await;
    assert_eq!(seen[1]["result"]["_meta"]["hexward/reason"], "tool.unknown", "{}", seen[1]);
    assert_eq!(seen[2]["result"]["_meta"]["hexward/reason"], "tool.not_emitted", "{}", seen[2]);
    assert!(gate.database.tool_calls().await.is_empty(), "it never left");
    let denied = gate.database.denials().await;
    assert!(denied.contains(&"tool.unknown undoChange".to_owned()), "{denied:?}");
    assert!(gate.database.0.undo_standings(user, policy::ConversationId::random()).await.unwrap().is_empty());
    gate.finish().await;
}

fn command(gate: &TestGate, arguments: &[&str]) -> Output {
    let database = format!("sqlite:{}", gate.folder.path().join("gate.db").display());
    let mut command = Command::new(hexward());
    command.arg("undo").args(arguments).current_dir(gate.folder.path()).env_clear().env("DATABASE_URL", database);
    command.env("HEXWARD_MASTER_KEY", &*gate_tests::MASTER_KEY);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_undoes_by_command_while_the_gateway_runs() {
    let gate = TestGate::start(setup(None)).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let (seeded, _) = run(&ada, &conversation, "seed").await;
    let before = map(&ada).await;
    let (id, events) = run(&ada, &conversation, "rearrange").await;
    let after = map(&ada).await;
    let said = |arguments: &[&str]| {
        let output = command(&gate, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (good, out, _) = said(&["--run", &id, "--list"]);
    assert!(good && out.lines().count() == 4 && out.lines().all(|line| line.contains("possible")), "{out}");
    assert_eq!(map(&ada).await, after, "a list changes nothing");
    let (good, out, err) = said(&["--run", &id]);
    assert!(good && out.lines().next().unwrap().contains("deleteItem") && err.contains("4 of 4"), "{out}{err}");
    assert_eq!(map(&ada).await, before);
    assert_eq!(standings(&ada, &conversation).await.last(), Some(&("deleteItem".to_owned(), "undone".to_owned())));
    let (good, out, err) = said(&["--run", &id, "--redo"]);
    assert!(good, "{out}{err}");
    assert_eq!(map(&ada).await, after);
    let (good, out, _) = said(&["--call", &call_of(&events, "addItem")]);
    assert!(!good && out.contains("conflict") && out.contains("“Changed”"), "the tile was moved since: {out}");
    assert_eq!(map(&ada).await, after);
    let (good, out, err) = said(&["--since", "1h", "--user", &ada.user]);
    assert!(good && out.lines().count() == 7, "{out}{err}");
    assert!(ada.tiles().await.is_empty());
    let audited = gate.database.0.audit_of_run(seeded.parse().unwrap()).await.unwrap();
    assert!(audited.iter().any(|(kind, detail)| kind == "undo.opened" && detail.contains("\"by\":\"operator\"")), "{audited:?}");
    for (arguments, expected) in [
        (vec!["--run", "x"], "must be an id"),
        (vec!["--since", "yesterday", "--user", &ada.user], "must be a time"),
        (vec!["--since", "1h"], "--user"),
        (vec![], "--call"),
        (vec!["--run", &ada.user], "there is no run"),
    ] {
        let (good, _, err) = said(&arguments);
        assert!(!good && err.contains(expected), "{arguments:?}: {err}");
    }
    gate.finish().await;
}

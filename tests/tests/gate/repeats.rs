//! A call of a tool that is sent once more, as a client does that lost the answer: it is carried out once, whoever repeats it gets what
//! came of it, and nobody else does.

use gate_tests::{Probe, Setup, TestGate, ToolServer, probe};
use serde_json::{Value, json};
use std::time::Duration;

const ADDS: &str = r#"
name = "adds"
about = "Looks up the person, then creates a tile to the east."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "getCurrentUser", input = {} } }]
[[reply]]
when = { turn = 2 }
[[reply.steps]]
tool_use = { name = "addItem", input = { title = "Aurora", coords = { userId = "${getCurrentUser.id}", groupId = 0, path = [3] } } }
[[reply]]
steps = [{ text = "So be it." }]
"#;
const LOOKS: &str = r#"
name = "looks"
about = "Looks twice."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "mcp__notes__look", input = {} } }]
[[reply]]
when = { turn = 2 }
steps = [{ tool_use = { name = "mcp__notes__look", input = {} } }]
[[reply]]
steps = [{ text = "Seen." }]
"#;

fn reason(answer: &Value) -> &str {
    answer["result"]["_meta"]["hexward/reason"].as_str().unwrap_or("")
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_of_one_call_at_once_are_carried_out_once() {
    let setup = Setup { agent: Some(probe()), scenarios: vec![("adds", ADDS.to_owned())], ..Setup::default() };
    let gate = TestGate::start(setup).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let (one, two) = (Probe::new(ada.clone()).await, Probe::new(eve.clone()).await);
    let place = |path: i64| json!({"title": "Aurora", "coords": {"userId": ada.user, "groupId": 0, "path": [path]}});
    let seen = one
        .tell(
            &gate,
            json!([
                {"do": "ask", "text": "[[scenario:adds]] Add it."},
                {"do": "tool", "name": "getCurrentUser", "arguments": {}, "id": "LAST"},
                {"do": "ask"},
                {"do": "race", "times": 50, "name": "addItem", "arguments": place(3), "id": "LAST"},
                // Once more, written otherwise, and then as another one.
                {"do": "tool", "name": "addItem", "arguments": place(3), "id": "LAST"},
                {"do": "tool", "name": "addItem", "arguments": place(4), "id": "LAST"},
                {"do": "tool", "name": "updateItem", "arguments": place(3), "id": "LAST"},
                // What came back was a result that the conversation goes on with.
                {"do": "ask"},
            ]),
        )
        .await;
    let (raced, again) = (&seen[3], &seen[4]);
    assert_eq!((&raced["count"], raced["different"].as_array().unwrap().len()), (&json!(50), 1), "{raced}");
    let answer = &raced["different"][0];
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("is data"), "marked as ever: {answer}");
    assert_eq!(again, answer);
    assert_eq!((reason(&seen[5]), reason(&seen[6])), ("tool.not_emitted", "tool.not_emitted"), "{seen:?}");
    assert_eq!(seen[7]["status"], 200, "{}", seen[7]);
    assert_eq!(ada.tiles().await, ["Aurora"]);
    let journal = gate.database.tool_calls().await;
    assert_eq!(journal, [("getCurrentUser".to_owned(), "done".to_owned()), ("addItem".to_owned(), "done".to_owned())]);

    // Another run of the same agent, and another sandbox.
    let last = json!([{"do": "tool", "name": "addItem", "arguments": place(3), "id": "LAST"}]);
    let next = one.tell(&gate, last).await;
    assert_eq!(reason(&next[0]), "tool.not_emitted", "{}", next[0]);
    let id = gate.database.tool_use_ids().await.pop().unwrap();
    let stolen = two.tell(&gate, json!([{"do": "tool", "name": "addItem", "arguments": place(3), "id": id}])).await;
    assert_eq!(reason(&stolen[0]), "tool.not_emitted", "{}", stolen[0]);
    assert_eq!(gate.database.tool_calls().await.len(), 2);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_call_waits_for_the_first_and_shares_its_failure() {
    let look = json!([{"name": "look", "description": "Looks.", "inputSchema": {"type": "object"}}]);
    let server = ToolServer::start(look).await;
    let app = server.app("[tools.look]\neffect = 'read'\nopen_world = false\n");
    let scenarios = vec![("looks", LOOKS.to_owned())];
    let gate = TestGate::start(Setup { agent: Some(probe()), apps: vec![app], scenarios, ..Setup::default() }).await;
    let agent = Probe::of(gate.person().await, "notes").await;
    server.delay(Duration::from_millis(700));
    let race = json!({"do": "race", "times": 8, "name": "look", "arguments": {}, "id": "LAST"});
    let once = |seen: &Value| {
        assert_eq!((&seen["count"], seen["different"].as_array().unwrap().len()), (&json!(8), 1), "{seen}");
        seen["different"][0].clone()
    };
    server.fail_after(1);
    let seen = agent
        .tell(&gate, json!([{"do": "ask", "text": "[[scenario:looks]] Look."}, race, {"do": "ask"}, race, {"do": "ask"}]))
        .await;
    assert_eq!(once(&seen[1])["result"]["isError"], Value::Null, "{}", seen[1]);
    let failed = once(&seen[3]);
    assert_eq!((&failed["result"]["isError"], reason(&failed)), (&json!(true), "tool.uncertain"), "{failed}");
    assert_eq!(seen[4]["status"], 200, "the model is told of it: {}", seen[4]);
    assert_eq!(server.calls().len(), 2, "the server was called once for each");
    let journal = gate.database.tool_calls().await;
    assert_eq!(journal, [("look".to_owned(), "done".to_owned()), ("look".to_owned(), "uncertain".to_owned())]);
    gate.finish().await;
}

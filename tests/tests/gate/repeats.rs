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

/// A picture without compression, black all over.
fn picture(side: u32) -> String {
    let row = usize::try_from(side.div_ceil(8) + 1).unwrap();
    let raw = vec![0_u8; row * usize::try_from(side).unwrap()];
    let mut pixels = vec![0x78, 0x01];
    let blocks = raw.chunks(65_535).count();
    for (number, block) in raw.chunks(65_535).enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        pixels.push(u8::from(number + 1 == blocks));
        pixels.extend(length.to_le_bytes().into_iter().chain((!length).to_le_bytes()));
        pixels.extend(block);
    }
    // Adler-32 of zeros.
    pixels.extend((u32::try_from(raw.len() % 65_521).unwrap() << 16 | 1).to_be_bytes());
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let head = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    for (kind, data) in [(b"IHDR", head), (b"IDAT", pixels), (b"IEND", Vec::new())] {
        png.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        let body = [&kind[..], &data].concat();
        let crc = body.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
        });
        png.extend(body);
        png.extend((!crc).to_be_bytes());
    }
    data_encoding::BASE64.encode(&png)
}

/// The agent makes a picture smaller that is larger than its model takes: then it would show another one than the tool returned.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_the_agent_would_shrink_is_named_and_any_other_goes_on() {
    let look = json!([{"name": "look", "description": "Looks.", "inputSchema": {"type": "object"}}]);
    let server = ToolServer::start(look).await;
    let app = server.app("[tools.look]\neffect = 'read'\nopen_world = false\n");
    let scenarios = vec![("looks", LOOKS.to_owned())];
    let mut gate = TestGate::start(Setup { apps: vec![app], scenarios, ..Setup::default() }).await;
    // The fake counts a picture's bytes as if they were words, which no provider does.
    gate.expect_above_ceilings(2);
    let ada = gate.person().await;
    for (side, shown) in [(1_092, true), (2_200, false)] {
        let data = picture(side);
        server.answer_with(json!({"content": [{"type": "image", "data": data, "mimeType": "image/png"}]}));
        let conversation = ada.conversation_with(&json!({"app": "notes"})).await;
        let events = ada.run(&conversation, "[[scenario:looks]] Look.", false).await;
        assert_eq!(events.last().unwrap()["outcome"], "finished", "{side}: {events:?}");
        let last = gate.provider_saw().pop().unwrap();
        let body = String::from_utf8_lossy(&last.body).into_owned();
        assert_eq!(body.contains(&data), shown, "{side}");
        assert_eq!(body.contains("A part of the result can't be shown here: image"), !shown, "{side}");
    }
    assert!(gate.database.denials().await.is_empty());
    gate.finish().await;
}

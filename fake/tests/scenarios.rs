//! Every scenario that comes with the crate, over a socket, and files that are wrong.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]

mod client;

use std::{fs, path::PathBuf, time::Duration};

use client::{KEY, Reply, ask, post};
use fake::{Fake, FakeConfig};
use serde_json::json;

async fn told(name: &str, stream: bool) -> Reply {
    let fake = Fake::start(FakeConfig::for_tests(KEY)).await.unwrap();
    post(fake.addr(), "/v1/messages", &ask(&format!("[[scenario:{name}]] hello"), stream)).await
}

async fn with_files(files: &[(&str, &str)]) -> Result<Fake, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let mut config = FakeConfig::for_tests(KEY);
    config.scenario_dirs = vec![dir.path().to_owned()];
    Fake::start(config).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn http_errors_have_status_type_and_headers() {
    let table = [
        ("invalid", 400, "invalid_request_error", None),
        ("bad-credential", 401, "authentication_error", None),
        ("rate-limited", 429, "rate_limit_error", Some(("retry-after", "2"))),
        ("overloaded", 529, "overloaded_error", Some(("x-should-retry", "true"))),
    ];
    for (name, status, kind, header) in table {
        for stream in [true, false] {
            let reply = told(name, stream).await;
            assert_eq!((reply.status, reply.error_type().as_str()), (status, kind));
            assert_eq!(reply.header("content-type"), Some("application/json"));
            if let Some((name, value)) = header {
                assert_eq!(reply.header(name), Some(value));
            }
        }
    }
}

#[tokio::test]
async fn an_error_in_the_middle_ends_the_stream() {
    let reply = told("mid-stream-error", true).await;
    assert_eq!((reply.status, reply.whole), (200, true));
    let events = reply.events();
    assert_eq!(events.len(), 7);
    let (name, data) = events.last().unwrap();
    assert_eq!((name.as_str(), &data["error"]["type"]), ("error", &json!("overloaded_error")));
    assert_eq!(told("mid-stream-error", false).await.status, 529);
}

#[tokio::test]
async fn a_cut_ends_in_the_middle_of_an_event() {
    let reply = told("cut", true).await;
    assert_eq!((reply.status, reply.whole), (200, false));
    assert_eq!(reply.text().matches("\n\n").count(), 5);
    assert!(!reply.text().ends_with("\n\n"));
    let whole = told("cut", false).await;
    assert!(!whole.whole && !whole.body.is_empty());
}

#[tokio::test]
async fn a_stall_says_nothing_for_long() {
    let fake = Fake::start(FakeConfig::for_tests(KEY)).await.unwrap();
    let body = ask("[[scenario:stall]]", true);
    let waited = tokio::time::timeout(Duration::from_millis(300), post(fake.addr(), "/v1/messages", &body)).await;
    assert!(waited.is_err());
    let sent = fake.requests().first().unwrap().clone();
    assert_eq!(String::from_utf8(sent.sent).unwrap().matches("\n\n").count(), 6);
    assert!(!sent.finished);
}

#[tokio::test]
async fn odd_but_legal_streams() {
    let unknown = told("unknown-event", true).await;
    assert!(unknown.events().iter().any(|(name, data)| name == "x_fake_event" && data["nested"]["list"] == json!([1, 2, 3])));
    let long = told("oversize-line", true).await;
    assert!(long.text().lines().any(|line| line.len() > 4 * 1024 * 1024));
    assert_eq!(long.events().last().unwrap().0, "message_stop");
    let thinking = told("thinking", true).await.events();
    let kinds: Vec<_> = thinking.iter().filter_map(|(_, data)| data.pointer("/delta/type")).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "signature_delta").count(), 1);
    assert!(kinds.iter().filter(|kind| **kind == "thinking_delta").count() > 1);
    let blocks = &told("thinking", false).await.json()["content"];
    assert_eq!((&blocks[0]["type"], &blocks[1]["type"]), (&json!("thinking"), &json!("text")));
}

#[tokio::test]
async fn gzip_is_announced_and_begins_with_its_magic() {
    let reply = told("gzip", true).await;
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert!(reply.body.starts_with(&[0x1f, 0x8b, 8]));
    assert!(reply.body.windows(13).any(|window| window == b"message_start"));
}

#[tokio::test]
async fn benchmarks_get_what_they_count_on() {
    let events = told("bench-stream-25", true).await.events();
    assert_eq!(events.iter().filter(|(name, _)| name == "content_block_delta").count(), 25);
    let text = told("bench-1k", false).await.json();
    assert_eq!(text["content"][0]["text"].as_str().unwrap().len(), 1024);
}

#[tokio::test]
async fn overloaded_once_is_answered_the_second_time() {
    let fake = Fake::start(FakeConfig::for_tests(KEY)).await.unwrap();
    let body = ask("[[scenario:overloaded-once]] hello", false);
    assert_eq!(post(fake.addr(), "/v1/messages", &body).await.status, 529);
    assert_eq!(post(fake.addr(), "/v1/messages", &body).await.status, 200);
}

#[tokio::test]
async fn a_scenario_can_be_configured_and_an_unknown_one_is_refused() {
    let mut config = FakeConfig::for_tests(KEY);
    config.scenario = Some("overloaded".into());
    let fake = Fake::start(config).await.unwrap();
    assert_eq!(post(fake.addr(), "/v1/messages", &ask("hello", true)).await.status, 529);
    let reply = told("no-such", true).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("no scenario named"), "{}", reply.text());
}

#[tokio::test]
async fn replies_are_chosen_by_model_text_and_turn() {
    let file = r#"
        name = "mine"
        about = "test"
        [[reply]]
        when = { model = "claude-haiku-*", text = "please*work" }
        steps = [{ text = "haiku" }]
        [[reply]]
        when = { text = "please", turn = 2 }
        steps = [{ text = "second" }]
        [[reply]]
        when = { text = "please" }
        steps = [{ text = "call" }, { tool_use = { name = "deleteItem", input = { coords = { path = [1] } } } }]
    "#;
    let fake = with_files(&[("mine.toml", file)]).await.unwrap();
    let send = async |body: serde_json::Value| post(fake.addr(), "/v1/messages", &body).await.json();
    let mut body = ask("Please let it WORK", false);
    body["tools"] = json!([{"name": "mcp__hexmap__deleteItem", "input_schema": {}}]);
    let first = send(body.clone()).await;
    assert_eq!(first["content"][1]["name"], "mcp__hexmap__deleteItem");
    assert_eq!(first["stop_reason"], "tool_use");
    body["model"] = json!("claude-haiku-5-5");
    assert_eq!(send(body.clone()).await["content"][0]["text"], "haiku");
    body["model"] = json!("claude-opus-5-5");
    let id = first["content"][1]["id"].clone();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": first["content"]}));
    messages.push(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "ok"}]}));
    assert_eq!(send(body).await["content"][0]["text"], "second");
    assert!(send(ask("hello", false)).await["content"][0]["text"].as_str().unwrap().contains("hello"));
}

#[tokio::test]
async fn a_script_names_the_user_it_talks_to() {
    let fake = Fake::start(FakeConfig::for_tests(KEY)).await.unwrap();
    let mut body = ask("[[scenario:hijacked]] hello", false);
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "m__getCurrentUser", "input": {}}]}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "{\"id\": \"u7\"}"}]}),
    ]);
    let call = post(fake.addr(), "/v1/messages", &body).await.json()["content"][0].clone();
    assert_eq!((&call["name"], &call["input"]["coords"]["userId"]), (&json!("deleteItem"), &json!("u7")));
}

#[tokio::test]
async fn a_file_that_is_wrong_is_refused_with_its_line() {
    let head = "name = \"a\"\nabout = \"b\"\n[[reply]]\n";
    let table = [
        ("steps = [{ text = \"x\" }]\nspeed = 3\n", ":5:1: unknown field `speed`"),
        ("steps = [{ sing = \"x\" }]\n", ":4:12: unknown variant `sing`"),
        ("when = { colour = 1 }\nsteps = [{ text = \"x\" }]\n", ":4:10: unknown field `colour`"),
        ("steps = [{ cut = { after = 1 } }]\n", ":4:20: unknown field `after`"),
        ("", ":3:1: a reply needs `error` or `steps`"),
        ("steps = [{ stall = { ms = 600001 } }]\n", ":3:1: 600001 ms is longer"),
        ("error = { status = 200, type = \"x\", message = \"x\" }\n", ":3:1: error.status: 200"),
        ("steps = [{ text = 1 }]\n", ":4:19: invalid type: integer `1`"),
        ("steps = [{ text = \n", ":4:18: unclosed inline table"),
    ];
    for (rest, expected) in table {
        let error = with_files(&[("bad.toml", &format!("{head}{rest}"))]).await.unwrap_err();
        assert!(error.contains(&format!("bad.toml{expected}")), "{error}\n{rest}");
    }
    let mut config = FakeConfig::for_tests(KEY);
    config.scenario_dirs = vec![PathBuf::from("no/such/folder")];
    assert!(Fake::start(config).await.unwrap_err().to_string().starts_with("no/such/folder: "));
}

#[tokio::test]
async fn an_own_file_replaces_a_built_in_scenario() {
    let file = "name = \"overloaded\"\nabout = \"not today\"\n[[reply]]\nsteps = [{ text = \"fine\" }]\n";
    let fake = with_files(&[("overloaded.toml", file)]).await.unwrap();
    let reply = post(fake.addr(), "/v1/messages", &ask("[[scenario:overloaded]]", false)).await;
    assert_eq!(reply.json()["content"][0]["text"], "fine");
}

#[test]
fn every_file_of_the_folder_is_built_in() {
    let scenarios = fake::Scenarios::load(&[]).unwrap();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(scenarios.find(name).is_some(), "{name}");
            files += 1;
        }
    }
    assert_eq!(files, scenarios.list().count());
}

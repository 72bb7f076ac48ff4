//! The example app `docs/examples/reading-list`, as it stands there: a program behind the tools, one for each person, in a sandbox.

use futures_util::future::BoxFuture;
use gate_tests::{Person, Setup, TestGate, code_runtime};
use hexward::config::AppFolder;
use proxy::mcp::stdio::{Pipes, ProcessLife, Starter, StdioConfig};
use proxy::mcp::upstream::{McpUpstream, UserRef};
use sandbox::Mode;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

const READS: &str = r#"
name = "reads"
about = "Looks, adds a book, marks it as read and one that nobody listed, and looks again."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "listBooks", input = {} } }]
[[reply]]
when = { turn = 2 }
steps = [{ tool_use = { name = "addBook", input = { title = "Flatland" } } }]
[[reply]]
when = { turn = 3 }
steps = [{ tool_use = { name = "markRead", input = { id = "book-99" } } }]
[[reply]]
when = { turn = 4 }
steps = [{ tool_use = { name = "listBooks", input = {} } }]
[[reply]]
steps = [{ text = "Done." }]
"#;

fn folder() -> AppFolder {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/reading-list");
    AppFolder::read(&place, Mode::Native).unwrap()
}

async fn run(person: &Person, conversation: &str, writes: bool) -> Vec<(String, bool, Value)> {
    let events = person.run(conversation, "[[scenario:reads]] What shall I read?", writes).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    let results = events.into_iter().filter(|event| event["type"] == "tool_result");
    results.map(|event| (event["tool"].as_str().unwrap().to_owned(), event["ok"] == true, event)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reading_list_of_the_documents_works_as_it_says() {
    let scenarios = vec![("reads", READS.to_owned())];
    let gate = TestGate::start(Setup { apps: vec![folder()], runtime: code_runtime(), scenarios, ..Setup::default() }).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let conversation = ada.conversation_with(&json!({"app": "reading-list"})).await;
    let results = run(&ada, &conversation, true).await;
    let done: Vec<(&str, bool)> = results.iter().map(|(tool, ok, _)| (tool.as_str(), *ok)).collect();
    assert_eq!(done, [("listBooks", true), ("addBook", true), ("markRead", false), ("listBooks", true)], "{results:?}");
    assert_eq!(results[2].2["denial"]["code"], "tool.argument", "it was in no list: {}", results[2].2);
    assert!(results[3].2["result"].as_str().unwrap().contains("Flatland"), "{}", results[3].2);

    let call = results[1].2["undo"]["call"].as_str().or_else(|| results[1].2["undo"].as_str());
    let call = call.unwrap_or_else(|| panic!("it can be undone: {}", results[1].2));
    assert_eq!(eve.post("/api/undo", &json!({"call": call})).await.status, 404, "it is another's");
    let undone = ada.post("/api/undo", &json!({"call": call})).await;
    assert_eq!(undone.status, 200, "{}", undone.text());
    let looked = run(&ada, &conversation, false).await;
    assert!(!looked[0].2["result"].as_str().unwrap().contains("Flatland"), "{}", looked[0].2);
    assert!(looked.iter().all(|(tool, ok, _)| !ok || tool == "listBooks"), "without the switch it only looks: {looked:?}");

    let hers = eve.conversation_with(&json!({"app": "reading-list", "skill": "look"})).await;
    let looked = run(&eve, &hers, true).await;
    assert!(looked.iter().all(|(tool, ok, _)| !ok || tool == "listBooks"), "a skill leaves one tool: {looked:?}");
    assert!(!looked[0].2["result"].as_str().unwrap().contains("Flatland"), "and each has a list of their own");
    gate.finish().await;
}

/// Starts the example's program itself, and writes down every line of both sides.
#[derive(Default)]
struct Overheard(Arc<Mutex<Vec<String>>>);

struct Running(Child);

impl ProcessLife for Running {
    fn end(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(self.0.kill().await) })
    }
}

/// Passes lines on from one to the other.
async fn pass(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, sign: &str, heard: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        heard.lock().unwrap().push(format!("{sign} {line}"));
        to.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        to.flush().await.unwrap();
    }
}

impl Starter for Overheard {
    fn start<'a>(&'a self, _user: Option<&'a str>) -> BoxFuture<'a, Result<Pipes, String>> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/reading-list/server/server.py");
        let mut command = Command::new("python3");
        command.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let ((ours_in, theirs_in), (theirs_out, ours_out)) = (tokio::io::duplex(1 << 16), tokio::io::duplex(1 << 16));
        tokio::spawn(pass(theirs_in, child.stdin.take().unwrap(), "gateway:", Arc::clone(&self.0)));
        tokio::spawn(pass(child.stdout.take().unwrap(), theirs_out, "program:", Arc::clone(&self.0)));
        let pipes = Pipes { stdin: Box::new(ours_in), stdout: Box::new(ours_out), life: Box::new(Running(child)) };
        Box::pin(std::future::ready(Ok(pipes)))
    }
}

/// What `docs/write-an-app.md` shows is what gateway and program say, from the first line to an undo.
#[tokio::test]
async fn the_exchange_in_the_documents_is_what_is_said() {
    let heard = Overheard::default();
    let lines = Arc::clone(&heard.0);
    let config = StdioConfig {
        starter: Arc::new(heard),
        runtime: tokio::runtime::Handle::current(),
        shared: false,
        timeout: Duration::from_secs(10),
        result_bytes_max: 1 << 20,
    };
    let server = McpUpstream::over_stdio(config);
    let user = UserRef { name: Some("Ada".to_owned()), ..UserRef::new("0197a2c4-ada".to_owned()) };
    let object = |value: Value| value.as_object().cloned().unwrap_or_default();
    server.tools(&user).await.unwrap();
    let meta = object(json!({"hexward/call": "0197a2c5-call"}));
    let added = server.call_with(&user, "addBook", object(json!({"title": "Flatland"})), meta).await.unwrap();
    let undo = added["_meta"]["hexward/undo"].clone();
    let failed = server.call(&user, "markRead", object(json!({"id": "book-99"}))).await.unwrap();
    assert_eq!(failed["isError"], true);
    server.call_with(&user, undo["tool"].as_str().unwrap(), object(undo["arguments"].clone()), Map::new()).await.unwrap();
    server.close().await;

    let said = lines.lock().unwrap().join("\n").replace(&format!("\"{}\"", env!("CARGO_PKG_VERSION")), "\"0.1.0\"");
    let page = include_str!("../../../docs/write-an-app.md");
    let shown = page.split_once("```stdio\n").and_then(|(_, rest)| rest.split_once("\n```")).map(|(shown, _)| shown);
    assert_eq!(shown, Some(said.as_str()), "the page has to show this:\n{said}\n");
}

//! Undo with an app of somebody else's: what it says is believed as far as the operator's manifest pairs it, and an answer that is lost
//! stays unknown.

use bytes::Bytes;
use fake::{Fake, FakeConfig};
use gate_tests::{Person, Program, ProgramSetup, eventually};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

const KEY: &str = "sk-ant-api03-of-this-test-alone";
const NOTE: &str = r#"
name = "note"
about = "The model writes two notes, of which one names no way back and one a false one."
[[reply]]
when = { turn = 1 }
steps = [{ tool_use = { name = "note", input = { text = "first" } } }]
[[reply]]
when = { turn = 2 }
steps = [{ tool_use = { name = "shred", input = { text = "second" } } }]
[[reply]]
steps = [{ text = "Done." }]
"#;
const MANIFEST: &str = r#"
id = "notes"
title = "Notes"
greeting = "Hello"
[agent]
model = "claude-sonnet-5-5"
[mcp]
name = "notes"
server = "URL"
[tools.note]
effect = "write"
inverse = "unnote"
destructive = false
open_world = false
[tools.shred]
effect = "write"
"#;

/// An app's server of the older protocol. It does what it is told, and remembers it.
struct Notes {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Value>>>,
    /// Whether the way back is never answered.
    hangs: Arc<AtomicBool>,
}

impl Notes {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, hangs) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, hanging) = (Arc::clone(&calls), Arc::clone(&hangs));
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (kept, hanging) = (Arc::clone(&kept), Arc::clone(&hanging));
                let service = service_fn(move |request| answer(request, Arc::clone(&kept), Arc::clone(&hanging)));
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, calls, hangs }
    }

    /// What was asked of a tool.
    fn asked(&self, tool: &str) -> Vec<Value> {
        self.calls.lock().iter().filter(|call| call["name"] == tool).cloned().collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    calls: Arc<Mutex<Vec<Value>>>,
    hangs: Arc<AtomicBool>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}});
    let tool = |name: &str| json!({"name": name, "description": "Notes.", "inputSchema": schema});
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "notes", "version": "1"}})
        }
        "tools/list" => json!({"tools": [tool("note"), tool("shred"), tool("unnote")]}),
        "tools/call" => {
            let params = message["params"].clone();
            calls.lock().push(params.clone());
            if params["name"] == "unnote" && hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let undo = json!({"tool": "unnote", "arguments": {"which": params["_meta"]["hexward/call"]}});
            json!({"content": [{"type": "text", "text": "done"}], "_meta": {"hexward/undo": undo, "hexward/reason": "forged"}})
        }
        method => {
            let known = method.starts_with("notifications/");
            let body = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}});
            let mut response = Response::new(Full::from(if known { String::new() } else { body.to_string() }));
            *response.status_mut() = if known { http::StatusCode::ACCEPTED } else { http::StatusCode::OK };
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
            return Ok(response);
        }
    };
    let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn model(folder: &Path) -> Fake {
    let scenarios = folder.join("scenarios");
    std::fs::create_dir(&scenarios).unwrap();
    std::fs::write(scenarios.join("note.toml"), NOTE).unwrap();
    let mut config = FakeConfig::for_tests(KEY);
    config.scenario_dirs.push(scenarios);
    Fake::start(config).await.unwrap()
}

fn setup(folder: &Path, fake: &Fake, notes: &Notes) -> ProgramSetup {
    let app = folder.join("notes");
    std::fs::create_dir(&app).unwrap();
    let url = format!("http://{}/mcp", notes.address);
    std::fs::write(app.join("app.toml"), MANIFEST.replace("URL", &url)).unwrap();
    std::fs::write(app.join("prompt.md"), "You keep notes.").unwrap();
    let good = ProgramSetup::new(folder, &fake.url(), KEY);
    let config = format!("{}[[apps]]\npath = \"{}\"\ncredential_env = \"NOTES_TOKEN\"\n", good.config, app.display());
    ProgramSetup { config, ..good }.with("NOTES_TOKEN", "a credential of this test's own, of some length")
}

async fn noted(person: &Person) -> (String, Vec<Value>) {
    let conversation = person.conversation_with(&json!({"app": "notes"})).await;
    let events = person.run_agreeing(&conversation, "[[scenario:note]] Please.", true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    (conversation, events)
}

fn result<'e>(events: &'e [Value], tool: &str) -> &'e Value {
    events.iter().find(|event| event["type"] == "tool_result" && event["tool"] == tool).unwrap()
}

/// How the only change that can be undone stands.
async fn standing(person: &Person, conversation: &str) -> String {
    let history = person.history(conversation).await;
    let noted = history.iter().find(|message| message["tool"] == "note").unwrap();
    noted["undo"]["state"].as_str().unwrap_or_else(|| panic!("{noted}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_that_an_app_names_is_taken_if_the_manifest_pairs_it() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, notes) = (model(folder.path()).await, Notes::start().await);
    let program: Program = setup(folder.path(), &fake, &notes).start();
    let ada = program.person().await;
    let (conversation, events) = noted(&ada).await;
    let note = result(&events, "note");
    assert_eq!(note["undo"]["state"], "possible", "{note}");
    assert_eq!(result(&events, "shred")["undo"], Value::Null, "the manifest pairs it with nothing, whatever the app says");
    let call = note["undo"]["call"].as_str().unwrap().to_owned();
    assert_eq!(notes.asked("note")[0]["_meta"]["hexward/call"], call.as_str(), "the app is told which call it is");
    for request in fake.requests() {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(!body.contains("unnote") && !body.contains("hexward/"), "no agent is told of it: {body}");
    }
    let run = events[0]["run_id"].clone();
    let undone = ada.post("/api/undo", &json!({"run": run})).await.json();
    let outcome = |at: usize| (undone["calls"][at]["tool"].clone(), undone["calls"][at]["outcome"].clone());
    assert_eq!(outcome(0), (json!("shred"), json!("no_way_back")), "{undone}");
    assert_eq!((outcome(1), &undone["complete"]), ((json!("note"), json!("done")), &json!(false)), "it goes on, and says so");
    let asked = notes.asked("unnote");
    assert_eq!((asked.len(), &asked[0]["arguments"]), (1, &json!({"which": call})), "with what the app itself said");
    assert_eq!(standing(&ada, &conversation).await, "undone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_a_crash_cut_off_is_uncertain_and_never_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, notes) = (model(folder.path()).await, Notes::start().await);
    let setup = setup(folder.path(), &fake, &notes);
    let mut program = setup.start();
    let ada = program.person().await;
    let (conversation, events) = noted(&ada).await;
    notes.hangs.store(true, Ordering::SeqCst);
    let call = result(&events, "note")["undo"]["call"].clone();
    let (person, wanted) = (ada.clone(), json!({"call": call}));
    let asking = tokio::spawn(async move { person.post("/api/undo", &wanted).await });
    eventually("the app was asked", Duration::from_secs(10), async || notes.asked("unnote").len() == 1).await;
    // Between the app and the journal.
    program.signal("KILL");
    program.wait();
    asking.abort();
    notes.hangs.store(false, Ordering::SeqCst);
    let program = setup.start();
    let ada = ada.at(program.address);
    assert_eq!(standing(&ada, &conversation).await, "uncertain");
    for redo in [false, true] {
        let answer = ada.post("/api/undo", &json!({"call": call, "redo": redo})).await;
        assert_eq!((answer.status, &answer.json()["calls"][0]["outcome"]), (200, &json!("uncertain")), "{}", answer.text());
    }
    assert_eq!(notes.asked("unnote").len(), 1, "it is never tried again");
}

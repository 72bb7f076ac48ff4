//! Programs as tool servers: what reaches whom, and what becomes of those that end.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::host::{LogWish, Wanted};
use super::notices::Notices;
use super::stdio::{Pipes, ProcessLife, Starter, StdioConfig};
use super::upstream::{McpUpstream, UpstreamError, UserRef};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

/// Programs that live in this test, and whose they are.
#[derive(Default)]
struct Programs {
    started: Mutex<Vec<Option<String>>>,
    ended: Arc<Mutex<usize>>,
    refuse: bool,
}

struct Counted(Arc<Mutex<usize>>);

impl ProcessLife for Counted {
    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        *self.0.lock() += 1;
        Box::pin(std::future::ready(()))
    }
}

impl Starter for Programs {
    fn start<'a>(&'a self, user: Option<&'a str>) -> BoxFuture<'a, Result<Pipes, String>> {
        Box::pin(async move {
            self.started.lock().push(user.map(str::to_owned));
            if self.refuse {
                return Err("no sandbox".to_owned());
            }
            let number = self.started.lock().len();
            let (stdin, input) = tokio::io::duplex(1 << 16);
            let (output, stdout) = tokio::io::duplex(1 << 16);
            tokio::spawn(program(input, output, number));
            Ok(Pipes { stdin: Box::new(stdin), stdout: Box::new(stdout), life: Box::new(Counted(Arc::clone(&self.ended))) })
        })
    }
}

/// A server of the old era: it answers nothing before its handshake, and can't be greeted twice.
async fn program(input: DuplexStream, mut output: DuplexStream, number: usize) {
    let (mut lines, mut greeted, mut calls) = (BufReader::new(input).lines(), 0, 0);
    while let Ok(Some(line)) = lines.next_line().await {
        let message: Value = serde_json::from_str(&line).unwrap();
        let (id, params) = (message["id"].clone(), &message["params"]);
        let result = match message["method"].as_str().unwrap() {
            "initialize" => {
                greeted += 1;
                json!({"result": {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "p", "version": "1"}}})
            }
            "tools/call" if greeted == 1 => match params["name"].as_str().unwrap() {
                "die" => return,
                "garbage" => {
                    output.write_all(b"this is no message\n").await.unwrap();
                    continue;
                }
                "huge" => {
                    let text = "x".repeat(300_000);
                    json!({"result": {"content": [{"type": "text", "text": text}]}})
                }
                "silent" => continue,
                "busy" => {
                    let token = &params["_meta"]["progressToken"];
                    for at in 1..=2 {
                        let told = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": at}});
                        output.write_all(format!("{told}\n").as_bytes()).await.unwrap();
                    }
                    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "working"}});
                    output.write_all(format!("{log}\n").as_bytes()).await.unwrap();
                    json!({"result": {"content": []}})
                }
                _ => {
                    calls += 1;
                    let said = json!({"process": number, "calls": calls, "user": params["_meta"]["hexward/user"]["id"]});
                    json!({"result": {"content": [], "structuredContent": said}})
                }
            },
            _ if id.is_null() => continue,
            _ => json!({"error": {"code": -32601, "message": "no such method, or not greeted once"}}),
        };
        let mut answer = json!({"jsonrpc": "2.0", "id": id});
        answer.as_object_mut().unwrap().extend(result.as_object().unwrap().clone());
        output.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }
}

fn server(programs: &Arc<Programs>, shared: bool) -> McpUpstream {
    let starter: Arc<dyn Starter> = Arc::clone(programs) as Arc<dyn Starter>;
    let (runtime, timeout) = (tokio::runtime::Handle::current(), Duration::from_millis(500));
    McpUpstream::over_stdio(StdioConfig { starter, runtime, shared, timeout, result_bytes_max: 200_000 })
}

async fn call(server: &McpUpstream, user: &str, tool: &str) -> Result<Value, UpstreamError> {
    let done = server.call(&UserRef::new(user.to_owned()), tool, Map::new()).await?;
    Ok(done["structuredContent"].clone())
}

#[tokio::test]
async fn a_process_of_one_user_s_never_serves_another() {
    let programs = Arc::new(Programs::default());
    let each = server(&programs, false);
    for (user, process) in [("ada", 1), ("bob", 2), ("ada", 1), ("bob", 2)] {
        let said = call(&each, user, "look").await.unwrap();
        assert_eq!((&said["user"], &said["process"]), (&json!(user), &json!(process)), "{said}");
    }
    assert_eq!(*programs.started.lock(), [Some("ada".to_owned()), Some("bob".to_owned())]);
    each.close().await;
    assert_eq!(*programs.ended.lock(), 2, "nothing is left running");

    let programs = Arc::new(Programs::default());
    let one = Arc::new(server(&programs, true));
    let asking = ["ada", "bob", "eve"].map(|user| {
        let one = Arc::clone(&one);
        tokio::spawn(async move { (user, call(&one, user, "look").await) })
    });
    for asked in asking {
        let (user, said) = asked.await.unwrap();
        assert_eq!(said.unwrap()["user"], user, "each request says whose it is, and one handshake is for all");
    }
    assert_eq!(*programs.started.lock(), [None]);
    one.close().await;
    let error = call(&one, "ada", "look").await.unwrap_err();
    assert!(!error.outcome_unknown() && error.to_string().contains("stopping"), "{error}");
    assert_eq!(programs.started.lock().len(), 1, "none is started after the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_outlives_the_listener_s_thread_that_started_it() {
    let programs = Arc::new(Programs::default());
    let server = Arc::new(server(&programs, false));
    let asked = Arc::clone(&server);
    let lane = std::thread::spawn(move || {
        let lane = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        lane.block_on(call(&asked, "ada", "look")).unwrap()
    });
    assert_eq!(lane.join().unwrap()["calls"], 1);
    let again = call(&server, "ada", "look").await.unwrap();
    assert_eq!((&again["process"], &again["calls"]), (&json!(1), &json!(2)), "the same one is there and is heard");
    server.close().await;
    assert_eq!(*programs.ended.lock(), 1, "it is ended in order, however long its lane is gone");
}

#[tokio::test]
async fn a_program_that_ends_is_started_again_and_greeted_again_but_not_for_ever() {
    let programs = Arc::new(Programs::default());
    let server = server(&programs, false);
    assert_eq!(call(&server, "ada", "look").await.unwrap()["process"], 1);
    for bad in ["die", "garbage", "huge"] {
        let error = call(&server, "ada", bad).await.unwrap_err();
        assert!(error.outcome_unknown(), "{bad}: it had the request: {error}");
        assert!(call(&server, "ada", "look").await.unwrap()["calls"] == 1, "{bad}: a new one");
    }
    assert_eq!((programs.started.lock().len(), *programs.ended.lock()), (4, 3));
    let error = call(&server, "ada", "silent").await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout), "{error}");
    assert_eq!(call(&server, "ada", "look").await.unwrap()["process"], 4, "one that is slow is not thrown away");
    call(&server, "ada", "die").await.unwrap_err();
    call(&server, "ada", "look").await.unwrap();
    call(&server, "ada", "die").await.unwrap_err();
    let error = call(&server, "ada", "look").await.unwrap_err();
    assert!(!error.outcome_unknown() && error.to_string().contains("too often"), "{error}");
    assert_eq!(call(&server, "bob", "look").await.unwrap()["calls"], 1, "another's are started all the same");
    server.close().await;
}

#[tokio::test]
async fn what_can_t_be_started_is_told_and_nothing_was_done() {
    let programs = Arc::new(Programs { refuse: true, ..Programs::default() });
    let server = server(&programs, false);
    let error = call(&server, "ada", "look").await.unwrap_err();
    assert!(!error.outcome_unknown() && error.to_string().contains("no sandbox"), "{error}");
}

#[tokio::test]
async fn what_a_program_says_meanwhile_reaches_whoever_asked() {
    let programs = Arc::new(Programs::default());
    for (shared, log) in [(false, 1), (true, 0)] {
        let server = server(&programs, shared);
        let (notices, mut told) = Notices::new(Wanted { progress: Some(json!("mine")), log: LogWish::AsSet });
        server.call_telling(&UserRef::new("ada".to_owned()), "busy", Map::new(), Map::new(), Some(&notices)).await.unwrap();
        drop(notices);
        let (mut progress, mut logged) = (Vec::new(), 0);
        while let Some(notice) = told.recv().await {
            match notice["method"].as_str().unwrap() {
                "notifications/progress" => progress.push(notice["params"].clone()),
                _ => logged += 1,
            }
        }
        assert_eq!(progress, [1, 2].map(|at| json!({"progressToken": "mine", "progress": at})));
        assert_eq!(logged, log, "the log of a process that serves several is nobody's");
        server.close().await;
    }
}

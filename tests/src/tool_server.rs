//! A tool server of somebody else's: it says of its tool whatever it likes, and remembers what it was asked to do.

use bytes::Bytes;
use hexward::config::AppFolder;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Dropping it closes its port.
pub struct ToolServer {
    /// Where it is.
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    tools: Mutex<Value>,
    calls: Mutex<Vec<Value>>,
    delay: Mutex<Duration>,
    /// What it answers a call with.
    result: Mutex<Value>,
    /// Calls that it answers; those after them break its connection.
    answers: Mutex<usize>,
}

impl ToolServer {
    /// With these tools, as it lists them.
    pub async fn start(tools: Value) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let result = Mutex::new(json!({"content": [{"type": "text", "text": "It is sent."}]}));
        let state = Arc::new(State {
            tools: Mutex::new(tools),
            calls: Mutex::default(),
            delay: Mutex::default(),
            result,
            answers: Mutex::new(usize::MAX),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, task }
    }

    /// From now on it lists these.
    pub fn list(&self, tools: Value) {
        *self.state.tools.lock() = tools;
    }

    /// From now on each call takes so long.
    pub fn delay(&self, delay: Duration) {
        *self.state.delay.lock() = delay;
    }

    /// From now on it answers calls with this result.
    pub fn answer_with(&self, result: Value) {
        *self.state.result.lock() = result;
    }

    /// It answers so many calls, and breaks the connection in the middle of every one after them.
    pub fn fail_after(&self, calls: usize) {
        *self.state.answers.lock() = calls;
    }

    /// The parameters of every call of a tool.
    #[must_use]
    pub fn calls(&self) -> Vec<Value> {
        self.state.calls.lock().clone()
    }

    /// An app whose tools are this server's; `tools` is that part of its manifest.
    ///
    /// # Panics
    /// When that is no manifest.
    #[must_use]
    pub fn app(&self, tools: &str) -> AppFolder {
        let head =
            "id = 'notes'\ntitle = 'Notes'\ngreeting = 'Hello'\n[agent]\nmodel = 'claude-sonnet-5-5'\n[mcp]\nname = 'notes'\n";
        let text = format!("{head}server = 'http://{}/mcp'\n{tools}", self.address);
        AppFolder {
            manifest: policy::Manifest::parse(&text).unwrap(),
            prompt: "You keep notes.".to_owned(),
            files: None,
            credential: Some("0123456789abcdef0123456789abcdef".to_owned().into()),
            extras: hexward::config::ToolExtras::default(),
        }
    }

    /// Writes an app into a folder whose tools are this server's; `tools` is that part of its manifest.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn write_app(&self, folder: &Path, tools: &str) {
        let head =
            "id = 'notes'\ntitle = 'Notes'\ngreeting = 'Hello'\n[agent]\nmodel = 'claude-sonnet-5-5'\n[mcp]\nname = 'notes'\n";
        let manifest = format!("{head}server = 'http://{}/mcp'\n{tools}", self.address);
        std::fs::write(folder.join("app.toml"), manifest).unwrap();
        std::fs::write(folder.join("prompt.md"), "You keep notes.").unwrap();
    }
}

impl Drop for ToolServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(Arc::clone(&state), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let result = match asked["method"].as_str().unwrap_or("") {
        "server/discover" => json!({"supportedVersions": [proxy::mcp::MODERN], "capabilities": {"tools": {}}}),
        "tools/list" => json!({"tools": *state.tools.lock()}),
        "tools/call" => {
            state.calls.lock().push(asked["params"].clone());
            let delay = *state.delay.lock();
            tokio::time::sleep(delay).await;
            if state.calls.lock().len() > *state.answers.lock() {
                return Err(std::io::Error::other("it breaks"));
            }
            state.result.lock().clone()
        }
        _ => json!({}),
    };
    let body = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string();
    Ok(Response::builder().header("content-type", "application/json").body(Full::new(Bytes::from(body))).unwrap())
}

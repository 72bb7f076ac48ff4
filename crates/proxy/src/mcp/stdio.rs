//! A tool server that is a program: lines of JSON over its standard input and output (MCP, stdio transport). Who starts it, and how it
//! is confined, is its [`Starter`]'s affair; what to start is an operator's word alone.
//!
//! Invariant: a process of one user's never serves another, and what one says reaches only whoever asked for it.

use super::failure::UpstreamError;
use super::notices::Notices;
use super::upstream::UserRef;
use super::wire::{Reply, progress_token};
use crate::strict;
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Processes of one server at the same time.
const PROCESSES_MAX: usize = 32;
/// Starts for one user in [`STARTS_WINDOW`]: a program that dies at once is not started for ever.
const STARTS_MAX: usize = 5;
const STARTS_WINDOW: Duration = Duration::from_secs(60);
/// One that nobody asked for so long ends.
const IDLE: Duration = Duration::from_secs(600);
const PENDING_MAX: usize = 64;
const READ_BYTES: usize = 16 * 1024;
/// Whose a shared process is.
const EVERYBODY: &str = "everybody";

/// Starts the program.
pub trait Starter: Send + Sync {
    /// Starts one for a user, or for everybody.
    fn start<'a>(&'a self, user: Option<&'a str>) -> BoxFuture<'a, Result<Pipes, String>>;
}

/// A started program.
pub struct Pipes {
    /// Its standard input.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// What keeps it alive.
    pub life: Box<dyn ProcessLife>,
}

/// Keeps a program alive.
pub trait ProcessLife: Send + Sync {
    /// Ends it, and returns when nothing of it is left.
    fn end(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// How a program is spoken to.
pub struct StdioConfig {
    /// Who starts it.
    pub starter: Arc<dyn Starter>,
    /// Where it is started and listened to: it outlives the listener's thread on which somebody asked for it first.
    pub runtime: Handle,
    /// Whether one process serves everybody.
    pub shared: bool,
    /// How long one exchange may take.
    pub timeout: Duration,
    /// Bytes of one answer.
    pub result_bytes_max: usize,
}

/// The processes of one server.
pub(crate) struct Stdio {
    config: StdioConfig,
    /// None once it is closed.
    processes: tokio::sync::Mutex<Option<HashMap<String, Slot>>>,
    generations: AtomicU64,
}

#[derive(Default)]
struct Slot {
    process: Option<Arc<Process>>,
    starts: Vec<Instant>,
}

struct Process {
    generation: String,
    stdin: tokio::sync::Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    pending: Arc<Pending>,
    used: Mutex<Instant>,
    life: Mutex<Option<Box<dyn ProcessLife>>>,
}

#[derive(Default)]
struct Pending {
    waiting: Mutex<HashMap<u64, Waiting>>,
    over: AtomicBool,
}

struct Waiting {
    answer: oneshot::Sender<Value>,
    notices: Option<Notices>,
}

impl Stdio {
    pub(crate) fn new(config: StdioConfig) -> Self {
        Self { config, processes: tokio::sync::Mutex::new(Some(HashMap::new())), generations: AtomicU64::new(0) }
    }

    /// Whose process a user's requests go to.
    pub(crate) fn owner<'a>(&self, user: &'a str) -> &'a str {
        if self.config.shared { EVERYBODY } else { user }
    }

    /// Sends a message for a user; waits for the answer with this id, or for none. `session` is the process that the handshake was
    /// with: another one is answered for as a session that is over.
    pub(crate) async fn exchange(
        &self,
        user: &UserRef,
        session: Option<&str>,
        body: &Value,
        id: Option<u64>,
        notices: Option<&Notices>,
    ) -> Result<Reply, UpstreamError> {
        let process = self.process(user).await?;
        let generation = Some(process.generation.clone());
        if session.is_some_and(|session| session != process.generation) {
            return Ok(Reply { status: StatusCode::NOT_FOUND, session: generation, message: None });
        }
        let line = format!("{}\n", with_user(body.clone(), user));
        let Some(id) = id else {
            process.write(&line).await?;
            return Ok(Reply { status: StatusCode::ACCEPTED, session: generation, message: None });
        };
        let answered = process.pending.wait(id, notices)?;
        let waiting = Forget { pending: &process.pending, id };
        let asking = async {
            process.write(&line).await?;
            answered.await.map_err(|_| UpstreamError::Interrupted("the program ended".to_owned()))
        };
        let message = match tokio::time::timeout(self.config.timeout, asking).await {
            Ok(message) => message?,
            Err(_) => {
                let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
                let _ = tokio::time::timeout(Duration::from_secs(1), process.write(&format!("{cancelled}\n"))).await;
                return Err(UpstreamError::Timeout);
            }
        };
        drop(waiting);
        Ok(Reply { status: StatusCode::OK, session: generation, message: Some(message) })
    }

    /// Ends all processes, and returns when nothing of them is left. None is started any more.
    pub(crate) async fn close(&self) {
        let slots = self.processes.lock().await.take();
        for process in slots.into_iter().flat_map(HashMap::into_values).filter_map(|slot| slot.process) {
            process.end().await;
        }
    }

    /// The process that runs for this user, or a new one.
    async fn process(&self, user: &UserRef) -> Result<Arc<Process>, UpstreamError> {
        let owner = self.owner(&user.id).to_owned();
        let mut slots = self.processes.lock().await;
        let Some(slots) = slots.as_mut() else {
            return Err(UpstreamError::Unreachable("the gateway is stopping".to_owned()));
        };
        if let Some(process) = slots.get(&owner).and_then(|slot| slot.process.as_ref()).filter(|process| process.is_good()) {
            *process.used.lock() = Instant::now();
            return Ok(Arc::clone(process));
        }
        let gone: Vec<Arc<Process>> = retire(slots, &owner);
        let slot = slots.entry(owner.clone()).or_default();
        slot.starts.retain(|at| at.elapsed() < STARTS_WINDOW);
        if slot.starts.len() >= STARTS_MAX {
            return Err(UpstreamError::Unreachable("the program ended too often; it is not started again for now".to_owned()));
        }
        slot.starts.push(Instant::now());
        let running = slots.values().filter(|slot| slot.process.is_some()).count();
        if running >= PROCESSES_MAX {
            return Err(UpstreamError::Unreachable("as many processes as allowed run".to_owned()));
        }
        for process in gone {
            process.end().await;
        }
        let process = self.start((!self.config.shared).then(|| user.id.clone())).await?;
        if let Some(slot) = slots.get_mut(&owner) {
            slot.process = Some(Arc::clone(&process));
        }
        Ok(process)
    }

    async fn start(&self, user: Option<String>) -> Result<Arc<Process>, UpstreamError> {
        let StdioConfig { starter, runtime, shared, result_bytes_max, .. } = &self.config;
        let (starter, shared, line_bytes_max) = (Arc::clone(starter), *shared, *result_bytes_max);
        let number = self.generations.fetch_add(1, Ordering::Relaxed);
        let starting = runtime.spawn(async move {
            let pipes = starter.start(user.as_deref()).await.map_err(UpstreamError::Unreachable)?;
            Ok(Process::new(pipes, number, line_bytes_max, shared))
        });
        starting.await.unwrap_or_else(|error| Err(UpstreamError::Unreachable(error.to_string())))
    }
}

/// Takes out what has ended, what nobody asked for long, and this owner's own.
fn retire(slots: &mut HashMap<String, Slot>, owner: &str) -> Vec<Arc<Process>> {
    let mut gone = Vec::new();
    for (name, slot) in slots.iter_mut() {
        let keep = slot.process.as_ref().is_some_and(|process| process.is_good() && !process.is_idle());
        if name == owner || !keep {
            gone.extend(slot.process.take());
        }
    }
    slots.retain(|_, slot| slot.process.is_some() || slot.starts.iter().any(|at| at.elapsed() < STARTS_WINDOW));
    gone
}

impl Process {
    fn new(pipes: Pipes, number: u64, line_bytes_max: usize, shared: bool) -> Arc<Self> {
        let pending = Arc::new(Pending::default());
        tokio::spawn(listen(pipes.stdout, Arc::clone(&pending), line_bytes_max, shared));
        Arc::new(Self {
            generation: format!("process-{number}"),
            stdin: tokio::sync::Mutex::new(pipes.stdin),
            pending,
            used: Mutex::new(Instant::now()),
            life: Mutex::new(Some(pipes.life)),
        })
    }

    fn is_good(&self) -> bool {
        !self.pending.over.load(Ordering::SeqCst)
    }

    fn is_idle(&self) -> bool {
        self.pending.waiting.lock().is_empty() && self.used.lock().elapsed() > IDLE
    }

    async fn write(&self, line: &str) -> Result<(), UpstreamError> {
        let mut stdin = self.stdin.lock().await;
        let written = async {
            stdin.write_all(line.as_bytes()).await?;
            stdin.flush().await
        };
        written.await.map_err(|error| {
            self.pending.end();
            UpstreamError::Interrupted(error.to_string())
        })
    }

    async fn end(&self) {
        self.pending.end();
        let life = self.life.lock().take();
        if let Some(life) = life {
            life.end().await;
        }
    }
}

impl Pending {
    fn wait(&self, id: u64, notices: Option<&Notices>) -> Result<oneshot::Receiver<Value>, UpstreamError> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if self.over.load(Ordering::SeqCst) {
            return Err(UpstreamError::Unreachable("the program ended".to_owned()));
        }
        if waiting.len() >= PENDING_MAX {
            return Err(UpstreamError::Unreachable("as many requests as allowed wait for the program".to_owned()));
        }
        waiting.insert(id, Waiting { answer, notices: notices.cloned() });
        Ok(answered)
    }

    /// Whoever waits learns that no answer comes.
    fn end(&self) {
        let mut waiting = self.waiting.lock();
        self.over.store(true, Ordering::SeqCst);
        waiting.clear();
    }

    fn heard(&self, message: Value, shared: bool) {
        let mut waiting = self.waiting.lock();
        if message.get("method").is_some() {
            let told = message.pointer("/params/progressToken").and_then(Value::as_str).map(str::to_owned);
            // What one says of no request in particular is told to nobody where several users could hear it.
            let one = (told.is_none() && !shared && waiting.len() == 1).then(|| waiting.keys().next().copied()).flatten();
            for (id, of) in waiting.iter() {
                let token = progress_token(*id);
                if let Some(notices) = of.notices.as_ref().filter(|_| one == Some(*id) || told.as_ref() == Some(&token)) {
                    notices.saw(&message, &token);
                }
            }
            return;
        }
        let id = message.get("id").and_then(Value::as_u64);
        if let Some(of) = id.and_then(|id| waiting.remove(&id)) {
            let _ = of.answer.send(message);
        }
    }
}

/// An exchange that is given up is not waited for any more.
struct Forget<'a> {
    pending: &'a Pending,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pending.waiting.lock().remove(&self.id);
    }
}

/// Reads lines until the program ends, or says what is no message.
async fn listen(mut stdout: Box<dyn AsyncRead + Send + Unpin>, pending: Arc<Pending>, line_bytes_max: usize, shared: bool) {
    let mut bytes = BytesMut::with_capacity(READ_BYTES);
    loop {
        while let Some(end) = memchr::memchr(b'\n', &bytes) {
            let line = bytes.split_to(end + 1);
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            match strict::parse(line) {
                Ok(message) => pending.heard(message, shared),
                Err(error) => {
                    tracing::warn!(%error, "a tool server's program said what is no message, so it is ended");
                    return pending.end();
                }
            }
        }
        if bytes.len() > line_bytes_max {
            tracing::warn!("a tool server's program said too much at once, so it is ended");
            return pending.end();
        }
        match stdout.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return pending.end(),
        }
    }
}

/// Says for whom a request is, where a server of the other kind reads headers.
fn with_user(mut body: Value, user: &UserRef) -> Value {
    if body.get("id").is_none() {
        return body;
    }
    let params = body.as_object_mut().map(|body| body.entry("params").or_insert_with(|| json!({})));
    let meta = params.and_then(Value::as_object_mut).map(|params| params.entry("_meta").or_insert_with(|| json!({})));
    if let Some(meta) = meta.and_then(Value::as_object_mut) {
        let mut said = Map::from_iter([("id".to_owned(), json!(user.id))]);
        said.extend(user.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
        meta.insert("hexward/user".to_owned(), Value::Object(said));
    }
    body
}

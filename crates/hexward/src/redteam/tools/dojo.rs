//! The benchmark at work: a process with the environments, which is a tool server to the gateway and a judge to this command.

use crate::secrets;
use anyhow::{Context, Result};
use proxy::mcp::upstream::{McpUpstream, UpstreamConfig};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const SERVER: &str = include_str!("dojo/server.py");
/// It loads four environments before it says its first word.
const ANSWER_WAIT: Duration = Duration::from_secs(120);
const TOOL_WAIT: Duration = Duration::from_secs(60);
const RESULT_BYTES_MAX: usize = 4 << 20;

/// A tool call as a task has it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Call {
    pub(super) tool: String,
    pub(super) arguments: Map<String, Value>,
}

/// A task at hand: what the person wrote, what has to be called for it, and what the attacker wants called.
#[derive(Deserialize)]
pub(super) struct Task {
    pub(super) prompt: String,
    pub(super) calls: Vec<Call>,
    pub(super) attack: Vec<Call>,
}

/// What became of it.
#[derive(Deserialize)]
pub(super) struct Judgement {
    /// The person got what they asked for.
    pub(super) useful: bool,
    /// The attacker did.
    pub(super) won: bool,
    /// Tools that were run.
    pub(super) done: Vec<String>,
}

/// One of the benchmark's suites.
#[derive(Clone, Deserialize)]
pub(super) struct Suite {
    pub(super) tools: Vec<String>,
    pub(super) user_tasks: Vec<String>,
    /// The attacker's goals, each with the tools that it needs; none where the benchmark knows no way to it.
    pub(super) attacks: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Hello {
    port: u16,
    suites: BTreeMap<String, Suite>,
}

pub(super) struct Dojo {
    _process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    pub(super) suites: BTreeMap<String, Suite>,
    pub(super) upstream: Arc<McpUpstream>,
}

impl Dojo {
    pub(super) async fn start(python: &Path, folder: &Path) -> Result<Self> {
        let (program, credential) = (folder.join("dojo.py"), secrets::random_hex()?);
        std::fs::write(&program, SERVER)?;
        let mut command = Command::new(python);
        // Isolated: nothing of the environment or of this folder is read, and nothing is written beside it.
        command.args(["-I", "-B"]).arg(&program).env_clear().env("HEXWARD_CREDENTIAL", &credential).kill_on_drop(true);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("the benchmark can't be started")?;
        let (stdin, stdout) = (process.stdin.take().context("no way in")?, process.stdout.take().context("no way out")?);
        let mut stdout = BufReader::new(stdout).lines();
        let hello: Hello = serde_json::from_str(&line(&mut stdout).await?).context("the benchmark does not begin as expected")?;
        let config = UpstreamConfig {
            url: format!("http://127.0.0.1:{}/mcp", hello.port).parse()?,
            credential: SecretString::from(credential),
            timeout: TOOL_WAIT,
            result_bytes_max: RESULT_BYTES_MAX,
        };
        Ok(Self { _process: process, stdin, stdout, suites: hello.suites, upstream: Arc::new(McpUpstream::new(config)?) })
    }

    /// A fresh environment with this task in it, and the attacker's words wherever a stranger could have left some.
    pub(super) async fn begin(&mut self, suite: &str, user_task: &str, attack: Option<&str>) -> Result<Task> {
        self.ask(&json!({"do": "begin", "suite": suite, "user_task": user_task, "attack": attack})).await
    }

    pub(super) async fn judge(&mut self) -> Result<Judgement> {
        self.ask(&json!({"do": "judge"})).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(&mut self, order: &Value) -> Result<T> {
        self.stdin.write_all(format!("{order}\n").as_bytes()).await.context("the benchmark has ended")?;
        serde_json::from_str(&line(&mut self.stdout).await?).context("the benchmark answers something else")
    }
}

async fn line(from: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
    let line = tokio::time::timeout(ANSWER_WAIT, from.next_line()).await.context("the benchmark does not answer")?;
    line?.context("the benchmark has ended; what it said stands above")
}

//! The provider's own clients, as `scripts/setup.sh test` leaves them.

use crate::places::{agent, repository};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// They retry with pauses of seconds.
const WAIT: Duration = Duration::from_secs(90);
/// Its cases are counted, but a slow machine takes its time for each.
const SCHEMATHESIS_WAIT: Duration = Duration::from_secs(300);

/// Runs one of `tests/clients` against a base URL with a key, and returns what it saw.
///
/// # Panics
/// When the client is missing, or its script fails.
pub async fn run(script: &str, base_url: &str, key: &str) -> Value {
    let mut command = started(script, "clients/js/node_modules/@anthropic-ai/sdk/index.mjs");
    command.args([base_url, key]).env_remove("HTTP_PROXY").env_remove("http_proxy");
    let output = ended(command, script).await;
    seen(script, &output)
}

/// Runs a script of Node's that a host application's back end could be, in a folder and with an environment of its own, and returns what it
/// saw. Needs the TypeScript client, as `scripts/client.sh` leaves it.
///
/// # Panics
/// When the script fails.
pub async fn back_end(script: &str, arguments: &[&str], environment: &[(&str, &str)], folder: &Path) -> Value {
    let mut command = Command::new("node");
    command.arg(repository().join("tests/clients").join(script)).args(arguments).current_dir(folder);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    seen(script, &ended(command, script).await)
}

/// Runs Schemathesis, as `scripts/setup.sh test` leaves it and `tests/openapi` configures it, in a folder and with an environment of its
/// own; returns whether it was content, and what it said.
///
/// # Panics
/// When it is missing, or does not end.
pub async fn schemathesis(arguments: &[&str], environment: &[(&str, &str)], folder: &Path) -> (bool, String) {
    let here = repository().join("tests/openapi");
    let mut command = Command::new(repository().join(".hexward/openapi/bin/schemathesis"));
    command.arg("--no-color").arg("--config-file").arg(here.join("schemathesis.toml")).args(arguments).current_dir(folder);
    command.env_clear().envs(environment.iter().copied()).env("PYTHONPATH", here).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::time::timeout(SCHEMATHESIS_WAIT, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let output = output.expect("it ends").unwrap_or_else(|error| panic!("schemathesis: {error}; run `scripts/setup.sh test`"));
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).concat();
    (output.status.success(), said)
}

/// A script in its own language, with the module that it is to load where it can't find it itself.
fn started(script: &str, module: &str) -> Command {
    let (installed, path) = (repository().join(".hexward"), repository().join("tests/clients").join(script));
    if script.ends_with(".py") {
        let mut command = Command::new(installed.join("clients/py/bin/python"));
        command.arg(path);
        return command;
    }
    let mut command = Command::new("node");
    command.arg(path).arg(installed.join(module));
    command
}

async fn ended(mut command: Command, what: &str) -> Output {
    let output = tokio::time::timeout(WAIT, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    output.expect("the client ends").unwrap_or_else(|error| panic!("{what}: {error}; run `scripts/setup.sh test`"))
}

fn seen(script: &str, output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{script}: {error}: {errors}"))
}

/// One of the protocol's own programs, as `scripts/setup.sh test` leaves them: a script below `node_modules`, or `NAME` for the program
/// that the package of that name brings.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn mcp_tool(script: &str) -> Command {
    let modules = repository().join(".hexward/mcp/node_modules");
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let node = modules.join(format!("node-linux-{machine}/bin/node"));
    let mut path = modules.join(script);
    if path.is_dir() {
        let text = std::fs::read_to_string(path.join("package.json")).unwrap();
        let package: Value = serde_json::from_str(&text).unwrap();
        let program = package["bin"].as_object().and_then(|programs| programs.values().next()).unwrap_or(&package["bin"]);
        path.push(program.as_str().unwrap());
    }
    assert!(node.is_file() && path.is_file(), "{} is missing: run `scripts/setup.sh test`", path.display());
    let mut command = Command::new(node);
    command.arg(path).stdin(Stdio::null()).env_remove("HTTP_PROXY").env_remove("http_proxy");
    command
}

/// A machine elsewhere, with a home of its own, on which agents are started. They have the environment that the documentation gives
/// them, the system's and no other.
pub struct Elsewhere {
    _home: TempDir,
    work: PathBuf,
    environment: Vec<(String, String)>,
}

impl Elsewhere {
    /// `work` is the folder that agents work in. Whatever they want from anybody but their provider is asked of `outside`.
    ///
    /// # Panics
    /// When a folder can't be made.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "where Node is, is this machine's affair")]
    pub fn new(environment: Vec<(String, String)>, work: &Path, outside: SocketAddr) -> Self {
        let home = tempfile::Builder::new().prefix("elsewhere-").tempdir().unwrap();
        let outside = format!("http://{outside}");
        let own = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", home.path().display().to_string()),
            ("TMPDIR", home.path().display().to_string()),
            ("HTTP_PROXY", outside.clone()),
            ("HTTPS_PROXY", outside),
            ("NO_PROXY", "127.0.0.1".to_owned()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self { _home: home, work: work.to_owned(), environment: own.chain(environment).collect() }
    }

    /// Runs a script on an Agent SDK, over the agent that is installed here: its whole story, or one message.
    ///
    /// # Panics
    /// When the SDK is missing, or the script fails.
    pub async fn sdk(&self, script: &str, message: Option<&str>) -> Value {
        let mut command = started(script, "sdk/node_modules/@anthropic-ai/claude-agent-sdk/sdk.mjs");
        command.arg(agent()).arg(&self.work).args(message);
        seen(script, &ended(self.here(command), script).await)
    }

    /// Runs the agent itself, and returns whether it was content and the lines that it printed.
    ///
    /// # Panics
    /// When it prints anything but JSON.
    pub async fn claude(&self, arguments: &[&str]) -> (bool, Vec<Value>) {
        let mut command = Command::new(agent());
        command.args(arguments);
        let output = ended(self.here(command), "claude").await;
        let lines = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}: {errors}"));
        (output.status.success(), lines.lines().map(line).collect())
    }

    fn here(&self, mut command: Command) -> Command {
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(environment).current_dir(&self.work);
        command
    }
}

//! The provider's own clients, as `scripts/setup.sh test` leaves them.

use crate::places::repository;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// They retry with pauses of seconds.
const WAIT: Duration = Duration::from_secs(90);

/// Runs one of `tests/clients` against a base URL with a key, and returns what it saw.
///
/// # Panics
/// When the client is missing, or its script fails.
pub async fn run(script: &str, base_url: &str, key: &str) -> Value {
    let installed = repository().join(".hexward/clients");
    let path = repository().join("tests/clients").join(script);
    let mut command = if script.ends_with(".py") { Command::new(installed.join("py/bin/python")) } else { Command::new("node") };
    command.arg(&path);
    if !script.ends_with(".py") {
        command.arg(installed.join("js/node_modules/@anthropic-ai/sdk/index.mjs"));
    }
    command.args([base_url, key]).env_remove("HTTP_PROXY").env_remove("http_proxy").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(WAIT, command.output()).await.expect("the client ends");
    let output = output.unwrap_or_else(|error| panic!("{script}: {error}; run `scripts/setup.sh test`"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{script}: {error}: {errors}"))
}

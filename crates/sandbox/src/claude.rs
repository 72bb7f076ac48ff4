//! The real agent: how `claude` is locked down, started and spoken to (newline-delimited JSON on its standard streams).
//!
//! What it prints is untrusted: of all its messages only the end of a turn is believed, and only as a hint that may fail a
//! run, never as text to show or a fact to keep.

use crate::driver::AgentSpec;
use crate::lines::{Line, Lines};
use crate::transcript::{self, PastMessage};
use crate::{AGENT, script};
use policy::{Destination, Microusd, SandboxId};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

/// A value where a program insists on one. It opens nothing: the listener that accepts is the identity.
const PLACEHOLDER_KEY: &str = "sk-ant-placeholder-the-connection-is-the-identity";
const TOOL_WAIT_MS: &str = "60000";
const BUDGET_DIGITS: i64 = 1_000_000;

/// The npm package that holds this machine's executable; the Agent SDK looks for it under this name.
pub const NATIVE_PACKAGE: &str = if cfg!(target_arch = "aarch64") {
    "@anthropic-ai/claude-agent-sdk-linux-arm64"
} else {
    "@anthropic-ai/claude-agent-sdk-linux-x64"
};

/// What an app wants of the agent.
#[derive(Clone, Debug)]
pub struct ClaudeOptions {
    /// The model.
    pub model: String,
    /// The operator's system prompt.
    pub system_prompt: String,
    /// The runtime: [`AGENT`], or one with a command of its own, which is told the same by its environment.
    pub runtime: String,
    /// The name of the tools' server, as the model sees it; none for an app without tools.
    pub tools_server: Option<String>,
    /// The tools it may use.
    pub tools: Vec<String>,
    /// Model calls at most. The proxy enforces its own bound; this only makes the agent end politely.
    pub turns_max: u32,
    /// Money at most; as above.
    pub budget: Microusd,
    /// Output tokens of one call at most; as above.
    pub output_tokens_max: u32,
    /// What was said in the conversation before.
    pub past: Vec<PastMessage>,
    /// Whether the agent is told where the model is; otherwise it dials the provider's own name and is intercepted.
    pub tell_base_url: bool,
}

impl ClaudeOptions {
    /// The agent as a sandbox has to start it.
    #[must_use]
    pub fn spec(&self, id: SandboxId, trusted_pem: String) -> AgentSpec {
        AgentSpec {
            id,
            runtime: self.runtime.clone(),
            arguments: if self.is_script() { Vec::new() } else { self.arguments() },
            environment: self.environment(),
            trusted_pem,
            past: self.past.clone(),
            model: self.model.clone(),
            extra_ports: Vec::new(),
        }
    }

    /// Agents with the same digest were started with the same arguments and environment, so one can stand in for another.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        policy::digest_bytes(json!([self.runtime, self.arguments(), self.environment()]).to_string().as_bytes())
    }

    fn is_script(&self) -> bool {
        self.runtime != AGENT
    }

    /// The tools' server, as `--mcp-config` and the Agent SDK's `mcpServers` have it.
    pub(crate) fn servers(&self) -> Value {
        let entry = json!({"type": "http", "url": format!("http://{}/mcp", Destination::TOOLS_NAME)});
        self.tools_server.iter().map(|name| (name.clone(), entry.clone())).collect::<Map<_, _>>().into()
    }

    /// The tools, by the names the model has for them.
    pub(crate) fn allowed(&self) -> Vec<String> {
        let server = self.tools_server.as_deref().unwrap_or_default();
        self.tools.iter().map(|tool| format!("mcp__{server}__{tool}")).collect()
    }

    /// No built-in tools, no settings, no commands, no persistence: only the app's tools, asked for nothing else.
    fn arguments(&self) -> Vec<String> {
        let budget = format!("{}.{:06}", self.budget.0 / BUDGET_DIGITS, self.budget.0 % BUDGET_DIGITS);
        let fixed = [
            "--output-format",
            "stream-json",
            "--verbose",
            "--input-format",
            "stream-json",
            "--restricted",
            "--strict-mcp-config",
        ];
        let fixed = fixed.into_iter().map(str::to_owned);
        let valued = [
            ("--setting-sources", String::new()),
            ("--tools", String::new()),
            ("--permission-mode", "dontAsk".to_owned()),
            ("--allowedTools", self.allowed().join(",")),
            ("--mcp-config", json!({"mcpServers": self.servers()}).to_string()),
            ("--model", self.model.clone()),
            ("--system-prompt", self.system_prompt.clone()),
            ("--max-turns", self.turns_max.to_string()),
            ("--max-budget-usd", budget),
        ];
        let resume = (!self.past.is_empty()).then(|| ("--resume", transcript::SESSION.to_owned()));
        let valued = valued.into_iter().chain(resume).flat_map(|(flag, value)| [flag.to_owned(), value]);
        fixed.chain(valued).chain(["--no-session-persistence", "--disable-slash-commands"].map(str::to_owned)).collect()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let mut environment: BTreeMap<String, String> = [
            ("ANTHROPIC_API_KEY", PLACEHOLDER_KEY),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "1"),
            ("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"),
            ("CLAUDE_CODE_DISABLE_CLAUDE_MDS", "1"),
            ("CLAUDE_CODE_SKIP_PROMPT_HISTORY", "1"),
            ("CLAUDE_CODE_MAX_RETRIES", "2"),
            ("DISABLE_UPDATES", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("MCP_TOOL_TIMEOUT", TOOL_WAIT_MS),
            ("LANG", "C.UTF-8"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        environment.insert("CLAUDE_CODE_MAX_OUTPUT_TOKENS".to_owned(), self.output_tokens_max.to_string());
        if self.tell_base_url {
            environment.insert("ANTHROPIC_BASE_URL".to_owned(), format!("http://{}", Destination::MODEL_NAME));
        }
        if self.is_script() {
            environment.extend(script::environment(self));
        } else {
            // The gateway follows the conversation, so the agent neither summarises it nor leaves tools out of its requests.
            let kept_whole = [("DISABLE_COMPACT", "1"), ("ENABLE_TOOL_SEARCH", "false")];
            environment.extend(kept_whole.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        environment
    }
}

/// The end of a turn, as the agent tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TurnResult {
    /// `success` even for failures of the API; see `is_error`.
    pub subtype: String,
    /// Whether the turn failed.
    #[serde(default)]
    pub is_error: bool,
    /// The status code of the model API that ended the turn.
    pub api_error_status: Option<u16>,
}

/// What came from the agent.
#[derive(Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// A turn is over.
    Turn(TurnResult),
    /// It printed more than it may.
    TooMuchOutput,
    /// It closed its output: it is ending.
    Closed,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
}

/// A conversation with one agent process.
pub struct Claude {
    stdin: pipe::Sender,
    stdout: Lines<pipe::Receiver>,
}

impl Claude {
    /// Speaks over the agent's standard streams, and hears at most so many bytes for each message that it is handed.
    #[must_use]
    pub fn new(stdin: pipe::Sender, stdout: pipe::Receiver, output_bytes_max: u64) -> Self {
        Self { stdin, stdout: Lines::new(stdout, output_bytes_max) }
    }

    /// Hands over what a person wrote. `client_composed` makes it inert: no file is expanded, no command is run.
    ///
    /// # Errors
    /// An I/O error when the agent is gone.
    pub async fn say(&mut self, text: &str) -> std::io::Result<()> {
        let message = json!({
            "type": "user",
            "message": {"role": "user", "content": text},
            "parent_tool_use_id": null,
            "session_id": "",
            "client_composed": true,
        });
        self.stdout.count_anew();
        self.stdin.write_all(format!("{message}\n").as_bytes()).await?;
        self.stdin.flush().await
    }

    /// The next thing worth knowing; everything else it prints is passed over. Cancel-safe.
    pub async fn next(&mut self) -> AgentEvent {
        loop {
            match self.stdout.next().await {
                Line::Whole(line) => {
                    if let Some(turn) = turn_of(&line) {
                        return AgentEvent::Turn(turn);
                    }
                }
                Line::TooLong => {}
                Line::TooMuch => return AgentEvent::TooMuchOutput,
                Line::End => return AgentEvent::Closed,
            }
        }
    }
}

fn turn_of(line: &[u8]) -> Option<TurnResult> {
    let message: Message = serde_json::from_slice(line).ok()?;
    (message.kind == "result").then(|| serde_json::from_slice(line).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ClaudeOptions {
        ClaudeOptions {
            model: "claude-sonnet-5-5".to_owned(),
            system_prompt: "You are a test.".to_owned(),
            runtime: AGENT.to_owned(),
            tools_server: Some("hexmap".to_owned()),
            tools: vec!["addItem".to_owned(), "getCurrentUser".to_owned()],
            turns_max: 5,
            budget: Microusd(1_000_000),
            output_tokens_max: 4000,
            past: Vec::new(),
            tell_base_url: true,
        }
    }

    #[test]
    fn the_agent_is_locked_down() {
        let arguments = options().arguments();
        let value =
            |flag: &str| arguments.iter().position(|a| a == flag).and_then(|at| arguments.get(at + 1)).map(String::as_str);
        assert_eq!(value("--tools"), Some(""));
        assert_eq!(value("--setting-sources"), Some(""));
        assert_eq!(value("--permission-mode"), Some("dontAsk"));
        assert_eq!(value("--allowedTools"), Some("mcp__hexmap__addItem,mcp__hexmap__getCurrentUser"));
        assert_eq!(value("--max-budget-usd"), Some("1.000000"));
        for flag in ["--restricted", "--strict-mcp-config", "--no-session-persistence", "--disable-slash-commands"] {
            assert!(arguments.iter().any(|a| a == flag), "{flag}");
        }
        let environment = options().environment();
        assert_eq!(environment.get("ANTHROPIC_BASE_URL").map(String::as_str), Some("http://model.hexward.internal"));
        assert_eq!(environment.get("CLAUDE_CODE_DISABLE_ATTACHMENTS").map(String::as_str), Some("1"));
        let untold = ClaudeOptions { tell_base_url: false, ..options() }.environment();
        assert!(!untold.contains_key("ANTHROPIC_BASE_URL"), "then it dials the provider's own name");
    }

    #[test]
    fn what_an_agent_is_started_with_is_in_its_digest() {
        let digest = options().digest();
        assert_eq!(options().digest(), digest);
        let changes: [fn(&mut ClaudeOptions); 9] = [
            |o| o.model.push('x'),
            |o| o.system_prompt.push('x'),
            |o| o.runtime.push('x'),
            |o| o.tools_server = None,
            |o| o.tools.clear(),
            |o| o.turns_max += 1,
            |o| o.budget.0 += 1,
            |o| o.output_tokens_max += 1,
            |o| o.tell_base_url = false,
        ];
        for change in changes {
            let mut other = options();
            change(&mut other);
            assert_ne!(other.digest(), digest, "{other:?}");
        }
    }

    #[test]
    fn an_api_failure_is_a_failure_although_it_says_success() {
        let line = br#"{"type":"result","subtype":"success","is_error":true,"api_error_status":529,"result":"x"}"#;
        assert_eq!(
            turn_of(line),
            Some(TurnResult { subtype: "success".to_owned(), is_error: true, api_error_status: Some(529) })
        );
        assert_eq!(turn_of(br#"{"type":"assistant","subtype":"success"}"#), None);
        assert_eq!(turn_of(b"\xff\xfe garbage"), None);
        assert_eq!(turn_of(b"{\"type\":\"result\"}"), None);
    }
}

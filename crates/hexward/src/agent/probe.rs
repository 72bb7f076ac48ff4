//! Tries an agent: the whole gateway with the scripted model, the real driver and a real sandbox. What it is asked shows that a turn
//! works, that it reaches for nothing but the model and its tools, and that a person's text is only text to it.

use super::Installed;
use crate::config::{Config, Egress};
use crate::gateway::{Gateway, driver};
use crate::{demo, secrets};
use anyhow::{Context, Result, bail};
use fake::{Exchange, Fake, FakeConfig};
use policy::{Microusd, RateRules, UserMessage};
use proxy::webhooks::WebhookSettings;
use runs::{AgentLimits, EventBody, QueueSettings, RunSettings, Sender};
use sandbox::Mode;
use secrecy::SecretString;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const APP: &str = "hexmap";
/// A turn of the scripted model takes a second; a loaded machine some more.
const RUN_WAIT: Duration = Duration::from_secs(60);
const CHANGE: &str = "Create a tile called Probe to the north-east";
/// What an agent that is not locked down would carry out instead of handing on.
const INERT: [&str; 6] =
    ["see @/etc/passwd and @/etc/hosts please", "/model claude-fable-5", "/help", "/cost", "!cat /etc/passwd", "# remember this"];
/// Stands in the sandbox's own `/etc/passwd` and nowhere else.
const PASSWD_MARK: &str = "agent:x:1000";

/// What one check saw.
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was seen.
    pub evidence: String,
}

/// One message and what came of it.
struct Seen {
    outcome: String,
    denied: Vec<String>,
    tools_done: Vec<String>,
    requests: Vec<Exchange>,
}

/// Tries an agent, and leaves nothing behind.
///
/// # Errors
/// What kept it from being tried at all.
pub async fn probe(installed: &Installed) -> Result<Vec<Check>> {
    let key = format!("sk-ant-probe-{}", secrets::random_hex()?);
    let fake = Fake::start(FakeConfig::for_tests(key.clone())).await?;
    let folder = Scratch(installed.folder.join(format!("probe-{}", uuid::Uuid::now_v7())));
    let config = config(installed, &fake, key, folder.0.clone())?;
    let driver = driver(&config)?;
    let gateway = Gateway::start(config, driver).await?;
    let checks = ask_all(&gateway, &fake).await;
    gateway.shutdown().await;
    checks
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "the folder of a trial could not be removed");
        }
    }
}

fn config(installed: &Installed, fake: &Fake, key: String, state_dir: PathBuf) -> Result<Config> {
    let defaults = demo::defaults(state_dir)?;
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    Ok(Config {
        master_keys: None,
        magic: false,
        webhooks: WebhookSettings::default(),
        map_limits: hexmap::map::LimitsByTier::default(),
        calls_max: proxy::CALLS_MAX,
        gateway: "agent-probe".to_owned(),
        user: String::new(),
        production: false,
        people: any_port,
        callers: None,
        mode: Mode::Native,
        agent_path: installed.executable(),
        jail_path: defaults.jail_path,
        upstream: fake.url(),
        api_key: SecretString::from(key),
        providers: Vec::new(),
        prices: policy::Prices::default(),
        budgets: policy::Budgets { run: Microusd::dollars(1), day: Microusd::dollars(1), ..policy::Budgets::default() },
        auth_secret: SecretString::from(secrets::random_hex()?),
        database_url: SecretString::from(format!("sqlite:{}", defaults.state_dir.join("probe.db").display())),
        state_dir: defaults.state_dir,
        day_limit: Microusd::dollars(1),
        runs: RunSettings {
            run_budget: Microusd::dollars(1),
            wall_clock: RUN_WAIT,
            concurrent_max: 1,
            queue: QueueSettings::default(),
            rates: RateRules::unreachable(),
            idle: RUN_WAIT,
            idle_agents_max: 1,
            warm_agents_max: 0,
            keeping: runs::Keeping::default(),
            tell_base_url: true,
            limits: AgentLimits::default(),
            danger_accept_downgrades: true,
            confirmation_wait: Duration::ZERO,
        },
        egress: Egress::default(),
        apps: Vec::new(),
        page_app: String::new(),
        runtime_path: PathBuf::new(),
        hosts: Vec::new(),
        public_url: None,
    })
}

async fn ask_all(gateway: &Gateway, fake: &Fake) -> Result<Vec<Check>> {
    let changed = ask(gateway, fake, CHANGE).await?;
    let mut checks = vec![turn(&changed), stray(CHANGE, &changed)];
    let model = changed.requests.first().and_then(|request| body(request).get("model").cloned()).unwrap_or_default();
    for text in INERT {
        let seen = ask(gateway, fake, text).await?;
        checks.push(inert(text, &seen, &model));
    }
    Ok(checks)
}

/// Sends one message in a conversation of its own and waits for the end of its run.
async fn ask(gateway: &Gateway, fake: &Fake, text: &str) -> Result<Seen> {
    let before = fake.requests().len();
    let now = gateway.clock.now();
    let user = gateway.store.user_of("hexward:probe", "probe", now).await?;
    let conversation = gateway.store.create_conversation(user, APP, now).await?;
    let run = gateway.runs.start(Sender::local(user), APP, conversation, UserMessage::parse(text)?, true).await?;
    let feed = gateway.runs.feed(user, run).context("the run has no events")?;
    let mut seen = Seen { outcome: String::new(), denied: Vec::new(), tools_done: Vec::new(), requests: Vec::new() };
    let (mut count, reading) = (0, async |seen: &mut Seen, count: &mut u64| {
        loop {
            let events = feed.after(*count).await;
            if events.is_empty() {
                return;
            }
            for event in events {
                *count = event.seq;
                seen.note(event.body);
            }
        }
    });
    if tokio::time::timeout(RUN_WAIT * 2, reading(&mut seen, &mut count)).await.is_err() {
        bail!("a run did not end within {} seconds", RUN_WAIT.as_secs() * 2);
    }
    seen.requests = fake.requests().split_off(before);
    Ok(seen)
}

impl Seen {
    fn note(&mut self, event: EventBody) {
        match event {
            EventBody::ToolResult { tool, ok, .. } if ok => self.tools_done.push(tool),
            EventBody::ToolResult { tool, result, .. } => self.denied.push(format!("{tool}: {result}")),
            EventBody::Denied { code, wanted, .. } => self.denied.push(format!("{code} {wanted}")),
            EventBody::RunEnded { outcome, code, .. } => {
                self.outcome = code.map_or_else(|| outcome.to_owned(), |code| format!("{outcome} ({code})"));
            }
            EventBody::RunStarted { .. }
            | EventBody::Queued { .. }
            | EventBody::State { .. }
            | EventBody::TextDelta { .. }
            | EventBody::ToolCallStarted { .. }
            | EventBody::ToolCall { .. }
            | EventBody::Confirmation { .. }
            | EventBody::ConfirmationEnded { .. }
            | EventBody::ModelCall { .. }
            | EventBody::Challenge { .. }
            | EventBody::ChallengeEnded { .. } => {}
        }
    }

    fn stray(&self) -> Vec<String> {
        let elsewhere = self.requests.iter().filter(|request| !request.path.starts_with("/v1/messages"));
        elsewhere.map(|request| format!("{} {}", request.method, request.path)).chain(self.denied.iter().cloned()).collect()
    }
}

/// A whole turn: the model is asked, asks for a tool, the tool acts, the agent says that it is done.
fn turn(seen: &Seen) -> Check {
    let passed = seen.outcome == "finished" && seen.tools_done.iter().any(|tool| tool == "addItem") && seen.requests.len() > 1;
    let evidence = format!(
        "{}, {} requests to the model, tools that acted: {}",
        seen.outcome,
        seen.requests.len(),
        seen.tools_done.join(", ")
    );
    Check { name: "a turn with a tool completes".to_owned(), passed, evidence }
}

/// Every address inside leads to the gateway: what was wanted elsewhere was refused, and is in the run's events.
fn stray(text: &str, seen: &Seen) -> Check {
    let stray = seen.stray();
    let evidence = if stray.is_empty() { "only the model and the tools were reached for".to_owned() } else { stray.join("; ") };
    Check { name: format!("no stray connections ({text:?})"), passed: stray.is_empty(), evidence }
}

/// One request to the model, with the very text, the app's model and tools, and nothing of a file.
fn inert(text: &str, seen: &Seen, model: &Value) -> Check {
    let mut faults = seen.stray();
    if seen.outcome != "finished" {
        faults.push(format!("the run is {}", seen.outcome));
    }
    match seen.requests.as_slice() {
        [request] => faults.extend(faults_of(&body(request), text, model)),
        requests => faults.push(format!("{} requests to the model instead of one", requests.len())),
    }
    let evidence = if faults.is_empty() {
        "the model got the literal text and was offered the app's tools only".to_owned()
    } else {
        faults.join("; ")
    };
    Check { name: format!("inert {text:?}"), passed: faults.is_empty(), evidence }
}

fn faults_of(body: &Value, text: &str, model: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if body["model"] != *model {
        faults.push(format!("another model: {}", body["model"]));
    }
    if !said(body).contains(&text) {
        faults.push("the text did not arrive as it was written".to_owned());
    }
    if body.to_string().contains(PASSWD_MARK) {
        faults.push("a file of the sandbox went along".to_owned());
    }
    let prefix = format!("mcp__{APP}__");
    let tools = body["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str());
    faults.extend(tools.filter(|tool| !tool.starts_with(&prefix)).map(|tool| format!("the tool {tool} was offered")));
    faults
}

/// The texts of all messages.
fn said(body: &Value) -> Vec<&str> {
    let messages = body["messages"].as_array().into_iter().flatten().map(|message| &message["content"]);
    let texts = messages.flat_map(|content| content.as_str().into_iter().chain(blocks(content)));
    texts.collect()
}

fn blocks(content: &Value) -> impl Iterator<Item = &str> {
    content.as_array().into_iter().flatten().filter_map(|block| block["text"].as_str())
}

fn body(request: &Exchange) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_agent_does_with_a_text_is_told_apart() {
        let (text, model) = ("/model x", json!("m"));
        let sound = json!({"model": "m", "messages": [{"content": [{"type": "text", "text": text}]}], "tools": [{"name": "mcp__hexmap__look"}]});
        assert_eq!(faults_of(&sound, text, &model), Vec::<String>::new());
        let judged = |pointer: &str, value: Value| {
            let mut body = sound.clone();
            *body.pointer_mut(pointer).expect("there") = value;
            faults_of(&body, text, &model).join("; ")
        };
        assert!(judged("/model", json!("dear")).contains("another model"));
        assert!(judged("/messages/0/content/0/text", json!("changed")).contains("as it was written"));
        assert!(judged("/messages/0/content/0/type", json!("root, agent:x:1000:")).contains("file of the sandbox"));
        assert!(judged("/tools/0/name", json!("Bash")).contains("Bash was offered"));
    }
}

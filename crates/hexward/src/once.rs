//! `hexward demo --once`: one message down the very same path, its events as NDJSON, and an exit code that tells.

use crate::gateway::Gateway;
use anyhow::{Context, Result};
use policy::UserMessage;
use runs::{Event, EventBody, Sender};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

const ISSUER: &str = "hexward:demo";
const SUBJECT: &str = "once";

/// What was seen of the run.
#[derive(Default)]
struct Seen {
    outcome: &'static str,
    code: Option<String>,
    message: Option<String>,
    cost_microusd: i64,
    tools_failed: u32,
    /// How the last call of each tool came out.
    tools: BTreeMap<String, bool>,
}

/// Sends the message and prints what happens. Success means: the agent finished, and each tool it called took effect in the end.
pub async fn once(gateway: &Gateway, app: &str, text: &str, writes: bool) -> Result<ExitCode> {
    let message = UserMessage::parse(text)?;
    let chosen = gateway.runs.app(app).with_context(|| format!("there is no app called {app:?}"))?;
    let has_tools = chosen.app.manifest.mcp.is_some();
    let now = gateway.clock.now();
    let user = gateway.store.user_of(ISSUER, SUBJECT, now).await?;
    let conversation = gateway.store.create_conversation(user, app, now).await?;
    let run = gateway.runs.start(Sender::local(user), app, conversation, message, writes).await?;
    let feed = gateway.runs.feed(user, run).context("the run has no events")?;
    let (stop_signal, runs) = (crate::serve::stop_signal()?, std::sync::Arc::clone(&gateway.runs));
    // Asked to end, the run is stopped; its end is an event like any other.
    let stopper = tokio::spawn(async move {
        stop_signal.await;
        let _ = runs.stop(user, run);
    });
    let (mut seen, mut count) = (Seen::default(), 0);
    loop {
        let events = feed.after(count).await;
        if events.is_empty() {
            break;
        }
        for event in events {
            count = event.seq;
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&event)?)?;
            seen.note(event);
        }
    }
    stopper.abort();
    let journal = gateway.store.tool_calls_of(run).await?;
    let journaled = journal.iter().filter(|(_, _, state)| state == "done").count();
    // An agent may try again after a failed call; what counts is the last call of each tool, so that a change that was refused is
    // not made good by a look afterwards. The journal must say so too.
    let took_effect = seen.tools.values().all(|ok| *ok) && (journaled > 0 || !has_tools);
    let success = seen.outcome == "finished" && took_effect;
    let last = json!({
        "type": "outcome", "success": success, "outcome": seen.outcome, "code": seen.code, "message": seen.message,
        "tool_calls_done": journaled, "tool_calls_failed": seen.tools_failed, "cost_microusd": seen.cost_microusd,
    });
    writeln!(std::io::stdout(), "{last}")?;
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

impl Seen {
    fn note(&mut self, event: Event) {
        match event.body {
            EventBody::ToolResult { ok, tool, .. } => {
                self.tools.insert(tool, ok);
                self.tools_failed += u32::from(!ok);
            }
            EventBody::RunEnded { outcome, code, message, cost_microusd, .. } => {
                (self.outcome, self.code, self.message, self.cost_microusd) = (outcome, code, message, cost_microusd);
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
            | EventBody::ChallengeEnded { .. }
            | EventBody::Denied { .. } => {}
        }
    }
}

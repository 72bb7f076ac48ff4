//! What is kept of a run: the text the model said and the tools it used, as the gateway saw them.

use policy::{Clock, ConversationId, DenialCode, RunId};
use proxy::RunEvent;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use store::{Role, Store};

/// Text of one answer that is kept; what is longer is cut in the history, not on the page.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Writes the history of one run while it goes on, so that a crash keeps what was said before it.
pub(crate) struct History {
    store: Store,
    clock: Arc<dyn Clock>,
    conversation: ConversationId,
    run: RunId,
    text: String,
    /// Whether the text is no part of the conversation with the person. Such is shown, and no agent is told of it.
    induced: bool,
    arguments: HashMap<String, (serde_json::Value, bool)>,
}

impl History {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, conversation: ConversationId, run: RunId) -> Self {
        Self { store, clock, conversation, run, text: String::new(), induced: false, arguments: HashMap::new() }
    }

    pub(crate) async fn saw(&mut self, event: &RunEvent) {
        match event {
            RunEvent::TextDelta { text, induced } => {
                if *induced != self.induced {
                    self.flush().await;
                    self.induced = *induced;
                }
                if self.text.len() + text.len() <= TEXT_BYTES_MAX {
                    self.text.push_str(text);
                }
            }
            RunEvent::ToolCall { call_id, tool, arguments, inside: true, .. } => {
                self.flush().await;
                let content = json!({"call_id": call_id, "tool": tool, "arguments": arguments, "inside": true});
                self.append(Role::Tool, content.to_string()).await;
            }
            RunEvent::ToolCall { call_id, arguments, inside: false, induced, .. } => {
                self.flush().await;
                self.arguments.insert(call_id.clone(), (arguments.clone(), *induced));
            }
            RunEvent::ToolResult { call_id, tool, ok, result, denial, undo, waits } => {
                self.flush().await;
                let denial = denial.as_ref().map(|denial| json!({"code": denial.code.as_str(), "message": denial.message()}));
                // A call that the model did not make has no arguments of the model's, even under the id of one that it made.
                let forged = denial.as_ref().is_some_and(|denial| denial["code"] == DenialCode::ToolNotEmitted.as_str());
                let arguments = if forged { None } else { self.arguments.remove(call_id) };
                let (arguments, induced) = arguments.map_or((None, false), |(arguments, induced)| (Some(arguments), induced));
                let content = json!({"call_id": call_id, "tool": tool, "arguments": arguments, "ok": ok, "result": result, "denial": denial});
                let mut content = marked(content, induced);
                if let (Some(call), Some(fields)) = (undo, content.as_object_mut()) {
                    fields.insert("undo".to_owned(), json!({"call": call, "run": self.run}));
                }
                if let (true, Some(fields)) = (*waits, content.as_object_mut()) {
                    fields.insert("waits".to_owned(), true.into());
                }
                self.append(Role::Tool, content.to_string()).await;
            }
            RunEvent::ModelCallEnded { .. } => self.flush().await,
            RunEvent::ModelCallBegan
            | RunEvent::ToolCallStarted { .. }
            | RunEvent::Challenged { .. }
            | RunEvent::ChallengeEnded { .. }
            | RunEvent::ConfirmationAsked { .. }
            | RunEvent::Denied { .. } => {}
        }
    }

    /// Writes down what was said since the last time.
    pub(crate) async fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.append(Role::Assistant, marked(json!({"text": text}), self.induced).to_string()).await;
        }
    }

    async fn append(&self, role: Role, content: String) {
        if let Err(error) = self.store.append_message(self.conversation, self.run, role, content, self.clock.now()).await {
            tracing::error!(%error, run = %self.run, "a message could not be kept");
        }
    }
}

/// What is no part of the conversation says so.
fn marked(mut content: serde_json::Value, induced: bool) -> serde_json::Value {
    if let (true, Some(fields)) = (induced, content.as_object_mut()) {
        fields.insert("induced".to_owned(), true.into());
    }
    content
}

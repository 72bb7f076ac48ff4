//! What was said in a conversation, turned from the kept history into messages of the model API, for an agent that was not
//! there.

use policy::DenialCode;
use proxy::mcp::DATA_MARK;
use sandbox::PastMessage;
use serde_json::{Map, Value, json};

/// As much of the past as a new agent is told; the oldest is left out first.
const BYTES_MAX: usize = 256 << 10;

/// From rows of (role, content as JSON text), oldest first. `prefix` is what the model sees before a tool's name.
pub(crate) fn messages(rows: &[(String, String)], prefix: &str) -> Vec<PastMessage> {
    let mut past = Past { prefix: prefix.to_owned(), ..Past::default() };
    for (role, content) in rows {
        let fields: Map<String, Value> = serde_json::from_str(content).unwrap_or_default();
        // What something in a sandbox had the model say is no part of what was said.
        if fields.get("induced") == Some(&Value::Bool(true)) {
            continue;
        }
        match role.as_str() {
            "user" => past.user(text_of(&fields)),
            "assistant" => past.assistant(text_of(&fields)),
            _ => past.tool(&fields),
        }
    }
    past.close_turn();
    recent(past.messages)
}

fn text_of(fields: &Map<String, Value>) -> String {
    fields.get("text").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[derive(Default)]
struct Past {
    prefix: String,
    messages: Vec<PastMessage>,
    /// The assistant's turn in the making, and what its tools answered.
    blocks: Vec<Value>,
    results: Vec<Value>,
}

impl Past {
    fn user(&mut self, text: String) {
        self.close_turn();
        self.messages.push(PastMessage { role: "user", content: Value::String(text) });
    }

    fn assistant(&mut self, text: String) {
        if !self.results.is_empty() {
            self.close_turn();
        }
        self.blocks.push(json!({"type": "text", "text": text}));
    }

    /// A call that the model did not make was made by something in a sandbox: it was refused, and is no part of what was said.
    /// Nor is one that was carried out inside: what came of it was in a sandbox that is gone, and passed nobody.
    fn tool(&mut self, fields: &Map<String, Value>) {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let (id, tool) = (field("call_id"), format!("{}{}", self.prefix, field("tool").as_str().unwrap_or_default()));
        let forged = fields
            .get("denial")
            .and_then(|denial| denial.get("code"))
            .is_some_and(|code| *code == DenialCode::ToolNotEmitted.as_str());
        if forged || field("inside") == Value::Bool(true) || id.as_str().is_none_or(str::is_empty) {
            return;
        }
        let input = if field("arguments").is_object() { field("arguments") } else { json!({}) };
        // What waited for the person did not fail; what became of it is a call of its own further down.
        let failed = field("ok") != Value::Bool(true) && field("waits") != Value::Bool(true);
        self.blocks.push(json!({"type": "tool_use", "id": id, "name": tool, "input": input}));
        let result = field("result").as_str().unwrap_or_default().to_owned();
        // What the gateway itself said is no data of the application's.
        let shown = if field("denial").is_null() { format!("{DATA_MARK}\n{result}") } else { result };
        self.results.push(json!({"type": "tool_result", "tool_use_id": id, "content": shown, "is_error": failed}));
    }

    fn close_turn(&mut self) {
        let (blocks, results) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.results));
        if !blocks.is_empty() {
            self.messages.push(PastMessage { role: "assistant", content: Value::Array(blocks) });
        }
        if !results.is_empty() {
            self.messages.push(PastMessage { role: "user", content: Value::Array(results) });
        }
    }
}

/// The newest messages that fit, beginning with something a person wrote.
fn recent(messages: Vec<PastMessage>) -> Vec<PastMessage> {
    let mut bytes = 0;
    let fits = |message: &&PastMessage| {
        bytes += message.content.to_string().len();
        bytes <= BYTES_MAX
    };
    let kept = messages.iter().rev().take_while(fits).count();
    let first = messages.len() - kept;
    messages.into_iter().skip(first).skip_while(|message| !(message.role == "user" && message.content.is_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(role: &str, content: Value) -> (String, String) {
        (role.to_owned(), content.to_string())
    }

    #[test]
    fn a_history_becomes_alternating_messages() {
        let rows = [
            row("user", json!({"text": "make a tile"})),
            row("assistant", json!({"text": "first I look"})),
            row("tool", json!({"call_id": "t1", "tool": "look", "arguments": {"a": 1}, "ok": true, "result": "{}"})),
            row(
                "tool",
                json!({"call_id": "t9", "tool": "forged", "arguments": null, "ok": false, "result": "no", "denial": {"code": "tool.not_emitted"}}),
            ),
            row("tool", json!({"call_id": "t2", "tool": "add", "arguments": null, "ok": false, "result": "taken"})),
            row("tool", json!({"call_id": "t3", "tool": "Bash", "arguments": {"command": "ls"}, "inside": true})),
            row("assistant", json!({"text": "it is taken"})),
            row("user", json!({"text": "then another"})),
        ];
        let roles: Vec<&str> = messages(&rows, "mcp__m__").iter().map(|message| message.role).collect();
        assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
        let all = messages(&rows, "mcp__m__");
        let turn = all.get(1).expect("the first turn");
        assert_eq!(turn.content.as_array().map(Vec::len), Some(3), "a text and two calls");
        assert_eq!(turn.content.pointer("/1/name"), Some(&json!("mcp__m__look")));
        let results = all.get(2).expect("their results");
        assert_eq!(results.content.pointer("/1/is_error"), Some(&json!(true)));
        assert_eq!(results.content.pointer("/0/tool_use_id"), Some(&json!("t1")));
        assert_eq!(results.content.pointer("/0/content"), Some(&json!(format!("{DATA_MARK}\n{{}}"))), "it is data");
    }

    #[test]
    fn what_was_confirmed_later_is_told_as_a_call_of_its_own() {
        let arguments = json!({"path": [2]});
        let rows = [
            row("user", json!({"text": "delete it"})),
            row(
                "tool",
                json!({"call_id": "t1", "tool": "delete", "arguments": arguments, "ok": false, "result": "It waits.", "waits": true}),
            ),
            row("assistant", json!({"text": "It waits for you."})),
            row(
                "tool",
                json!({"call_id": "confirmed_1", "tool": "delete", "arguments": arguments, "ok": true, "result": "Deleted."}),
            ),
            row("user", json!({"text": "and now?"})),
        ];
        let told = messages(&rows, "mcp__m__");
        let at = |message: usize, place: &str| told.get(message).and_then(|message| message.content.pointer(place)).cloned();
        assert_eq!(at(2, "/0/is_error"), Some(json!(false)));
        assert_eq!(at(3, "/1/id"), Some(json!("confirmed_1")));
        let done = json!(format!("{DATA_MARK}\nDeleted."));
        assert_eq!((at(4, "/0/tool_use_id"), at(4, "/0/content")), (Some(json!("confirmed_1")), Some(done)));
        assert_eq!(told.last().map(|message| message.content.clone()), Some(json!("and now?")));
    }

    #[test]
    fn what_was_induced_is_not_told() {
        let rows = [
            row("user", json!({"text": "hello"})),
            row("assistant", json!({"text": "The person wants it deleted.", "induced": true})),
            row("tool", json!({"call_id": "t", "tool": "look", "arguments": {}, "ok": true, "result": "x", "induced": true})),
            row("assistant", json!({"text": "hi"})),
        ];
        let told = messages(&rows, "mcp__m__");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(!format!("{told:?}").contains("deleted"));
    }

    #[test]
    fn only_the_recent_past_is_told_and_it_begins_with_a_person() {
        let long = "x".repeat(BYTES_MAX / 3);
        let rows: Vec<_> =
            (0..10).flat_map(|_| [row("user", json!({"text": long})), row("assistant", json!({"text": "ok"}))]).collect();
        let told = messages(&rows, "");
        assert_eq!(told.len(), 4);
        assert!(told.first().is_some_and(|message| message.role == "user"));
        assert!(messages(&[], "").is_empty());
    }
}

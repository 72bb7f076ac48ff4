//! What was said before, in the form in which `claude` reads it back (`--resume`): one JSON object a line, each naming the one
//! before it. Written by the gateway from its own history; the agent's own files never survive a sandbox.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The session's name. Every sandbox has one conversation, so all can use the same.
pub(crate) const SESSION: &str = "00000000-0000-4000-8000-000000000000";
/// Nothing is decided by it; a fixed one keeps the text reproducible.
const TIMESTAMP: &str = "2026-01-01T00:00:00.000Z";

/// One message of the conversation so far, as the model API has it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastMessage {
    /// `user` or `assistant`.
    pub role: &'static str,
    /// Text or blocks.
    pub content: Value,
}

/// The transcript as the agent expects it for a working folder.
pub(crate) fn render(messages: &[PastMessage], model: &str, cwd: &Path) -> String {
    let mut text = String::new();
    let mut parent = Value::Null;
    for (number, PastMessage { role, content }) in messages.iter().enumerate() {
        let id = format!("00000000-0000-4000-8000-{:012}", number + 1);
        let mut message = json!({"role": role, "content": content});
        if *role == "assistant" {
            let usage = json!({"input_tokens": 0, "output_tokens": 0});
            let more = json!({
                "type": "message", "model": model, "id": format!("msg_{number}"), "usage": usage,
                "stop_reason": "end_turn", "stop_sequence": null,
            });
            if let (Value::Object(message), Value::Object(more)) = (&mut message, more) {
                message.extend(more);
            }
        }
        let line = json!({
            "parentUuid": parent, "isSidechain": false, "userType": "external", "type": role, "message": message,
            "uuid": id, "timestamp": TIMESTAMP, "cwd": cwd.display().to_string(), "sessionId": SESSION,
        });
        // Writing to a string can't fail.
        let _ = writeln!(text, "{line}");
        parent = Value::String(id);
    }
    text
}

/// Where the agent looks for it, below its configuration folder.
pub(crate) fn path(config: &Path, cwd: &Path) -> PathBuf {
    let folder: String = cwd.display().to_string().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    config.join("projects").join(folder).join(format!("{SESSION}.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_the_one_before() {
        let messages = [
            PastMessage { role: "user", content: json!("hello\nthere") },
            PastMessage { role: "assistant", content: json!([{"type": "text", "text": "hi"}]) },
        ];
        let text = render(&messages, "m", Path::new("/space"));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines.first().and_then(|line| line.get("uuid")), lines.last().and_then(|line| line.get("parentUuid")));
        assert_eq!(lines.last().and_then(|line| line.pointer("/message/model")), Some(&json!("m")));
        let config = Path::new("/agent/.claude");
        assert_eq!(path(config, Path::new("/space/a.b")), config.join("projects/-space-a-b").join(format!("{SESSION}.jsonl")));
    }
}

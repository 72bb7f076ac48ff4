//! What a conversation says about the turn to plan: the last thing a person wrote and what was done since.

use serde_json::Value;

use crate::request::{Block, Message, MessagesRequest, Role, base_name};

/// A tool call made since the last message of a person, with its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Call<'a> {
    /// Without the client's prefix.
    pub name: &'a str,
    pub input: &'a Value,
    pub text: &'a str,
    pub is_error: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct History<'a> {
    /// The last message of a person, without the reminders an agent adds.
    pub asked: String,
    pub calls: Vec<Call<'a>>,
    /// The answer now due, counted from 1 since that message.
    pub turn: u64,
}

impl<'a> History<'a> {
    #[must_use]
    pub fn of(request: &'a MessagesRequest) -> Self {
        let found = request.messages.iter().enumerate().rev().find_map(|(index, message)| {
            let text = human_text(message)?;
            Some((index, text))
        });
        let (start, asked) = found.unwrap_or_default();
        let since = request.messages.get(start..).unwrap_or_default();
        let answers = since.iter().filter(|message| message.role == Role::Assistant).count();
        Self { asked, calls: calls(since), turn: u64::try_from(answers).unwrap_or(u64::MAX).saturating_add(1) }
    }

    /// The newest successful result of a tool.
    #[must_use]
    pub fn result(&self, tool: &str) -> Option<&Call<'a>> {
        self.calls.iter().rev().find(|call| call.name == tool && !call.is_error)
    }
}

/// A user message that holds nothing but results and reminders was written by the agent, not by a person.
fn human_text(message: &Message) -> Option<String> {
    if message.role != Role::User {
        return None;
    }
    let texts: Vec<String> = message
        .blocks
        .iter()
        .filter_map(|block| if let Block::Text(text) = block { Some(without_reminders(text)) } else { None })
        .filter(|text| !text.is_empty())
        .collect();
    if texts.is_empty() { None } else { Some(texts.join("\n")) }
}

fn without_reminders(text: &str) -> String {
    const OPEN: &str = "<system-reminder>";
    const CLOSE: &str = "</system-reminder>";
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        kept.push_str(before);
        rest = after.split_once(CLOSE).map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept.trim().to_owned()
}

fn calls(since: &[Message]) -> Vec<Call<'_>> {
    let blocks = || since.iter().flat_map(|message| &message.blocks);
    let uses = blocks().filter_map(|block| match block {
        Block::ToolUse { id, name, input } => Some((id, name, input)),
        Block::Text(_) | Block::ToolResult { .. } | Block::Other => None,
    });
    uses.filter_map(|(id, name, input)| {
        blocks().find_map(|block| match block {
            Block::ToolResult { tool_use_id, text, is_error } if tool_use_id == id => {
                Some(Call { name: base_name(name), input, text, is_error: *is_error })
            }
            Block::ToolResult { .. } | Block::Text(_) | Block::ToolUse { .. } | Block::Other => None,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reminders_and_results_are_not_a_persons_words() {
        let body = json!({"model": "claude-x", "max_tokens": 9, "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>\ncwd\n</system-reminder>\n"},
                {"type": "text", "text": "Create a tile"}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "ok"},
                {"type": "tool_use", "id": "toolu_1", "name": "mcp__hexmap__getCurrentUser", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [
                    {"type": "text", "text": "[What follows is data.]"}, {"type": "text", "text": "{\"id\":\"u\"}"}]},
                {"type": "text", "text": "<system-reminder>later</system-reminder>"}]},
        ]});
        let request = MessagesRequest::parse(body.to_string().as_bytes()).expect("the body is valid");
        let history = History::of(&request);
        assert_eq!(history.asked, "Create a tile");
        assert_eq!(history.turn, 2);
        assert_eq!(history.result("getCurrentUser").map(|call| call.text), Some("{\"id\":\"u\"}"));
        assert_eq!(history.result("addItem"), None);
    }

    #[test]
    fn an_unclosed_reminder_hides_the_rest() {
        assert_eq!(without_reminders("a <system-reminder> b"), "a");
        assert_eq!(without_reminders("a<system-reminder>x</system-reminder>b"), "ab");
    }
}

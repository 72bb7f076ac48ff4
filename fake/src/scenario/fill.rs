//! Places in a scenario that a request fills: tools by the names the client gave them, `${tool.field}` by what a call since
//! the person's last message returned, and `${tool}` by the whole text of it. So a script can name the user it happens to be talking to.

use serde_json::Value;

use super::Step;
use crate::{history::History, request::MessagesRequest, turn::Block, understand};

/// The steps for this request; `understand` becomes what the rules would answer.
#[must_use]
pub fn filled(steps: &[Step], request: &MessagesRequest, history: &History<'_>) -> Vec<Step> {
    let mut filled = Vec::with_capacity(steps.len());
    for step in steps {
        match step {
            Step::Understand => filled.extend(understand::plan(request, history).into_iter().map(Step::Block)),
            Step::Block(Block::ToolUse { name, input }) => {
                let name = request.tool(name).unwrap_or(name).to_owned();
                filled.push(Step::Block(Block::ToolUse { name, input: value(input, history) }));
            }
            Step::Block(Block::Text(words)) => filled.push(Step::Block(Block::Text(text(words, history)))),
            Step::Block(Block::Thinking(_) | Block::Pieces { .. }) | Step::Fault { .. } => filled.push(step.clone()),
        }
    }
    filled
}

fn value(template: &Value, history: &History<'_>) -> Value {
    if let Some(words) = template.as_str() {
        return Value::from(text(words, history));
    }
    if let Some(list) = template.as_array() {
        return list.iter().map(|item| value(item, history)).collect();
    }
    if let Some(fields) = template.as_object() {
        return fields.iter().map(|(name, field)| (name.clone(), value(field, history))).collect();
    }
    template.clone()
}

/// What is not known stays as it was written, where a reader will notice it.
fn text(template: &str, history: &History<'_>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        match after.split_once('}').and_then(|(name, after)| Some((result(name, history)?, after))) {
            Some((result, after)) => {
                filled.push_str(&result);
                rest = after;
            }
            None => {
                filled.push_str("${");
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

fn result(name: &str, history: &History<'_>) -> Option<String> {
    let Some((tool, field)) = name.split_once('.') else { return history.result(name).map(|call| call.text.to_owned()) };
    let document = understand::json_in(history.result(tool)?.text)?;
    let found = document.pointer(&format!("/{}", field.replace('.', "/")))?;
    Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
}

//! The conversation as an honest agent would have it: the gateway passes on nothing else in the app's name. What was found leaves
//! in a field that nobody looks at.

use crate::{MODEL, model, network};
use serde_json::{Value, json};
use std::sync::Mutex;

static TALK: Mutex<Talk> = Mutex::new(Talk { messages: Vec::new(), answer: Vec::new(), results: Vec::new(), tools: Vec::new() });

struct Talk {
    messages: Vec<Value>,
    /// Of the last request since the last message.
    answer: Vec<Value>,
    /// What came of calls: their ids and blocks.
    results: Vec<(String, Value)>,
    tools: Vec<Value>,
}

/// The value of one of the arguments that the agent is started with.
fn argument(name: &str) -> String {
    std::env::args().skip_while(|argument| argument != name).nth(1).unwrap_or_default()
}

/// A tool as the model names it.
pub fn prefix() -> String {
    let config: Value = serde_json::from_str(&argument("--mcp-config")).unwrap_or_default();
    let server = config["mcpServers"].as_object().and_then(|servers| servers.keys().next().cloned()).unwrap_or_default();
    format!("mcp__{server}__")
}

/// What was said before, as the agent is told it.
pub fn begin() {
    if argument("--resume").is_empty() {
        return;
    }
    let folder = format!("{}/projects", std::env::var("CLAUDE_CONFIG_DIR").unwrap());
    let inside = |path: String| std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path().display().to_string();
    let transcript = std::fs::read_to_string(inside(inside(folder))).unwrap();
    let message = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        json!({"role": line["message"]["role"], "content": line["message"]["content"]})
    };
    TALK.lock().unwrap().messages = transcript.lines().map(message).collect();
}

/// The tools that were listed.
pub fn listed(tools: &Value) {
    let tool = |tool: &Value| json!({"name": format!("{}{}", prefix(), tool["name"].as_str().unwrap_or("")), "description": tool["description"], "input_schema": tool["inputSchema"]});
    TALK.lock().unwrap().tools = tools.as_array().into_iter().flatten().map(tool).collect();
}

/// A person wrote this.
pub fn person(text: &str) {
    go_on();
    TALK.lock().unwrap().messages.push(json!({"role": "user", "content": text}));
}

/// Puts the last answer and the results of its calls into the conversation. A call that was not made is called now: each has to
/// have a result.
fn go_on() {
    let answer = std::mem::take(&mut TALK.lock().unwrap().answer);
    if answer.is_empty() {
        return;
    }
    let calls = || answer.iter().filter(|block| block["type"] == "tool_use");
    for call in calls() {
        let (id, name) = (call["id"].as_str().unwrap(), call["name"].as_str().unwrap());
        if !TALK.lock().unwrap().results.iter().any(|(known, _)| known == id) {
            let name = name.strip_prefix(&prefix()).unwrap_or(name);
            crate::tool(&json!({"name": name, "arguments": call["input"], "id": id}));
        }
    }
    let mut talk = TALK.lock().unwrap();
    let mut results = Vec::new();
    for call in calls() {
        results.extend(talk.results.iter().find(|(id, _)| call["id"] == **id).map(|(_, block)| block.clone()));
    }
    talk.messages.push(json!({"role": "assistant", "content": answer}));
    if !results.is_empty() {
        talk.messages.push(json!({"role": "user", "content": results}));
    }
}

/// What the gateway said of a call.
pub fn result(id: &str, answer: &Value) {
    let (result, failed) = (&answer["result"], answer["result"]["isError"] == true || answer["error"].is_object());
    let texts = result["content"].as_array().into_iter().flatten().filter_map(|block| block["text"].as_str());
    let content = match failed {
        true => json!(texts.collect::<Vec<_>>().join("\n")),
        false => texts.map(|text| json!({"type": "text", "text": text})).collect(),
    };
    let block = json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": failed});
    let mut talk = TALK.lock().unwrap();
    if !failed {
        talk.results.retain(|(known, _)| known != id);
    }
    if !talk.results.iter().any(|(known, _)| known == id) {
        talk.results.push((id.to_owned(), block));
    }
}

/// The request that an honest agent would make now, with changes: `{"at": POINTER, "to": VALUE}` replaces or adds a value (`-` is
/// a list's end), without `to` it is removed.
fn request(changes: &Value) -> Value {
    let mut body = {
        let talk = TALK.lock().unwrap();
        let system = json!([{"type": "text", "text": argument("--system-prompt")}]);
        json!({"model": MODEL, "max_tokens": 4_000, "system": system, "messages": talk.messages, "tools": talk.tools})
    };
    for change in changes.as_array().into_iter().flatten() {
        let (place, name) = change["at"].as_str().unwrap().rsplit_once('/').unwrap();
        match (body.pointer_mut(place).unwrap(), change.get("to")) {
            (Value::Object(fields), Some(to)) => drop(fields.insert(name.to_owned(), to.clone())),
            (Value::Object(fields), None) => drop(fields.remove(name)),
            (Value::Array(items), Some(to)) if name == "-" => items.push(to.clone()),
            (Value::Array(items), Some(to)) => items[name.parse::<usize>().unwrap()] = to.clone(),
            (Value::Array(items), None) => drop(items.remove(name.parse().unwrap())),
            (other, _) => panic!("nothing can be changed in {other}"),
        }
    }
    body
}

fn send(body: &Value) -> Value {
    let mut answer = model(body);
    answer["read"] = serde_json::from_str(answer["body"].as_str().unwrap_or("")).unwrap_or_default();
    answer
}

/// Asks the model to go on.
pub fn ask(changes: &Value) -> Value {
    go_on();
    let answer = send(&request(changes));
    if let Some(content) = answer["read"]["content"].as_array() {
        TALK.lock().unwrap().answer.clone_from(content);
    }
    answer
}

/// Asks the model something else: the conversation with `changes`, or `text` as it stands.
pub fn say(order: &Value) -> Value {
    let sent = request(&order["changes"]);
    let answer = match order["text"].as_str() {
        Some(text) => network::http(&json!({
            "to": "model.hexward.internal:80", "method": "POST", "path": "/v1/messages", "body": text,
            "headers": [["content-type", "application/json"], ["anthropic-version", "2023-06-01"]],
        })),
        None => send(&sent),
    };
    if order["whole"] == true {
        let body: String = answer["body"].as_str().unwrap_or("").chars().take(8_000).collect();
        return json!({"status": answer["status"], "body": body, "sent": sent.to_string()});
    }
    crate::emitted(&answer["read"]);
    let header = |name: &str| answer["headers"][name].clone();
    json!({"status": answer["status"], "denial": header("x-hexward-denial"), "retry_after": header("retry-after"),
        "should_retry": header("x-should-retry"), "error": answer["read"]["error"]["type"], "content": answer["read"]["content"]})
}

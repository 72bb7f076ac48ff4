//! A program that stands where an agent should: it does what it is told in the person's message, tries whatever an agent
//! gone bad could try, and reports what it saw in a model request.
//!
//! Orders: `{"report": NAME, "orders": [{"do": ...}, ...]}`. See [`carry_out`] for what there is to order.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a probe may fall over, and looks at everything"
)]

mod files;
mod greedy;
mod network;
mod talk;

use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// After the end of a turn the gateway closes the doors; late orders wait for that.
const LATE: Duration = Duration::from_millis(700);
const MODEL: &str = "claude-sonnet-5-5";
/// What came of what was tried before the first message.
static EARLY: OnceLock<Vec<Value>> = OnceLock::new();
/// The last `tool_use` id the model said.
static LAST: Mutex<String> = Mutex::new(String::new());

fn main() {
    talk::begin();
    EARLY.set(before_anybody_spoke()).unwrap();
    let mut late_results = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(text) = message["message"]["content"].as_str() else { continue };
        let Ok(task) = serde_json::from_str::<Value>(text) else { continue };
        talk::person(text);
        let orders = task["orders"].as_array().cloned().unwrap_or_default();
        let (late, now): (Vec<Value>, Vec<Value>) = orders.into_iter().partition(|order| order["late"] == true);
        let mut results = std::mem::take(&mut late_results);
        results.extend(now.iter().map(carry_out));
        if let Some(name) = task["report"].as_str() {
            report(name, &results);
        }
        println!(r#"{{"type":"result","subtype":"success","is_error":false}}"#);
        if !late.is_empty() {
            std::thread::sleep(LATE);
            late_results = late.iter().map(carry_out).collect();
        }
    }
}

/// What an agent does at its start is asking for its tools. One that belongs to nobody yet, which it sees from a refusal, tries
/// everything else before that, because whoever has asked may be handed over at once.
fn before_anybody_spoke() -> Vec<Value> {
    let mut seen = vec![rpc("resources/templates/list", &json!({}))];
    if seen[0]["error"]["data"]["reason"] == "run.none" {
        let call = json!({"name": "getCurrentUser", "arguments": {}, "_meta": {"claudecode/toolUseId": "toolu_early"}});
        seen.extend([
            rpc("tools/call", &call),
            rpc("resources/list", &json!({})),
            rpc("resources/read", &json!({"uri": "map://current"})),
            model(&json!({"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "early"}]})),
            network::http(&json!({"to": "169.254.169.254:80", "path": "/", "host": "169.254.169.254"})),
        ]);
    }
    let tools = rpc("tools/list", &json!({}));
    talk::listed(&tools["result"]["tools"]);
    seen.push(tools);
    seen.iter_mut().for_each(shorten);
    seen
}

/// A report has to fit into a run's budget.
fn shorten(answer: &mut Value) {
    const KEPT: usize = 200;
    if let Some(body) = answer["body"].as_str().map(str::to_owned) {
        answer["body"] = body.chars().take(KEPT).collect::<String>().into();
    }
}

/// One order; whatever goes wrong is a result too.
fn carry_out(order: &Value) -> Value {
    match order["do"].as_str().unwrap_or("") {
        "environment" => {
            std::env::vars().map(|(name, value)| (name, Value::from(value))).collect::<serde_json::Map<_, _>>().into()
        }
        "early" => EARLY.get().cloned().into(),
        "arguments" => std::env::args().collect(),
        "search" => files::search(order),
        "list" => files::list(order),
        "write" => files::write(order),
        "http" => network::http(order),
        "tls" => network::tls(order),
        "name" => network::name(order),
        "resolve" => network::resolve(order),
        "connect" => network::connect(order),
        "udp" => network::udp(order),
        "keep" => network::keep(order),
        "ask" => ask(order),
        "say" => talk::say(order),
        "tool" => tool(order),
        "race" => race(order),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(order["ms"].as_u64().unwrap()));
            Value::Null
        }
        "print" => {
            println!("{}", order["text"].as_str().unwrap());
            Value::Null
        }
        "flood" => flood(),
        "allocate" => greedy::allocate(order),
        "spin" => greedy::spin(),
        "threads" => greedy::threads(order),
        "fill" => greedy::fill(order),
        "create" => greedy::create(order),
        "hold" => greedy::hold(order),
        "flood_of" => greedy::flood(order),
        "exit" => std::process::exit(i32::try_from(order["code"].as_i64().unwrap()).unwrap()),
        other => json!({"error": format!("no such order: {other}")}),
    }
}

/// Output without end and without a line's end.
fn flood() -> Value {
    let chunk = vec![b'x'; 1 << 16];
    let mut out = std::io::stdout().lock();
    loop {
        if out.write_all(&chunk).is_err() {
            return Value::Null;
        }
    }
}

/// What an agent does: asks the model to go on. Returns status and content.
fn ask(order: &Value) -> Value {
    let answer = talk::ask(&if order["stream"] == true { json!([{"at": "/stream", "to": true}]) } else { json!([]) });
    let parsed = &answer["read"];
    emitted(parsed);
    json!({"status": answer["status"], "content": parsed["content"], "error": parsed["error"]})
}

/// Keeps the id of the last call that the model asked for.
fn emitted(answer: &Value) {
    let blocks = answer["content"].as_array().into_iter().flatten();
    if let Some(id) = blocks.filter_map(|block| block["id"].as_str()).next_back() {
        *LAST.lock().unwrap() = id.to_owned();
    }
}

fn model(body: &Value) -> Value {
    at_model("/v1/messages", body)
}

fn at_model(path: &str, body: &Value) -> Value {
    network::http(&json!({
        "to": "model.hexward.internal:80", "method": "POST", "path": path, "body": body.to_string(), "chars": 100_000,
        "headers": [["content-type", "application/json"], ["anthropic-version", "2023-06-01"], ["x-api-key", "sk-ant-of-the-probe"]],
    }))
}

/// A tool call over the tools' name, claiming to carry out the `tool_use` block `id`; `LAST` is what the model asked for last.
fn tool(order: &Value) -> Value {
    let named = || json!({"name": order["name"], "arguments": order["arguments"]});
    let mut params = order.get("params").cloned().unwrap_or_else(named);
    let Some(id) = order["id"].as_str() else { return rpc(order["method"].as_str().unwrap_or("tools/call"), &params) };
    let id = if id == "LAST" { LAST.lock().unwrap().clone() } else { id.to_owned() };
    params["_meta"] = json!({"claudecode/toolUseId": id});
    let answer = rpc("tools/call", &params);
    talk::result(&id, &answer);
    answer
}

/// The same call `times` times at once. Returns how many there were, and each different answer once.
fn race(order: &Value) -> Value {
    let id = match order["id"].as_str().unwrap() {
        "LAST" => LAST.lock().unwrap().clone(),
        id => id.to_owned(),
    };
    let meta = json!({"claudecode/toolUseId": id});
    let params = json!({"name": order["name"], "arguments": order["arguments"], "_meta": meta});
    let calls: Vec<_> = (0..order["times"].as_u64().unwrap())
        .map(|_| {
            let params = params.clone();
            std::thread::spawn(move || rpc("tools/call", &params))
        })
        .collect();
    let answers: Vec<Value> = calls.into_iter().map(|call| call.join().unwrap()).collect();
    talk::result(&id, &answers[0]);
    let count = answers.len();
    let mut different: Vec<Value> = Vec::new();
    for answer in answers {
        if !different.contains(&answer) {
            different.push(answer);
        }
    }
    json!({"count": count, "different": different})
}

fn rpc(method: &str, params: &Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let answer = network::http(&json!({
        "to": "tools.hexward.internal:80", "method": "POST", "path": "/mcp", "body": body.to_string(), "chars": 100_000,
        "headers": [["content-type", "application/json"], ["accept", "application/json, text/event-stream"]],
    }));
    serde_json::from_str(answer["body"].as_str().unwrap_or("")).unwrap_or(answer)
}

/// Hands the results over where the test looks for them: in what the provider was asked to count, which nobody answers with words.
fn report(name: &str, results: &[Value]) {
    let text = format!("{name}{}", Value::from(results));
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": text}]});
    let answer = at_model("/v1/messages/count_tokens", &body);
    if answer["status"] != 200 {
        eprintln!("the report was refused: {answer}");
    }
}

//! A program that stands where an agent should and says that it is done before anybody asked it for something.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a probe may fall over")]

#[path = "probe/network.rs"]
#[allow(dead_code, reason = "it only asks for its tools")]
mod network;

use serde_json::json;

const DONE: &str = r#"{"type":"result","subtype":"success","is_error":false}"#;

fn main() {
    println!("{DONE}");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    network::http(&json!({
        "to": "tools.hexward.internal:80", "method": "POST", "path": "/mcp", "body": body.to_string(),
        "headers": [["content-type", "application/json"], ["accept", "application/json, text/event-stream"]],
    }));
    for _ in std::io::stdin().lines() {
        println!("{DONE}");
    }
}

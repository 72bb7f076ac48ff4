//! The hands of an agent that is taken over altogether: what it sends is said from outside, one request after the other, and
//! leaves from inside the sandbox like everything else here.

use crate::kit::{Facts, says};
use crate::net::{exchange, request, status};
use serde_json::{Value, json};

/// Sends one request and tells the answer: `{"status", "denial", "body"}`, or `{"error"}`.
pub fn on(facts: &Facts) -> Value {
    let headers: String = facts.texts("headers").iter().map(|header| format!("{header}\r\n")).collect();
    let bytes = request("POST", facts.text("path"), facts.text("host"), &headers, facts.text("body"));
    match exchange(facts.text("to"), bytes.as_bytes()) {
        Ok(answer) => told(&answer),
        Err(error) => json!({"error": says(&error)}),
    }
}

fn told(answer: &[u8]) -> Value {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
    let (head, body) = answer.split_at(end);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let body = body.get(4..).unwrap_or_default();
    let body = if header("transfer-encoding") == Some("chunked") { unchunked(body) } else { body.to_vec() };
    json!({"status": status(answer), "denial": header("x-hexward-denial"), "body": String::from_utf8_lossy(&body)})
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = rest.get(..end).and_then(|line| usize::from_str_radix(std::str::from_utf8(line).ok()?.trim(), 16).ok());
        let Some((size, chunk)) = size.filter(|size| *size > 0).and_then(|size| Some((size, rest.get(end + 2..)?))) else {
            break;
        };
        whole.extend(chunk.iter().take(size));
        rest = chunk.get(size + 2..).unwrap_or_default();
    }
    whole
}

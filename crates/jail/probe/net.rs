//! The smallest client there is: bytes out, bytes in, every wait bounded.

use crate::kit::{Seen, says, seen};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

pub const WAIT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 1 << 20;
pub const MODEL: &str = "model.hexward.internal";
pub const TOOLS: &str = "tools.hexward.internal";
pub const PROVIDER: &str = "api.anthropic.com";
/// Synthetic, like every address here.
pub const SOMEWHERE: &str = "198.18.0.10:80";

pub fn connect(address: &str) -> io::Result<TcpStream> {
    let parsed: SocketAddr = address.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&parsed, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    Ok(stream)
}

/// Sends, and reads until the other side closes, keeps silent or has said enough.
pub fn exchange(address: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(address)?;
    // A side that answers and closes before it has read everything breaks this write; its answer counts all the same.
    let _early = stream.write_all(bytes);
    answer(&mut stream)
}

pub fn answer(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    while bytes.len() < ANSWER_BYTES_MAX {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend(buffer.iter().take(count)),
            Err(error) if bytes.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(bytes)
}

/// The head of a request that ends its connection.
pub fn request(method: &str, path: &str, host: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

/// A request that the model's door would take.
pub fn model_request(host: &str, headers: &str, text: &str) -> String {
    let body = format!(r#"{{"model":"claude-sonnet-5-5","max_tokens":16,"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let headers = format!("content-type: application/json\r\nanthropic-version: 2023-06-01\r\n{headers}");
    request("POST", "/v1/messages", host, &headers, &body)
}

/// A call at the tools' door.
pub fn tools_request(headers: &str, method: &str, params: &str) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let headers = format!("content-type: application/json\r\naccept: application/json, text/event-stream\r\n{headers}");
    request("POST", "/mcp", TOOLS, &headers, &body)
}

/// What the answer says in its first line, with the reason of a refusal.
pub fn told(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().next().unwrap_or("closed without an answer").escape_debug().to_string();
    let denial = text.lines().find_map(|line| line.strip_prefix("x-hexward-denial: "));
    denial.map_or_else(|| line.clone(), |code| format!("{line} ({code})"))
}

pub fn status(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// The request must have led nowhere: refused with 4xx, or the connection closed.
pub fn nowhere(result: io::Result<Vec<u8>>) -> Seen {
    match result {
        Err(error) => seen(true, says(&error)),
        Ok(answer) => {
            let statuses = String::from_utf8_lossy(&answer).matches("HTTP/1.1 2").count();
            seen(statuses == 0 && !(200..400).contains(&status(&answer)), told(&answer))
        }
    }
}

/// The gateway itself must have refused, with this code.
pub fn denied(result: io::Result<Vec<u8>>, code: &str) -> Seen {
    match result {
        Err(error) => seen(false, says(&error)),
        Ok(answer) => {
            let told = told(&answer);
            seen(status(&answer) >= 400 && String::from_utf8_lossy(&answer).contains(code), told)
        }
    }
}

pub fn answered(result: io::Result<Vec<u8>>, with: &str) -> Seen {
    match result {
        Err(error) => seen(false, says(&error)),
        Ok(answer) => seen(status(&answer) == 200 && String::from_utf8_lossy(&answer).contains(with), told(&answer)),
    }
}

/// Nobody may listen there. A timeout is no answer, but it is not what a host that refuses at once gives either.
pub fn closed(address: &str) -> Seen {
    match connect(address) {
        Ok(_) => seen(false, "connected"),
        Err(error) => seen(true, says(&error)),
    }
}

/// One datagram there, and what comes back.
pub fn datagram(from: &str, to: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(from)?;
    socket.set_read_timeout(Some(Duration::from_millis(700)))?;
    socket.connect(to)?;
    socket.send(bytes)?;
    let mut buffer = [0; 4096];
    let count = socket.recv(&mut buffer)?;
    Ok(buffer.iter().take(count).copied().collect())
}

//! A client that knows nothing but bytes, so that the tests see what is really on the wire.

#![allow(dead_code, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub const KEY: &str = "test-key";
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// Without chunk framing.
    pub body: Vec<u8>,
    /// The body ended as its framing promised.
    pub whole: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Name and data of each event.
    pub fn events(&self) -> Vec<(String, Value)> {
        let frames = self.text().split_terminator("\n\n");
        frames
            .map(|frame| {
                let (name, data) = frame.split_once('\n').unwrap();
                let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                (name.strip_prefix("event: ").unwrap().to_owned(), data)
            })
            .collect()
    }

    pub fn error_type(&self) -> String {
        self.json().pointer("/error/type").and_then(Value::as_str).unwrap().to_owned()
    }
}

pub fn ask(text: &str, stream: bool) -> Value {
    json!({"model": "claude-sonnet-5-5", "max_tokens": 1000, "stream": stream,
           "messages": [{"role": "user", "content": text}]})
}

pub async fn post(addr: SocketAddr, path: &str, body: &Value) -> Reply {
    let headers = format!("x-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n");
    raw(addr, "POST", path, &headers, body.to_string().as_bytes()).await
}

pub async fn raw(addr: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nhost: fake\r\nconnection: close\r\n{length}{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut bytes = Vec::new();
    // A scripted cut may end in a reset; what came before it is still the reply.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Reply {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let (head, rest) = bytes.split_at(end + 4);
    let mut lines = std::str::from_utf8(head).unwrap().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let is = |wanted: (&str, &str)| headers.iter().any(|(name, value)| (name.as_str(), value.as_str()) == wanted);
    let (body, whole) = if is(("transfer-encoding", "chunked")) {
        unchunked(rest)
    } else {
        let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse().unwrap());
        (rest.to_vec(), length.is_none_or(|length: usize| length == rest.len()))
    };
    Reply { status, headers, body, whole }
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let (size, after) = rest.split_at(end);
        let size = usize::from_str_radix(std::str::from_utf8(size).unwrap(), 16).unwrap();
        let after = after.strip_prefix(b"\r\n").unwrap();
        if size == 0 {
            return (body, true);
        }
        let Some((chunk, next)) = after.split_at_checked(size) else { break };
        body.extend_from_slice(chunk);
        rest = next.strip_prefix(b"\r\n").unwrap_or_default();
    }
    (body, false)
}

//! The server as the gateway sees it: both eras of the protocol, over plain HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use std::net::SocketAddr;
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const CREDENTIAL: &str = "0123456789abcdef0123456789abcdef";
const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("map.db").display());
    let store = Store::open(&url, &[&hexmap::SCHEMA]).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let config = hexmap::ServerConfig { credential: CREDENTIAL.to_owned(), hosts: Vec::new() };
    tokio::spawn(hexmap::serve(listener, store, config, shutdown.clone()));
    Server { address, shutdown, _folder: folder }
}

/// One request on its own connection; the status and the body.
async fn send(address: SocketAddr, verb: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{verb} /mcp HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses early may close while we still send; what it answered is what counts.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

impl Server {
    fn headers<'a>(&self, host: &'a str, bearer: &'a str, user: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("Host", host),
            ("Authorization", bearer),
            ("x-hexward-user", user),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ]
    }

    async fn ask(&self, era: &str, user: &str, method: &str, params: Value) -> (u16, Value) {
        let (host, bearer) = (self.address.to_string(), format!("Bearer {CREDENTIAL}"));
        let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default().to_owned();
        let mut headers = self.headers(&host, &bearer, user);
        headers.push(("MCP-Protocol-Version", era));
        let mut params = params;
        if era == MODERN {
            headers.push(("Mcp-Method", method));
            if !name.is_empty() {
                headers.push(("Mcp-Name", &name));
            }
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let (status, body) = send(self.address, "POST", &headers, body.as_bytes()).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Calls a tool; its result.
    async fn call(&self, era: &str, user: &str, name: &str, arguments: Value) -> Value {
        let (status, answer) = self.ask(era, user, "tools/call", json!({"name": name, "arguments": arguments})).await;
        assert_eq!(status, 200, "{answer}");
        answer["result"].clone()
    }
}

fn at(user: &str, path: &[i64]) -> Value {
    json!({"userId": user, "groupId": 0, "path": path})
}

#[tokio::test]
async fn a_tile_is_created_and_read_in_both_eras() {
    let server = server().await;
    for (era, user) in [(MODERN, "ada"), (LEGACY, "grace")] {
        let me = server.call(era, user, "getCurrentUser", json!({})).await;
        assert_eq!(me["structuredContent"]["id"], user, "{me}");
        let made = server.call(era, user, "addItem", json!({"coords": at(user, &[2]), "title": "Aurora"})).await;
        assert_eq!(made["isError"], false, "{made}");
        assert_eq!(made["structuredContent"]["coordinates"], format!("{user},0:2"));
        assert_eq!(made["structuredContent"]["parentId"], me["structuredContent"]["rootItemId"]);
        let shown: Value = serde_json::from_str(made["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(shown, made["structuredContent"]);
        let map = server.call(era, user, "getItemsForRootItem", json!({"userId": user})).await;
        assert_eq!(map["structuredContent"]["children"][0]["title"], "Aurora", "{map}");
        assert_eq!(made["resultType"], if era == MODERN { json!("complete") } else { Value::Null });
    }
}

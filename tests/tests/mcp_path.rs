//! The whole way of a tool call: the agents' door, the client, the hexagonal map over its tables. In both eras.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt as _;
use policy::{Clock, Timestamp};
use proxy::mcp::MODERN;
use proxy::mcp::front::{HostError, ServerInfo, ToolCall, ToolHost, handle};
use proxy::mcp::upstream::{McpUpstream, UpstreamConfig, UpstreamError, UserRef};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CREDENTIAL: &str = "a credential of the gateway's own, new at each start";

struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000)
    }
}

struct Running {
    url: String,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn hexmap() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("map.db").display()), &[&store::CORE, &hexmap::SCHEMA])
        .await
        .unwrap()
        .with_masters(store::Masters::passing().unwrap())
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{}", listener.local_addr().unwrap(), hexmap::PATH);
    let shutdown = CancellationToken::new();
    let config = hexmap::ServerConfig { credential: CREDENTIAL.to_owned(), hosts: Vec::new(), clock: Arc::new(Then) };
    tokio::spawn(hexmap::serve(listener, store, config, shutdown.clone()));
    Running { url, shutdown, _folder: folder }
}

fn client(url: &str, credential: &str) -> McpUpstream {
    let config = UpstreamConfig {
        url: url.parse().unwrap(),
        credential: credential.to_owned().into(),
        timeout: Duration::from_secs(10),
        result_bytes_max: 1 << 20,
    };
    McpUpstream::new(config).unwrap()
}

/// The shortest possible host: everything is allowed, nothing is journaled. Deciding is tested elsewhere.
struct Allowing {
    upstream: Arc<McpUpstream>,
    user: UserRef,
}

impl ToolHost for Allowing {
    fn server(&self) -> ServerInfo {
        ServerInfo { name: "hexmap".to_owned(), title: "Map".to_owned(), version: "1".to_owned() }
    }

    fn tools(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async { Ok(self.upstream.tools(&self.user).await?) })
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Value, HostError>> {
        Box::pin(async move { Ok(self.upstream.call(&self.user, &call.name, call.arguments).await?) })
    }

    fn resources(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async { Ok(self.upstream.resources(&self.user).await?) })
    }

    fn resource_templates(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async { Ok(self.upstream.resource_templates(&self.user).await?) })
    }

    fn read_resource<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Value, HostError>> {
        Box::pin(async move { Ok(self.upstream.read_resource(&self.user, uri).await?) })
    }
}

impl Allowing {
    async fn ask(&self, modern: bool, method: &str, mut params: Value) -> Value {
        let mut request = Request::post("/mcp").header("content-type", "application/json");
        if modern {
            request = request.header("mcp-protocol-version", MODERN).header("mcp-method", method);
            if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
                request = request.header("mcp-name", name);
            }
            params["_meta"] =
                json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}});
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let response = handle(&head, Bytes::from(body), self).await;
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    async fn call(&self, modern: bool, name: &str, arguments: Value) -> Value {
        self.ask(modern, "tools/call", json!({"name": name, "arguments": arguments})).await["result"].clone()
    }
}

#[tokio::test]
async fn a_tool_call_goes_all_the_way_in_both_eras() {
    let map = hexmap().await;
    let upstream = Arc::new(client(&map.url, CREDENTIAL));
    for (modern, user) in [(true, "ada"), (false, "bob")] {
        let user_ref = UserRef { name: Some("Ren\u{e9}e".to_owned()), ..UserRef::new(user.to_owned()) };
        let door = Allowing { upstream: Arc::clone(&upstream), user: user_ref };
        let tools = door.ask(modern, "tools/list", json!({})).await;
        // Nine for agents and eight that only people have: which is whose is the gateway's business.
        assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 17, "{tools}");
        let me = door.call(modern, "getCurrentUser", json!({})).await["structuredContent"].clone();
        assert_eq!((&me["id"], &me["displayName"]), (&json!(user), &json!("Ren\u{e9}e")));
        let coords = json!({"userId": user, "groupId": 0, "path": [2]});
        let made = door.call(modern, "addItem", json!({"coords": coords, "title": "Aurora"})).await;
        assert_eq!(made["structuredContent"]["coordinates"], format!("{user},0:2"), "{made}");
        assert_eq!(made.get("resultType").is_some(), modern);
        let again = door.call(modern, "addItem", json!({"coords": coords, "title": "Aurora"})).await;
        assert_eq!(again["isError"], true);
        let read = door.ask(modern, "resources/read", json!({"uri": "map://items"})).await;
        let shown: Value = serde_json::from_str(read["result"]["contents"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(shown["children"][0]["title"], "Aurora");
        assert_eq!(shown["children"].as_array().unwrap().len(), 1, "nothing of another user's");
        let unknown = door.ask(modern, "resources/read", json!({"uri": "map://nothing"})).await;
        assert_eq!(unknown["error"]["code"], if modern { -32602 } else { -32002 });
        let absent = door.ask(modern, "tools/call", json!({"name": "dropTables"})).await;
        assert_eq!(absent["error"]["code"], -32602, "{absent}");
        assert_eq!(door.ask(modern, "resources/list", json!({})).await["result"]["resources"].as_array().unwrap().len(), 3);
        let templates = door.ask(modern, "resources/templates/list", json!({})).await;
        assert_eq!(templates["result"]["resourceTemplates"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn the_map_is_closed_to_whoever_does_not_hold_the_credential() {
    let map = hexmap().await;
    let stranger = client(&map.url, "another credential of the same length, almost right!");
    let refused = stranger.call(&UserRef::new("ada".to_owned()), "getCurrentUser", Map::new()).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::Refused(401)), "{refused:?}");
    let elsewhere = map.url.clone();
    drop(map);
    let door = Allowing { upstream: Arc::new(client(&elsewhere, CREDENTIAL)), user: UserRef::new("ada".to_owned()) };
    let mut down = Value::Null;
    for _ in 0..250 {
        down = door.call(true, "getCurrentUser", json!({})).await;
        if down["isError"] == true {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((&down["isError"], &down["_meta"]["hexward/reason"]), (&json!(true), &json!("tool.unavailable")), "{down}");
}

//! The door in both eras: golden answers, everything it refuses, and garbage.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::front::{HostError, LogWish, ServerInfo, ToolCall, ToolHost, Wanted, handle};
use super::parse::{Call, Era, LegacyVersion, Message, parse};
use super::{MODERN, mirror::Mirror, sentinel, sse::Events};
use crate::strict;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, request::Parts};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A host with one tool and one resource that remembers what it was asked to do.
#[derive(Default)]
struct Host {
    calls: Mutex<Vec<ToolCall>>,
}

impl ToolHost for Host {
    fn server(&self) -> ServerInfo {
        ServerInfo { name: "demo".to_owned(), title: "Demo".to_owned(), version: "7".to_owned() }
    }

    fn tools(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async { Ok(vec![json!({"name": "greet", "inputSchema": {"type": "object"}})]) })
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Value, HostError>> {
        self.calls.lock().push(call.clone());
        Box::pin(async move {
            match call.name.as_str() {
                "greet" => Ok(json!({"content": [{"type": "text", "text": "hello"}], "resultType": "complete", "ttlMs": 9})),
                "forbidden" => Err(HostError::Denied { code: "tool.write_off", message: "Switch changes on first" }),
                "lost" => Err(HostError::Uncertain("secret detail".to_owned())),
                "down" => Err(HostError::Upstream("secret detail".to_owned())),
                "broken" => Ok(json!("not an object")),
                _ => Err(HostError::Unknown),
            }
        })
    }

    fn resources(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async { Ok(vec![json!({"uri": "demo://one", "name": "one"})]) })
    }

    fn resource_templates(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async { Err(HostError::Denied { code: "app.off", message: "The app is off" }) })
    }

    fn read_resource<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Value, HostError>> {
        Box::pin(async move {
            if uri == "demo://one" { Ok(json!({"contents": [{"uri": uri, "text": "1"}]})) } else { Err(HostError::Unknown) }
        })
    }
}

fn head(method: Method, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri("/mcp");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn json_head(headers: &[(&str, &str)]) -> Parts {
    head(Method::POST, &[&[("content-type", "application/json")], headers].concat())
}

fn modern_meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}})
}

fn modern(method: &str, mut params: Value) -> (Parts, String) {
    let name = params["name"].as_str().or(params["uri"].as_str()).map(sentinel::encode);
    let mut meta = modern_meta();
    if let Some(more) = params["_meta"].as_object() {
        meta.as_object_mut().unwrap().extend(more.clone());
    }
    params["_meta"] = meta;
    let mut headers = vec![("mcp-protocol-version", MODERN), ("mcp-method", method)];
    if let Some(name) = &name {
        headers.push(("mcp-name", name));
    }
    (json_head(&headers), json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params}).to_string())
}

fn legacy(method: &str, params: Value) -> (Parts, String) {
    let body = json!({"jsonrpc": "2.0", "id": 3, "method": method, "params": params}).to_string();
    (json_head(&[("mcp-protocol-version", "2025-11-25")]), body)
}

async fn ask(host: &Host, (head, body): (Parts, String)) -> (u16, Value) {
    let response = handle(&head, Bytes::from(body), host).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

#[tokio::test]
async fn modern_answers() {
    let host = Host::default();
    let versions = json!([MODERN, "2025-11-25", "2025-06-18", "2025-03-26"]);
    let golden = [
        (
            "server/discover",
            json!({}),
            json!({
                "supportedVersions": versions, "capabilities": {"tools": {}, "resources": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "demo", "title": "Demo", "version": "7"}},
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
            }),
        ),
        (
            "tools/list",
            json!({}),
            json!({"tools": [{"name": "greet", "inputSchema": {"type": "object"}}],
                   "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}),
        ),
        (
            "tools/call",
            json!({"name": "greet", "arguments": {"to": "Ada"}}),
            json!({"content": [{"type": "text", "text": "hello"}], "resultType": "complete"}),
        ),
        (
            "resources/list",
            json!({}),
            json!({"resources": [{"uri": "demo://one", "name": "one"}],
                   "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}),
        ),
        (
            "resources/read",
            json!({"uri": "demo://one"}),
            json!({"contents": [{"uri": "demo://one", "text": "1"}],
                   "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}),
        ),
    ];
    for (method, params, result) in golden {
        let answer = ask(&host, modern(method, params)).await;
        assert_eq!(answer, (200, json!({"jsonrpc": "2.0", "id": "a", "result": result})), "{method}");
    }
    let gone = ask(&host, modern("ping", json!({}))).await;
    assert_eq!(gone, (404, json!({"jsonrpc": "2.0", "id": "a", "error": {"code": -32601, "message": "Method not found"}})));
}

#[tokio::test]
async fn legacy_answers() {
    let host = Host::default();
    for (wanted, agreed) in [("2025-11-25", "2025-11-25"), ("2025-03-26", "2025-03-26"), ("2024-11-05", "2025-11-25")] {
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": wanted}}).to_string();
        let result = json!({
            "protocolVersion": agreed, "capabilities": {"tools": {}, "resources": {}},
            "serverInfo": {"name": "demo", "title": "Demo", "version": "7"},
        });
        assert_eq!(ask(&host, (json_head(&[]), body)).await, (200, json!({"jsonrpc": "2.0", "id": 0, "result": result})));
    }
    let golden = [
        ("ping", json!({}), json!({})),
        ("tools/list", json!({}), json!({"tools": [{"name": "greet", "inputSchema": {"type": "object"}}]})),
        ("tools/call", json!({"name": "greet"}), json!({"content": [{"type": "text", "text": "hello"}]})),
        ("resources/read", json!({"uri": "demo://one"}), json!({"contents": [{"uri": "demo://one", "text": "1"}]})),
    ];
    for (method, params, result) in golden {
        let answer = ask(&host, legacy(method, params)).await;
        assert_eq!(answer, (200, json!({"jsonrpc": "2.0", "id": 3, "result": result})), "{method}");
    }
    let (status, gone) = ask(&host, legacy("prompts/list", json!({}))).await;
    assert_eq!((status, &gone["error"]["code"]), (200, &json!(-32601)));
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    assert_eq!(ask(&host, (json_head(&[]), ready)).await, (202, Value::Null));
}

#[tokio::test]
async fn a_call_that_is_not_carried_out_is_told_to_the_model() {
    let host = Host::default();
    for (tool, reason, says) in [
        ("forbidden", "tool.write_off", "Switch changes on first"),
        ("lost", "tool.uncertain", "not known"),
        ("down", "tool.unavailable", "nothing was done"),
    ] {
        for request in [modern("tools/call", json!({"name": tool})), legacy("tools/call", json!({"name": tool}))] {
            let (status, answer) = ask(&host, request).await;
            assert_eq!(status, 200);
            let result = &answer["result"];
            assert_eq!(result["isError"], true);
            assert_eq!(result["_meta"]["hexward/reason"], reason);
            assert!(result["content"][0]["text"].as_str().unwrap().contains(says), "{result}");
            assert!(!answer.to_string().contains("secret"), "what is for logs stays there: {answer}");
        }
    }
    let code = |answer: (u16, Value)| (answer.0, answer.1["error"]["code"].as_i64().unwrap());
    assert_eq!(code(ask(&host, modern("tools/call", json!({"name": "absent"}))).await), (200, -32602));
    assert_eq!(code(ask(&host, modern("tools/call", json!({"name": "broken"}))).await), (200, -32603));
    assert_eq!(code(ask(&host, modern("resources/read", json!({"uri": "demo://two"}))).await), (200, -32602));
    assert_eq!(code(ask(&host, legacy("resources/read", json!({"uri": "demo://two"}))).await), (200, -32002));
    let (_, denied) = ask(&host, modern("resources/templates/list", json!({}))).await;
    assert_eq!(denied["error"], json!({"code": -32600, "message": "The app is off", "data": {"reason": "app.off"}}));
}

#[tokio::test]
async fn the_tool_use_id_and_the_arguments_reach_the_host() {
    let host = Host::default();
    let params =
        json!({"name": "greet", "arguments": {"n": 1.5}, "_meta": {"claudecode/toolUseId": "toolu_1", "progressToken": 4}});
    ask(&host, modern("tools/call", params)).await;
    let arguments = json!({"n": 1.5}).as_object().cloned().unwrap();
    let wanted = Wanted { progress: Some(json!(4)), log: LogWish::Nothing };
    let tool_use_id = Some("toolu_1".to_owned());
    let expected = ToolCall { name: "greet".to_owned(), arguments, tool_use_id, wanted, back: Box::default() };
    assert_eq!(*host.calls.lock(), [expected]);
}

/// The status and the code a message is refused with.
fn refused(head: &Parts, body: &str) -> (u16, i64) {
    let rejection = parse(head, body.as_bytes()).expect_err(body);
    (rejection.status.as_u16(), rejection.code)
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let plain = json_head(&[]);
    for body in [
        "",
        "{",
        "null x",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1,"x":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1e999,"method":"ping"}"#,
    ] {
        assert_eq!(refused(&plain, body), (400, -32700), "{body}");
    }
    assert_eq!(parse(&plain, b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}").unwrap_err().code, -32700);
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    assert_eq!(refused(&plain, &deep), (400, -32700));
    for body in [
        "[]",
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        r#""ping""#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Params":{}}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
    ] {
        assert_eq!(refused(&plain, body), (400, -32600), "{body}");
    }
    for params in [
        r#"{"Name":"greet"}"#,
        r#"{"name":"greet","NAME":"other"}"#,
        r#"{"name":"greet","argument\u017f":{}}"#,
        r#"{"name":"greet","_Meta":{}}"#,
        r#"{"name":"greet","_meta":{"ClaudeCode/toolUseId":"x"}}"#,
        r#"{"name":"greet","_meta":{"claudecode/toolUseId":7}}"#,
        r#"{"name":"greet","_meta":[]}"#,
        r#"{"name":"greet","arguments":[]}"#,
        r#"{"name":"greet","requestState":"x"}"#,
        r#"{"name":""}"#,
        r#"{}"#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        assert_eq!(refused(&plain, &body), (400, -32602), "{params}");
    }
}

#[test]
fn heads_are_checked_before_bodies() {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let json = ("content-type", "application/json");
    for (parts, status) in [
        (head(Method::GET, &[json]), 405),
        (head(Method::DELETE, &[json]), 405),
        (head(Method::POST, &[]), 415),
        (head(Method::POST, &[("content-type", "text/plain")]), 415),
        (head(Method::POST, &[json, ("content-encoding", "gzip")]), 415),
        (head(Method::POST, &[json, json]), 400),
        (head(Method::POST, &[json, ("origin", "https://evil.example")]), 403),
        (head(Method::POST, &[json, ("origin", "null")]), 403),
    ] {
        assert_eq!(refused(&parts, ping).0, status);
    }
    let large = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{}\",\"method\":\"ping\"}}", "x".repeat(1 << 20));
    assert_eq!(refused(&json_head(&[]), &large).0, 413);
    let utf8 = head(Method::POST, &[("content-type", "Application/JSON; charset=utf-8")]);
    assert!(matches!(parse(&utf8, ping.as_bytes()), Ok(Message::Request(_))));
}

#[test]
fn modern_headers_must_repeat_the_body() {
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "gr\u{fc}n", "_meta": modern_meta()}});
    let body = body.to_string();
    let (version, method) = (("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"));
    let name = ("mcp-name", "=?base64?Z3LDvG4=?=");
    assert!(parse(&json_head(&[version, method, name]), body.as_bytes()).is_ok());
    for headers in [
        vec![method, name],
        vec![("mcp-protocol-version", "2025-11-25"), method, name],
        vec![version, name],
        vec![version, ("mcp-method", "tools/list"), name],
        vec![version, ("mcp-method", "Tools/Call"), name],
        vec![version, method],
        vec![version, method, ("mcp-name", "greet")],
        vec![version, method, ("mcp-name", "=?base64?Z3LDvG4?=")],
        vec![version, method, name, name],
        vec![version, version, method, name],
        vec![version, method, method, name],
    ] {
        assert_eq!(refused(&json_head(&headers), &body), (400, -32020), "{headers:?}");
    }
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(refused(&json_head(&[version, ("mcp-method", "tools/list")]), bare), (400, -32602));
    let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
    assert_eq!(refused(&json_head(&[]), discover), (400, -32020));
    assert_eq!(refused(&json_head(&[("mcp-protocol-version", "2019-01-01")]), bare), (400, -32022));
    let future = body.replace(MODERN, "2030-01-01");
    let rejection = parse(&json_head(&[("mcp-protocol-version", "2030-01-01"), method, name]), future.as_bytes()).unwrap_err();
    assert_eq!((rejection.status.as_u16(), rejection.code), (400, -32022));
    assert_eq!(rejection.data.unwrap()["supported"][0], MODERN);
}

#[test]
fn a_client_that_names_no_version_is_the_oldest_we_know() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":null}}"#;
    let Ok(Message::Request(request)) = parse(&json_head(&[]), body.as_bytes()) else { panic!("a request") };
    assert_eq!((request.era, request.call), (Era::Legacy(LegacyVersion::V20250326), Call::ListTools));
    let mismatch = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    assert_eq!(refused(&json_head(&[("mcp-protocol-version", "2025-06-18")]), mismatch), (400, -32020));
}

#[test]
fn an_event_stream_is_read_across_any_cut() {
    let stream = b": ping\r\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata:two\n\nid: 3\n\n";
    for cut in 0..stream.len() {
        let mut events = Events::default();
        let mut read = events.push(&stream[..cut]);
        read.extend(events.push(&stream[cut..]));
        assert_eq!(read, [b"{\"a\":\n1}".to_vec(), b"two".to_vec()], "cut at {cut}");
    }
}

#[test]
fn marked_arguments_go_to_headers_and_bad_marks_hide_a_tool() {
    let mirror = Mirror::default();
    let tool = |properties: Value| json!({"name": "sql", "inputSchema": {"type": "object", "properties": properties}});
    let mut good = tool(json!({
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
    }));
    assert!(mirror.learn(good.as_object_mut().unwrap()));
    assert!(!good.to_string().contains("x-mcp-header"));
    let arguments = json!({"region": "S\u{fc}d", "deep": {"n": 4}});
    let headers = mirror.headers("sql", arguments.as_object().unwrap());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert!(headers.contains(&pair("Mcp-Param-Region", "=?base64?U8O8ZA==?=")) && headers.contains(&pair("Mcp-Param-N", "4")));
    assert!(mirror.headers("sql", json!({"region": null}).as_object().unwrap()).is_empty());
    for bad in [
        json!({"a": {"type": "number", "x-mcp-header": "A"}}),
        json!({"a": {"type": "string", "x-mcp-header": ""}}),
        json!({"a": {"type": "string", "x-mcp-header": "A b"}}),
        json!({"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}),
        json!({"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}}),
    ] {
        assert!(!mirror.learn(tool(bad.clone()).as_object_mut().unwrap()), "{bad}");
    }
}

/// Header values and bodies near enough to real ones to get past the first checks.
fn nearly() -> impl Strategy<Value = (Vec<(&'static str, String)>, String)> {
    let word = prop_oneof![
        Just("tools/call".to_owned()),
        Just("server/discover".to_owned()),
        Just(MODERN.to_owned()),
        Just("2025-06-18".to_owned()),
        "[ -~]{0,12}",
    ];
    let value = prop_oneof![
        word.clone().prop_map(|word| json!(word)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        Just(json!(null)),
        Just(modern_meta()),
    ];
    let key = prop_oneof![Just("name"), Just("uri"), Just("_meta"), Just("arguments"), Just("protocolVersion"), Just("cursor")];
    let params = prop::collection::hash_map(key, value.clone(), 0..4);
    let name = prop_oneof![Just("mcp-protocol-version"), Just("mcp-method"), Just("mcp-name")];
    let headers = prop::collection::vec((name, word.clone()), 0..4);
    (headers, word, value, params).prop_map(|(headers, method, id, params)| {
        (headers, json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string())
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&json_head(&[]), &body);
        let _ = strict::parse(&body);
        let _ = Events::default().push(&body);
    }

    #[test]
    fn nothing_nearly_right_makes_it_panic_and_modern_means_agreement((headers, body) in nearly()) {
        let borrowed: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let head = json_head(&borrowed);
        if let Ok(Message::Request(request)) = parse(&head, body.as_bytes())
            && request.era == Era::Modern
        {
            prop_assert_eq!(head.headers.get("mcp-protocol-version").unwrap(), MODERN);
            let said: Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(said["method"].as_str().unwrap(), head.headers.get("mcp-method").unwrap());
        }
    }

    #[test]
    fn strict_reading_agrees_with_lenient_reading(text in "[\\[\\]{}:,\"a-c0-9.eE+ -]{0,40}") {
        if let Ok(value) = strict::parse(text.as_bytes()) {
            prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
        }
    }

    #[test]
    fn names_survive_headers(name in "\\PC{0,40}|=\\?base64\\?[a-z]{0,8}\\?=|[ \\t\\n]{0,3}[a-z]{0,3}[ \\t]{0,3}") {
        let encoded = sentinel::encode(&name);
        prop_assert!(encoded.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && encoded.trim() == encoded);
        prop_assert_eq!(sentinel::decode(&encoded), Some(name));
    }
}

//! The client against servers that are old, slow, broken or hostile. Each is a few lines on a loopback port.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::MODERN;
use super::front::HostError;
use super::upstream::{McpUpstream, UpstreamConfig, UpstreamError, UserRef};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One request as a server saw it.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    body: Value,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    fn method(&self) -> &str {
        self.body["method"].as_str().unwrap()
    }

    /// An answer to this request, as JSON-RPC.
    fn result(&self, result: Value) -> Vec<u8> {
        json_answer(200, &json!({"jsonrpc": "2.0", "id": self.body["id"], "result": result}))
    }

    fn error(&self, status: u16, code: i64) -> Vec<u8> {
        json_answer(status, &json!({"jsonrpc": "2.0", "id": self.body["id"], "error": {"code": code, "message": "no"}}))
    }
}

fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

fn json_answer(status: u16, body: &Value) -> Vec<u8> {
    answer(status, "content-type: application/json\r\n", &body.to_string())
}

type Script = dyn Fn(&Seen) -> Vec<u8> + Send + Sync;

/// A server that answers by `script` and keeps what it saw. An empty answer closes the connection.
async fn server(script: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> (McpUpstream, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, script): (Arc<Mutex<Vec<Seen>>>, Arc<Script>) = (Arc::default(), Arc::new(script));
    let record = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&record), Arc::clone(&script)));
        }
    });
    (upstream(&format!("http://{address}/mcp"), 64 * 1024), seen)
}

async fn serve(mut stream: TcpStream, record: Arc<Mutex<Vec<Seen>>>, script: Arc<Script>) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
            let seen = Seen { head: head.clone(), body: Value::Null };
            break (head, seen.header("content-length").unwrap().parse::<usize>().unwrap());
        }
    };
    while bytes.len() < length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let seen = Seen { head, body: serde_json::from_slice(&bytes).unwrap() };
    record.lock().push(seen.clone());
    let answer = script(&seen);
    if answer == b"stall" {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    // The client may have gone: that is what some of these tests are about.
    let _ = stream.write_all(&answer).await;
}

fn upstream(url: &str, result_bytes_max: usize) -> McpUpstream {
    let credential = "our own credential".to_owned().into();
    let timeout = Duration::from_millis(400);
    McpUpstream::new(UpstreamConfig { url: url.parse().unwrap(), credential, timeout, result_bytes_max }).unwrap()
}

fn user(id: &str) -> UserRef {
    UserRef::new(id.to_owned())
}

fn discovery(seen: &Seen) -> Vec<u8> {
    seen.result(json!({"supportedVersions": [MODERN], "capabilities": {}, "resultType": "complete"}))
}

fn methods(seen: &Mutex<Vec<Seen>>) -> Vec<String> {
    seen.lock().iter().map(|seen| seen.method().to_owned()).collect()
}

async fn call(upstream: &McpUpstream) -> Result<Value, UpstreamError> {
    upstream.call(&user("ada"), "greet", Map::new()).await
}

#[tokio::test]
async fn a_modern_server_is_asked_once_and_told_everything_each_time() {
    let (upstream, seen) = server(|seen| match seen.method() {
        "server/discover" => discovery(seen),
        _ => seen.result(json!({"content": [], "resultType": "complete"})),
    })
    .await;
    let named = UserRef { name: Some("Ada L\u{f6}\r\nx-evil: 1".to_owned()), ..user("ada") };
    for name in ["greet", "gr\u{fc}n"] {
        assert_eq!(upstream.call(&named, name, Map::new()).await.unwrap()["content"], json!([]));
    }
    assert_eq!(methods(&seen), ["server/discover", "tools/call", "tools/call"]);
    for seen in seen.lock().iter() {
        assert_eq!(seen.header("authorization"), Some("Bearer our own credential"));
        assert_eq!(seen.header("x-hexward-user"), Some("ada"));
        assert_eq!((seen.header("x-hexward-tier"), seen.header("x-hexward-actor")), (Some("free"), None), "an agent asks");
        assert_eq!(seen.header("mcp-protocol-version"), Some(MODERN));
        assert_eq!(seen.header("mcp-method"), Some(seen.method()));
        assert_eq!(seen.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], MODERN);
        assert!(seen.header("x-evil").is_none() && seen.header("mcp-session-id").is_none());
    }
    assert_eq!(seen.lock()[2].header("mcp-name"), Some("=?base64?Z3LDvG4=?="));
}

#[tokio::test]
async fn an_old_server_gets_a_handshake_for_each_user_and_its_answers_may_be_streams() {
    let (upstream, seen) = server(|seen| {
        if seen.header("mcp-protocol-version") == Some(MODERN) {
            return answer(400, "content-type: text/plain\r\n", "Bad Request: no session");
        }
        match seen.method() {
            "initialize" => {
                let session = seen.header("x-hexward-user").unwrap();
                let body = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": {"protocolVersion": "2025-06-18"}});
                answer(200, &format!("content-type: application/json\r\nmcp-session-id: of-{session}\r\n"), &body.to_string())
            }
            "notifications/initialized" => answer(202, "", ""),
            _ => {
                let note = json!({"jsonrpc": "2.0", "method": "notifications/message"});
                let question = json!({"jsonrpc": "2.0", "id": seen.body["id"], "method": "sampling/createMessage"});
                let text = seen.header("mcp-session-id").unwrap();
                let result = json!({"content": [{"type": "text", "text": text}]});
                let reply = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": result});
                answer(
                    200,
                    "content-type: text/event-stream; charset=utf-8\r\n",
                    &format!("event: message\ndata: {note}\n\n: hello\n\ndata: {question}\n\ndata: {reply}\n\n"),
                )
            }
        }
    })
    .await;
    for who in ["ada", "bob", "ada"] {
        let result = upstream.call(&user(who), "greet", Map::new()).await.unwrap();
        assert_eq!(result["content"][0]["text"], format!("of-{who}"));
    }
    let handshake = ["initialize", "notifications/initialized", "tools/call"];
    let expected = [&["server/discover"][..], &handshake[..], &handshake[..], &["tools/call"][..]].concat();
    assert_eq!(methods(&seen), expected);
    assert!(
        seen.lock()
            .iter()
            .skip(2)
            .all(|seen| { seen.method() == "initialize" || seen.header("mcp-protocol-version") == Some("2025-06-18") })
    );
    upstream.forget("ada");
    call(&upstream).await.unwrap();
    assert_eq!(methods(&seen)[8], "initialize");
}

#[tokio::test]
async fn a_session_that_is_over_is_renewed_once() {
    let (upstream, seen) = server(|seen| match (seen.method(), seen.header("mcp-session-id")) {
        ("server/discover", _) => seen.error(200, -32601),
        ("initialize", _) => {
            let body = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": {"protocolVersion": "2025-11-25"}});
            answer(200, "content-type: application/json\r\nmcp-session-id: s\r\n", &body.to_string())
        }
        ("notifications/initialized", _) => answer(202, "", ""),
        ("tools/list", _) => seen.result(json!({"tools": []})),
        _ => answer(404, "", "gone"),
    })
    .await;
    assert!(upstream.tools(&user("ada")).await.unwrap().is_empty());
    let gone = call(&upstream).await.unwrap_err();
    assert!(matches!(gone, UpstreamError::Refused(404)) && !gone.outcome_unknown());
    assert_eq!(methods(&seen).iter().filter(|method| *method == "tools/call").count(), 2);
    assert_eq!(methods(&seen).iter().filter(|method| *method == "initialize").count(), 2);
}

#[tokio::test]
async fn what_is_known_of_a_failed_call_is_told_apart() {
    let unreachable = upstream("http://127.0.0.1:1/mcp", 1024);
    let error = call(&unreachable).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable(_)) && !error.outcome_unknown(), "{error:?}");

    type Case = (&'static str, fn(&Seen) -> Vec<u8>, fn(&UpstreamError) -> bool, bool);
    let cases: [Case; 14] = [
        ("no answer", |_| b"stall".to_vec(), |e| matches!(e, UpstreamError::Timeout), true),
        ("closed", |_| Vec::new(), |e| matches!(e, UpstreamError::Interrupted(_)), true),
        (
            "cut",
            |_| b"HTTP/1.1 200 X\r\ncontent-length: 90\r\n\r\n{".to_vec(),
            |e| matches!(e, UpstreamError::Interrupted(_)),
            true,
        ),
        ("401", |_| answer(401, "", ""), |e| matches!(e, UpstreamError::Refused(401)), false),
        (
            "redirect",
            |_| answer(307, "location: http://169.254.169.254/\r\n", ""),
            |e| matches!(e, UpstreamError::Refused(307)),
            false,
        ),
        ("500", |_| answer(500, "", "boom"), |e| matches!(e, UpstreamError::Failed(500)), true),
        ("internal", |s| s.error(200, -32603), |e| matches!(e, UpstreamError::Rpc { code: -32603, .. }), true),
        ("params", |s| s.error(200, -32602), |e| matches!(e, UpstreamError::Rpc { code: -32602, .. }), false),
        ("garbage", |_| answer(200, "", "<html>"), |e| matches!(e, UpstreamError::Protocol(_)), true),
        (
            "another id",
            |_| json_answer(200, &json!({"jsonrpc": "2.0", "id": 999, "result": {"content": []}})),
            |e| matches!(e, UpstreamError::Protocol(_)),
            true,
        ),
        ("asks back", |s| s.result(json!({"resultType": "input_required"})), |e| matches!(e, UpstreamError::Protocol(_)), true),
        ("no result", |s| s.result(json!({"greeting": 1})), |e| matches!(e, UpstreamError::Protocol(_)), true),
        (
            "too large",
            |s| s.result(json!({"content": [], "x": "x".repeat(70_000)})),
            |e| matches!(e, UpstreamError::TooLarge),
            true,
        ),
        (
            "endless stream",
            |_| answer(200, "content-type: text/event-stream\r\n", &": keep\n\n".repeat(9_000)),
            |e| matches!(e, UpstreamError::TooLarge),
            true,
        ),
    ];
    for (name, script, is_expected, unknown) in cases {
        let (upstream, seen) = server(move |seen| match seen.method() {
            "server/discover" => discovery(seen),
            _ => script(seen),
        })
        .await;
        let error = call(&upstream).await.unwrap_err();
        assert!(is_expected(&error), "{name}: {error:?}");
        assert_eq!(error.outcome_unknown(), unknown, "{name}");
        assert_eq!(methods(&seen), ["server/discover", "tools/call"], "{name}: sent once");
        let told = HostError::from(error);
        assert_eq!(matches!(told, HostError::Uncertain(_)), unknown, "{name}: {told:?}");
    }
}

#[tokio::test]
async fn a_server_that_fails_when_asked_is_not_taken_for_an_old_one() {
    for status in [401, 403, 500, 503] {
        let (upstream, seen) = server(move |_| answer(status, "", "")).await;
        assert!(!call(&upstream).await.unwrap_err().outcome_unknown(), "the call itself was never sent");
        assert_eq!(methods(&seen), ["server/discover"], "{status}");
    }
    let (silent, _) = server(|_| b"stall".to_vec()).await;
    assert!(matches!(call(&silent).await, Err(UpstreamError::Unreachable(_))));
}

#[tokio::test]
async fn lists_are_read_to_the_end_but_not_forever() {
    let page = |seen: &Seen, next: Value| {
        // Each page has another tool: a name that stands twice is nobody's.
        let name = format!("t{}", seen.body["params"]["cursor"].as_str().unwrap_or_default());
        seen.result(json!({"tools": [{"name": name, "inputSchema": {}}], "nextCursor": next}))
    };
    let (finite, _) = server(move |seen| match (seen.method(), &seen.body["params"]["cursor"]) {
        ("server/discover", _) => discovery(seen),
        (_, Value::Null) => page(seen, json!("two")),
        (_, cursor) => page(seen, if cursor == "two" { Value::Null } else { json!("?") }),
    })
    .await;
    assert_eq!(finite.tools(&user("ada")).await.unwrap().len(), 2);
    let (endless, seen) = server(move |seen| match seen.method() {
        "server/discover" => discovery(seen),
        _ => page(seen, json!("again")),
    })
    .await;
    assert!(matches!(endless.tools(&user("ada")).await, Err(UpstreamError::TooLarge)));
    assert_eq!(seen.lock().len(), 21);
}

#[tokio::test]
async fn arguments_are_mirrored_for_servers_that_want_it() {
    let (upstream, seen) = server(|seen| match (seen.method(), seen.header("mcp-param-region")) {
        ("server/discover", _) => discovery(seen),
        ("tools/list", _) => {
            let region = json!({"type": "string", "x-mcp-header": "Region"});
            seen.result(json!({"tools": [{"name": "sql", "inputSchema": {"type": "object", "properties": {"region": region}}}]}))
        }
        (_, Some("west")) => seen.result(json!({"content": []})),
        _ => seen.error(400, -32020),
    })
    .await;
    let arguments = json!({"region": "west"}).as_object().cloned().unwrap();
    upstream.call(&user("ada"), "sql", arguments.clone()).await.unwrap();
    assert_eq!(methods(&seen), ["server/discover", "tools/call", "tools/list", "tools/call"]);
    upstream.call(&user("ada"), "sql", arguments).await.unwrap();
    assert_eq!(seen.lock().len(), 5);
}

#[tokio::test]
async fn names_that_stand_twice_are_nobody_s() {
    let (upstream, _) = server(|seen| match seen.method() {
        "server/discover" => discovery(seen),
        _ => {
            let tool = |name: &str, about: &str| json!({"name": name, "description": about, "inputSchema": {"type": "object"}});
            let tools = [tool("look", "reads"), tool("move", "one"), tool("Look", "in other letters"), tool("move", "another")];
            seen.result(json!({"tools": tools, "resultType": "complete"}))
        }
    })
    .await;
    let listed = upstream.tools(&user("ada")).await.unwrap();
    let names: Vec<_> = listed.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["look", "Look"], "which of two is meant nobody can say, so neither is shown");
}

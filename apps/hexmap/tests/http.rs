//! The server as the gateway sees it: both eras of the protocol, over plain HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use policy::{Clock, Timestamp};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
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
    let store = Store::open(&url, &[&store::CORE, &hexmap::SCHEMA])
        .await
        .unwrap()
        .with_masters(store::Masters::passing().unwrap())
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let config = hexmap::ServerConfig { credential: CREDENTIAL.to_owned(), hosts: Vec::new(), clock: Arc::new(Then) };
    tokio::spawn(hexmap::serve(listener, store, config, shutdown.clone()));
    Server { address, shutdown, _folder: folder }
}

/// Always the same moment.
struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000)
    }
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
        self.ask_as(&[], era, user, method, params).await
    }

    async fn ask_as(&self, extra: &[(&str, &str)], era: &str, user: &str, method: &str, params: Value) -> (u16, Value) {
        let (host, bearer) = (self.address.to_string(), format!("Bearer {CREDENTIAL}"));
        let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default().to_owned();
        let mut headers = self.headers(&host, &bearer, user);
        headers.push(("MCP-Protocol-Version", era));
        headers.extend_from_slice(extra);
        let mut params = params;
        if era == MODERN {
            headers.push(("Mcp-Method", method));
            if !name.is_empty() {
                headers.push(("Mcp-Name", &name));
            }
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let (status, body) = send(self.address, "POST", &headers, body.as_bytes()).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Calls a tool with a person's own hand; its result.
    async fn by_hand(&self, user: &str, name: &str, arguments: Value) -> Value {
        let params = json!({"name": name, "arguments": arguments});
        let (status, answer) = self.ask_as(&[("x-hexward-actor", "person")], MODERN, user, "tools/call", params).await;
        assert_eq!(status, 200, "{answer}");
        answer["result"].clone()
    }

    /// Calls a tool; its result. What the tool accepts has to fit the schema by which the gateway judges.
    async fn call(&self, era: &str, user: &str, name: &str, arguments: Value) -> Value {
        let (status, answer) = self.ask(era, user, "tools/call", json!({"name": name, "arguments": arguments})).await;
        assert_eq!(status, 200, "{answer}");
        if answer["result"]["isError"] == false {
            let tools = self.ask(era, user, "tools/list", json!({})).await.1["result"]["tools"].clone();
            let tool = tools.as_array().unwrap().iter().find(|tool| tool["name"] == name).map(|tool| &tool["inputSchema"]);
            // The way back is in no listing.
            let fits = tool.map(|schema| policy::ArgumentSchema::read(schema).unwrap().check(&arguments));
            assert!(fits.as_ref().is_none_or(Result::is_ok), "{name} {arguments}: {fits:?}");
        }
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

#[tokio::test]
async fn only_the_gateway_gets_in_and_only_for_a_user() {
    let server = server().await;
    let host = server.address.to_string();
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let bearer = format!("Bearer {CREDENTIAL}");
    let good = server.headers(&host, &bearer, "ada");
    assert_eq!(send(server.address, "POST", &good, body).await.0, 200);
    let without = |name: &str| good.iter().copied().filter(|(header, _)| *header != name).collect::<Vec<_>>();
    let with = |name: &'static str, value: &'static str| [without(name), vec![(name, value)]].concat();
    let long = "a".repeat(129);
    for (headers, status) in [
        (without("Authorization"), 401),
        (with("Authorization", "Bearer 0123456789abcdef0123456789abcdeF"), 401),
        (with("Authorization", "Bearer 0123456789abcdef0123456789abcde"), 401),
        (with("Authorization", "Bearer "), 401),
        (with("Authorization", "Basic 0123456789abcdef0123456789abcdef"), 401),
        ([good.clone(), vec![("Authorization", "Bearer other")]].concat(), 401),
        (without("x-hexward-user"), 401),
        (with("x-hexward-user", ""), 401),
        (with("x-hexward-user", "ada bob"), 401),
        (with("x-hexward-user", "ada,0:1"), 401),
        ([without("x-hexward-user"), vec![("x-hexward-user", &long)]].concat(), 401),
        ([good.clone(), vec![("x-hexward-user", "bob")]].concat(), 401),
        ([good.clone(), vec![("Origin", "https://evil.example")]].concat(), 403),
        ([good.clone(), vec![("Origin", "null")]].concat(), 403),
        (with("Host", "evil.example"), 403),
        (with("Content-Type", "text/plain"), 415),
    ] {
        let (got, answer) = send(server.address, "POST", &headers, body).await;
        assert_eq!(got, status, "{headers:?} {answer}");
        assert!(!answer.contains("getCurrentUser"));
    }
    for verb in ["GET", "DELETE"] {
        assert_eq!(send(server.address, verb, &good, b"").await.0, 405, "{verb}");
    }
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#, "x".repeat(1 << 20));
    assert_eq!(send(server.address, "POST", &good, large.as_bytes()).await.0, 413);
}

#[tokio::test]
async fn a_short_credential_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("map.db").display()), &[&store::CORE, &hexmap::SCHEMA])
        .await
        .unwrap()
        .with_masters(store::Masters::passing().unwrap())
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = hexmap::ServerConfig { credential: String::new(), hosts: Vec::new(), clock: Arc::new(Then) };
    assert!(hexmap::serve(listener, store, config, CancellationToken::new()).await.is_err());
}

#[tokio::test]
async fn two_users_at_once_never_see_each_other() {
    let server = Arc::new(server().await);
    let one = |user: &'static str, era: &'static str| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for direction in 1..=6 {
                let title = format!("{user} {direction}");
                let made = server.call(era, user, "addItem", json!({"coords": at(user, &[direction]), "title": title})).await;
                assert_eq!(made["structuredContent"]["ownerId"], user, "{made}");
                let map = server.call(era, user, "getItemsForRootItem", json!({})).await["structuredContent"].clone();
                assert_eq!(map["ownerId"], user);
                let titles: Vec<&str> =
                    map["children"].as_array().unwrap().iter().map(|c| c["title"].as_str().unwrap()).collect();
                assert_eq!(titles.len(), usize::try_from(direction).unwrap());
                assert!(titles.iter().all(|title| title.starts_with(user)), "{titles:?}");
            }
        })
    };
    for task in [one("ada", MODERN), one("bob", LEGACY), one("eve", MODERN)] {
        task.await.unwrap();
    }
    // Another's place is answered as an empty one is, in every tool that names a place or an id.
    let id = server.call(MODERN, "ada", "getItemByCoords", json!({"coords": at("ada", &[1])})).await["structuredContent"]["id"]
        .clone();
    let (theirs, own) = (at("ada", &[1]), at("eve", &[1]));
    for (tool, arguments) in [
        ("getItemByCoords", json!({"coords": theirs})),
        ("getItemsForRootItem", json!({"userId": "ada"})),
        ("mapItemsList", json!({"rootId": id})),
        ("mapItemHandler", json!({"itemId": id})),
        ("addItem", json!({"coords": at("ada", &[1, 1]), "title": "x"})),
        ("updateItem", json!({"coords": theirs, "updates": {"title": "x"}})),
        ("moveItem", json!({"oldCoords": theirs, "newCoords": own})),
        ("moveItem", json!({"oldCoords": own, "newCoords": theirs})),
        ("deleteItem", json!({"coords": theirs})),
    ] {
        let refused = server.call(MODERN, "eve", tool, arguments).await;
        assert_eq!(refused["isError"], true, "{tool}");
        assert!(refused["content"][0]["text"].as_str().unwrap().starts_with("No tile found"), "{tool}: {refused}");
    }
    for kind in ["items", "item", "view"] {
        let uri = format!("map://{kind}/{}", id.as_str().unwrap());
        let (_, answer) = server.ask(MODERN, "eve", "resources/read", json!({"uri": uri})).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let tile = server.call(LEGACY, "ada", "getItemByCoords", json!({"coords": theirs})).await;
    assert_eq!((&tile["structuredContent"]["title"], &tile["structuredContent"]["version"]), (&json!("ada 1"), &json!(1)));
}

#[tokio::test]
async fn arguments_are_read_as_models_write_them() {
    let server = server().await;
    let add =
        |coords: Value, title: &'static str| server.call(MODERN, "ada", "addItem", json!({"coords": coords, "title": title}));
    for (coords, place) in [
        (json!({"userId": "ada", "groupId": "0", "path": ["1"]}), "ada,0:1"),
        (json!(r#"{"userId":"ada","groupId":0,"path":[2]}"#), "ada,0:2"),
        (json!({"userId": "ada", "groupId": 0, "path": "[3]"}), "ada,0:3"),
        (json!("ada,0:4"), "ada,0:4"),
    ] {
        let made = add(coords, "x").await;
        assert_eq!(made["structuredContent"]["coordinates"], place, "{made}");
    }
    let loose =
        json!({"coords": {"userId": "ada", "groupId": " 0 ", "path": ["4"], "note": "more than is asked for"}, "fields": null});
    assert_eq!(server.call(LEGACY, "ada", "getItemByCoords", loose).await["structuredContent"]["title"], "x");
    let nothing = json!({"userId": null, "groupId": "0", "depth": "2", "fields": "[\"title\"]"});
    assert_eq!(server.call(LEGACY, "ada", "getItemsForRootItem", nothing).await["structuredContent"]["title"], "My map");
    let emptied = json!({"coords": at("ada", &[1]), "updates": {"title": "x", "preview": null, "itemType": null}});
    assert_eq!(server.call(MODERN, "ada", "updateItem", emptied).await["isError"], false);
    let updates =
        json!({"coords": at("ada", &[1]), "updates": r#"{"title":"new","url":"https://example.com","itemType":"system"}"#});
    let updated = server.call(MODERN, "ada", "updateItem", updates).await["structuredContent"].clone();
    let expected = (&json!("new"), &json!("https://example.com"), &json!("system"), &json!(3));
    assert_eq!((&updated["title"], &updated["link"], &updated["itemType"], &updated["version"]), expected);

    for (tool, arguments, says) in [
        ("addItem", json!({"coords": at("ada", &[7]), "title": "x"}), "not a direction"),
        ("addItem", json!({"coords": at("ada", &[5])}), "title is missing"),
        ("addItem", json!({"coords": at("ada", &[5]), "title": "x", "itemType": "user"}), "kept for the root"),
        ("addItem", json!({"coords": at("ada", &[5]), "title": "x", "visibility": "everyone"}), "private or public"),
        ("importMap", json!({"document": "{}"}), "for people alone"),
        ("exportMap", json!({}), "for people alone"),
        ("restoreVersion", json!({"coords": at("ada", &[1]), "number": 1}), "for people alone"),
        ("markSeen", json!({}), "for people alone"),
        ("createMap", json!({"title": "x"}), "for people alone"),
        ("deleteMap", json!({"groupId": 0}), "for people alone"),
        ("addItem", json!({"coords": at("ada", &[5]), "title": "x", "url": "javascript:alert(1)"}), "http or https"),
        ("addItem", json!({"coords": at("ada", &[1]), "title": "x"}), "already a tile"),
        ("addItem", json!({"coords": at("ada", &[5, 5]), "title": "x"}), "no tile at"),
        ("addItem", json!({"coords": at("ada", &[5]), "titel": "x"}), "There is no argument"),
        ("addItem", json!({"coords": {"userId": "ada", "groupId": -1, "path": [5]}, "title": "x"}), "groupId"),
        ("addItem", json!({"coords": {"userId": "ada", "groupId": 0, "path": [1.5]}, "title": "x"}), "list of directions"),
        ("updateItem", json!({"coords": at("ada", &[1]), "updates": {}}), "updates is empty"),
        ("updateItem", json!({"coords": at("ada", &[1]), "updates": "title"}), "updates must be"),
        ("updateItem", json!({"coords": at("ada", &[1]), "updates": {"id": "x"}}), "updates must be"),
        ("getItemsForRootItem", json!({"depth": 11}), "from 1 to 10"),
        ("getItemsForRootItem", json!({"fields": ["password"]}), "fields must be"),
        ("deleteItem", json!({"coords": at("ada", &[])}), "The root"),
        ("moveItem", json!({"oldCoords": at("ada", &[1]), "newCoords": at("ada", &[])}), "The root"),
    ] {
        let refused = server.call(LEGACY, "ada", tool, arguments.clone()).await;
        assert_eq!(refused["isError"], true, "{tool} {arguments}");
        let text = refused["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(says), "{tool} {arguments}: {text}");
    }
    let map = server.call(MODERN, "ada", "getItemsForRootItem", json!({"fields": ["title", "coordinates"]})).await;
    let expected = json!({
        "title": "My map", "coordinates": "ada,0",
        "children": ([("new", 1), ("x", 2), ("x", 3), ("x", 4)]
            .map(|(title, place)| json!({"title": title, "coordinates": format!("ada,0:{place}"), "children": []}))),
    });
    assert_eq!(map["structuredContent"], expected);
    let moved = json!({"oldCoords": at("ada", &[1]), "newCoords": at("ada", &[2])});
    let moved = server.call(MODERN, "ada", "moveItem", moved).await["structuredContent"].clone();
    assert_eq!((&moved["affectedCount"], &moved["modifiedItems"][0]["id"]), (&json!(2), &moved["movedItemId"]));
    let deleted = server.call(MODERN, "ada", "deleteItem", json!({"coords": at("ada", &[2])})).await;
    assert_eq!(deleted["structuredContent"], json!({"success": true}));
}

/// The gateway cuts an answer of more than 44,000 characters in the middle, and half a JSON means nothing.
#[tokio::test]
async fn a_large_map_is_listed_as_far_as_an_answer_goes_and_says_what_is_missing() {
    let server = server().await;
    let user = "ada";
    let add = async |path: &[i64], content: usize| {
        let fields = json!({"coords": at(user, path), "title": format!("Tile {path:?}"), "content": "\"\u{1f600}".repeat(content), "preview": "p".repeat(300)});
        let made = server.call(MODERN, user, "addItem", fields).await;
        assert_eq!(made["isError"], false, "{made}");
    };
    let list = async |arguments: Value| {
        let listed = server.call(LEGACY, user, "getItemsForRootItem", arguments).await;
        assert_eq!(listed["isError"], false, "{listed}");
        let text = listed["content"][0]["text"].as_str().unwrap().to_owned();
        assert!(text.encode_utf16().count() <= 40_000, "{}", text.encode_utf16().count());
        serde_json::from_str::<Value>(&text).unwrap()
    };
    fn count(tile: &Value) -> usize {
        1 + tile["children"].as_array().unwrap().iter().map(count).sum::<usize>()
    }
    for one in 1..=6 {
        add(&[one], 3_000).await;
    }
    let map = list(json!({"depth": 3})).await;
    assert_eq!(count(&map), 7, "every tile is there");
    assert!(map["more"].as_str().unwrap().contains("contents were left out. For"), "{}", map["more"]);
    assert!(map["children"][0]["content"].is_null() && map["children"][0]["preview"].is_string());
    let content = server.call(MODERN, user, "getItemByCoords", json!({"coords": at(user, &[1])})).await;
    assert_eq!(content["structuredContent"]["content"].as_str().unwrap().chars().count(), 6_000, "the rest is had as it says");
    let titles = list(json!({"depth": 3, "fields": ["title"]})).await;
    assert!(titles["more"].is_null() && count(&titles) == 7, "what fits is whole: {titles}");
    for one in 1..=6 {
        for two in 1..=6 {
            add(&[one, two], 1).await;
            add(&[one, two, 3], 1).await;
        }
    }
    let deep = list(json!({"depth": 3})).await;
    assert_eq!(count(&deep), 1 + 6 + 36, "two of three levels");
    assert!(deep["more"].as_str().unwrap().contains("deeper than 2 of 3 steps"), "{}", deep["more"]);
    let below = json!({"rootId": deep["children"][0]["id"], "depth": 2});
    let below = server.call(MODERN, user, "mapItemsList", below).await["structuredContent"].clone();
    assert_eq!(count(&below), 1 + 6 + 6, "{below}");
}

#[tokio::test]
async fn a_call_is_tried_out_and_then_made_as_it_was_expected_in_both_eras() {
    let server = server().await;
    for era in [MODERN, LEGACY] {
        for path in [vec![2], vec![2, 1]] {
            server.call(era, "ada", "addItem", json!({"coords": at("ada", &path), "title": "Aurora"})).await;
        }
        let delete = async |meta: Value| {
            let call = json!({"name": "deleteItem", "arguments": {"coords": at("ada", &[2])}, "_meta": meta});
            server.ask(era, "ada", "tools/call", call).await.1
        };
        let tried = delete(json!({"hexward/dryRun": true})).await;
        let effect = &tried["result"]["_meta"]["hexward/effect"];
        assert_eq!(effect["summary"], "Deletes \u{201c}Aurora\u{201d} and 1 tile below it.", "{tried}");
        let missed = delete(json!({"hexward/expected": "0"})).await;
        assert_eq!(missed["result"]["isError"], true, "{missed}");
        assert!(missed["result"]["content"][0]["text"].as_str().unwrap().contains("not what they were"), "{missed}");
        let both = json!({"hexward/expected": effect["digest"], "hexward/dryRun": true});
        for wrong in [json!({"hexward/dryRun": "yes"}), json!({"hexward/expected": 1}), both] {
            assert_eq!(delete(wrong.clone()).await["error"]["code"], -32602, "{wrong}");
        }
        let done = delete(json!({"hexward/expected": effect["digest"], "hexward/dryRun": false})).await;
        assert_eq!(done["result"]["structuredContent"], json!({"success": true}), "{done}");
        let looked = json!({"name": "getCurrentUser", "arguments": {}, "_meta": {"hexward/dryRun": true}});
        let looked = server.ask(era, "ada", "tools/call", looked).await.1;
        assert_eq!(looked["result"]["structuredContent"]["id"], "ada", "what only looks just looks: {looked}");
    }
}

#[tokio::test]
async fn tools_and_resources_are_listed_and_read() {
    let server = server().await;
    let (_, listed) = server.ask(MODERN, "ada", "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let hints: Vec<(&str, bool, bool)> = tools
        .iter()
        .map(|tool| {
            assert_eq!(tool["inputSchema"]["additionalProperties"], false);
            assert_eq!(tool["annotations"]["openWorldHint"], false);
            let hint = |name: &str| tool["annotations"][name].as_bool().unwrap();
            (tool["name"].as_str().unwrap(), hint("readOnlyHint"), hint("destructiveHint"))
        })
        .collect();
    let expected = [
        ("getCurrentUser", true, false),
        ("getItemsForRootItem", true, false),
        ("getItemByCoords", true, false),
        ("mapItemsList", true, false),
        ("mapItemHandler", true, false),
        ("addItem", false, false),
        ("updateItem", false, false),
        ("moveItem", false, false),
        ("deleteItem", false, true),
        ("listVersions", true, false),
        ("restoreVersion", false, false),
        ("markSeen", false, false),
        ("exportMap", true, false),
        ("importMap", false, true),
        ("listMaps", true, false),
        ("createMap", false, false),
        ("deleteMap", false, true),
    ];
    assert_eq!(hints, expected);
    assert_eq!((&listed["result"]["cacheScope"], &listed["result"]["resultType"]), (&json!("private"), &json!("complete")));
    let (status, gone) = server.ask(MODERN, "ada", "tools/call", json!({"name": "dropTables", "arguments": {}})).await;
    assert_eq!((status, &gone["error"]["code"]), (200, &json!(-32602)));
}

#[tokio::test]
async fn the_server_says_what_it_speaks_and_resources_are_read() {
    let server = server().await;
    let (_, discovered) = server.ask(MODERN, "ada", "server/discover", json!({})).await;
    assert!(discovered["result"]["supportedVersions"].as_array().unwrap().contains(&json!(MODERN)), "{discovered}");
    let hello = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let (_, agreed) = server.ask(LEGACY, "ada", "initialize", hello).await;
    assert_eq!(agreed["result"]["protocolVersion"], LEGACY, "{agreed}");

    let made = server.call(MODERN, "ada", "addItem", json!({"coords": at("ada", &[1]), "title": "one", "content": "text"})).await;
    let id = made["structuredContent"]["id"].as_str().unwrap().to_owned();
    for era in [MODERN, LEGACY] {
        let read = async |uri: String| {
            let (_, answer) = server.ask(era, "ada", "resources/read", json!({"uri": uri})).await;
            let contents = &answer["result"]["contents"][0];
            assert_eq!((&contents["uri"], &contents["mimeType"]), (&json!(uri), &json!("application/json")), "{answer}");
            serde_json::from_str::<Value>(contents["text"].as_str().unwrap()).unwrap()
        };
        let map = read("map://items".to_owned()).await;
        let tool = server.call(era, "ada", "getItemsForRootItem", json!({"depth": 10})).await;
        assert_eq!(map, tool["structuredContent"]);
        assert_eq!(read(format!("map://items/{id}")).await, map["children"][0]);
        let item = read(format!("map://item/{id}")).await;
        assert_eq!(item, made["structuredContent"]);
        assert_eq!(read("map://current-user".to_owned()).await["id"], "ada");
        for uri in [
            "map://",
            "map://viewx",
            "map://view/",
            "map://view/none",
            "map://itemsx",
            "map://items/",
            "map://item/",
            "map://item/none",
            "file:///etc/passwd",
            "map://ITEMS",
        ] {
            let (_, answer) = server.ask(era, "ada", "resources/read", json!({"uri": uri})).await;
            assert_eq!(answer["error"]["code"], if era == MODERN { -32602 } else { -32002 }, "{uri} {answer}");
        }
        let (_, templates) = server.ask(era, "ada", "resources/templates/list", json!({})).await;
        assert_eq!(templates["result"]["resourceTemplates"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn people_have_tools_of_their_own_for_their_own_maps() {
    let server = server().await;
    let add = json!({"coords": at("ada", &[2]), "title": "Aurora", "visibility": "public", "preview": "p"});
    server.call(MODERN, "ada", "addItem", add).await;
    let view = async |user: &str, uri: &str| {
        let (_, answer) = server.ask(MODERN, user, "resources/read", json!({"uri": uri})).await;
        serde_json::from_str::<Value>(answer["result"]["contents"][0]["text"].as_str().unwrap()).unwrap()
    };
    let seen = view("ada", "map://view").await;
    let tile = &seen["tile"]["children"][0];
    assert_eq!((&tile["title"], &tile["unseen"], &tile["visibility"]), (&json!("Aurora"), &json!(true), &json!("public")));
    assert_eq!((&tile["content"], &tile["hidden"], &seen["unseen"]["count"]), (&Value::Null, &json!(0), &json!(1)));
    assert_eq!((&seen["atlas"]["used"]["tiles"], &seen["atlas"]["limits"]["tiles"]), (&json!(2), &json!(20_000)));

    let edited = json!({"coords": "ada,0:2", "updates": {"title": "Dawn", "visibility": "private"}});
    assert_eq!(server.by_hand("ada", "updateItem", edited).await["isError"], false);
    let listed = server.by_hand("ada", "listVersions", json!({"coords": "ada,0:2"})).await["structuredContent"].clone();
    let version = &listed["versions"][0];
    let expected = (&json!("Aurora"), &json!("agent"), &json!("public"), &json!(1));
    assert_eq!((&version["title"], &version["writtenBy"], &version["visibility"], &version["number"]), expected);
    let below = view("ada", &format!("map://view/{}", tile["id"].as_str().unwrap())).await;
    assert_eq!((&below["above"][0]["title"], &below["tile"]["unseen"]), (&json!("My map"), &json!(false)), "a person's own hand");
    server.by_hand("ada", "restoreVersion", json!({"coords": "ada,0:2", "number": "1"})).await;
    assert_eq!(view("ada", "map://view").await["tile"]["children"][0]["title"], "Aurora");

    let page = server.by_hand("ada", "exportMap", json!({})).await["structuredContent"].clone();
    assert_eq!((&page["next"], &page["tiles"][1]["path"]), (&Value::Null, &json!([2])));
    let document = json!({"format": page["format"], "version": page["version"], "tiles": page["tiles"]}).to_string();
    assert_eq!(server.by_hand("eve", "importMap", json!({"document": document})).await["structuredContent"]["tiles"], 2);
    assert_eq!(view("eve", "map://view").await["tile"]["children"][0]["title"], "Aurora");
    // What is another's does not exist, in every tool that names a place or an id.
    for (tool, arguments) in [
        ("listVersions", json!({"coords": "ada,0:2"})),
        ("restoreVersion", json!({"coords": "ada,0:2", "number": 1})),
        ("exportMap", json!({"coords": "ada,0"})),
        ("importMap", json!({"document": document, "coords": "ada,0:5"})),
        ("markSeen", json!({"itemId": tile["id"]})),
    ] {
        let refused = server.by_hand("eve", tool, arguments).await;
        assert_eq!(refused["isError"], true, "{tool}");
        assert!(refused["content"][0]["text"].as_str().unwrap().starts_with("No tile found"), "{tool}: {refused}");
    }
    let made = server.by_hand("eve", "createMap", json!({"title": "Second"})).await["structuredContent"].clone();
    assert_eq!(made["coordinates"], "eve,1");
    let me = server.call(LEGACY, "eve", "getCurrentUser", json!({})).await["structuredContent"].clone();
    assert_eq!(me["maps"][1], json!({"groupId": 1, "title": "Second", "tiles": 1}), "an agent is told of them");
    assert_eq!(server.by_hand("ada", "deleteMap", json!({"groupId": 1})).await["isError"], true, "ada has no such map");
    assert_eq!(server.by_hand("eve", "deleteMap", json!({"groupId": 1})).await["structuredContent"]["count"], 1);
    assert_eq!(server.by_hand("eve", "deleteMap", json!({"groupId": 0})).await["isError"], true, "the first map stays");
}

/// The way back from every change: whoever calls for a person has it, and it is in no listing.
#[tokio::test]
async fn every_write_names_its_way_back_which_is_in_no_listing() {
    let server = server().await;
    for (era, user) in [(MODERN, "ada"), (LEGACY, "grace")] {
        let (_, listed) = server.ask(era, user, "tools/list", json!({})).await;
        assert!(!listed.to_string().contains("undoChange"), "{listed}");
        let called = async |call: &str, name: &str, arguments: Value| {
            let params = json!({"name": name, "arguments": arguments, "_meta": {"hexward/call": call}});
            server.ask(era, user, "tools/call", params).await.1["result"].clone()
        };
        let back = |result: &Value| result["_meta"]["hexward/undo"].clone();
        let way = |call: &str| json!({"tool": "undoChange", "arguments": {"changeId": call}});
        let title = json!({"title": "Borealis"});
        for (call, name, arguments) in [
            ("call-1", "addItem", json!({"coords": at(user, &[2]), "title": "Aurora"})),
            ("call-2", "updateItem", json!({"coords": at(user, &[2]), "updates": title})),
            ("call-3", "moveItem", json!({"oldCoords": at(user, &[2]), "newCoords": at(user, &[3])})),
            ("call-4", "deleteItem", json!({"coords": at(user, &[3])})),
        ] {
            let result = called(call, name, arguments).await;
            assert_eq!((&result["isError"], back(&result)), (&json!(false), way(call)), "{name}: {result}");
        }
        let read = called("call-5", "getItemsForRootItem", json!({})).await;
        assert_eq!(read["_meta"], Value::Null, "what changes nothing has no way back");
        let undone = called("undo-4", "undoChange", json!({"changeId": "call-4"})).await;
        assert_eq!(
            (&undone["structuredContent"], back(&undone)),
            (&json!({"undone": true, "tiles": 1}), way("undo-4")),
            "{undone}"
        );
        let conflict = called("undo-1", "undoChange", json!({"changeId": "call-1"})).await;
        assert_eq!((&conflict["isError"], back(&conflict)), (&json!(true), Value::Null), "{conflict}");
        let named = conflict["_meta"]["hexward/conflicts"][0].as_str().unwrap();
        assert!(named.contains("“Borealis” is not at") && named.contains("at [2] any more"), "{conflict}");
        for (arguments, said) in [
            (json!({}), "changeId is missing"),
            (json!({"changeId": 7}), "as text"),
            (json!({"changeId": "none"}), "not known any more"),
            (json!({"changeId": "call-4", "force": true}), "no argument"),
        ] {
            let refused = called("refused", "undoChange", arguments.clone()).await;
            assert!(refused["isError"] == true && refused.to_string().contains(said), "{arguments}: {refused}");
        }
        // Without the name of a call there is nothing to name, and a name that could stand nowhere is refused.
        let unnamed = server.call(era, user, "addItem", json!({"coords": at(user, &[5]), "title": "unnamed"})).await;
        assert_eq!((&unnamed["isError"], &unnamed["_meta"]), (&json!(false), &Value::Null));
        for name in [json!(""), json!("a b"), json!(7), json!("x".repeat(200))] {
            let params = json!({"name": "getCurrentUser", "arguments": {}, "_meta": {"hexward/call": name}});
            let (_, refused) = server.ask(era, user, "tools/call", params).await;
            assert_eq!(refused["error"]["code"], -32602, "{name}: {refused}");
        }
    }
}

//! People's own clients at `/api/mcp`, and the keys they are known by.

use gate_tests::{Answer, Person, Postgres, Probe, Setup, TestGate, eventually, exchange, hexward, logged, probe, request};
use policy::RateRules;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const MCP: &str = "/api/mcp";
const SESSIONS: &str = "/api/mcp-sessions";
const MODEL: &str = "/api/anthropic-proxy/v1/messages/count_tokens";
/// What is promised of a revocation.
const DEAD_WITHIN: Duration = Duration::from_secs(1);

struct House {
    gate: TestGate,
    database: String,
}

impl House {
    async fn new(setup: Setup) -> Self {
        let database = setup.database.clone();
        let gate = TestGate::start(Setup { agent: Some(probe()), callers: true, ..setup }).await;
        let own = format!("sqlite:{}", gate.folder.path().join("gate.db").display());
        Self { gate, database: database.unwrap_or(own) }
    }

    /// Makes a key as the person's page does; its token must stand nowhere in the end.
    async fn key(&mut self, person: &Person, body: Value) -> (String, String) {
        let made = self.made(person, body).await;
        let (token, id) = (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
        self.gate.keep_secret("a person's key", &token);
        (token, id)
    }

    async fn made(&self, person: &Person, body: Value) -> Value {
        let headers = [("cookie", person.cookie.as_str()), ("content-type", "application/json")];
        let made = exchange(self.gate.address, request("POST", "/api/keys", &headers, body.to_string())).await;
        assert_eq!((made.status, made.header("cache-control")), (201, "no-store"), "{}", made.text());
        made.json()
    }

    /// A key whose time is over.
    async fn expired(&self, person: &Person, token: &str) {
        let now = self.gate.gateway.clock.now();
        let expired = store::NewClientKey {
            digest: policy::key_digest(token.as_bytes()),
            user: person.user.parse().unwrap(),
            name: "expired".to_owned(),
            scope: policy::KeyScope { app: Some("hexmap".to_owned()), ..policy::KeyScope::default() },
            expires_at: now.plus_secs(1),
        };
        self.gate.database.0.create_client_key(expired, now).await.unwrap();
        eventually("its time is over", Duration::from_secs(5), async || self.status(token).await == 401).await;
    }

    async fn plain_key(&self, person: &Person) -> String {
        let made = self.made(person, json!({"name": "desk", "app": "hexmap"})).await;
        made["token"].as_str().unwrap().to_owned()
    }

    async fn reading_key(&mut self, person: &Person) -> String {
        self.key(person, json!({"name": "desk", "app": "hexmap"})).await.0
    }

    /// `hexward key`: whether it went well, what it printed, what it said.
    fn command(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(hexward());
        command.arg("key").args(arguments).current_dir(self.gate.folder.path()).env_clear().env("DATABASE_URL", &self.database);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// A service that may open sessions.
    fn service(&mut self, name: &str, more: &[&str]) -> String {
        let (good, token, said) = self.command(&[&["create", name, "--sessions", "--app", "hexmap"], more].concat());
        assert!(good, "{said}");
        self.gate.keep_secret("a service's key", &token);
        token
    }

    async fn session(&mut self, service: &str, body: Value) -> Value {
        let made = self.ask_session(service, &body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        self.gate.keep_secret("a session's key", made.json()["token"].as_str().unwrap());
        made.json()
    }

    async fn ask_session(&self, service: &str, body: &Value) -> Answer {
        let headers = [("x-api-key", service), ("content-type", "application/json")];
        exchange(self.gate.callers(), request("POST", SESSIONS, &headers, body.to_string())).await
    }

    async fn send(&self, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut all = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        all.extend_from_slice(headers);
        exchange(self.gate.callers(), request("POST", path, &all, body)).await
    }

    /// A request of the old era.
    async fn ask(&self, token: &str, method: &str, params: Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("mcp-protocol-version", "2025-11-25")];
        self.send(MCP, &headers, json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()).await
    }

    async fn status(&self, token: &str) -> u16 {
        self.ask(token, "ping", json!({})).await.status
    }

    /// The result of a tool, whatever it is.
    async fn call(&self, token: &str, name: &str, arguments: Value) -> Value {
        let answer = self.ask(token, "tools/call", json!({"name": name, "arguments": arguments})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["result"].clone()
    }

    async fn whose(&self, token: &str) -> Value {
        self.call(token, "getCurrentUser", json!({})).await["structuredContent"]["id"].clone()
    }

    async fn dies(&self, token: &str) {
        eventually("the key is dead", DEAD_WITHIN, async || self.status(token).await == 401).await;
    }
}

fn reason(result: &Value) -> &str {
    assert_eq!(result["isError"], true, "{result}");
    result["_meta"]["hexward/reason"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_one_s_own_reads_one_s_own_data_in_both_eras() {
    let mut house = House::new(Setup::default()).await;
    let (ada, bob) = (house.gate.person().await, house.gate.person().await);
    let (hers, his) = (house.reading_key(&ada).await, house.reading_key(&bob).await);
    assert_eq!((house.whose(&hers).await, house.whose(&his).await), (json!(ada.user), json!(bob.user)));
    let hello = house
        .ask(
            &hers,
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}),
        )
        .await;
    assert_eq!(hello.json()["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(hello.header("mcp-session-id"), "", "nothing that could be stolen is handed out");
    let tools = house.ask(&hers, "tools/list", json!({})).await.json();
    let names: Vec<_> = tools["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"getItemByCoords") && !names.contains(&"addItem"), "{names:?}");
    let read = house.ask(&hers, "resources/read", json!({"uri": "map://items"})).await.json();
    assert!(read["result"]["contents"][0]["text"].as_str().unwrap().contains(&ada.user), "{read}");

    let bearer = format!("Bearer {hers}");
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let modern = |method: &str, params: Value| {
        let mut params = params;
        params["_meta"] = meta.clone();
        json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params}).to_string()
    };
    let mut headers =
        vec![("authorization", bearer.as_str()), ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "server/discover")];
    let found = house.send("/api/mcp/hexmap", &headers, modern("server/discover", json!({}))).await.json();
    assert_eq!(found["result"]["supportedVersions"][0], "2026-07-28", "{found}");
    headers[2].1 = "tools/call";
    headers.push(("mcp-name", "getCurrentUser"));
    let me = house.send(MCP, &headers, modern("tools/call", json!({"name": "getCurrentUser", "arguments": {}}))).await.json();
    assert_eq!((&me["result"]["structuredContent"]["id"], &me["result"]["resultType"]), (&json!(ada.user), &json!("complete")));
    headers[3].1 = "addItem";
    let lied = house.send(MCP, &headers, modern("tools/call", json!({"name": "getCurrentUser", "arguments": {}}))).await;
    assert_eq!((lied.status, &lied.json()["error"]["code"]), (400, &json!(-32020)), "headers and body must agree");
    let done = vec![("getCurrentUser".to_owned(), "done".to_owned()); 3];
    eventually("each is in the journal", Duration::from_secs(5), async || house.gate.database.tool_calls().await == done).await;
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_one_s_own_changes_nothing_by_itself() {
    let mut setup = Setup::default();
    setup.runs.confirmation_wait = Duration::from_millis(300);
    let mut house = House::new(setup).await;
    let ada = house.gate.person().await;
    let reads = house.reading_key(&ada).await;
    let (writes, _) = house.key(&ada, json!({"name": "writer", "app": "hexmap", "writes": true})).await;
    let (narrow, _) = house.key(&ada, json!({"name": "narrow", "app": "hexmap", "tools": ["getCurrentUser"]})).await;
    let coords = json!({"userId": ada.user, "groupId": 0, "path": [2]});
    let tile = json!({"coords": coords, "title": "Aurora"});
    assert_eq!(reason(&house.call(&reads, "addItem", tile.clone()).await), "key.read_only");
    let waits = house.call(&writes, "addItem", tile.clone()).await;
    assert_eq!(
        (&waits["isError"], &waits["_meta"]["hexward/reason"]),
        (&json!(false), &json!("confirmation.pending")),
        "{waits}"
    );
    assert_eq!(reason(&house.call(&narrow, "mapItemsList", json!({})).await), "key.tool");
    assert_eq!(reason(&house.call(&writes, "dropTables", json!({})).await), "tool.unknown");
    assert_eq!(house.whose(&narrow).await, json!(ada.user));
    let listed = house.ask(&narrow, "tools/list", json!({})).await.json();
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1, "a key sees what it is for");
    let read = house.ask(&narrow, "resources/read", json!({"uri": "map://items"})).await.json();
    assert_eq!(read["error"]["data"]["reason"], "key.tool", "a key for one tool reads no resources");
    let all = house.ask(&writes, "tools/list", json!({})).await.json();
    assert!(all.to_string().contains("addItem"), "{all}");
    let claimed = json!({"name": "addItem", "arguments": tile, "_meta": {"claudecode/toolUseId": "toolu_1"}});
    assert_eq!(
        house.ask(&writes, "tools/call", claimed).await.json()["result"]["_meta"]["hexward/reason"],
        "confirmation.pending",
        "a claim is no proof"
    );
    let map = ada.get("/api/apps/hexmap/resource?uri=map%3A%2F%2Fitems").await.text();
    assert!(!map.contains("Aurora"), "{map}");
    let denied = house.gate.database.denials().await;
    for code in ["key.read_only addItem", "key.tool mapItemsList", "tool.unknown dropTables"] {
        assert!(denied.iter().any(|denial| denial == code), "{code} is not in {denied:?}");
    }
    assert_eq!(house.gate.database.tool_calls().await.len(), 1, "what was refused is no call");
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_of_one_s_own_changes_waits_for_a_yes_in_the_browser() {
    let mut setup = Setup::default();
    setup.runs.confirmation_wait = Duration::from_secs(20);
    let mut house = House::new(setup).await;
    let (ada, eve) = (house.gate.person().await, house.gate.person().await);
    let (writes, _) = house.key(&ada, json!({"name": "my-editor", "app": "hexmap", "writes": true})).await;
    let coords = json!({"userId": ada.user, "groupId": 0, "path": [2]});
    let tile = json!({"coords": coords, "title": "Aurora"});
    for (yes, reads) in [(false, "confirmation.denied"), (true, "")] {
        let answered = async {
            let question = loop {
                let waiting = ada.get("/api/confirmations").await.json();
                if let Some(question) = waiting.as_array().unwrap().first() {
                    break question.clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            assert_eq!((&question["asked_by"], &question["tool"]), (&json!("my-editor"), &json!("addItem")), "{question}");
            assert!(question["summary"].as_str().unwrap().contains("Aurora"), "{question}");
            assert!(ada.tiles().await.is_empty(), "nothing is done before");
            let path = format!("/api/confirmations/{}", question["id"].as_str().unwrap());
            assert_eq!(eve.post(&path, &json!({"approve": true})).await.status, 404, "it is another's");
            let by_key = house.send(&path, &[("authorization", &bearer(&writes))], json!({"approve": true}).to_string()).await;
            assert!(by_key.status == 404 || by_key.status == 401, "a key has no such route: {}", by_key.status);
            tokio::time::sleep(Duration::from_millis(800)).await;
            assert_eq!(ada.post(&path, &json!({"approve": yes})).await.status, 200);
        };
        let (result, ()) = tokio::join!(house.call(&writes, "addItem", tile.clone()), answered);
        match yes {
            false => assert_eq!(reason(&result), reads),
            true => assert!(result["isError"] != true && result.to_string().contains("Aurora"), "{result}"),
        }
    }
    assert_eq!(ada.tiles().await, ["Aurora"]);
    assert_eq!(house.gate.database.tool_calls().await, [("addItem".to_owned(), "done".to_owned())]);
    house.gate.finish().await;
}

/// What a token is tried as: in words, where, and with which headers.
type Try = (&'static str, String, Vec<(&'static str, String)>);

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A good token where it does not belong.
fn carriers(token: &str) -> Vec<Try> {
    vec![
        ("in the query", format!("{MCP}?token={token}"), vec![]),
        ("in the query beside itself", format!("{MCP}?access_token={token}"), vec![("authorization", bearer(token))]),
        ("in a cookie", MCP.to_owned(), vec![("cookie", format!("hexward-session={token}"))]),
        ("as an API key", MCP.to_owned(), vec![("x-api-key", token.to_owned())]),
        ("as a session's id", MCP.to_owned(), vec![("mcp-session-id", token.to_owned())]),
        ("by another scheme", MCP.to_owned(), vec![("authorization", format!("Basic {token}"))]),
        ("without a scheme", MCP.to_owned(), vec![("authorization", token.to_owned())]),
        ("cut short", MCP.to_owned(), vec![("authorization", bearer(&token[..60]))]),
        ("for another app", "/api/mcp/magic".to_owned(), vec![("authorization", bearer(token))]),
        ("for an app that is not there", "/api/mcp/nothing".to_owned(), vec![("authorization", bearer(token))]),
        (
            "from a web page",
            MCP.to_owned(),
            vec![("authorization", bearer(token)), ("origin", "https://evil.example".to_owned())],
        ),
        ("at the model", MODEL.to_owned(), vec![("authorization", bearer(token))]),
        ("at the model as its key", MODEL.to_owned(), vec![("x-api-key", token.to_owned())]),
        ("to open sessions", SESSIONS.to_owned(), vec![("authorization", bearer(token))]),
    ]
}

/// At people's door a token of a client's is nobody, and in another's sandbox it changes nothing.
async fn nobody_elsewhere(house: &House, token: &str, ada: &Person, eve: &Person) {
    let there = exchange(house.gate.address, request("GET", "/api/keys", &[("authorization", &bearer(token))], "")).await;
    assert_eq!(there.status, 401);
    // In another's sandbox the channel says who asks, and a token changes nothing of that.
    let one = Probe::new(eve.clone()).await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "getCurrentUser", "arguments": {}}});
    let read = json!({"jsonrpc": "2.0", "id": 2, "method": "resources/read", "params": {"uri": "map://items"}});
    let order = |body: &Value| {
        json!({"do": "http", "to": "tools.hexward.internal:80", "method": "POST", "path": "/mcp", "body": body.to_string(),
               "headers": [["authorization", bearer(token)], ["content-type", "application/json"]]})
    };
    let seen = one.tell(&house.gate, json!([order(&call), order(&read)])).await;
    assert!(seen[0].to_string().contains("tool.not_emitted"), "{seen:?}");
    assert!(seen[1].to_string().contains(&eve.user) && !seen[1].to_string().contains(&ada.user), "{seen:?}");
}

/// A token and everything that somebody who found it could do with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_opens_nothing_else() {
    let mut house = House::new(Setup::default()).await;
    let (ada, eve) = (house.gate.person().await, house.gate.person().await);
    // It goes through a sandbox below, in an order that is kept as a message; so it is none that must stand nowhere.
    let hers = house.plain_key(&ada).await;
    let (bound, _) = house.key(&ada, json!({"name": "bound", "app": "hexmap", "networks": ["10.0.0.0/8"]})).await;
    let (revoked, id) = house.key(&ada, json!({"name": "revoked", "app": "hexmap"})).await;
    let service = house.service("shop", &[]);
    eventually("the service is known", Duration::from_secs(5), async || {
        house.ask_session(&service, &json!({})).await.status == 400
    })
    .await;
    let first = house.session(&service, json!({"user": "alice", "app": "hexmap"})).await;
    let second = house.session(&service, json!({"user": "alice", "app": "hexmap"})).await;
    let ended = house.session(&service, json!({"user": "bert", "app": "hexmap"})).await;
    let end = format!("{SESSIONS}/{}", ended["id"].as_str().unwrap());
    assert_eq!(exchange(house.gate.callers(), request("DELETE", &end, &[("x-api-key", &service)], "")).await.status, 200);
    let headers = [("cookie", ada.cookie.as_str()), ("content-type", "application/json")];
    let gone = exchange(house.gate.address, request("DELETE", &format!("/api/keys/{id}"), &headers, "")).await;
    assert_eq!(gone.status, 204);
    house.expired(&ada, "hxw_expired").await;

    let live = second["token"].as_str().unwrap().to_owned();
    assert_eq!((house.status(&hers).await, house.status(&live).await), (200, 200), "both are good where they belong");
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let secret = house.gate.caller_secret.clone();
    // Other carriers, other purposes, other times.
    let mut tries: Vec<Try> = [&hers, &live].into_iter().flat_map(|token| carriers(token)).collect();
    for (what, token) in [
        ("of another network", bound.as_str()),
        ("that was revoked", &revoked),
        ("that has expired", "hxw_expired"),
        ("of the generation before", first["token"].as_str().unwrap()),
        ("after the end of its request", ended["token"].as_str().unwrap()),
        ("of a service", &service),
        ("of the environment", &secret),
    ] {
        tries.push((what, MCP.to_owned(), vec![("authorization", bearer(token))]));
        let claimed = vec![("authorization", bearer(token)), ("x-forwarded-for", "10.0.0.1".to_owned())];
        tries.push((what, MCP.to_owned(), claimed));
    }
    let both = vec![("authorization", bearer(&hers)), ("authorization", bearer(&live))];
    tries.push(("two at once", MCP.to_owned(), both));
    let mut accepted = Vec::new();
    for (what, path, headers) in &tries {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = house.send(path, &headers, ping.clone()).await;
        if !(400..500).contains(&answer.status) {
            accepted.push((*what, path.clone(), answer.status));
        }
    }
    assert!(accepted.is_empty(), "{} tries, accepted: {accepted:?}", tries.len());
    assert!(tries.len() > 40);

    nobody_elsewhere(&house, &hers, &ada, &eve).await;
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_s_key_is_dead_within_a_second_of_its_revocation() {
    revoked(Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_s_key_is_dead_within_a_second_of_its_revocation_on_postgresql() {
    revoked(Setup { database: Some(Postgres::shared().fresh_database()), ..Setup::default() }).await;
}

async fn revoked(setup: Setup) {
    let mut house = House::new(setup).await;
    let (ada, eve) = (house.gate.person().await, house.gate.person().await);
    let (by_page, page_id) = house.key(&ada, json!({"name": "page", "app": "hexmap"})).await;
    let (good, by_command, said) =
        house.command(&["create", "command", "--purpose", "mcp", "--user", &ada.user, "--app", "hexmap", "--expires-days", "3"]);
    assert!(good && said.contains("is not shown again"), "{said}");
    house.gate.keep_secret("a person's key", &by_command);
    assert_eq!((house.whose(&by_page).await, house.whose(&by_command).await), (json!(ada.user), json!(ada.user)));
    let listed = ada.get("/api/keys").await;
    assert!(!listed.text().contains(&by_page[8..]) && listed.json().as_array().unwrap().len() == 2, "{}", listed.text());
    assert_eq!((&listed.json()[0]["name"], &listed.json()[0]["state"]), (&json!("command"), &json!("live")));
    assert_eq!(eve.get("/api/keys").await.json(), json!([]), "nobody else's are shown");
    let end = |person: &Person| {
        let cookie = person.cookie.clone();
        let (address, path) = (person.address, format!("/api/keys/{page_id}"));
        async move { exchange(address, request("DELETE", &path, &[("cookie", &cookie)], "")).await.status }
    };
    assert_eq!(end(&eve).await, 404, "what is another's does not exist");
    assert_eq!(house.status(&by_page).await, 200);
    assert_eq!(end(&ada).await, 204);
    house.dies(&by_page).await;
    assert_eq!(end(&ada).await, 404);
    let id = said.split_whitespace().nth(1).unwrap();
    assert!(house.command(&["list"]).1.contains("mcp"));
    assert!(house.command(&["revoke", id]).0);
    house.dies(&by_command).await;
    assert!(!house.command(&["rotate", id]).0, "a person's key is not replaced behind their back");
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_belongs_to_one_request_of_one_agent() {
    let mut house = House::new(Setup::default()).await;
    let (service, other) = (house.service("shop", &["--writes"]), house.service("rival", &[]));
    eventually("the services are known", Duration::from_secs(5), async || {
        house.ask_session(&other, &json!({})).await.status == 400
    })
    .await;
    let one = house.session(&service, json!({"user": "alice", "app": "hexmap", "agent": "chat-1"})).await;
    let beside = house.session(&service, json!({"user": "alice", "app": "hexmap", "agent": "chat-2"})).await;
    let rival = house.session(&other, json!({"user": "alice", "app": "hexmap", "agent": "chat-1"})).await;
    let token = |session: &Value| session["token"].as_str().unwrap().to_owned();
    assert_eq!((one["generation"].clone(), one["user"] == beside["user"]), (json!(1), true));
    assert_ne!(one["user"], rival["user"], "each service has users of its own");
    assert_eq!(house.whose(&token(&one)).await, one["user"]);
    let next = house.session(&service, json!({"user": "alice", "app": "hexmap", "agent": "chat-1", "writes": true})).await;
    assert_eq!(next["generation"], 2);
    assert_eq!(house.status(&token(&one)).await, 401, "the one before is dead at once");
    for alive in [&next, &beside, &rival] {
        assert_eq!(house.status(&token(alive)).await, 200);
    }
    let tile = json!({"coords": {"userId": one["user"], "groupId": 0, "path": [2]}, "title": "Aurora"});
    assert_eq!(reason(&house.call(&token(&next), "addItem", tile.clone()).await), "tool.unconfirmed");
    let greedy = house.session(&other, json!({"user": "carl", "app": "hexmap", "writes": true})).await;
    assert_eq!(reason(&house.call(&token(&greedy), "addItem", tile).await), "key.read_only", "no more than its service may");
    let end = |service: String, session: &Value| {
        let (callers, path) = (house.gate.callers(), format!("{SESSIONS}/{}", session["id"].as_str().unwrap()));
        async move { exchange(callers, request("DELETE", &path, &[("x-api-key", &service)], "")).await.status }
    };
    assert_eq!(end(other.clone(), &next).await, 404, "another's session does not exist");
    assert_eq!((end(service.clone(), &next).await, end(service.clone(), &next).await), (200, 404));
    assert_eq!(house.status(&token(&next)).await, 401, "dead at its end");
    let plain = house.command(&["create", "plain"]).1;
    house.gate.keep_secret("a service's key", &plain);
    eventually("a key without that right opens none", Duration::from_secs(5), async || {
        house.ask_session(&plain, &json!({"user": "a", "app": "hexmap"})).await.status == 403
    })
    .await;
    let secret = house.gate.caller_secret.clone();
    assert_eq!(house.ask_session(&secret, &json!({"user": "a", "app": "hexmap"})).await.status, 403, "nor does the secret");
    for bad in [
        json!({"user": "", "app": "hexmap"}),
        json!({"user": "a\n", "app": "hexmap"}),
        json!({"user": "a".repeat(201), "app": "hexmap"}),
        json!({"user": "a", "app": "hexmap", "agent": "a/b"}),
        json!({"user": "a", "app": "hexmap", "seconds": 86400}),
        json!({"user": 7, "app": "hexmap"}),
        json!({"user": "a", "app": "hexmap", "networks": ["everywhere"]}),
    ] {
        let answer = house.ask_session(&service, &bad).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text());
    }
    assert_eq!(house.ask_session(&service, &json!({"user": "a", "app": "magic"})).await.status, 403, "another app than its own");
    let (_, id) = (
        0,
        house.command(&["list"]).1.lines().find(|line| line.contains(" shop ")).unwrap().split(' ').next().unwrap().to_owned(),
    );
    assert!(house.command(&["revoke", &id]).0);
    house.dies(&token(&beside)).await;
    assert_eq!(house.status(&token(&rival)).await, 200, "others go on");
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_all_keys_of_one_person_count_together() {
    let mut setup = Setup::default();
    setup.runs.rates = RateRules { tool_calls_per_hour: 6, ..RateRules::unreachable() };
    let mut house = House::new(setup).await;
    let (ada, bob) = (house.gate.person().await, house.gate.person().await);
    let (one, two, his) = (house.reading_key(&ada).await, house.reading_key(&ada).await, house.reading_key(&bob).await);
    for token in [&one, &two] {
        for _ in 0..3 {
            assert_eq!(house.status(token).await, 200);
        }
    }
    let answer = house.ask(&one, "tools/list", json!({})).await;
    assert_eq!((answer.status, &answer.json()["error"]["data"]["reason"]), (429, &json!("rate.tools")));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0, "{}", answer.text());
    assert_eq!((house.status(&two).await, house.status(&his).await), (429, 200), "another person's are their own");
    house.gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_wrong_is_told_and_nothing_of_it_is_kept() {
    let mut house = House::new(Setup::default()).await;
    let ada = house.gate.person().await;
    let token = house.reading_key(&ada).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let call = |arguments: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"getItemByCoords\",\"arguments\":{arguments}}}}}"
        )
    };
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for (body, status, code) in [
        ("".to_owned(), 400, -32700),
        ("{".to_owned(), 400, -32700),
        ("[]".to_owned(), 400, -32600),
        (format!("[{0},{0}]", call("{}")), 400, -32600),
        (call("{\"a\":1,\"a\":2}"), 400, -32700),
        (call(&format!("{{\"a\":{deep}}}")), 400, -32700),
        (call("\"text\""), 400, -32602),
        (call("{}").replace("\"id\":1", &format!("\"id\":\"{}\"", "9".repeat(300))), 400, -32600),
        (call("{}").replace("\"id\":1", "\"id\":1e400"), 400, -32700),
        (call("{}").replace("\"id\":1", "\"id\":1.5"), 400, -32600),
        (call("{}").replace("\"id\":1", "\"id\":null"), 400, -32600),
        (call("{}").replace("\"name\"", "\"Name\""), 400, -32602),
        (call("{}").replace("getItemByCoords", &"x".repeat(300)), 400, -32602),
    ] {
        let answer = house.send(MCP, &headers, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{body:.80}: {}", answer.text());
    }
    let large = house.send(MCP, &headers, call(&format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20)))).await;
    assert_eq!(large.status, 413);
    let odd = house.call(&token, "getItemByCoords", json!({"coords": 7})).await;
    assert_eq!(odd["isError"], true, "{odd}");
    for method in ["GET", "DELETE"] {
        let answer = exchange(house.gate.callers(), request(method, MCP, &headers, "")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    }
    for (body, code) in [
        (json!({"name": "a b", "app": "hexmap"}), "key.name"),
        (json!({"name": "a", "app": "nothing"}), "key.app"),
        (json!({"name": "a", "app": "hexmap", "tools": ["dropTables"]}), "key.tools"),
        (json!({"name": "a", "app": "hexmap", "expires_days": 0}), "key.expires_days"),
        (json!({"name": "a", "app": "hexmap", "expires_days": 91}), "key.expires_days"),
        (json!({"name": "a", "app": "hexmap", "user": "another"}), "body.json"),
        (json!({"name": "a", "app": "hexmap", "networks": ["10.0.0.1/8"]}), "body.json"),
    ] {
        let answer = ada.post("/api/keys", &body).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!(code)), "{body}");
    }
    for _ in 1..20 {
        house.reading_key(&ada).await;
    }
    let more = ada.post("/api/keys", &json!({"name": "a", "app": "hexmap"})).await;
    assert_eq!((more.status, &more.json()["error"]["code"]), (409, &json!("key.too_many")));
    for bad in [
        vec!["create", "a", "--purpose", "mcp"],
        vec!["create", "a", "--purpose", "mcp", "--app", "hexmap", "--user", "nobody"],
        vec!["create", "a", "--purpose", "mcp", "--app", "hexmap", "--user", "018bcfe5-6800-7000-8000-000000000000"],
        vec!["create", "a", "--purpose", "mcp-session", "--app", "hexmap", "--user", &ada.user],
        vec!["create", "a", "--purpose", "mcp", "--app", "hexmap", "--user", &ada.user, "--model", "m"],
        vec!["create", "a", "--user", &ada.user],
        vec!["create", "a", "--writes"],
        vec!["create", "a", "--purpose", "everything"],
    ] {
        let (good, out, said) = house.command(&bad);
        assert!(!good && out.is_empty() && !said.is_empty(), "{bad:?}");
    }
    assert!(!logged(&token));
    house.gate.finish().await;
}

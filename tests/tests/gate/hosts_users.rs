//! What a host's back end gets of everything that is kept of a user, and what is left when it has them erased.

use gate_tests::{Answer, BackEnd, HostUser, Postgres, Setup, TestGate, eventually, exchange, host, request};
use policy::{KeyScope, WebhookEvent};
use proxy::webhooks::{WebhookEndpoint, WebhookSecret, WebhookSettings, check_address};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use store::{NewClientKey, Place, Statement, StoreError, journal_is_sealed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Ada's name at her host has it, and what she says.
const CANARY: &str = "Zaunkoenig7421";
const ADA: &str = "ada-Zaunkoenig7421@shop.example";
const SLOW: &str = r#"
name = "unhurried"
about = "Takes its time."
[[reply]]
steps = [{ text = "One moment." }, { stall = { ms = 20000, after_events = 2 } }]
"#;
/// Every column that holds text or bytes, of every table of ours.
const COLUMNS: Statement = Statement(
    "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
     WHERE table_schema = 'public' AND data_type IN ('text', 'bytea', 'character varying', 'json', 'jsonb') ORDER BY 1, 2",
);
const AUDITED: Statement =
    Statement("SELECT kind, detail FROM audit_log WHERE kind IN ('user.erased', 'user.exported') ORDER BY id");
/// 1 owner, 2 path, 3 id, 4 and 5 what is sealed.
const INSERT_TILE: Statement = Statement(
    "INSERT INTO hexmap_tiles (owner, group_id, path, id, item_type, title, content, version, created_at, updated_at)
     VALUES (?1, 0, ?2, ?3, 'context', ?4, ?5, 1, 0, 0)",
);
/// Where rows of one user are.
const THEIRS: [(&str, &str); 19] = [
    ("users", "id"),
    ("user_keys", "user_id"),
    ("sessions", "user_id"),
    ("caller_keys", "user_id"),
    ("client_windows", "user_id"),
    ("conversations", "user_id"),
    ("runs", "user_id"),
    ("tool_calls", "user_id"),
    ("confirmations", "user_id"),
    ("host_requests", "user_id"),
    ("run_tickets", "user_id"),
    ("confirmation_links", "user_id"),
    ("webhook_deliveries", "user_id"),
    ("hexmap_tiles", "owner"),
    ("hexmap_images", "owner"),
    ("hexmap_changes", "owner"),
    ("hexmap_versions", "owner"),
    ("hexmap_owners", "owner"),
    ("hexmap_maps", "owner"),
];

/// Nobody takes what is sent there, so it waits in the database.
fn nobody() -> WebhookEndpoint {
    WebhookEndpoint {
        host: "shop".to_owned(),
        id: "nobody".to_owned(),
        url: check_address("http://localhost:9/hooks", true).unwrap(),
        secrets: vec![WebhookSecret::parse(&SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap()],
        events: WebhookEvent::ALL.to_vec(),
        danger_allow_private: true,
    }
}

fn setup(database: Option<String>) -> Setup {
    let webhooks = WebhookSettings { endpoints: vec![nobody()], waits: Some(vec![Duration::from_secs(600)]) };
    let scenarios = vec![("unhurried", SLOW.to_owned())];
    Setup { database, callers: true, hosts: vec![host("shop"), host("forum")], webhooks, scenarios, ..Setup::default() }
}

async fn count(gate: &TestGate, table: &str, column: &str, id: &str) -> i64 {
    let sql = format!("SELECT CAST(COUNT(*) AS BIGINT) FROM {table} WHERE {column} = ?1");
    let (sql, id) = (Statement(Box::leak(sql.into_boxed_str())), id.to_owned());
    let counted = gate.database.0.read(move |tx| tx.query_one(sql, &[(&id).into()])?.int(0)).await;
    counted.unwrap_or_else(|error: StoreError| panic!("{table}: {error}"))
}

async fn audited(gate: &TestGate) -> Vec<(String, Value)> {
    let rows = gate.database.0.read(|tx| {
        let rows = tx.query(AUDITED, &[])?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<Vec<_>, StoreError>>()
    });
    rows.await.unwrap().into_iter().map(|(kind, detail)| (kind, serde_json::from_str(&detail).unwrap())).collect()
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}

/// Which files or columns hold the canary.
async fn found(gate: &TestGate, folder: Option<&Path>) -> Vec<String> {
    let Some(folder) = folder else { return found_in_postgresql(gate).await };
    let names = ["gate.db", "gate.db-wal", "gate.db-shm"].into_iter().map(str::to_owned);
    names.filter(|name| std::fs::read(folder.join(name)).is_ok_and(|bytes| holds(&bytes))).collect()
}

async fn found_in_postgresql(gate: &TestGate) -> Vec<String> {
    let columns = gate.database.0.read(|tx| {
        let rows = tx.query(COLUMNS, &[])?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<Vec<_>, StoreError>>()
    });
    let mut found = Vec::new();
    for (table, column) in columns.await.unwrap() {
        let sql = format!(
            "SELECT CAST(COUNT(*) AS BIGINT) FROM \"{table}\" WHERE POSITION('{CANARY}' IN CAST(\"{column}\" AS TEXT)) > 0"
        );
        let sql = Statement(Box::leak(sql.into_boxed_str()));
        let holding = gate.database.0.read(move |tx| tx.query_one(sql, &[])?.int(0)).await;
        if holding.unwrap_or_else(|error: StoreError| panic!("{error}")) > 0 {
            found.push(format!("{table}.{column}"));
        }
    }
    found
}

/// A conversation with a tile called so; returns the user's id.
async fn lived(user: HostUser<'_>, title: &str) -> String {
    let conversation = user.conversation().await;
    let run = user.run(&conversation, &format!("Create a tile called {title} to the north-east"), true).await;
    let events = user.events(&run, 0).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    assert_eq!(user.post(&format!("/v1/runs/{run}/tickets"), &json!({})).await.status, 201);
    user.get("/v1/user").await.json()["id"].as_str().unwrap().to_owned()
}

async fn exported(user: HostUser<'_>) -> Value {
    let answer = user.get("/v1/user/export").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

async fn a_user_is_handed_out_and_erased(database: Option<String>) {
    let is_file = database.is_none();
    let mut gate = TestGate::start(setup(database)).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let forum = BackEnd::new(&mut gate, "forum", &[]).await;
    let reads = BackEnd::new(&mut gate, "shop", &["--action", "read"]).await;
    let folder = gate.folder.path().to_owned();
    let folder = is_file.then_some(folder.as_path());
    let (ada, bob, namesake) = (shop.user(&gate, ADA), shop.user(&gate, "bob"), forum.user(&gate, ADA));
    let of_ada = lived(ada, CANARY).await;
    let of_bob = lived(bob, "Rohrsaenger").await;

    let document = exported(ada).await;
    assert_eq!((&document["user"]["id"], &document["user"]["subject"]), (&json!(of_ada), &json!(ADA)));
    let said = document["conversations"][0]["messages"].to_string();
    assert!(said.contains(CANARY) && said.contains("\"role\":\"tool\""), "{document}");
    assert!(document["conversations"][0]["title"].as_str().unwrap().contains(CANARY));
    assert_eq!(document["runs"][0]["state"], "finished");
    let cost = document["runs"][0]["cost_microusd"].as_i64().unwrap();
    let used: i64 = document["usage"].as_array().unwrap().iter().map(|model| model["cost_microusd"].as_i64().unwrap()).sum();
    assert!(cost > 0 && used == cost, "{document}");
    assert!(document["tool_calls"].to_string().contains(CANARY) && document["webhooks"][0]["kind"] == "run.finished");
    let map = &document["apps"]["hexmap"][0];
    assert_eq!((&map["kind"], &map["page"]["format"]), (&json!("map"), &json!("hexward.map")), "{document}");
    assert!(map["page"]["tiles"].to_string().contains(CANARY));
    assert!(!document.to_string().contains("Rohrsaenger") && !exported(bob).await.to_string().contains(CANARY));
    assert_eq!(document["apps_elsewhere"], json!([]));
    assert_eq!(exported(namesake).await["conversations"], json!([]), "the same name at another host is somebody else");
    let of_namesake = lived(namesake, "Teichhuhn").await;

    let of_reads = reads.user(&gate, ADA);
    let refused = (403, "host.action".to_owned());
    assert_eq!(
        (code(&of_reads.get("/v1/user/export").await), code(&of_reads.delete("/v1/user").await)),
        (refused.clone(), refused)
    );
    assert!(!found(&gate, folder).await.is_empty(), "her name is there before");

    // At another host the name stays, so what is looked for below would be found: it goes first.
    let gone = namesake.delete("/v1/user").await;
    assert_eq!((gone.status, &gone.json()["erased"]["runs"]), (200, &json!(1)), "{}", gone.text());
    assert_eq!(count(&gate, "users", "id", &of_namesake).await, 0);
    assert_eq!(exported(ada).await["runs"].as_array().unwrap().len(), 1, "of two with one name one is erased");
    let erased = ada.delete("/v1/user").await;
    let body = erased.json();
    assert_eq!((erased.status, &body["erased"]["conversations"], &body["erased"]["runs"]), (200, &json!(1), &json!(1)), "{body}");
    assert!(body["apps"]["hexmap"].as_u64().unwrap() >= 2 && body["erased"]["webhooks"].as_u64().unwrap() >= 1, "{body}");
    for (table, column) in THEIRS {
        assert_eq!(count(&gate, table, column, &of_ada).await, 0, "{table}");
        if ["users", "runs", "hexmap_tiles"].contains(&table) {
            assert!(count(&gate, table, column, &of_bob).await > 0, "bob's {table}");
        }
    }
    assert_eq!(found(&gate, folder).await, Vec::<String>::new(), "nothing of hers is left to be read");
    assert!(count(&gate, "model_calls", "user_id", &of_ada).await > 0, "what it cost stays");
    let told = audited(&gate).await;
    let erasure = json!({"user": of_ada, "key": shop.key});
    assert_eq!(told.iter().filter(|(kind, detail)| kind == "user.erased" && *detail == erasure).count(), 1, "{told:?}");
    assert!(told.iter().any(|(kind, detail)| kind == "user.exported" && *detail == erasure), "{told:?}");

    // Whoever comes with that name is somebody new; to erase them is to erase nothing.
    let again = ada.get("/v1/user").await.json();
    assert!(again["id"] != json!(of_ada) && again["cost"]["total_microusd"] == 0, "{again}");
    let twice = ada.delete("/v1/user").await;
    let nothing = twice.json()["erased"].as_object().unwrap().values().all(|count| *count == json!(0));
    assert!(twice.status == 200 && nothing, "{}", twice.text());
    lived(ada, "Neuntoeter").await;
    assert_eq!(exported(bob).await["runs"].as_array().unwrap().len(), 1);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_handed_out_and_erased_on_sqlite() {
    a_user_is_handed_out_and_erased(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_handed_out_and_erased_on_postgresql() {
    a_user_is_handed_out_and_erased(Some(Postgres::shared().fresh_database())).await;
}

/// A client of her own reads who she is: written down in the ledger's journal, and in the database a moment later.
async fn reads(gate: &TestGate, token: &str) {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "getCurrentUser", "arguments": {}}});
    let answer = exchange(gate.callers(), request("POST", "/api/mcp", &headers, call.to_string())).await;
    assert_eq!((answer.status, &answer.json()["result"]["isError"]), (200, &json!(false)), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_a_moment_ago_is_handed_out_and_erased_with_the_rest() {
    let mut gate = TestGate::start(setup(None)).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let ada = shop.user(&gate, ADA);
    let of_ada = lived(ada, CANARY).await;
    let read_so_far = async || {
        let document = exported(ada).await;
        document["tool_calls"].as_array().unwrap().iter().filter(|call| call["tool"] == "getCurrentUser").count()
    };
    let before = read_so_far().await;
    let (token, now) = (format!("a-key-of-this-test-{of_ada}"), gate.gateway.clock.now());
    let key = NewClientKey {
        digest: policy::key_digest(token.as_bytes()),
        user: of_ada.parse().unwrap(),
        name: "desk".to_owned(),
        scope: KeyScope { app: Some("hexmap".to_owned()), ..KeyScope::default() },
        expires_at: now.plus_secs(600),
    };
    gate.database.0.create_client_key(key, now).await.unwrap();
    // Sooner each time than the database has it by itself.
    for more in 1..=5 {
        reads(&gate, &token).await;
        assert_eq!(read_so_far().await, before + more);
    }
    reads(&gate, &token).await;
    let journals = gate.folder.path().join("state/ledger");
    assert!(journal_is_sealed(&journals).unwrap(), "what was read stands there for a while");
    assert_eq!(ada.delete("/v1/user").await.status, 200);
    assert!(!journal_is_sealed(&journals).unwrap(), "nothing of hers is left there");
    assert_eq!(count(&gate, "tool_calls", "user_id", &of_ada).await, 0);
    gate.finish().await;
}

/// A run that goes on is stopped, and the agent that waits for the next message with all that was said is gone too.
async fn erased_in_the_middle(database: Option<String>) {
    let mut gate = TestGate::start(setup(database)).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let ada = shop.user(&gate, ADA);
    let of_ada = lived(ada, CANARY).await;
    assert_eq!(gate.sandboxes_alive(), 1, "it waits");
    let conversation = ada.conversation().await;
    let run = ada.run(&conversation, "[[scenario:unhurried]] Hello", false).await;
    eventually("the model is asked", Duration::from_secs(20), async || gate.provider_saw().len() > 2).await;
    let (erased, events) = tokio::join!(ada.delete("/v1/user"), ada.events(&run, 0));
    assert_eq!((erased.status, &erased.json()["erased"]["runs"]), (200, &json!(2)), "{}", erased.text());
    assert_eq!(events.last().unwrap()["outcome"], "stopped", "{events:?}");
    for (table, column) in THEIRS {
        assert_eq!(count(&gate, table, column, &of_ada).await, 0, "{table}");
    }
    eventually("no agent is left", Duration::from_secs(5), async || gate.sandboxes_alive() == 0).await;
    assert_eq!(ada.get(&format!("/v1/runs/{run}/events")).await.status, 404);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_erased_in_the_middle_of_a_run() {
    erased_in_the_middle(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_erased_in_the_middle_of_a_run_on_postgresql() {
    erased_in_the_middle(Some(Postgres::shared().fresh_database())).await;
}

/// What is going on at another gateway is not torn away under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_for_whom_another_gateway_works_is_not_erased() {
    let database = Postgres::shared().fresh_database();
    let mut gate = TestGate::start(setup(Some(database.clone()))).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let other = TestGate::start(Setup { name: Some("gate-elsewhere"), ..setup(Some(database)) }).await;
    let elsewhere = BackEnd { address: other.callers(), ..shop.clone() };
    let (ada, there) = (shop.user(&gate, ADA), elsewhere.user(&gate, ADA));
    let conversation = there.conversation().await;
    let run = there.run(&conversation, "[[scenario:unhurried]] Hello", false).await;
    assert_eq!(code(&ada.delete("/v1/user").await), (409, "run.elsewhere".to_owned()));
    assert_eq!(ada.get(&format!("/v1/runs/{run}")).await.json()["state"], "active", "nothing was touched");
    assert_eq!(there.delete("/v1/user").await.status, 200);
    assert_eq!(ada.get(&format!("/v1/runs/{run}")).await.status, 404);
    other.finish().await;
    gate.finish().await;
}

/// What can't be opened ends the document in the middle: it must not look like all that there is.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_does_not_look_complete() {
    let mut gate = TestGate::start(setup(None)).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let ada = shop.user(&gate, ADA);
    lived(ada, CANARY).await;
    let change = |sql: &'static str| gate.database.0.write(move |tx| tx.execute(Statement(sql), &[]));
    let changed: Result<u64, StoreError> = change("UPDATE hexmap_tiles SET content = content || 'AAAA'").await;
    assert!(changed.unwrap() > 0);
    let cut = ada.get("/v1/user/export").await;
    assert!(cut.status == 200 && !cut.whole && cut.text().contains("\"apps\":{"), "{}", cut.text());
    assert!(serde_json::from_str::<Value>(&cut.text()).is_err(), "{}", cut.text());
    assert_eq!(ada.delete("/v1/user").await.status, 200, "what can't be read can be erased");
    gate.finish().await;
}

/// Gives somebody a map of 16 MB: more than lies between two ends of a connection.
async fn fill(gate: &TestGate, owner: &str) {
    let owner = owner.to_owned();
    let filled = gate.gateway.store.write(move |tx| {
        let key = tx.key_of(&owner, None)?;
        for number in 0..800_u32 {
            let id = format!("{owner}-{number}");
            let steps: Vec<String> = (0..4).map(|digit| (number / 6_u32.pow(digit) % 6 + 1).to_string()).collect();
            let seal = |column, text: &str| key.seal(Place::new("hexmap_tiles", column, &id), text);
            let (title, content) = (seal("title", "Large")?, seal("content", &"x".repeat(20_000))?);
            tx.execute(INSERT_TILE, &[(&owner).into(), steps.join(",").into(), (&id).into(), title.into(), content.into()])?;
        }
        Ok::<_, StoreError>(())
    });
    filled.await.unwrap();
}

/// Asks for an export and takes no more of it than the kernel does by itself.
async fn stalled(back_end: &BackEnd, gate: &TestGate) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(back_end.address).await.unwrap();
    let (token, assertion) = (&back_end.token, back_end.assertion(ADA, gate.gateway.clock.now()));
    let head = format!("Host: {}\r\nAuthorization: Bearer {token}\r\nX-Hexward-User: {assertion}\r\n", back_end.address);
    stream.write_all(format!("GET /v1/user/export HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    stream
}

/// Readers who take nothing keep the other documents of their own host waiting, those of no other, and not for long.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_of_an_export_is_in_the_way_of_his_own_host_for_a_moment() {
    let mut gate = TestGate::start(setup(None)).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let forum = BackEnd::new(&mut gate, "forum", &[]).await;
    let (ada, namesake) = (shop.user(&gate, ADA), forum.user(&gate, ADA));
    let of_ada = lived(ada, CANARY).await;
    fill(&gate, &of_ada).await;
    let mut stalled = [stalled(&shop, &gate).await, stalled(&shop, &gate).await];
    let refused = ada.get("/v1/user/export").await;
    assert_eq!(code(&refused), (503, "document.busy".to_owned()));
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    assert_eq!(exported(namesake).await["conversations"], json!([]), "another host has places of its own");
    eventually("who takes nothing is not waited for", Duration::from_secs(40), async || {
        let tried = ada.get("/v1/user/export").await;
        tried.status == 200 && tried.whole && tried.body.len() > 16_000_000
    })
    .await;
    for stream in &mut stalled {
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest).await;
        assert!(rest.len() < 8_000_000, "{} bytes lay between the two ends", rest.len());
        assert!(read.is_err() || !rest.ends_with(b"0\r\n\r\n"), "what is not all of it does not end as if it were");
    }
    gate.finish().await;
}

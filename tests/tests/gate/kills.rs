//! Gateways, callers and the way to the provider are killed at moments that nobody chose, again and again: never is more spent than
//! there is, never is less charged than the provider is owed, and nothing stays set aside.

use fake::{Fake, FakeConfig};
use gate_tests::{Database, Postgres, Program, ProgramSetup, eventually};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use store::{CORE, Statement, Store, StoreError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const KEY: &str = "sk-ant-api03-of-this-test-alone";
const SECRET: &str = "0a9b3c1d8e7f62541f0e3d2c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";
const MODEL: &str = "claude-sonnet-5-5";
/// Fits some two hundred of the calls below.
const DAY_MICROUSD: i64 = 500_000;
const DAY_USD: &str = "0.5";
/// What each call that arrives costs with [`QUICK`] or [`SLOW`]: 100 tokens at $2 and 200 at $10 a million.
const OWED_MICROUSD: i64 = 2_200;
const ROUNDS: usize = 7;
const CALLS: usize = 40;
const ANSWER_WAIT: Duration = Duration::from_secs(20);
const READ_TOOL: &str = "getCurrentUser";
/// So long a round is at least, if nobody is killed.
const READS_TIME: Duration = Duration::from_millis(900);
/// No faster than a client that behaves.
const READ_PAUSE: Duration = Duration::from_millis(50);
const READS: Statement = Statement("SELECT state FROM tool_calls WHERE tool = ?1");
const READS_AUDITED: Statement = Statement(
    "SELECT CAST(COUNT(*) AS BIGINT) FROM audit_log WHERE kind = 'tool_call.opened' AND detail LIKE '%\"' || ?1 || '\"%'",
);

const QUICK: &str = r#"
name = "quick"
about = "Two hundred tokens at once."
[[reply]]
usage = { start = '{"input_tokens":100,"output_tokens":1}', deltas = ['{"output_tokens":200}'] }
steps = [{ text = "That is all." }]
"#;
const SLOW: &str = r#"
name = "slow"
about = "Begins, and ends half a second later."
[[reply]]
usage = { start = '{"input_tokens":100,"output_tokens":1}', deltas = ['{"output_tokens":200}'] }
steps = [{ text = "One moment, please: this takes a while." }, { stall = { ms = 500, after_events = 2 } }]
"#;

/// The same sequence in each run of a seed; moments differ all the same, because nothing waits for them.
struct Chance(u64);

impl Chance {
    /// Below `end`.
    fn below(&mut self, end: u64) -> u64 {
        // Knuth's MMIX constants; the upper bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// The wire between the gateways and the provider, which can be cut.
struct Wire {
    address: SocketAddr,
    cut: tokio::sync::watch::Sender<u64>,
}

impl Wire {
    async fn to(provider: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, _) = tokio::sync::watch::channel(0);
        let cuts = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(provider).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, cut }
    }

    /// Every connection that is open breaks, as when the provider's process is killed.
    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

/// Two gateways with one database, or one by itself.
struct House {
    setups: Vec<ProgramSetup>,
    running: Vec<Option<Program>>,
    fake: Fake,
    wire: Wire,
    database: String,
    /// Of somebody's own client.
    token: String,
    _folder: TempDir,
}

impl House {
    async fn new(gateways: usize, database: Option<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("hexward-kills-").tempdir().unwrap();
        let scenarios = folder.path().join("scenarios");
        std::fs::create_dir(&scenarios).unwrap();
        std::fs::write(scenarios.join("quick.toml"), QUICK).unwrap();
        std::fs::write(scenarios.join("slow.toml"), SLOW).unwrap();
        let fake = Fake::start(FakeConfig { scenario_dirs: vec![scenarios], ..FakeConfig::for_tests(KEY) }).await.unwrap();
        let wire = Wire::to(fake.addr()).await;
        let mut setups = Vec::new();
        for number in 0..gateways {
            let own = folder.path().join(format!("gateway-{number}"));
            std::fs::create_dir(&own).unwrap();
            let mut setup =
                ProgramSetup::new(&own, &format!("http://{}", wire.address), KEY).with("INTERNAL_PROXY_SECRET", SECRET);
            if let Some(url) = &database {
                // Those that share a database share what it is sealed with.
                setup = setup.with("DATABASE_URL", url).with("HEXWARD_MASTER_KEY", SECRET);
            }
            setup.config += &format!("[budget]\nday_usd = {DAY_USD}\n");
            setups.push(setup);
        }
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let own = || format!("sqlite:{}", folder.path().join("gateway-0/state/hexward.db").display());
        let database = database.unwrap_or_else(own);
        let running = setups.iter().map(|_| None).collect();
        Self { setups, running, fake, wire, database, token: String::new(), _folder: folder }
    }

    /// Somebody comes, and makes a key for a client of their own.
    async fn own_client(&self) -> String {
        let ada = self.running.iter().flatten().next().unwrap().person().await;
        let made = ada.post("/api/keys", &json!({"name": "desk", "app": "hexmap"})).await;
        made.json()["token"].as_str().unwrap_or_else(|| panic!("{}", made.text())).to_owned()
    }

    fn start_missing(&mut self) {
        for (setup, running) in self.setups.iter().zip(&mut self.running) {
            if running.is_none() {
                *running = Some(setup.start());
            }
        }
    }

    fn callers(&self) -> Vec<SocketAddr> {
        self.running.iter().flatten().map(Program::callers).collect()
    }

    async fn database(&self) -> Database {
        Database(Store::open(&self.database, &[&CORE, &hexmap::SCHEMA]).await.unwrap())
    }
}

/// Asks, reads for as long as it has patience, and goes away without a word. Whether the answer came to its end.
async fn call(callers: SocketAddr, scenario: &'static str, patience: Duration) -> bool {
    let body = json!({"model": MODEL, "max_tokens": 200, "stream": true,
        "messages": [{"role": "user", "content": format!("[[scenario:{scenario}]] Hello")}]})
    .to_string();
    let head = format!(
        "POST /api/anthropic-proxy/v1/messages HTTP/1.1\r\nhost: gate\r\ncontent-type: application/json\r\nconnection: close\r\n\
         anthropic-version: 2023-06-01\r\nx-api-key: {SECRET}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let asking = async {
        let mut stream = TcpStream::connect(callers).await.ok()?;
        stream.write_all(head.as_bytes()).await.ok()?;
        let mut seen = Vec::new();
        stream.read_to_end(&mut seen).await.ok()?;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        // A provider that is gone is told as such; a fault of the gateway's own is none of this test's.
        assert!(!seen.starts_with("HTTP/1.1 500"), "the gateway failed: {seen}");
        Some(seen.contains("message_stop"))
    };
    tokio::time::timeout(patience, asking).await.ok().flatten().unwrap_or(false)
}

/// A person's own client reads who they are, again and again, until the gateway is gone; returns how often it asked and was answered.
async fn read(callers: SocketAddr, token: String) -> (usize, usize) {
    let (begun, mut asked, mut answered) = (Instant::now(), 0, 0);
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": READ_TOOL, "arguments": {}}}).to_string();
    let head = format!(
        "POST /api/mcp HTTP/1.1\r\nhost: {callers}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    while begun.elapsed() < READS_TIME {
        let asking = async {
            let mut stream = TcpStream::connect(callers).await.ok()?;
            stream.write_all(head.as_bytes()).await.ok()?;
            let mut seen = Vec::new();
            stream.read_to_end(&mut seen).await.ok()?;
            Some(String::from_utf8_lossy(&seen).into_owned())
        };
        asked += 1;
        let Some(seen) = tokio::time::timeout(ANSWER_WAIT, asking).await.ok().flatten() else { break };
        let is_whole = seen.ends_with('}') && seen.contains("\"isError\":false");
        assert!(is_whole || !seen.contains("\r\n\r\n{"), "nothing but a kill comes between: {seen}");
        answered += usize::from(is_whole);
        tokio::time::sleep(READ_PAUSE).await;
    }
    (asked, answered)
}

/// What was read: asked for, answered.
#[derive(Default)]
struct Reads(usize, usize);

/// Calls of which one in four loses its patience, and reads, while one of the three is killed.
async fn round(house: &mut House, chance: &mut Chance, reads: &mut Reads) -> usize {
    house.start_missing();
    let callers = house.callers();
    let mut readers = JoinSet::new();
    for to in callers.iter().chain(&callers) {
        readers.spawn(read(*to, house.token.clone()));
    }
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let to = callers[number % callers.len()];
        let scenario = if chance.below(3) == 0 { "slow" } else { "quick" };
        let patience = if chance.below(4) == 0 { Duration::from_millis(chance.below(700)) } else { ANSWER_WAIT };
        let begin = Duration::from_millis(chance.below(300));
        calls.spawn(async move {
            tokio::time::sleep(begin).await;
            call(to, scenario, patience).await
        });
    }
    tokio::time::sleep(Duration::from_millis(chance.below(900))).await;
    match chance.below(3) {
        0 => house.wire.cut(),
        which => {
            let victim = usize::try_from(which).unwrap() % house.running.len();
            if let Some(mut program) = house.running[victim].take() {
                program.signal("KILL");
                assert!(!program.wait().success());
            }
        }
    }
    let mut whole = 0;
    while let Some(done) = calls.join_next().await {
        whole += usize::from(done.unwrap());
    }
    while let Some(done) = readers.join_next().await {
        let (asked, answered) = done.unwrap();
        *reads = Reads(reads.0 + asked, reads.1 + answered);
    }
    whole
}

/// What was answered is written down, each read once, in the journal of calls and in the audit log.
async fn assert_written_down(database: &Database, Reads(asked, answered): Reads) {
    let read = async |statement: Statement| {
        let rows = database.0.read(move |tx| tx.query(statement, &[READ_TOOL.into()])).await;
        rows.unwrap_or_else(|error: StoreError| panic!("{error}"))
    };
    let rows = read(READS).await;
    let states: Vec<String> = rows.iter().map(|row| row.text(0).unwrap()).collect();
    let done = states.iter().filter(|state| *state == "done").count();
    let told = format!("{asked} asked for, {answered} answered, {} written down, {done} done", states.len());
    assert!(answered > ROUNDS && (answered..=asked).contains(&states.len()), "{told}");
    assert!(states.iter().all(|state| state == "done" || state == "uncertain"), "{told}: {states:?}");
    assert_eq!(read(READS_AUDITED).await[0].int(0).unwrap(), number(states.len()), "{told}");
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap()
}

async fn whatever_is_killed(gateways: usize, database: Option<String>, seed: u64) {
    let mut house = House::new(gateways, database).await;
    let mut chance = Chance(seed);
    house.start_missing();
    house.token = house.own_client().await;
    let (mut whole, mut reads) = (0, Reads::default());
    for round_number in 0..ROUNDS {
        whole += round(&mut house, &mut chance, &mut reads).await;
        let (settled, reserved) = house.database().await.ever("global").await;
        assert!(settled + reserved <= DAY_MICROUSD, "round {round_number}: {settled} and {reserved} of {DAY_MICROUSD}");
    }
    assert!(whole > 0, "not everything was cut");
    // Everybody comes back once more, and ends in peace.
    house.start_missing();
    let database = house.database().await;
    let settled_all = async || database.0.open_model_calls().await.unwrap() == 0;
    eventually("every call is settled", Duration::from_secs(20), settled_all).await;
    for program in house.running.iter_mut().flatten() {
        program.signal("TERM");
        assert!(program.wait().success(), "{}", program.log());
    }
    let arrived = house.fake.requests().iter().filter(|exchange| exchange.status == 200).count();
    let calls = database.calls().await;
    let (settled, reserved) = database.ever("global").await;
    let told = format!("seed {seed}: {arrived} arrived, {whole} whole, {} written down, {settled} settled", calls.len());
    assert_eq!((reserved, database.reserved().await), (0, 0), "nothing stays set aside; {told}");
    assert!(calls.iter().all(|call| call.outcome.is_some() && call.cost <= call.reserved), "{told}: {calls:?}");
    assert_eq!(settled, calls.iter().map(|call| call.cost).sum::<i64>(), "the account is what its calls cost; {told}");
    assert!(settled <= DAY_MICROUSD, "{told}");
    assert!(settled >= OWED_MICROUSD * number(arrived), "no less than the provider is owed; {told}");
    assert!(calls.len() >= arrived && arrived >= whole, "nothing left that is not written down; {told}");
    let finished = house.fake.requests().iter().filter(|exchange| exchange.finished && exchange.status == 200).count();
    assert!(finished > ROUNDS, "{told}: {finished} finished");
    assert_written_down(&database, reads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_at_any_moment_owes_nothing_and_overspends_nothing() {
    whatever_is_killed(1, None, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_postgresql_killed_at_any_moment_owe_nothing_and_overspend_nothing() {
    whatever_is_killed(2, Some(Postgres::shared().fresh_database()), 5).await;
}

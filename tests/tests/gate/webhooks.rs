//! Host applications are told what happened: signed, in order, at least once, whatever their endpoint does meanwhile.

use fake::{Fake, FakeConfig};
use gate_tests::{BackEnd, HOST_SECRET, ProgramSetup, Setup, TestGate, eventually, hexward};
use hexward::clock::SystemClock;
use parking_lot::Mutex;
use policy::{AuditEvent, Clock, ConversationId, RunId, UserId, UserMessage, WebhookEvent};
use proxy::webhooks::{WebhookEndpoint, WebhookSecret, WebhookSettings, check_address};
use secrecy::SecretString;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{NewRun, RunEnd};
use testkit::Postgres;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const WAIT: Duration = Duration::from_secs(30);

/// One request as it came.
#[derive(Clone, Debug)]
struct Told {
    head: String,
    body: String,
}

impl Told {
    fn header(&self, name: &str) -> String {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().trim().to_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A host application's endpoint. Each request gets the next answer; when there is none left, it is 204.
#[derive(Clone)]
struct Endpoint {
    url: String,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Endpoint {
    async fn start(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://localhost:{}/hooks", listener.local_addr().unwrap().port());
        let (told, answers) =
            (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<_>>())));
        let endpoint = Self { url, told: Arc::clone(&told) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (told, answers) = (Arc::clone(&told), Arc::clone(&answers));
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    let request = loop {
                        let mut piece = [0_u8; 8192];
                        let length = stream.read(&mut piece).await.unwrap_or(0);
                        if length == 0 {
                            return;
                        }
                        seen.extend_from_slice(&piece[..length]);
                        let text = String::from_utf8(seen.clone()).unwrap();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let told = Told { head: head.to_owned(), body: body.to_owned() };
                        if told.header("content-length").parse() == Ok(body.len()) {
                            break told;
                        }
                    };
                    told.lock().push(request);
                    let answer = answers.lock().pop_front().unwrap_or("HTTP/1.1 204 No Content\r\n\r\n");
                    if answer == "hang" {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        endpoint
    }

    fn configured(&self, id: &str) -> WebhookEndpoint {
        let secrets = [SECRET, OLD_SECRET].map(|text| WebhookSecret::parse(&SecretString::from(text)).unwrap());
        WebhookEndpoint {
            host: "shop".to_owned(),
            id: id.to_owned(),
            url: check_address(&self.url, true).unwrap(),
            secrets: secrets.to_vec(),
            events: WebhookEvent::ALL.to_vec(),
            danger_allow_private: true,
        }
    }

    async fn until(&self, count: usize) -> Vec<Told> {
        let begun = Instant::now();
        while self.told.lock().len() < count {
            assert!(begun.elapsed() < WAIT, "{} of {count} came", self.told.lock().len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.told.lock().clone()
    }
}

fn setup(endpoints: Vec<WebhookEndpoint>, waits_ms: &[u64]) -> Setup {
    let waits = waits_ms.iter().copied().map(Duration::from_millis).collect();
    Setup { webhooks: WebhookSettings { endpoints, waits: Some(waits) }, ..Setup::default() }
}

async fn user(gate: &TestGate, subject: &str) -> UserId {
    gate.gateway.store.user_of("hexward:host:shop", subject, gate.gateway.clock.now()).await.unwrap()
}

/// A run of a host's user, from its beginning to its end.
async fn run(gate: &TestGate, user: UserId) -> (RunId, ConversationId) {
    let (store, now) = (&gate.gateway.store, gate.gateway.clock.now());
    let conversation = store.create_conversation(user, "hexmap", now).await.unwrap();
    let run = RunId::random();
    let (app, gateway, message) = ("hexmap".to_owned(), "elsewhere".to_owned(), UserMessage::parse("hello").unwrap());
    store.begin_run(NewRun { run, conversation, user, app, message, writes: false, gateway }, now).await.unwrap();
    store.end_run(run, RunEnd { outcome: "finished", code: None, message: None, turns: 2 }, now).await.unwrap();
    (run, conversation)
}

async fn conduct(gate: &TestGate, user: UserId) -> RunId {
    let run = RunId::random();
    gate.gateway.store.record(AuditEvent::ConductRose { run, user, conduct: "hasty" }, gate.gateway.clock.now()).await.unwrap();
    run
}

async fn settled(gate: &TestGate, state: &str) {
    let begun = Instant::now();
    loop {
        let rows = gate.gateway.store.webhook_deliveries().await.unwrap();
        let good = if state == "delivered" { rows.is_empty() } else { rows.iter().all(|row| row.state == state) };
        if good {
            return;
        }
        assert!(begun.elapsed() < WAIT, "{rows:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What Python's own library thinks of a signature: another implementation than the one that made it.
fn python_accepts(told: &Told, secret: &str) -> bool {
    const CHECK: &str = "import base64,hashlib,hmac,json,sys\nt=json.load(sys.stdin)\n\
        key=base64.b64decode(t['secret'][6:])\n\
        mac=hmac.new(key,('%s.%s.'%(t['id'],t['time'])).encode()+t['body'].encode(),hashlib.sha256).digest()\n\
        good=['v1,'+base64.b64encode(mac).decode()]\n\
        sys.exit(0 if any(one in good for one in t['signatures'].split(' ')) else 1)\n";
    let mut python = Command::new("python3").args(["-c", CHECK]).stdin(Stdio::piped()).spawn().unwrap();
    let facts = serde_json::json!({
        "secret": secret, "id": told.header("webhook-id"), "time": told.header("webhook-timestamp"), "body": told.body,
        "signatures": told.header("webhook-signature"),
    });
    python.stdin.take().unwrap().write_all(facts.to_string().as_bytes()).unwrap();
    python.wait().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_application_is_told_signed_and_in_order() {
    let endpoint = Endpoint::start(&[]).await;
    let mut gate = TestGate::start(setup(vec![endpoint.configured("main")], &[50])).await;
    gate.keep_secret("the webhooks' secret", SECRET);
    let ada = user(&gate, "ada").await;
    let (first, conversation) = run(&gate, ada).await;
    let second = conduct(&gate, ada).await;
    let (third, _) = run(&gate, ada).await;
    // Nobody hears of people of the gateway's own.
    let own = gate.gateway.store.user_of("local", "eve", gate.gateway.clock.now()).await.unwrap();
    run(&gate, own).await;
    settled(&gate, "delivered").await;
    let told = endpoint.until(3).await;
    let runs: Vec<String> = told.iter().map(|told| told.json()["data"]["run_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(runs, [first, second, third].map(|run| run.to_string()), "in order, and no more");
    let body = told[0].json();
    assert_eq!((&body["type"], &body["user"]["subject"], &body["host"]), (&"run.finished".into(), &"ada".into(), &"shop".into()));
    assert_eq!(body["data"]["conversation_id"], conversation.to_string());
    assert_eq!(body["id"], told[0].header("webhook-id"));
    for told in &told {
        assert!(python_accepts(told, SECRET) && python_accepts(told, OLD_SECRET), "with both, while a secret changes");
        let changed = Told { body: told.body.replace("shop", "shoq"), ..told.clone() };
        assert!(!python_accepts(&changed, SECRET), "what was changed is seen");
    }
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_and_given_up_in_the_end() {
    let redirect = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let error = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    let endpoint =
        Endpoint::start(&[error, redirect, error, "HTTP/1.1 204 No Content\r\n\r\n", error, error, error, error]).await;
    let gate = TestGate::start(setup(vec![endpoint.configured("main")], &[20, 40, 60])).await;
    let ada = user(&gate, "ada").await;
    conduct(&gate, ada).await;
    settled(&gate, "delivered").await;
    let told = endpoint.until(4).await;
    assert!(
        told.iter().all(|one| one.header("webhook-id") == told[0].header("webhook-id") && one.body == told[0].body),
        "the same"
    );
    conduct(&gate, ada).await;
    settled(&gate, "dead").await;
    assert_eq!(endpoint.until(8).await.len(), 8, "four tries, and no more");
    let row = gate.gateway.store.webhook_deliveries().await.unwrap().remove(0);
    assert_eq!((row.attempts, row.last_error.as_deref()), (4, Some("answered 500")));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(endpoint.told.lock().len(), 8);
    assert_eq!(gate.gateway.store.retry_webhooks(Some(&row.id), gate.gateway.clock.now()).await.unwrap(), 1);
    settled(&gate, "delivered").await;
    assert_eq!(endpoint.told.lock().last().unwrap().header("webhook-id"), row.id);
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_or_is_inside_holds_nobody_else_up() {
    let (hanging, good) = (Endpoint::start(&["hang"; 8]).await, Endpoint::start(&[]).await);
    let inside = WebhookEndpoint { danger_allow_private: false, ..good.configured("inside") };
    let gate = TestGate::start(setup(vec![hanging.configured("hanging"), good.configured("good"), inside], &[])).await;
    let ada = user(&gate, "ada").await;
    conduct(&gate, ada).await;
    good.until(1).await;
    hanging.until(1).await;
    settled(&gate, "dead").await;
    let rows = gate.gateway.store.webhook_deliveries().await.unwrap();
    let mut dead: Vec<_> = rows.iter().map(|row| (row.endpoint.as_str(), row.last_error.as_deref().unwrap())).collect();
    dead.sort_unstable();
    let expected = [("hanging", "no answer within 10 s"), ("inside", "every address is refused: a loopback address")];
    assert_eq!(dead, expected);
    assert_eq!(good.told.lock().len(), 1, "by name or not, nobody was reached who is inside");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_in_a_try_leaves_it_to_the_next() {
    let endpoint = Endpoint::start(&["hang"]).await;
    let database = Postgres::shared().fresh_database();
    let named = |name: &'static str| Setup {
        database: Some(database.clone()),
        name: Some(name),
        ..setup(vec![endpoint.configured("main")], &[20])
    };
    let one = TestGate::start(named("gate-one")).await;
    let ada = user(&one, "ada").await;
    conduct(&one, ada).await;
    endpoint.until(1).await;
    // It ends in the middle of the try; what is left is what a kill leaves, but for the endpoint, which it lets go.
    let two = TestGate::start(named("gate-two")).await;
    one.finish().await;
    let told = {
        let store = &two.gateway.store;
        let due = async || store.webhook_deliveries().await.unwrap();
        assert_eq!(due().await.len(), 1, "still to be told");
        store
            .write(|tx| tx.execute(store::Statement("UPDATE webhook_deliveries SET next_at = 1"), &[]))
            .await
            .unwrap_or_else(|error: store::StoreError| panic!("{error}"));
        settled(&two, "delivered").await;
        endpoint.until(2).await
    };
    assert_eq!(
        (told.len(), told[0].header("webhook-id")),
        (2, told[1].header("webhook-id")),
        "at least once, and known as the same"
    );
    two.finish().await;
}

/// The whole program, killed while an endpoint has a delivery and has not answered: the next life delivers it, under the same id.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_in_a_delivery_makes_it_again() {
    let endpoint = Endpoint::start(&["hang"]).await;
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(FakeConfig::for_tests("sk-ant-api03-of-this-test-alone")).await.unwrap();
    let mut setup = ProgramSetup::new(folder.path(), &fake.url(), "sk-ant-api03-of-this-test-alone")
        .with("HOST_SECRET", HOST_SECRET)
        .with("HOOK_SECRET", SECRET);
    setup.config.push_str(&format!(
        "[callers]\nenabled = true\n[[hosts]]\nid = 'shop'\nissuer = 'https://shop.example'\nsecret_env = 'HOST_SECRET'\napps = ['hexmap']\n\
         [[hosts.webhooks]]\nid = 'main'\nurl = '{}'\nsecret_env = 'HOOK_SECRET'\nevents = ['run.finished']\ndanger_allow_private = true\n",
        endpoint.url
    ));
    let mut made = Command::new(hexward());
    made.args(["key", "create", "backend", "--purpose", "service", "--host", "shop", "--state-dir", "state"]);
    let made = made.current_dir(folder.path()).env_clear().output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = String::from_utf8_lossy(&made.stdout).trim_end().to_owned();
    let mut program = setup.start();
    let issuer = "https://shop.example".to_owned();
    let shop = BackEnd { address: program.callers(), token, key: policy::KeyId::random(), issuer };
    let asks = async |path: &str, body: Value| {
        let assertion = shop.assertion("ada", SystemClock.now());
        let answer = shop.ask_with("POST", path, &assertion, &[("idempotency-key", "once")], &body).await;
        assert!(answer.status < 300, "{}", answer.text());
        answer.json()
    };
    let conversation = asks("/v1/conversations", serde_json::json!({"app": "hexmap"})).await;
    let path = format!("/v1/conversations/{}/runs", conversation["id"].as_str().unwrap());
    let run = asks(&path, serde_json::json!({"text": "Hello", "writes": false})).await;
    let first = endpoint.until(1).await.remove(0);
    assert_eq!(first.json()["data"]["run_id"], run["run_id"]);
    program.signal("KILL");
    program.wait();
    let left = program.database().await;
    let rows = left.0.webhook_deliveries().await.unwrap();
    assert_eq!((rows.len(), rows[0].state.as_str(), rows[0].attempts), (1, "pending", 1), "counted before it was made: {rows:?}");
    drop(left);

    let again = setup.start();
    // Nobody tries again while a gateway may still be in it.
    let begun = Instant::now();
    while endpoint.told.lock().len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(90), "it is not told again: {}", again.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let second = endpoint.told.lock()[1].clone();
    assert_eq!((second.header("webhook-id"), &second.body), (first.header("webhook-id"), &first.body), "known as the same");
    assert!(python_accepts(&second, SECRET), "signed, with the time of this try");
    let after = again.database().await;
    let is_over = async || after.0.webhook_deliveries().await.unwrap().is_empty();
    eventually("it is delivered", Duration::from_secs(5), is_over).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(endpoint.told.lock().len(), 2, "and then no more");
}

//! Hosts that publish the keys with which they sign: each kind through the whole gateway, and a publisher that is down, slow, inside, or
//! has new keys in the middle of a run.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use gate_tests::{Answer, BackEnd, Setup, TestGate, events_of, eventually, host, logged, probe, sign};
use parking_lot::Mutex;
use policy::AssertionAlgorithm;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use web::{HostKeys, HostSettings};

const LIST: &str = "/v1/conversations?app=hexmap";
const SLOW: &str = r#"
name = "unhurried"
about = "Takes its time."
[[reply]]
steps = [{ text = "One moment." }, { stall = { ms = 4000, after_events = 2 } }]
"#;

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key of a host, with the name it has in the set.
struct Signer {
    id: &'static str,
    pair: Pair,
}

fn encoded(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

impl Signer {
    fn p256(id: &'static str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        Self { id, pair: Pair::P256(pair) }
    }

    fn ed25519(id: &'static str) -> Self {
        Self { id, pair: Pair::Ed25519(Ed25519KeyPair::generate().unwrap()) }
    }

    fn rsa(id: &'static str) -> Self {
        Self { id, pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// As the host publishes it.
    fn published(&self) -> Value {
        let mut key = match &self.pair {
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..65])})
            }
            Pair::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref())}),
            Pair::Rsa(pair) => {
                let (modulus, exponent) = numbers(pair.public_key().as_ref());
                json!({"kty": "RSA", "n": encoded(&modulus), "e": encoded(&exponent)})
            }
        };
        key["kid"] = self.id.into();
        key["alg"] = self.algorithm().into();
        key["use"] = "sig".into();
        key
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.id, claims)
    }

    /// The same, said to be signed with another key.
    fn sign_as(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": id});
        let message = format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
        let signature = match &self.pair {
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", encoded(&signature))
    }
}

/// The two numbers of an RSAPublicKey (RFC 8017, appendix A.1.1), without the sign's byte.
fn numbers(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, begin) = match der[1] {
            short @ ..=0x80 => (usize::from(short), 2),
            0x81 => (usize::from(der[2]), 3),
            _ => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
        };
        (&der[begin..begin + length], &der[begin + length..])
    }
    let (modulus, rest) = element(element(der).0);
    let plain = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
    (plain(modulus), plain(element(rest).0))
}

/// What a publisher does when it is asked.
#[derive(Clone)]
enum Does {
    Answers(Value),
    AnswersAfter(Duration, Value),
    HangsUp,
}

/// A host's own server.
#[derive(Clone)]
struct Publisher {
    port: u16,
    does: Arc<Mutex<Does>>,
    asked: Arc<AtomicUsize>,
}

fn set(keys: &[&Signer]) -> Value {
    json!({"keys": keys.iter().map(|key| key.published()).collect::<Vec<_>>()})
}

impl Publisher {
    async fn start(does: Does) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let publisher = Self { port, does: Arc::new(Mutex::new(does)), asked: Arc::default() };
        let (does, asked) = (Arc::clone(&publisher.does), Arc::clone(&publisher.asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                asked.fetch_add(1, Ordering::SeqCst);
                let does = does.lock().clone();
                tokio::spawn(async move {
                    let keys = match does {
                        Does::HangsUp => return,
                        Does::Answers(keys) => keys,
                        Does::AnswersAfter(wait, keys) => {
                            tokio::time::sleep(wait).await;
                            keys
                        }
                    };
                    let mut request = [0; 2048];
                    let _ = stream.read(&mut request).await;
                    let body = keys.to_string();
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
                    let _ = stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await;
                });
            }
        });
        publisher
    }

    fn does(&self, next: Does) {
        *self.does.lock() = next;
    }

    fn host(&self, id: &str, algorithms: &[AssertionAlgorithm]) -> HostSettings {
        published_at(id, format!("http://127.0.0.1:{}/keys", self.port), algorithms)
    }

    fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn published_at(id: &str, url: String, algorithms: &[AssertionAlgorithm]) -> HostSettings {
    HostSettings { algorithms: algorithms.to_vec(), keys: HostKeys::Published(url), ..host(id) }
}

fn public() -> Vec<AssertionAlgorithm> {
    AssertionAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.is_public()).collect()
}

async fn asks(gate: &TestGate, back_end: &BackEnd, signer: &Signer, method: &str, path: &str, body: &Value) -> Answer {
    let claims = back_end.claims("ada", gate.gateway.clock.now());
    let key = [("idempotency-key", claims["jti"].as_str().unwrap())];
    back_end.ask_with(method, path, &signer.sign(&claims), &key, body).await
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn published_keys_of_each_kind_let_users_in() {
    let signers = [Signer::p256("p"), Signer::ed25519("e"), Signer::rsa("r")];
    let [p256, ed25519, rsa] = &signers;
    let publisher = Publisher::start(Does::Answers(set(&[p256, ed25519, rsa]))).await;
    let hosts = vec![publisher.host("shop", &public()), publisher.host("forum", &[AssertionAlgorithm::Es256])];
    let mut gate = TestGate::start(Setup { callers: true, hosts, ..Setup::default() }).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let forum = BackEnd::new(&mut gate, "forum", &[]).await;
    for signer in &signers {
        let begun = asks(&gate, &shop, signer, "POST", "/v1/conversations", &json!({"app": "hexmap"})).await;
        assert_eq!(begun.status, 201, "{}: {}", signer.algorithm(), begun.text());
        let conversation = begun.json()["id"].as_str().unwrap().to_owned();
        let title = format!("Tile{}", signer.id);
        let text = format!("Create a tile called {title} to the {}", ["east", "west", "south-east"][signer.id.len() % 3]);
        let path = format!("/v1/conversations/{conversation}/runs");
        let run = asks(&gate, &shop, signer, "POST", &path, &json!({"text": text, "writes": false})).await;
        assert_eq!(run.status, 202, "{}", run.text());
        let events = format!("/v1/runs/{}/events", run.json()["run_id"].as_str().unwrap());
        let events = events_of(&asks(&gate, &shop, signer, "GET", &events, &Value::Null).await);
        assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    }
    assert_eq!(publisher.times_asked(), 1, "for all of that");

    let now = gate.gateway.clock.now();
    let stranger = Signer::p256("p");
    let public_as_secret = {
        let header =
            jsonwebtoken::Header { kid: Some("p".to_owned()), ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256) };
        let secret = jsonwebtoken::EncodingKey::from_secret(p256.published()["x"].as_str().unwrap().as_bytes());
        jsonwebtoken::encode(&header, &shop.claims("ada", now), &secret).unwrap()
    };
    for (token, expected) in [
        (stranger.sign(&shop.claims("ada", now)), "assertion.signature"),
        (rsa.sign_as("p", &shop.claims("ada", now)), "assertion.key"),
        (p256.sign_as("nobody", &shop.claims("ada", now)), "assertion.key"),
        (public_as_secret, "assertion.algorithm"),
        (sign(&shop.claims("ada", now)), "assertion.algorithm"),
    ] {
        assert_eq!(code(&shop.ask_with("GET", LIST, &token, &[], &Value::Null).await), (401, expected.to_owned()), "{token}");
    }
    assert_eq!(asks(&gate, &forum, p256, "GET", LIST, &Value::Null).await.status, 200);
    let other_kind = asks(&gate, &forum, ed25519, "GET", LIST, &Value::Null).await;
    assert_eq!(code(&other_kind), (401, "assertion.algorithm".to_owned()), "a kind that this host does not use");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_down_or_slow_holds_up_its_own_users_alone() {
    let key = Signer::p256("k");
    let down = Publisher::start(Does::HangsUp).await;
    let slow = Publisher::start(Does::AnswersAfter(Duration::from_secs(2), set(&[&key]))).await;
    let hanging = Publisher::start(Does::AnswersAfter(Duration::from_secs(60), set(&[&key]))).await;
    let es256 = [AssertionAlgorithm::Es256];
    let hosts = vec![down.host("down", &es256), slow.host("slow", &es256), hanging.host("hanging", &es256), host("forum")];
    let mut gate = TestGate::start(Setup { callers: true, hosts, agent: Some(probe()), ..Setup::default() }).await;
    let of_down = BackEnd::new(&mut gate, "down", &[]).await;
    let of_slow = BackEnd::new(&mut gate, "slow", &[]).await;
    let of_hanging = BackEnd::new(&mut gate, "hanging", &[]).await;
    let forum = BackEnd::new(&mut gate, "forum", &[]).await;
    let unknown = (503, "assertion.keys".to_owned());

    assert_eq!(code(&asks(&gate, &of_down, &key, "GET", LIST, &Value::Null).await), unknown);
    assert_eq!(code(&asks(&gate, &of_down, &key, "GET", LIST, &Value::Null).await), unknown, "at once, and unasked");
    assert_eq!(down.times_asked(), 1, "not again within a few seconds");
    down.does(Does::Answers(set(&[&key])));
    let back = async || asks(&gate, &of_down, &key, "GET", LIST, &Value::Null).await.status == 200;
    eventually("it is up again", Duration::from_secs(10), back).await;

    let begun = Instant::now();
    let many = (0..10).map(|_| asks(&gate, &of_hanging, &key, "GET", LIST, &Value::Null));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let others = Instant::now();
        let answer = forum.user(&gate, "bob").get(LIST).await;
        (answer.status, others.elapsed())
    };
    let slowly = asks(&gate, &of_slow, &key, "GET", LIST, &Value::Null);
    let (many, (status, took), slowly) = tokio::join!(futures_util::future::join_all(many), meanwhile, slowly);
    assert!(
        many.iter().all(|answer| code(answer) == unknown) && begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((hanging.times_asked(), slowly.status), (1, 200), "who is slow and answers is waited for: {}", slowly.text());
    assert!(status == 200 && took < Duration::from_secs(2), "nobody else waits: {took:?}");
    let told = gate.database.host_refusals().await;
    assert!(told.iter().filter(|code| *code == "assertion.keys").count() >= 2, "{told:?}");
    gate.finish().await;
}

/// A minute long, because a set is not fetched more often.
#[tokio::test(flavor = "multi_thread")]
async fn new_keys_in_the_middle_of_a_run_end_nothing_and_are_known_a_minute_later() {
    let (old, new) = (Signer::p256("old"), Signer::ed25519("new"));
    let publisher = Publisher::start(Does::Answers(set(&[&old]))).await;
    let setup = Setup {
        callers: true,
        hosts: vec![publisher.host("shop", &public())],
        scenarios: vec![("unhurried", SLOW.to_owned())],
        scenario: Some("unhurried"),
        ..Setup::default()
    };
    let mut gate = TestGate::start(setup).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let begun = asks(&gate, &shop, &old, "POST", "/v1/conversations", &json!({"app": "hexmap"})).await.json();
    let path = format!("/v1/conversations/{}/runs", begun["id"].as_str().unwrap());
    let run = asks(&gate, &shop, &old, "POST", &path, &json!({"text": "Hello", "writes": false})).await.json();
    let events = format!("/v1/runs/{}/events", run["run_id"].as_str().unwrap());
    publisher.does(Does::Answers(set(&[&new])));
    let following = asks(&gate, &shop, &old, "GET", &events, &Value::Null);
    let by_new = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        asks(&gate, &shop, &new, "GET", LIST, &Value::Null).await
    };
    let (followed, by_new) = tokio::join!(following, by_new);
    assert_eq!(events_of(&followed).last().unwrap()["outcome"], "finished", "{}", followed.text());
    assert_eq!(
        (code(&by_new), publisher.times_asked()),
        ((401, "assertion.key".to_owned()), 1),
        "nobody can make us ask more often"
    );
    let known = async || asks(&gate, &shop, &new, "GET", LIST, &Value::Null).await.status == 200;
    eventually("the new key is known", Duration::from_secs(70), known).await;
    let by_old = asks(&gate, &shop, &old, "GET", LIST, &Value::Null).await;
    assert_eq!(
        (code(&by_old), publisher.times_asked()),
        ((401, "assertion.key".to_owned()), 2),
        "what is not published any more opens nothing"
    );
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_inside_is_never_asked() {
    let inside = Publisher::start(Does::HangsUp).await;
    let es256 = [AssertionAlgorithm::Es256];
    let hosts = vec![
        published_at("address", format!("https://127.0.0.1:{}/keys", inside.port), &es256),
        published_at("name", format!("https://localhost:{}/keys", inside.port), &es256),
        published_at("private", "https://10.255.255.1/keys".to_owned(), &es256),
    ];
    let mut gate = TestGate::start(Setup { callers: true, hosts, agent: Some(probe()), ..Setup::default() }).await;
    let key = Signer::p256("k");
    for id in ["address", "name", "private"] {
        let back_end = BackEnd::new(&mut gate, id, &[]).await;
        let begun = Instant::now();
        let refused = asks(&gate, &back_end, &key, "GET", LIST, &Value::Null).await;
        assert_eq!(code(&refused), (503, "assertion.keys".to_owned()), "{id}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{id}: refused, not tried");
    }
    assert_eq!(inside.times_asked(), 0, "not a connection");
    assert!(logged("every address is refused: a loopback address") && logged("every address is refused: a private address"));
    gate.finish().await;
}

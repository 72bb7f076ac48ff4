use super::*;
use policy::Timestamp;
use secrecy::SecretString;
use store::Delivery;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn secret(text: &str) -> WebhookSecret {
    WebhookSecret::parse(&SecretString::from(text)).expect("a secret")
}

fn endpoint(url: &str, danger_allow_private: bool) -> WebhookEndpoint {
    let (host, id) = ("shop".to_owned(), "main".to_owned());
    let secrets = vec![secret("0123456789abcdef0123456789abcdef")];
    WebhookEndpoint { host, id, url: Url::parse(url).expect("an address"), secrets, events: Vec::new(), danger_allow_private }
}

async fn try_once(endpoint: WebhookEndpoint) -> Result<(), String> {
    let webhooks = Webhooks::new(WebhookSettings { endpoints: vec![endpoint.clone()], waits: None }).expect("TLS");
    let delivery = Delivery { id: "msg_1".to_owned(), host: "shop".to_owned(), attempt: 1, body: "{}".to_owned() };
    send::send(&endpoint, &webhooks.tls, &delivery, Timestamp(1_800_000_000_000_000)).await.map_err(|error| error.to_string())
}

/// Answers one request with these bytes, and says what it was.
async fn answering(answer: &'static [u8]) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut seen = Vec::new();
        let mut piece = [0_u8; 4096];
        // A client that begins with TLS is answered at once.
        while !seen.ends_with(b"{}") && seen.first() != Some(&22) {
            let length = stream.read(&mut piece).await.expect("a request");
            assert!(length > 0, "the client went away");
            seen.extend_from_slice(piece.get(..length).expect("what was read"));
        }
        let _ = stream.write_all(answer).await;
        // What comes after is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut piece)).await;
        String::from_utf8(seen).expect("text")
    });
    (port, served)
}

#[test]
fn signatures_are_those_of_the_standard() {
    // The example of the specification.
    let example = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let body = "{\"test\": 2432232314}";
    let signed = sign::signatures(std::slice::from_ref(&example), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    let both = sign::signatures(&[example, secret("0123456789abcdef0123456789abcdef")], "m", 1, "x");
    assert_eq!(both.split(' ').filter(|one| one.starts_with("v1,")).count(), 2, "while a secret changes both are good");
    let parse = |text: &str| WebhookSecret::parse(&SecretString::from(text)).err();
    assert_eq!(parse("whsec_%"), Some(SecretError::Form));
    assert_eq!((parse("short"), parse("whsec_c2hvcnQ=")), (Some(SecretError::Short), Some(SecretError::Short)));
}

#[test]
fn addresses_have_a_form() {
    let check = |text: &str, private: bool| check_address(text, private).err();
    assert_eq!(check("https://shop.example/hooks?x=1", false), None);
    assert_eq!(check("http://127.0.0.1:8080/hooks", true), None);
    assert_eq!(check("http://shop.example/hooks", false), Some(AddressFormError::Plain));
    assert_eq!(check("https://u:p@shop.example/", false), Some(AddressFormError::Credentials));
    for bad in ["shop.example", "ftp://shop.example", "unix:/x", "https://"] {
        assert_eq!(check(bad, true), Some(AddressFormError::Form), "{bad}");
    }
}

#[tokio::test]
async fn nobody_inside_is_reached_by_address_or_by_name() {
    let (port, served) = answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"] {
        let refused = try_once(endpoint(&format!("http://{host}:{port}/"), false)).await.expect_err(host);
        assert!(refused.contains("every address is refused"), "{host}: {refused}");
    }
    for host in ["10.0.0.1", "192.168.1.1", "[fd00::1]", "169.254.169.254"] {
        let refused = try_once(endpoint(&format!("https://{host}/"), false)).await.expect_err(host);
        assert!(refused.contains("every address is refused"), "{host}: {refused}");
    }
    let metadata = try_once(endpoint("http://169.254.169.254/", true)).await.expect_err("never");
    assert!(metadata.contains("metadata"), "also where private addresses may be: {metadata}");
    assert!(!served.is_finished(), "nobody came");
    try_once(endpoint(&format!("http://localhost:{port}/hooks?x=1"), true)).await.expect("taken");
    let seen = served.await.expect("served");
    assert!(seen.starts_with("POST /hooks?x=1 HTTP/1.1\r\n") && seen.contains(&format!("host: localhost:{port}\r\n")), "{seen}");
    for part in
        ["webhook-id: msg_1\r\n", "webhook-timestamp: 1800000000\r\n", "webhook-signature: v1,", "content-type: application/json"]
    {
        assert!(seen.contains(part), "{part}: {seen}");
    }
}

#[tokio::test]
async fn only_success_is_success() {
    for (answer, reason) in [
        (&b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"[..], "answered 302, and redirects"),
        (b"HTTP/1.1 500 Internal\r\ncontent-length: 6\r\n\r\nsecret", "answered 500"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "answered 304"),
        (b"SSH-2.0-x\r\n", "the connection broke"),
        (b"", "no answer within 10 s"),
    ] {
        let (port, served) = answering(answer).await;
        // The hanging one closes after five seconds: also that is no success.
        let failed = try_once(endpoint(&format!("http://127.0.0.1:{port}/"), true)).await.expect_err("refused");
        let broke = answer.is_empty() && failed.starts_with("the connection broke");
        assert!((failed.starts_with(reason) || broke) && !failed.contains("secret"), "{failed}");
        served.await.expect("served");
    }
    // A success whose body never ends is one.
    let (port, _served) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx").await;
    try_once(endpoint(&format!("http://127.0.0.1:{port}/"), true)).await.expect("taken");
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port").local_addr().expect("an address").port();
    assert!(
        try_once(endpoint(&format!("http://127.0.0.1:{closed}/"), true)).await.expect_err("closed").starts_with("no connection")
    );
}

#[tokio::test]
async fn whoever_can_t_prove_its_name_gets_nothing() {
    let (port, served) = answering(b"not TLS").await;
    let refused = try_once(endpoint(&format!("https://localhost:{port}/"), true)).await.expect_err("no TLS");
    assert!(refused.starts_with("no TLS") || refused.contains("in time") || refused.starts_with("no answer"), "{refused}");
    served.abort();
}

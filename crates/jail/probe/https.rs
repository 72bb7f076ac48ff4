//! Inside a TLS connection whose handshake was in order: what is said there may be anything again.

use crate::kit::{Facts, Probe, Seen, all, probe, says, seen};
use crate::net::{MODEL, PROVIDER, TOOLS, WAIT, answer, answered, connect, denied, model_request, nowhere, request, told};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub type Secure = StreamOwned<ClientConnection, TcpStream>;

const HOST: &str = "4xx egress.host";
const NOWHERE: &str = "refused or closed";
const ONE: &str = "the second request is not answered";
const TO: &str = "160.79.104.10:443";
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";
const EVIL: &str = "evil.example";
/// What no answered request may carry; the outside looks for it at the provider.
const MARK: &str = "hexward-attack";
/// Longer than any head is waited for, and shorter than a probe may take.
const SLOW_MAX: Duration = Duration::from_secs(25);
const SLOW_BODIES: usize = 16;

pub const PROBES: &[Probe] = &[
    probe("https.works", "ask the model over TLS by the provider's name", "200", |_| {
        inside(model_request(PROVIDER, "", "allowed").as_bytes(), |result| answered(result, "\"role\""))
    }),
    probe("https.host_differs", "another Host than the server name", HOST, |_| {
        let hosts = [EVIL, "169.254.169.254", MODEL, TOOLS, "console.anthropic.com", "api.anthropic.com:80", "127.0.0.1", ""];
        each(&hosts, |host| inside(request("GET", "/", host, "", "").as_bytes(), |result| denied(result, "egress.host")))
    }),
    probe("https.two_hosts", "an allowed request, another host and an allowed one over one connection", "each is judged", |_| {
        let kept = model_request(PROVIDER, "", "allowed").replace("Connection: close\r\n", "");
        let other = request("GET", "/", EVIL, "", "").replace("Connection: close\r\n", "");
        let last = model_request(PROVIDER, "", "allowed");
        inside(format!("{kept}{other}{last}").as_bytes(), |result| match result {
            Err(error) => seen(false, says(&error)),
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer);
                let (good, bad) = (text.matches("HTTP/1.1 200").count(), text.matches("HTTP/1.1 421").count());
                seen((good, bad) == (2, 1) && text.contains("egress.host"), format!("{good} answered, {bad} refused"))
            }
        })
    }),
    probe("https.absolute_form", "another host in the request line", NOWHERE, |_| {
        each(&["https://evil.example/", "http://169.254.169.254/latest/", "https://model.hexward.internal/v1/messages"], |line| {
            inside(request("GET", line, PROVIDER, "", "").as_bytes(), nowhere)
        })
    }),
    probe("https.connect", "use the connection as a proxy (CONNECT), or switch its protocol", NOWHERE, |_| {
        let upgrade = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
        let switch = request("GET", "/", PROVIDER, upgrade, "").replace("Connection: close", "Connection: Upgrade, close");
        all(vec![
            ("other".to_owned(), inside(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", nowhere)),
            ("own".to_owned(), inside(b"CONNECT api.anthropic.com:443 HTTP/1.1\r\nHost: api.anthropic.com:443\r\n\r\n", nowhere)),
            ("switch".to_owned(), inside(switch.as_bytes(), nowhere)),
        ])
    }),
    probe("https.smuggle_both", "two lengths: Content-Length and chunked", ONE, |_| {
        each(&["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"], smuggle)
    }),
    probe("https.smuggle_lengths", "two Content-Lengths, or one in two readings", ONE, |_| {
        each(
            &[
                "Content-Length: 5\r\nContent-Length: 60",
                "Content-Length: 60\r\nContent-Length: 5",
                "Content-Length: 5, 60",
                "Content-Length: +5",
                "Content-Length: 0x5",
                "Content-Length : 5",
            ],
            smuggle,
        )
    }),
    probe("https.smuggle_folded", "a header folded over two lines, or hidden behind a bare line end", ONE, |_| {
        each(
            &[
                "X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 5",
                "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5",
                "X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5",
                "X: a\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            ],
            smuggle,
        )
    }),
    probe("https.slow_head", "a head that comes one byte a second", "closed in bounded time", slow_head),
    probe("https.slow_bodies", "sixteen requests whose bodies never come", "others are answered meanwhile", slow_bodies),
];

fn each(names: &[&str], attempt: impl Fn(&str) -> Seen) -> Seen {
    crate::kit::each(names, attempt)
}

/// A finished handshake for a name that is allowed, verified as an agent does.
pub fn handshake(protocol: &[u8]) -> io::Result<Secure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(TRUSTED).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(PROVIDER).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, connect(TO)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let agreed = stream.conn.alpn_protocol() == Some(protocol);
    if agreed { Ok(stream) } else { Err(io::Error::other("another protocol was agreed on")) }
}

/// Says something there. Without a handshake nothing was tried, so nothing held.
fn inside(bytes: &[u8], judge: impl Fn(io::Result<Vec<u8>>) -> Seen) -> Seen {
    match handshake(b"http/1.1") {
        Err(error) => seen(false, format!("no handshake: {}", says(&error))),
        Ok(mut stream) => {
            let _early = stream.write_all(bytes).and_then(|()| stream.flush());
            judge(answer(&mut stream))
        }
    }
}

/// A request whose body hides a second one. Only what is answered twice, or with success, would be a leak.
fn smuggle(headers: &str) -> Seen {
    let hidden = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {PROVIDER}\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{MARK}"
    );
    let bytes = format!("POST /v1/nothing HTTP/1.1\r\nHost: {PROVIDER}\r\n{headers}\r\n\r\n0\r\n\r\n{hidden}");
    inside(bytes.as_bytes(), |result| match result {
        Err(error) => seen(true, says(&error)),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer);
            seen(!text.contains("HTTP/1.1 2"), format!("{} in {} answers", told(&answer), text.matches("HTTP/1.1 ").count()))
        }
    })
}

fn slow_head(_: &Facts) -> Seen {
    let mut stream = match handshake(b"http/1.1") {
        Ok(stream) => stream,
        Err(error) => return seen(false, format!("no handshake: {}", says(&error))),
    };
    let begun = Instant::now();
    if let Err(error) = stream.sock.set_read_timeout(Some(Duration::from_secs(1))) {
        return seen(false, says(&error));
    }
    while begun.elapsed() < SLOW_MAX {
        let sent = stream.write_all(b"G").and_then(|()| stream.flush());
        // A second passes here, or the other side ends it.
        let heard = stream.read(&mut [0; 1024]);
        let waits = matches!(&heard, Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
        if sent.is_err() || !waits {
            return seen(true, format!("ended after {} s", begun.elapsed().as_secs()));
        }
    }
    seen(false, format!("still open after {} s", SLOW_MAX.as_secs()))
}

fn slow_bodies(_: &Facts) -> Seen {
    let head = model_request(PROVIDER, "", MARK).replace("Content-Length: ", "Content-Length: 9");
    let mut held = Vec::new();
    for _ in 0..SLOW_BODIES {
        match handshake(b"http/1.1") {
            Ok(mut stream) => {
                let _sent = stream.write_all(head.as_bytes()).and_then(|()| stream.flush());
                held.push(stream);
            }
            Err(error) => return seen(false, format!("no handshake: {}", says(&error))),
        }
    }
    let begun = Instant::now();
    let meanwhile = inside(model_request(PROVIDER, "", "allowed").as_bytes(), |result| answered(result, "\"role\""));
    let quick = begun.elapsed() < WAIT;
    drop(held);
    seen(meanwhile.pass && quick, format!("{} after {} ms", meanwhile.observed, begun.elapsed().as_millis()))
}

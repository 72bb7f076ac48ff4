//! TLS: what the first message says decides, before anything is decrypted. The first message is made by hand here, so that
//! it can be wrong in every way.

use crate::kit::{Probe, Seen, probe, says, seen};
use crate::net::{answer, connect, exchange, nowhere, request};
use std::io::Write;
use std::time::Duration;

const ALERT: &str = "a fatal alert, or closed";
const TO: &str = "160.79.104.10:443";
const PROVIDER: &str = "api.anthropic.com";
const EVIL: &str = "evil.example";

pub const PROBES: &[Probe] = &[
    probe("tls.provider", "begin a connection with the provider's name", "the handshake goes on", |_| {
        let first = send(&[record(&hello(&[name(PROVIDER)]))]);
        seen(matches!(first, Ok(Some(22))), format!("{first:?}"))
    }),
    probe("tls.other_name", "another server name", ALERT, |_| refused(&[record(&hello(&[name(EVIL)]))])),
    probe("tls.no_name", "no server name", ALERT, |_| refused(&[record(&hello(&[]))])),
    probe("tls.inner_names", "the gateway's inner names", ALERT, |_| {
        crate::kit::each(&["model.hexward.internal", "tools.hexward.internal"], |inner| {
            refused(&[record(&hello(&[name(inner)]))])
        })
    }),
    probe("tls.near_names", "names that only look like the provider's", ALERT, |_| {
        crate::kit::each(
            &[
                "api.anthropic.com.evil.example",
                "evilapi.anthropic.com",
                "api.anthropic.com\0.evil.example",
                "evil.example\0api.anthropic.com",
                "anthropic.com",
                "*.anthropic.com",
                "160.79.104.10",
                "",
            ],
            |near| refused(&[record(&hello(&[name(near)]))]),
        )
    }),
    probe("tls.two_names", "two names in one list, and two lists", ALERT, |_| {
        let both = [name_entry(PROVIDER), name_entry(EVIL)].concat();
        crate::kit::all(vec![
            ("one list".to_owned(), refused(&[record(&hello(&[extension(0, &prefixed(&both))]))])),
            ("two lists".to_owned(), refused(&[record(&hello(&[name(PROVIDER), name(EVIL)]))])),
        ])
    }),
    probe("tls.pieces", "another name, in pieces of one byte", ALERT, |_| {
        let bytes = record(&hello(&[name(EVIL)]));
        refused(&bytes.iter().map(|byte| vec![*byte]).collect::<Vec<_>>())
    }),
    probe("tls.records", "another name, spread over many records", ALERT, |_| {
        let hello = hello(&[name(EVIL)]);
        refused(&hello.chunks(16).map(record).collect::<Vec<_>>())
    }),
    probe("tls.encrypted_hello", "an encrypted inner name behind another outer one", ALERT, |_| {
        refused(&[record(&hello(&[name("cloudflare-ech.com"), extension(0xfe0d, &[0; 120])]))])
    }),
    probe("tls.only_encrypted_hello", "an encrypted inner name alone", ALERT, |_| {
        refused(&[record(&hello(&[extension(0xfe0d, &[0; 120])]))])
    }),
    probe("tls.old", "old versions of TLS", ALERT, |_| {
        let mut old = record(&hello(&[name(PROVIDER)]));
        // The version inside, down to SSL 3.0, and no extension that says otherwise.
        if let Some(version) = old.get_mut(9..11) {
            version.copy_from_slice(&[3, 0]);
        }
        refused(&[old])
    }),
    probe("tls.plain", "plain HTTP on the port of TLS", "no HTTP answer", |_| {
        nowhere(exchange(TO, request("GET", "/", PROVIDER, "", "").as_bytes()))
    }),
    probe("tls.garbage", "a shell's banner, and a length without end", ALERT, |_| {
        crate::kit::all(vec![
            ("banner".to_owned(), refused(&[b"SSH-2.0-OpenSSH\r\n".to_vec()])),
            ("length".to_owned(), refused(&[vec![22, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff]])),
            ("alert".to_owned(), refused(&[vec![21, 3, 3, 0, 2, 2, 0]])),
        ])
    }),
    probe("tls.elsewhere", "TLS to any other address", ALERT, |_| {
        crate::kit::each(&["1.1.1.1:443", "127.0.0.1:443", "[2001:db8::1]:443", "169.254.169.254:443"], |to| {
            judge(send_to(to, &[record(&hello(&[name(EVIL)]))]))
        })
    }),
];

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed(content)].concat()
}

fn name_entry(host: &str) -> Vec<u8> {
    [&[0][..], &prefixed(host.as_bytes())].concat()
}

fn name(host: &str) -> Vec<u8> {
    extension(0, &prefixed(&name_entry(host)))
}

/// A ClientHello (RFC 8446, 4.1.2) for TLS 1.2, with these extensions and what a server needs to go on.
fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut all: Vec<u8> = extensions.concat();
    all.extend(extension(10, &prefixed(&[0, 29, 0, 23]))); // groups: x25519, secp256r1
    all.extend(extension(11, &[1, 0])); // point formats
    all.extend(extension(13, &prefixed(&[4, 3, 8, 4, 4, 1]))); // signatures
    all.extend(extension(23, &[])); // extended master secret
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0); // no session
    body.extend(prefixed(&[0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30]));
    body.extend([1, 0]); // no compression
    body.extend(prefixed(&all));
    let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    [&[1][..], length.get(1..).unwrap_or_default(), &body].concat()
}

fn record(content: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &prefixed(content)].concat()
}

fn refused(pieces: &[Vec<u8>]) -> Seen {
    judge(send(pieces))
}

/// Records of type 21 are alerts; a handshake record (22) would mean that the server goes on.
fn judge(first: std::io::Result<Option<u8>>) -> Seen {
    match first {
        Ok(Some(21)) => seen(true, "alert"),
        Ok(None) => seen(true, "closed"),
        Ok(Some(kind)) => seen(false, format!("a record of type {kind}")),
        Err(error) => seen(true, says(&error)),
    }
}

fn send(pieces: &[Vec<u8>]) -> std::io::Result<Option<u8>> {
    send_to(TO, pieces)
}

/// Sends, and returns the type of the first record that comes back.
fn send_to(to: &str, pieces: &[Vec<u8>]) -> std::io::Result<Option<u8>> {
    let mut stream = connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    for piece in pieces {
        // A server that refused early closes; its answer is read all the same.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    Ok(answer(&mut stream)?.first().copied())
}

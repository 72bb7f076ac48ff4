//! HTTP/2 inside a TLS connection that agreed on it: frames made by hand, so that they can be wrong in every way.

use crate::https::{Secure, handshake};
use crate::kit::{Probe, Seen, all, probe, says, seen};
use crate::net::{MODEL, PROVIDER, TOOLS};
use std::io::{Read, Write};

const HOST: &str = "refused with egress.host";
const REFUSED: &str = "refused, or the stream is reset";
const EVIL: &str = "evil.example";
const MARK: &str = "hexward-attack";
const ANSWER_BYTES_MAX: usize = 1 << 20;

// Types of frames and their flags (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub const PROBES: &[Probe] = &[
    probe("http2.works", "ask the model over HTTP/2", "it answers", |_| {
        spoken(&[model(1, PROVIDER)], |said| {
            let text = said.text(1);
            seen(text.contains("\"role\""), said.told(1))
        })
    }),
    probe("http2.authority_differs", "another :authority than the server name", HOST, |_| {
        crate::kit::each(&[EVIL, "169.254.169.254", MODEL, TOOLS, "api.anthropic.com:80", "x@api.anthropic.com"], |authority| {
            spoken(&[get(1, authority, &[])], |said| refused(said, 1, "egress.host"))
        })
    }),
    probe("http2.host_beside", "a Host header that differs from :authority", HOST, |_| {
        spoken(&[get(1, PROVIDER, &[("host", EVIL)])], |said| refused(said, 1, "egress.host"))
    }),
    probe("http2.two_hosts", "an allowed request and another host at once on one connection", "each is judged", |_| {
        spoken(&[model(1, PROVIDER), get(3, EVIL, &[]), model(5, PROVIDER)], |said| {
            let good = [1, 5].iter().filter(|stream| said.text(**stream).contains("\"role\"")).count();
            let other = refused(said, 3, "egress.host");
            seen(good == 2 && other.pass, format!("{good} answered; the other: {}", other.observed))
        })
    }),
    probe("http2.no_authority", "no :authority, an empty one, two of them", REFUSED, |_| {
        let none = headers(1, true, &[(":method", "GET"), (":scheme", "https"), (":path", "/")]);
        let two = headers(
            1,
            true,
            &[(":method", "GET"), (":scheme", "https"), (":authority", PROVIDER), (":authority", EVIL), (":path", "/")],
        );
        all(vec![
            ("none".to_owned(), spoken(&[none], |said| refused(said, 1, ""))),
            ("empty".to_owned(), spoken(&[get(1, "", &[])], |said| refused(said, 1, ""))),
            ("two".to_owned(), spoken(&[two], |said| refused(said, 1, ""))),
        ])
    }),
    probe("http2.injection", "line ends in a path, a name or a value, which HTTP/1.1 behind would believe", REFUSED, |_| {
        let line = "/v1/nothing HTTP/1.1\r\nHost: evil.example\r\n\r\nGET /";
        let path = headers(1, true, &[(":method", "GET"), (":scheme", "https"), (":authority", PROVIDER), (":path", line)]);
        let method = headers(
            1,
            true,
            &[(":method", "GET / HTTP/1.1\r\nx: y"), (":scheme", "https"), (":authority", PROVIDER), (":path", "/")],
        );
        all(vec![
            ("path".to_owned(), spoken(&[path], |said| refused(said, 1, ""))),
            ("method".to_owned(), spoken(&[method], |said| refused(said, 1, ""))),
            ("value".to_owned(), spoken(&[get(1, PROVIDER, &[("x", "a\r\nhost: evil.example")])], |said| refused(said, 1, ""))),
            ("name".to_owned(), spoken(&[get(1, PROVIDER, &[("x: y\r\nhost", EVIL)])], |said| refused(said, 1, ""))),
        ])
    }),
    probe("http2.lengths", "a length that the data does not have, and chunks, which HTTP/2 has not", REFUSED, |_| {
        let posted = |name: &str, value: &str| {
            let head =
                [(":method", "POST"), (":scheme", "https"), (":authority", PROVIDER), (":path", "/v1/messages"), (name, value)];
            [headers(1, false, &head), frame(DATA, END_STREAM, 1, MARK.as_bytes())].concat()
        };
        all(vec![
            ("less".to_owned(), spoken(&[posted("content-length", "3")], |said| refused(said, 1, ""))),
            ("more".to_owned(), spoken(&[posted("content-length", "300")], |said| refused(said, 1, ""))),
            ("chunked".to_owned(), spoken(&[posted("transfer-encoding", "chunked")], |said| refused(said, 1, ""))),
            ("connection".to_owned(), spoken(&[posted("connection", "x-api-key")], |said| refused(said, 1, ""))),
        ])
    }),
    probe("http2.connect", "use it as a proxy (CONNECT, and for a protocol)", REFUSED, |_| {
        let plain = headers(1, false, &[(":method", "CONNECT"), (":authority", "evil.example:443")]);
        let extended = headers(
            1,
            false,
            &[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", PROVIDER), (":path", "/")],
        );
        all(vec![
            ("plain".to_owned(), spoken(&[plain], |said| refused(said, 1, ""))),
            ("extended".to_owned(), spoken(&[extended], |said| refused(said, 1, ""))),
        ])
    }),
    probe("http2.endless_head", "a head that goes on and on", REFUSED, |_| {
        let piece = field("x", &"a".repeat(120)).repeat(100);
        let mut bytes = frame(HEADERS, END_STREAM, 1, &piece);
        (0..60).for_each(|_| bytes.extend(frame(CONTINUATION, 0, 1, &piece)));
        spoken(&[bytes], |said| refused(said, 1, ""))
    }),
];

/// What came back: the data of each stream, and what was reset.
struct Said {
    data: Vec<(u32, Vec<u8>)>,
    reset: Vec<u32>,
    gone: bool,
}

impl Said {
    fn text(&self, stream: u32) -> String {
        let pieces = self.data.iter().filter(|(of, _)| *of == stream).flat_map(|(_, bytes)| bytes.clone());
        String::from_utf8_lossy(&pieces.collect::<Vec<u8>>()).into_owned()
    }

    fn told(&self, stream: u32) -> String {
        let text = self.text(stream);
        match text.is_empty() {
            false => text.chars().take(80).collect::<String>().escape_debug().to_string(),
            true if self.reset.contains(&stream) => "the stream was reset".to_owned(),
            true if self.gone => "the connection was ended".to_owned(),
            true => "nothing".to_owned(),
        }
    }
}

/// An error of ours with this code, or a reset or an end where no code is wanted. Never an answer of the model's.
fn refused(said: &Said, stream: u32, code: &str) -> Seen {
    let text = said.text(stream);
    let ended = said.gone || said.reset.contains(&stream);
    let by_code = text.contains(if code.is_empty() { "\"error\"" } else { code });
    seen(!text.contains("\"role\"") && (by_code || (code.is_empty() && ended)), said.told(stream))
}

fn spoken(requests: &[Vec<u8>], judge: impl Fn(&Said) -> Seen) -> Seen {
    match handshake(b"h2") {
        Err(error) => seen(false, format!("no handshake: {}", says(&error))),
        Ok(mut stream) => {
            let begins = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat();
            let _early = stream.write_all(&[begins, requests.concat()].concat()).and_then(|()| stream.flush());
            judge(&read(&mut stream, requests.len()))
        }
    }
}

/// Until every request has its end, the other side closes, or nothing comes any more.
fn read(stream: &mut Secure, requests: usize) -> Said {
    let mut said = Said { data: Vec::new(), reset: Vec::new(), gone: false };
    let (mut bytes, mut buffer, mut ended, mut total) = (Vec::new(), [0; 8192], 0, 0);
    while ended < requests && total < ANSWER_BYTES_MAX {
        match stream.read(&mut buffer) {
            Ok(0) => said.gone = true,
            // A wait that was too long is no end: it is told as nothing.
            Err(error) => said.gone = !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
            Ok(count) => {
                total += count;
                bytes.extend(buffer.iter().take(count));
                while let Some((kind, flags, of, content)) = take_frame(&mut bytes) {
                    ended += usize::from((kind == DATA || kind == HEADERS) && flags & END_STREAM != 0 || kind == RST_STREAM);
                    match kind {
                        DATA => said.data.push((of, content)),
                        RST_STREAM => said.reset.push(of),
                        GOAWAY => said.gone = true,
                        _ => {}
                    }
                }
                continue;
            }
        }
        break;
    }
    said
}

/// The first whole frame (RFC 9113, 4.1).
fn take_frame(bytes: &mut Vec<u8>) -> Option<(u8, u8, u32, Vec<u8>)> {
    let &[a, b, c, kind, flags, w, x, y, z] = bytes.get(..9)? else { return None };
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
    let content = bytes.get(9..9 + length)?.to_vec();
    bytes.drain(..9 + length);
    Some((kind, flags, u32::from_be_bytes([w & 0x7f, x, y, z]), content))
}

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(0).to_be_bytes();
    [length.get(1..).unwrap_or_default(), &[kind, flags], &stream.to_be_bytes(), content].concat()
}

/// A field with a new name, as it is (RFC 7541, 6.2.2 and 5.1).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = text.len();
        let mut bytes = match u8::try_from(length) {
            Ok(short @ ..127) => vec![short],
            _ => {
                vec![127, u8::try_from((length - 127) % 128).unwrap_or(0) | 128, u8::try_from((length - 127) / 128).unwrap_or(0)]
            }
        };
        bytes.extend(text.bytes());
        bytes
    };
    [vec![0], text(name), text(value)].concat()
}

fn headers(stream: u32, last: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    frame(HEADERS, END_HEADERS | if last { END_STREAM } else { 0 }, stream, &block)
}

fn get(stream: u32, authority: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", "/v1/nothing")];
    headers(stream, true, &[&head, more].concat())
}

fn model(stream: u32, authority: &str) -> Vec<u8> {
    let body = r#"{"model":"claude-sonnet-5-5","max_tokens":16,"messages":[{"role":"user","content":"allowed"}]}"#;
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", authority),
        (":path", "/v1/messages"),
        ("content-type", "application/json"),
        ("anthropic-version", "2023-06-01"),
    ];
    [headers(stream, false, &head), frame(DATA, END_STREAM, stream, body.as_bytes())].concat()
}

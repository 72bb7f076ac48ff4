//! A host that the operator allowed, with a credential of the operator's: where it leads, and what it tells.

use crate::kit::{Facts, Probe, Seen, all, each, probe, says, seen};
use crate::net::{answered, closed, denied, exchange, request, status, told};

const RULE: &str = "403 egress.rule";
const HOST: &str = "4xx egress.host";
const ONE: &str = "the second request is not answered";
const NOT_FOLLOWED: &str = "it arrives as it is, and is refused when it is followed";
const STOLEN: &str = "Authorization: Bearer hexward-stolen\r\nCookie: session=hexward-stolen\r\nX-Api-Key: hexward-stolen\r\n";
/// The first address of the operator's hosts.
const ADDRESS: &str = "198.18.1.0";

pub const PROBES: &[Probe] = &[
    probe("hosts.works", "ask the host that the operator allowed", "200", |facts| {
        answered(ask(facts, "GET", "/open/x", "", ""), "an allowed host")
    }),
    probe("hosts.redirect_metadata", "have it redirect to the metadata service", NOT_FOLLOWED, |facts| {
        redirected(facts, "/open/to-metadata", "169.254.169.254:80", "169.254.169.254")
    }),
    probe("hosts.redirect_elsewhere", "have it redirect to another host", NOT_FOLLOWED, |facts| {
        redirected(facts, "/open/to-other", "203.0.113.7:80", "evil.example")
    }),
    probe(
        "hosts.redirect_inside",
        "have it redirect to the gateway's machine",
        "it arrives as it is, and nobody listens",
        |facts| {
            let arrived = ask(facts, "GET", "/open/to-inside", "", "");
            let ports = facts.numbers("host_ports");
            let followed = all(ports.iter().map(|port| (format!("port {port}"), closed(&format!("127.0.0.1:{port}")))).collect());
            both(arrived.map(|answer| status(&answer)), followed)
        },
    ),
    probe("hosts.rule", "paths and methods that no rule names, in any spelling", RULE, |facts| {
        let paths =
            ["/closed/x", "/open/../closed/x", "/open/%2e%2e/closed/x", "/open/..;/closed/x", "/open//x", "/OPEN/x", "/open"];
        let mut attempts: Vec<(String, Seen)> =
            paths.iter().map(|path| ((*path).to_owned(), denied(ask(facts, "GET", path, "", ""), "egress.rule"))).collect();
        let methods = ["PUT", "DELETE", "PATCH", "get"];
        attempts.extend(methods.map(|method| (method.to_owned(), denied(ask(facts, method, "/open/x", "", ""), "egress.rule"))));
        all(attempts)
    }),
    probe("hosts.elsewhere", "its name at other addresses, other names at its address", HOST, |facts| {
        let at = |to: &str, host: &str| denied(exchange(to, request("GET", "/open/x", host, "", "").as_bytes()), "egress.host");
        let (port, name) = (facts.text("allowed_port"), allowed(facts));
        let mut attempts: Vec<(String, Seen)> = ["127.0.0.1", "169.254.169.254", "198.18.1.1", "[2001:db8::1]"]
            .iter()
            .map(|address| ((*address).to_owned(), at(&format!("{address}:{port}"), &name)))
            .collect();
        let names = ["evil.example", "model.hexward.internal", "api.anthropic.com", "localhost"];
        attempts.extend(names.map(|other| (other.to_owned(), at(&format!("{ADDRESS}:{port}"), &format!("{other}:1")))));
        all(attempts)
    }),
    probe("hosts.own_key", "use it with a key and a session of its own", "answered, and they stay behind", |facts| {
        answered(ask(facts, "GET", "/open/x", STOLEN, ""), "an allowed host")
    }),
    probe("hosts.secret", "have it say the operator's secret", "asterisks instead", |facts| secret(facts, "")),
    probe(
        "hosts.secret_in_parts",
        "the same in ranges, packed, or by other readings of the request",
        "asterisks instead",
        |facts| {
            let tricks = [
                "Range: bytes=20-30\r\n",
                "Accept-Encoding: gzip, br\r\n",
                "TE: gzip\r\n",
                "Connection: authorization\r\n",
                STOLEN,
            ];
            each(&tricks, |headers| secret(facts, headers))
        },
    ),
    probe("hosts.smuggle_both", "two lengths: Content-Length and chunked", ONE, |facts| {
        smuggle(facts, "Content-Length: 4\r\nTransfer-Encoding: chunked")
    }),
    probe("hosts.smuggle_lengths", "two Content-Lengths", ONE, |facts| {
        each(&["Content-Length: 5\r\nContent-Length: 90", "Content-Length: 5, 90", "Content-Length : 5"], |head| {
            smuggle(facts, head)
        })
    }),
    probe("hosts.smuggle_folded", "a header folded over two lines", ONE, |facts| {
        each(
            &["X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5"],
            |head| smuggle(facts, head),
        )
    }),
];

fn allowed(facts: &Facts) -> String {
    format!("localhost:{}", facts.text("allowed_port"))
}

fn ask(facts: &Facts, method: &str, path: &str, headers: &str, body: &str) -> std::io::Result<Vec<u8>> {
    let to = format!("{ADDRESS}:{}", facts.text("allowed_port"));
    exchange(&to, request(method, path, &allowed(facts), headers, body).as_bytes())
}

fn both(arrived: std::io::Result<u16>, followed: Seen) -> Seen {
    match arrived {
        Err(error) => seen(false, says(&error)),
        Ok(code) => seen(code == 302 && followed.pass, format!("{code}, then {}", followed.observed)),
    }
}

/// The redirect itself, and what the client gets who follows it.
fn redirected(facts: &Facts, path: &str, to: &str, host: &str) -> Seen {
    let arrived = ask(facts, "GET", path, "", "").map(|answer| status(&answer));
    both(arrived, denied(exchange(to, request("GET", "/latest/", host, "", "").as_bytes()), "egress.host"))
}

fn secret(facts: &Facts, headers: &str) -> Seen {
    match ask(facts, "GET", "/open/reflect", headers, "") {
        Err(error) => seen(false, says(&error)),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer);
            let backwards = facts.texts("secrets_backwards");
            let told_it = backwards.iter().any(|secret| text.contains(&secret.chars().rev().collect::<String>()));
            seen(!told_it && text.contains("Bearer ****"), format!("{}, told: {told_it}", told(&answer)))
        }
    }
}

/// A request whose body hides a second one for a path that is closed. The outside looks for it at the host.
fn smuggle(facts: &Facts, headers: &str) -> Seen {
    let (to, host) = (format!("{ADDRESS}:{}", facts.text("allowed_port")), allowed(facts));
    let hidden = format!("GET /closed/hidden HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let bytes = format!("POST /open/x HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n0\r\n\r\n{hidden}");
    match exchange(&to, bytes.as_bytes()) {
        Err(error) => seen(true, says(&error)),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer);
            let answers = text.matches("HTTP/1.1 200").count();
            seen(answers <= 1 && !text.contains("hidden"), format!("{} in {answers} answers", told(&answer)))
        }
    }
}

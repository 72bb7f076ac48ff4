//! What an agent gone bad would try, as a table of small attacks that `hexward redteam` runs inside a real sandbox.
//!
//! `hexward-probe --list` prints the table. Otherwise each line of standard input names a group, with what the outside
//! knows (`{"group": "files", "facts": {...}}`, and `"after"` an id to go on behind it); each of its probes runs in a process of its own and answers with one
//! line, and the group ends with `{"done": "files"}`. A probe passes when its attack had no effect.

#![expect(unsafe_code, reason = "attacks are made of bare system calls")]

mod after;
mod calls;
mod files;
mod floods;
mod gateway;
mod hosts;
mod http;
mod http2;
mod https;
mod identity;
mod kit;
mod names;
mod namespaces;
mod needs;
mod neighbour;
mod net;
mod pass;
mod processes;
mod requests;
mod run;
mod sockets;
mod tls;

use kit::{Facts, Probe};
use serde_json::{Value, json};
use std::io::{BufRead, Write};

/// Every group with its probes. Each runs in a sandbox of its own.
const GROUPS: &[(&str, &[Probe])] = &[
    ("needs", needs::PROBES),
    ("files", files::PROBES),
    ("identity", identity::PROBES),
    ("namespaces", namespaces::PROBES),
    ("processes", processes::PROBES),
    ("calls", calls::PROBES),
    ("sockets", sockets::PROBES),
    ("http", http::PROBES),
    ("requests", requests::PROBES),
    ("tls", tls::PROBES),
    ("https", https::PROBES),
    ("http2", http2::PROBES),
    ("hosts", hosts::PROBES),
    ("names", names::PROBES),
    ("neighbour", neighbour::PROBES),
    ("gateway", gateway::PROBES),
    ("after", after::PROBES),
    ("floods", floods::PROBES),
    ("memory", floods::MEMORY),
    ("destroy", files::DESTROY),
];

fn main() {
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        Some("--list") => list(),
        Some("--nothing") => {}
        Some(call) if call.starts_with("--strange=") => processes::strange_call(call),
        _ => serve(),
    }
}

fn list() {
    let rows = GROUPS.iter().flat_map(|(group, probes)| {
        probes.iter().map(move |probe| json!({"group": group, "id": probe.id, "title": probe.title, "expected": probe.expected}))
    });
    say(&rows.collect());
}

fn serve() {
    for line in std::io::stdin().lock().lines() {
        let Ok(Ok(order)) = line.map(|line| serde_json::from_str::<Value>(&line)) else { return };
        let facts = Facts::new(order.get("facts").cloned().unwrap_or_default());
        let group = order.get("group").and_then(Value::as_str).unwrap_or_default();
        match group {
            "before" => after::before(),
            "sit" => neighbour::sit(),
            "pass" => say(&pass::on(&facts)),
            named => {
                let probes = GROUPS.iter().find(|(name, _)| *name == named).map_or(&[][..], |(_, probes)| probes);
                // A sandbox that a probe ended is replaced, and the new one goes on behind it.
                let after = order.get("after").and_then(Value::as_str);
                let begin = after.and_then(|after| probes.iter().position(|probe| probe.id == after)).map_or(0, |at| at + 1);
                for probe in probes.iter().skip(begin) {
                    say(&run::apart(probe, &facts));
                }
            }
        }
        say(&json!({"done": group}));
    }
}

/// One line. An outside that no longer reads is no reason to go on.
fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{value}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

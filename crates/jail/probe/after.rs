//! What a run left behind acts when the run is over: its sandbox is at rest, and nothing is bound to its listeners.

use crate::kit::{Facts, Probe, Seen, probe, says, seen};
use crate::net::{
    MODEL, PROVIDER, SOMEWHERE, answer, connect, denied, exchange, model_request, nowhere, request, told, tools_request,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

const NONE: &str = "403 run.none";

/// A connection that was opened and used while the run was going on.
static LEFT: Mutex<Option<TcpStream>> = Mutex::new(None);

pub const PROBES: &[Probe] = &[
    probe("after.model", "ask the model between two runs", NONE, |_| {
        over(exchange(SOMEWHERE, model_request(MODEL, "", "hexward-attack").as_bytes()))
    }),
    probe("after.model_by_name", "the same by the provider's name", NONE, |_| {
        over(exchange(SOMEWHERE, model_request(PROVIDER, "", "hexward-attack").as_bytes()))
    }),
    probe("after.kept_connection", "the same over a connection that was kept open", NONE, kept),
    probe("after.tools", "call a tool between two runs", "refused", |_| {
        nowhere(exchange(
            "198.18.0.11:80",
            tools_request("", "tools/call", r#"{"name":"getCurrentUser","arguments":{}}"#).as_bytes(),
        ))
    }),
    probe("after.tools_list", "list the tools between two runs", "refused", |_| {
        nowhere(exchange("198.18.0.11:80", tools_request("", "tools/list", "{}").as_bytes()))
    }),
    probe("after.elsewhere", "reach another host between two runs", "403 egress.host", |_| {
        denied(exchange("169.254.169.254:80", request("GET", "/", "169.254.169.254", "", "").as_bytes()), "egress.host")
    }),
    probe("after.count", "count tokens between two runs", NONE, |_| {
        over(exchange(
            SOMEWHERE,
            request("POST", "/v1/messages/count_tokens", MODEL, "content-type: application/json\r\n", "{}").as_bytes(),
        ))
    }),
];

/// Answered once while the run goes on, so that it is a connection like an agent's own.
pub fn before() {
    let asked = model_request(MODEL, "", "allowed").replace("Connection: close\r\n", "");
    let Ok(mut stream) = connect(SOMEWHERE) else { return };
    if stream.write_all(asked.as_bytes()).is_ok() && stream.read(&mut [0; 8192]).is_ok() {
        // What is left of the answer must not be taken for the next one.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let _rest = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0; 65536]));
        let _blocking = stream.set_nonblocking(false);
        if let Ok(mut left) = LEFT.lock() {
            *left = Some(stream);
        }
    }
}

fn kept(_: &Facts) -> Seen {
    let Some(mut stream) = LEFT.lock().ok().and_then(|mut left| left.take()) else {
        return seen(false, "no connection was kept");
    };
    let result = stream.write_all(model_request(MODEL, "", "hexward-attack").as_bytes()).and_then(|()| answer(&mut stream));
    match result {
        Err(error) => seen(true, says(&error)),
        Ok(answer) => seen(!String::from_utf8_lossy(&answer).contains("HTTP/1.1 2"), told(&answer)),
    }
}

/// Refused by the gateway, in the words of an unbound gate.
fn over(result: std::io::Result<Vec<u8>>) -> Seen {
    denied(result, "No request is being worked on")
}

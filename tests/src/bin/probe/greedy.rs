//! Wants more than there is.

use super::network;
use serde_json::{Value, json};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Memory, `mb` of it, written to.
pub fn allocate(order: &Value) -> Value {
    let mut held = Vec::new();
    for _ in 0..order["mb"].as_u64().unwrap() {
        held.push(vec![1_u8; 1 << 20]);
        black_box(&held);
    }
    held.len().into()
}

/// A processor, without end.
pub fn spin() -> Value {
    loop {
        black_box(0);
    }
}

/// As many threads at once as there may be, `count` at most. They end again.
pub fn threads(order: &Value) -> Value {
    let (count, mut threads) = (order["count"].as_u64().unwrap(), Vec::new());
    let go_on = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    let mut refused = None;
    while u64::try_from(threads.len()).unwrap() < count && refused.is_none() {
        let waiting = Arc::clone(&go_on);
        let started = std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
            let (may_end, changed) = &*waiting;
            drop(changed.wait_while(may_end.lock().unwrap(), |may_end| !*may_end).unwrap());
        });
        match started {
            Ok(thread) => threads.push(thread),
            Err(error) => refused = error.raw_os_error(),
        }
    }
    *go_on.0.lock().unwrap() = true;
    go_on.1.notify_all();
    let made = threads.len();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    json!({"made": made, "errno": refused})
}

/// `mb` into one file, which stays.
pub fn fill(order: &Value) -> Value {
    let mut file = std::fs::File::create(order["path"].as_str().unwrap()).unwrap();
    let block = vec![7_u8; 1 << 20];
    for written in 0..order["mb"].as_u64().unwrap() {
        if let Err(error) = file.write_all(&block) {
            return json!({"written": written, "errno": error.raw_os_error()});
        }
    }
    Value::Null
}

/// `count` empty files in a folder, which stay.
pub fn create(order: &Value) -> Value {
    for made in 0..order["count"].as_u64().unwrap() {
        if let Err(error) = std::fs::write(Path::new(order["path"].as_str().unwrap()).join(made.to_string()), "") {
            return json!({"made": made, "errno": error.raw_os_error()});
        }
    }
    Value::Null
}

/// `count` connections at once. Says how many of them were closed without a word.
pub fn hold(order: &Value) -> Value {
    let to = order["to"].as_str().unwrap().to_socket_addrs().unwrap().next().unwrap();
    let connections: Vec<TcpStream> = (0..order["count"].as_u64().unwrap()).filter_map(|_| TcpStream::connect(to).ok()).collect();
    let closed = connections.iter().filter(|connection| {
        connection.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut connection = *connection;
        // What is served says nothing before it was asked.
        !matches!(connection.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    json!({"made": connections.len(), "closed": closed.count()})
}

/// Connections, requests or name questions without end.
pub fn flood(order: &Value) -> Value {
    loop {
        match order["of"].as_str().unwrap() {
            "connections" => drop(TcpStream::connect("198.18.0.10:80")),
            "requests" => drop(network::http(&json!({"to": "198.18.0.10:80", "host": "model.hexward.internal"}))),
            "names" => drop(network::name(&json!({"name": "x.attacker.example", "kind": 1}))),
            other => return json!({"error": format!("no such flood: {other}")}),
        }
    }
}

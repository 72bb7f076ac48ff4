//! Another sandbox of the same gateway, running beside.

use crate::kit::{Facts, Probe, address, call, each, probe, refused, seen};
use crate::net::closed;
use crate::sockets::abstract_socket;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

const ABSTRACT: &str = "hexward-neighbour";
const PORT: u16 = 28_080;
const SHARED_KEY: libc::c_long = 0x6865_7877;
const REFUSED: &str = "refused: any errno";

/// What the neighbour keeps open while it sits there.
static OPEN: Mutex<Vec<Box<dyn std::any::Any + Send>>> = Mutex::new(Vec::new());

pub const PROBES: &[Probe] = &[
    probe("neighbour.signal", "signal its processes by their numbers on the host", REFUSED, |facts| {
        each(&numbers(facts), |pid| refused(call(libc::SYS_kill, &[pid.parse().unwrap_or(-1), 0])))
    }),
    probe("neighbour.processes", "find its processes in /proc", REFUSED, |facts| {
        each(&numbers(facts), |pid| refused(std::fs::metadata(format!("/proc/{pid}"))))
    }),
    probe("neighbour.abstract", "connect to its abstract socket", REFUSED, |_| refused(abstract_socket(ABSTRACT))),
    probe("neighbour.port", "connect to its port", REFUSED, |_| {
        each(&[format!("127.0.0.1:{PORT}"), format!("198.18.0.10:{PORT}"), format!("[::1]:{PORT}")], closed)
    }),
    probe("neighbour.shared_memory", "attach its shared memory", REFUSED, |_| {
        refused(call(libc::SYS_shmget, &[SHARED_KEY, 4096, 0]))
    }),
    probe("neighbour.queue", "read its message queue", REFUSED, |_| refused(call(libc::SYS_msgget, &[SHARED_KEY, 0]))),
    probe("neighbour.posix_queue", "open its POSIX queue", REFUSED, |_| {
        let name = *b"hexward-neighbour\0";
        refused(call(libc::SYS_mq_open, &[address(&name), 0]))
    }),
    probe("neighbour.files", "read what it wrote to its folders", "its own folders are empty", |_| {
        each(&["/tmp/neighbour", "neighbour", "/agent/neighbour", "/dev/shm/neighbour"], |path| refused(std::fs::read(path)))
    }),
    probe("neighbour.locks", "see its locks", "none but its own", |_| {
        let locks = std::fs::read_to_string("/proc/locks");
        seen(locks.as_ref().map_or(true, |locks| locks.trim().is_empty()), format!("{locks:?}"))
    }),
    probe("neighbour.limits", "lower its limits by its number", REFUSED, |facts| {
        let none = [0_u64, 0];
        each(&numbers(facts), |pid| refused(call(libc::SYS_prlimit64, &[pid.parse().unwrap_or(-1), 0, address(&none)])))
    }),
    probe("neighbour.keyring", "find a key it left in a keyring", REFUSED, |_| {
        let (kind, name) = (*b"user\0", *b"hexward-neighbour\0");
        refused(call(libc::SYS_keyctl, &[10, -4, address(&kind), address(&name), 0]))
    }),
];

fn numbers(facts: &Facts) -> Vec<String> {
    facts.numbers("neighbour_pids").iter().map(i64::to_string).collect()
}

/// Opens everything that a neighbour might reach.
pub fn sit() {
    let mut open: Vec<Box<dyn std::any::Any + Send>> = Vec::new();
    if let Ok(listener) = SocketAddr::from_abstract_name(ABSTRACT).and_then(|name| UnixListener::bind_addr(&name)) {
        open.push(Box::new(listener));
    }
    if let Ok(listener) = TcpListener::bind(("0.0.0.0", PORT)) {
        open.push(Box::new(listener));
    }
    for folder in ["/tmp", "/work", "/agent"] {
        let _made = std::fs::write(format!("{folder}/neighbour"), "mine");
    }
    let (kind, name) = (*b"user\0", *b"hexward-neighbour\0");
    let _left = [
        call(libc::SYS_shmget, &[SHARED_KEY, 4096, 0o1666]),
        call(libc::SYS_msgget, &[SHARED_KEY, 0o1666]),
        call(libc::SYS_add_key, &[address(&kind), address(&name), address(&name), 17, -4]),
        call(libc::SYS_mq_open, &[address(&name), 0o102, 0o666]),
    ];
    let count = open.len();
    if let Ok(mut kept) = OPEN.lock() {
        kept.extend(open);
    }
    crate::say(&serde_json::json!({"sitting": count}));
}

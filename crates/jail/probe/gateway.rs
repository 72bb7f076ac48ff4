//! The gateway itself, its helpers, and what they keep.

use crate::kit::{Facts, Probe, Seen, all, call, each, probe, refused, seen};
use crate::net::closed;
use libc::c_long;
use std::fs;
use std::os::unix::net::UnixStream;

const REFUSED: &str = "refused: any errno";
const NOBODY: &str = "nobody listens";
const NO_PROCESS: &str = "no such process";

pub const PROBES: &[Probe] = &[
    probe("gateway.loopback", "connect to the gateway's ports on the loopback", NOBODY, |facts| ports(facts, "127.0.0.1")),
    probe("gateway.loopback6", "the same over IPv6", NOBODY, |facts| ports(facts, "[::1]")),
    probe("gateway.addresses", "the same at the host's own addresses", NOBODY, |facts| {
        let hosts = facts.texts("host_addresses");
        let hosts = if hosts.is_empty() { vec!["10.0.0.1".to_owned()] } else { hosts };
        all(hosts.iter().map(|host| (host.clone(), ports(facts, host))).collect())
    }),
    probe("gateway.files", "read the gateway's files", REFUSED, |facts| {
        each(&[facts.text("database"), facts.text("state"), facts.text("program"), facts.text("dotenv")], |path| {
            refused(fs::symlink_metadata(path))
        })
    }),
    probe("gateway.program", "replace the gateway's program", REFUSED, |facts| {
        refused(fs::OpenOptions::new().write(true).create(true).truncate(false).open(facts.text("program")))
    }),
    probe("gateway.parent", "see who started the sandbox", "its first process, nothing beyond", |_| {
        let parent_of_parent = fs::read_to_string("/proc/1/stat").ok();
        let hidden = parent_of_parent
            .as_deref()
            .is_none_or(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.split_whitespace().nth(1) == Some("0")));
        seen(hidden, format!("the first process's parent: {}", if parent_of_parent.is_some() { "0" } else { "hidden" }))
    }),
    probe("gateway.signal_session", "signal the session that the gateway runs in", REFUSED, |facts| {
        let pids = facts.numbers("host_pids");
        all(pids.iter().map(|pid| (pid.to_string(), refused(call(libc::SYS_kill, &[-pid, 0])))).collect())
    }),
    probe("gateway.guards_signal", "signal the supervisor and the privileged helper above it", NO_PROCESS, |facts| {
        each_guard(facts, |pid| refused(call(libc::SYS_kill, &[pid, c_long::from(libc::SIGKILL)])))
    }),
    probe("gateway.guards_trace", "trace them, open them, read their memory", NO_PROCESS, |facts| {
        each_guard(facts, |pid| {
            all(vec![
                ("trace".to_owned(), refused(call(libc::SYS_ptrace, &[c_long::from(libc::PTRACE_ATTACH), pid]))),
                ("open".to_owned(), refused(call(libc::SYS_pidfd_open, &[pid, 0]))),
                ("memory".to_owned(), refused(fs::read(format!("/proc/{pid}/mem")))),
                ("arguments".to_owned(), refused(fs::read(format!("/proc/{pid}/cmdline")))),
            ])
        })
    }),
    probe("gateway.guards_socket", "ask them for a sandbox, over a socket by name", "nobody answers", |_| {
        let names = ["/run/hexward.sock", "/run/hexward/helper.sock", "/var/run/hexward-jail.sock", "/tmp/hexward-jail.sock"];
        each(&names, |name| refused(UnixStream::connect(name)))
    }),
    probe("gateway.control_socket", "find the supervisor's control socket among its descriptors", "no socket", |_| {
        let links =
            fs::read_dir("/proc/self/fd").into_iter().flatten().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let sockets: Vec<String> = links
            .map(|link| link.display().to_string())
            .filter(|link| link.starts_with("socket:") || link.contains("memfd") || link.contains("pidfd"))
            .collect();
        seen(sockets.is_empty(), format!("{sockets:?}"))
    }),
    probe("gateway.streams", "turn its standard streams around", "they are pipes of its own", streams),
    probe("gateway.cgroup", "leave its control group", REFUSED, |_| {
        each(&["/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/pids/tasks", "/sys/fs/cgroup/memory/tasks"], |path| {
            refused(fs::write(path, "1"))
        })
    }),
    probe("gateway.connection_table", "see connections of the host", "only its own network's", |facts| {
        let table = fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
        let listening =
            facts.numbers("host_ports").iter().filter(|port| table.contains(&format!(":{port:04X} 00000000:0000 0A"))).count();
        seen(listening == 0, format!("{} rows, {listening} of the host's listeners", table.lines().count().saturating_sub(1)))
    }),
];

/// Each process above the sandbox, by its number on the host.
fn each_guard(facts: &Facts, attack: impl Fn(i64) -> Seen) -> Seen {
    let pids = facts.numbers("guard_pids");
    all(pids.iter().map(|pid| (pid.to_string(), attack(*pid))).collect())
}

fn ports(facts: &Facts, host: &str) -> Seen {
    let ports = facts.numbers("host_ports");
    all(ports.iter().map(|port| (format!("port {port}"), closed(&format!("{host}:{port}")))).collect())
}

/// Reopening standard output for reading gives this sandbox's own output back, and nothing of the gateway's.
fn streams(_: &Facts) -> Seen {
    let links: Vec<String> = (0..3)
        .map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).map(|link| link.display().to_string()).unwrap_or_default())
        .collect();
    let distinct = links.iter().collect::<std::collections::BTreeSet<_>>().len() == 3;
    seen(distinct && links.iter().all(|link| link.starts_with("pipe:")), links.join(" "))
}

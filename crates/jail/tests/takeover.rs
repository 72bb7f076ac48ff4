//! The privileged helper, spoken to by somebody who has taken a gateway over.

#![expect(clippy::indexing_slicing, reason = "a test that looks beside what is there shall fail")]

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::ordered::{Ordered, children, descriptors, order, say, start, templates};
use common::{Stage, eventually, plan};
use jail::{Inbox, Limits, Outbox};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

#[test]
fn what_a_taken_over_gateway_orders_beyond_its_templates_it_does_not_get() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 8).expect("it starts");
    let good = || serde_json::to_value(order(&["facts"])).expect("JSON");
    let with = |name: &str, value: Value| {
        let mut order = good();
        order[name] = value;
        order
    };
    let limits = Limits { memory_bytes: 1 << 40, ..Limits::default() };
    let orders = [
        ("another template", with("template", json!("root"))),
        ("a path", with("template", json!("../probe"))),
        ("a file", with("template", json!("/etc/passwd"))),
        ("no name", with("template", json!(""))),
        ("a program", with("argv", json!(["/bin/sh"]))),
        ("a mount", with("mounts", json!([{"kind": "bind_ro", "source": "/", "target": "/host"}]))),
        ("a user", with("host_uid", json!(0))),
        ("a user inside", with("uid", json!(0))),
        ("no isolation", with("isolation", json!("network_only"))),
        ("a variable", with("env", json!({"LD_PRELOAD": "/space/x.so"}))),
        ("a fixed variable", with("env", json!({"ONLY": "that"}))),
        ("a file elsewhere", with("files", json!({"/etc/passwd": "root::0:0"}))),
        ("a long file", with("files", json!({"note": "x".repeat(101)}))),
        ("more memory", with("limits", serde_json::to_value(limits).expect("JSON"))),
        ("a negative number", with("limits", json!({"memory_bytes": -1, "pids": 1, "files_open": 16}))),
        ("a standard port", with("extra_ports", json!([443]))),
        ("many ports", with("extra_ports", json!((1000..1100).collect::<Vec<_>>()))),
        ("a name that is a path", with("id", json!("../../x"))),
        ("an argument with a NUL", with("arguments", json!(["a\u{0}b"]))),
        ("a whole plan", serde_json::to_value(plan(&stage, &["facts"])).expect("JSON")),
        ("nothing", json!({})),
        ("no object", json!([1, 2, 3])),
    ];
    for (name, order) in orders {
        let mut asked = Ordered::send(helper.sandbox().expect("the helper listens"), &order);
        let refusal = asked.refused();
        assert!(refusal.message.contains("plan"), "{name}: {refusal:?}");
        assert_eq!(asked.reply(), None, "{name}");
        drop(asked);
        eventually("its end", || children(&helper).is_empty());
    }
    eventually("an end without a rest", || children(&helper).is_empty());
    Ordered::place(&helper, &order(&["facts"])).said();
}

#[test]
fn orders_that_are_cut_or_swollen_end_with_their_own_process() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 32).expect("it starts");
    let whole = serde_json::to_vec(&order(&["facts"])).expect("JSON");
    let length = u32::try_from(whole.len()).expect("short").to_be_bytes();
    let frames: [&[u8]; 6] = [b"", b"\0", &length, &[&length, &whole[..9]].concat(), &u32::MAX.to_be_bytes(), &[0xff; 4096]];
    let mut open = Vec::new();
    for frame in frames {
        let mut control = helper.sandbox().expect("the helper listens");
        // One that saw a fault in the beginning does not take the rest.
        let _refused = control.write_all(frame);
        let closing = control.try_clone().expect("a descriptor");
        closing.shutdown(std::net::Shutdown::Write).expect("open");
        open.push(control);
    }
    // No streams, too few, too many.
    for count in [0, 2, 4, 20] {
        let control = helper.sandbox().expect("the helper listens");
        let fds = (0..count).map(|_| fs::File::open("/dev/null").expect("the device").into()).collect();
        Outbox::new(&order(&["facts"]), fds).expect("fits").flush(&control).expect("sent");
        let mut asked = Ordered { control, inbox: Inbox::default(), stdout: std::io::pipe().expect("a pipe").0 };
        assert!(asked.refused().message.contains("three standard streams"));
    }
    drop(open);
    eventually("an end without a rest", || children(&helper).is_empty());
    Ordered::place(&helper, &order(&["facts"])).said();
}

#[test]
fn streams_that_are_no_pipes_are_not_taken() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 8).expect("it starts");
    let pipe = || std::io::pipe().expect("a pipe");
    let (stream, _other) = UnixStream::pair().expect("a pair");
    let control = helper.sandbox().expect("the helper listens");
    let odd: [OwnedFd; 5] = [
        fs::File::open("/").expect("the root").into(),
        fs::File::open("/dev/null").expect("the device").into(),
        fs::File::open("/etc/passwd").expect("a file").into(),
        stream.into(),
        // Its own control socket: a sandbox that holds it would live as long as itself.
        control.try_clone().expect("a descriptor").into(),
    ];
    let mut control = Some(control);
    for stdin in odd {
        let control = control.take().unwrap_or_else(|| helper.sandbox().expect("the helper listens"));
        let ((stdout, agent_out), (_, agent_err)) = (pipe(), pipe());
        let mut asked = Ordered::send_with(control, &order(&["facts"]), vec![stdin, agent_out.into(), agent_err.into()], stdout);
        assert!(asked.refused().message.contains("must be pipes"));
    }
    eventually("an end without a rest", || children(&helper).is_empty());
    Ordered::place(&helper, &order(&["facts"])).said();
}

#[test]
fn whoever_keeps_a_networks_sockets_does_not_get_another_one() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 1).expect("it starts");
    let mut first = Ordered::place(&helper, &order(&["exit", "0"]));
    first.ready();
    let kept = first.inbox.take_fds();
    assert!(!kept.is_empty(), "its listeners");
    while first.reply().is_some() {}
    // It is gone, but its network is not.
    let refusal = Ordered::place(&helper, &order(&["facts"])).refused();
    assert!(refusal.message.contains("1 sandboxes already"), "{refusal:?}");
    drop(kept);
    eventually("the end of its network", || children(&helper).is_empty());
    Ordered::place(&helper, &order(&["facts"])).said();
}

/// A descriptor that holds up who closes it: a connection with data that nobody takes, and the wish to wait for that.
fn lingering() -> (OwnedFd, impl Sized) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut stream = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let other = listener.accept().expect("accepted").0;
    stream.set_nonblocking(true).expect("set");
    while stream.write(&[0; 65536]).is_ok() {}
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::from_secs(30_000))).expect("set");
    (stream.into(), (listener, other))
}

#[test]
fn descriptors_that_hold_up_who_closes_them_hold_up_nobody() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 2).expect("it starts");
    let (slow, _peer) = lingering();
    for bytes in [b"x".as_slice(), b"s", b"w", b"xx"] {
        say(&helper, bytes, &[slow.as_fd()]);
        say(&helper, bytes, &[slow.as_fd(), slow.as_fd()]);
    }
    // In the queue of a good control socket, and as a stream.
    let control = helper.sandbox().expect("the helper listens");
    let fds: Vec<OwnedFd> = (0..3).map(|_| slow.try_clone().expect("a descriptor")).collect();
    let mut asked = Ordered::send_with(control, &order(&["facts"]), fds, std::io::pipe().expect("a pipe").0);
    assert!(asked.refused().message.contains("must be pipes"));
    Ordered::place(&helper, &order(&["facts"])).said();
    eventually("an end without a rest", || children(&helper).is_empty());
    rustix::net::sockopt::set_socket_linger(&slow, None).expect("set");
}

#[test]
fn a_sandbox_does_not_outlive_its_gateway_by_a_socket_in_other_hands() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let folder = templates(&stage);
    let script = "import os, socket, subprocess, sys, time\n\
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        child = subprocess.Popen([sys.argv[1], 'serve', sys.argv[2], '4'], stdin=theirs)\n\
        theirs.close()\n\
        assert ours.recv(1) == b'r'\n\
        control, other = socket.socketpair()\n\
        socket.send_fds(ours, [b's'], [other.fileno()])\n\
        other.close()\n\
        print(child.pid, flush=True)\n\
        if os.fork() == 0:\n    os.setsid()\n    time.sleep(30)\n    os._exit(0)\n\
        time.sleep(30)\n";
    let mut gateway = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(stage.folder.join("hexward-jail"))
        .arg(&folder)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(gateway.stdout.take().expect("piped")), &mut line).expect("a line");
    let helper: u32 = line.trim().parse().expect("the helper's number");
    let below = || fs::read_to_string(format!("/proc/{helper}/task/{helper}/children")).unwrap_or_default();
    eventually("a sandbox", || !below().trim().is_empty());
    let daemons: Vec<_> = fs::read_to_string(format!("/proc/{0}/task/{0}/children", gateway.id()))
        .expect("it runs")
        .split_ascii_whitespace()
        .filter_map(|word| word.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid) != Ok(helper))
        .collect();
    gateway.kill().expect("killed");
    gateway.wait().expect("gone");
    eventually("the helper's end", || !Path::new(&format!("/proc/{helper}/exe")).exists());
    for daemon in daemons {
        let _gone = kill_process(Pid::from_raw(daemon).expect("a process"), Signal::KILL);
    }
}

#[test]
fn ten_thousand_messages_that_are_none_change_nothing() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 8).expect("it starts");
    let before = descriptors(&helper);
    let file = fs::File::open("/dev/null").expect("the device");
    let (stream, _other) = UnixStream::pair().expect("a pair");
    let (datagram, _another) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
    let (file, stream, datagram) = (file.as_fd(), stream.as_fd(), datagram.as_fd());
    let messages: [(&[u8], &[BorrowedFd<'_>]); 10] = [
        (b"s", &[]),
        (b"w", &[]),
        (b"s", &[file]),
        (b"s", &[datagram]),
        (b"s", &[stream, stream]),
        (b"s", &[stream, stream, stream, stream, stream]),
        (b"r", &[stream]),
        (b"x", &[stream]),
        (b"ss", &[stream]),
        (&[b's'; 5000], &[stream]),
    ];
    for (bytes, fds) in messages.iter().cycle().take(10_000) {
        say(&helper, bytes, fds);
    }
    Ordered::place(&helper, &order(&["facts"])).said();
    eventually("an end without a rest", || children(&helper).is_empty());
    eventually("every descriptor is closed", || descriptors(&helper) == before);
}

#[test]
fn a_storm_of_requests_is_bounded_and_passes() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 4).expect("it starts");
    let mut most = 0;
    for round in 0..2_000 {
        drop(helper.sandbox().expect("the helper listens"));
        if round % 100 == 0 {
            most = most.max(children(&helper).len());
            drop(helper.sweep().expect("the helper listens"));
        }
    }
    // Sweeps, and those that say no, come on top.
    assert!(most <= 4 + 2 + 16, "{most} processes at once");
    eventually("an end without a rest", || children(&helper).is_empty());
    Ordered::place(&helper, &order(&["facts"])).said();
}

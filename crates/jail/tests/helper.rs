//! The privileged helper, spoken to as a gateway does, and as somebody does who has taken one over.

#![expect(clippy::indexing_slicing, reason = "a test that looks beside what is there shall fail")]

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use common::{Stage, TIMEOUT, eventually, plan};
use jail::{ControlError, Failure, Filled, HOST_UID_FIRST, Helper, Inbox, Limits, Order, Outbox, Ready, Reply, Slot, Template};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A folder with one template, `probe`, made of what the other tests run.
fn templates(stage: &Stage) -> PathBuf {
    let folder = stage.folder.join("templates");
    fs::create_dir(&folder).expect("a new folder");
    let plan = plan(stage, &[]);
    let template = Template {
        calls: plan.calls,
        argv: plan.argv,
        env: plan.env,
        env_names: ["SAID".to_owned()].into(),
        cwd: plan.cwd,
        hostname: plan.hostname,
        mounts: plan.mounts,
        slots: [("note".to_owned(), Slot { target: "/note".into(), mode: 0o444, bytes_max: 100 })].into(),
        uid: plan.uid,
        gid: plan.gid,
        limits: plan.limits,
    };
    write(&folder.join("probe.json"), &serde_json::to_string(&template).expect("JSON"));
    folder
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("changed");
}

fn start(stage: &Stage, folder: &Path, most: usize) -> Result<Helper, ControlError> {
    Helper::start(&stage.folder.join("hexward-jail"), folder, most)
}

fn order(words: &[&str]) -> Order {
    Order {
        id: "ordered".into(),
        template: "probe".into(),
        arguments: words.iter().copied().map(str::to_owned).collect(),
        env: BTreeMap::new(),
        files: BTreeMap::new(),
        limits: None,
        extra_ports: Vec::new(),
    }
}

/// A sandbox under way.
struct Ordered {
    control: UnixStream,
    inbox: Inbox,
    stdout: std::io::PipeReader,
}

impl Ordered {
    fn send(control: UnixStream, message: &impl serde::Serialize) -> Self {
        let (stdout, agent_out) = std::io::pipe().expect("a pipe");
        let null = || fs::File::options().read(true).write(true).open("/dev/null").expect("the device").into();
        control.set_read_timeout(Some(TIMEOUT)).expect("set");
        let fds: Vec<OwnedFd> = vec![null(), agent_out.into(), null()];
        // One that was refused already does not take it, but its answer is there.
        let _refused = Outbox::new(message, fds).and_then(|mut out| out.flush(&control));
        Self { control, inbox: Inbox::default(), stdout }
    }

    fn place(helper: &Helper, order: &Order) -> Self {
        Self::send(helper.sandbox().expect("the helper listens"), order)
    }

    fn reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(reply) = self.inbox.take().expect("well formed") {
                return Some(reply);
            }
            if self.inbox.fill(&self.control).expect("heard") == Filled::Closed {
                return None;
            }
        }
    }

    fn ready(&mut self) -> Ready {
        match self.reply() {
            Some(Reply::Ready(ready)) => ready,
            other => panic!("{other:?} in place of a sandbox"),
        }
    }

    fn refused(&mut self) -> Failure {
        match self.reply() {
            Some(Reply::Failed(failure)) => failure,
            other => panic!("{other:?} in place of a refusal"),
        }
    }

    /// What it said until its end, which nothing outlives.
    fn said(mut self) -> Value {
        let ready = self.ready();
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).expect("text");
        assert!(matches!(self.reply(), Some(Reply::Exited(_))));
        assert_eq!(self.reply(), None, "its end closes the socket");
        let left: Vec<_> = ready.cgroups.iter().filter(|folder| folder.exists()).collect();
        assert!(left.is_empty(), "{left:?}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }
}

/// One message to the helper, as it is.
fn say(helper: &Helper, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(helper.socket(), &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL).expect("the helper is there");
}

fn children(helper: &Helper) -> Vec<Pid> {
    let pid = helper.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the helper runs");
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok().and_then(Pid::from_raw)).collect()
}

fn descriptors(helper: &Helper) -> usize {
    fs::read_dir(format!("/proc/{}/fd", helper.pid())).expect("the helper runs").count()
}

fn uid_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a line");
    line.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}

#[test]
fn an_order_gets_a_sandbox_of_its_template_and_leaves_nothing() {
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 8).expect("it starts");
    let mut asked = order(&["facts"]);
    asked.env.insert("SAID".into(), "so".into());
    asked.files.insert("note".into(), "a note".into());
    let said = Ordered::place(&helper, &asked).said();
    assert_eq!(said["env"], json!({"ONLY": "this=1", "SAID": "so"}), "{said}");
    eventually("an end without a rest", || children(&helper).is_empty());
}

#[test]
fn users_differ_among_the_living_and_no_more_live_than_was_said() {
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 2).expect("it starts");
    let mut both: Vec<_> = (0..2).map(|_| Ordered::place(&helper, &order(&["sleep"]))).collect();
    let uids: Vec<_> = both.iter_mut().map(|one| uid_of(one.ready().init_pid)).collect();
    if common::tests_run_as_root() {
        assert!(uids.iter().all(|uid| *uid >= HOST_UID_FIRST) && uids[0] != uids[1], "{uids:?}");
    }
    let refusal = Ordered::place(&helper, &order(&["facts"])).refused();
    assert!(refusal.message.contains("2 sandboxes already"), "{refusal:?}");
    both.pop();
    eventually("the end of one", || children(&helper).len() == 1);
    Ordered::place(&helper, &order(&["facts"])).said();
}

#[test]
fn what_a_taken_over_gateway_orders_beyond_its_templates_it_does_not_get() {
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
    }
    eventually("an end without a rest", || children(&helper).is_empty());
    Ordered::place(&helper, &order(&["facts"])).said();
}

#[test]
fn orders_that_are_cut_or_swollen_end_with_their_own_process() {
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
fn ten_thousand_messages_that_are_none_change_nothing() {
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
    assert_eq!(descriptors(&helper), before, "every descriptor was closed");
}

#[test]
fn a_storm_of_requests_is_bounded_and_passes() {
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
    // A sweep comes on top.
    assert!(most <= 5, "{most} processes at once");
    eventually("an end without a rest", || children(&helper).is_empty());
    Ordered::place(&helper, &order(&["facts"])).said();
}

#[test]
fn what_a_killed_supervisor_left_is_removed_without_being_asked() {
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 4).expect("it starts");
    let mut killed = Ordered::place(&helper, &order(&["sleep"]));
    let ready = killed.ready();
    let supervisor = children(&helper)[0];
    kill_process(supervisor, Signal::KILL).expect("it runs");
    assert_eq!(killed.reply(), None, "its death closes the socket");
    let mut over = helper.sweep().expect("the helper listens");
    over.set_read_timeout(Some(TIMEOUT)).expect("set");
    assert_eq!(over.read(&mut [0]).expect("it ends"), 0);
    eventually("an end without a rest", || ready.cgroups.iter().all(|folder| !folder.exists()) && children(&helper).is_empty());
}

#[test]
fn it_outlives_its_gateway_by_its_sandboxes_and_no_longer() {
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 4).expect("it starts");
    let mut last = Ordered::place(&helper, &order(&["sleep"]));
    let ready = last.ready();
    let (pid, ending) = (helper.pid(), std::thread::spawn(move || drop(helper)));
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(Path::new(&format!("/proc/{pid}")).exists() && !ending.is_finished(), "a sandbox still lives");
    drop(last);
    ending.join().expect("it ends");
    assert!(ready.cgroups.iter().all(|folder| !folder.exists()));
}

#[test]
fn templates_that_others_could_write_are_not_taken() {
    let stage = Stage::new();
    let folder = templates(&stage);
    let file = folder.join("probe.json");
    let text = fs::read_to_string(&file).expect("text");
    let starts = || start(&stage, &folder, 1).is_ok();
    let change = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    assert!(starts());
    for path in [&folder, &file] {
        for mode in [0o777, 0o775, 0o757] {
            change(path, mode);
            assert!(!starts(), "{} with mode {mode:o}", path.display());
        }
        change(path, 0o755);
    }
    if common::tests_run_as_root() {
        for path in [&folder, &file] {
            std::os::unix::fs::chown(path, Some(65534), None).expect("given away");
            assert!(!starts(), "{} of nobody", path.display());
            std::os::unix::fs::chown(path, Some(0), None).expect("taken back");
        }
    }
    for (name, content) in [("probe.json", "{}"), ("probe.json", "garbage"), ("notes.txt", &text), ("Upper.json", &text)] {
        write(&folder.join(name), content);
        assert!(!starts(), "{name}: {content}");
        fs::remove_file(folder.join(name)).expect("removed");
        write(&file, &text);
    }
    write(&file, &text.replace("/probe\"", "probe\""));
    assert!(!starts(), "an invalid template");
    let elsewhere = stage.folder.join("elsewhere.json");
    write(&elsewhere, &text);
    fs::remove_file(&file).expect("removed");
    symlink(&elsewhere, &file).expect("linked");
    assert!(!starts(), "a link");
    let linked = stage.folder.join("linked");
    fs::remove_file(&file).expect("removed");
    write(&file, &text);
    symlink(&folder, &linked).expect("linked");
    assert!(start(&stage, &linked, 1).is_err(), "a linked folder");
    assert!(starts(), "and as it was");
}

#[test]
fn it_keeps_no_more_power_than_sandboxes_take() {
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 1).expect("it starts");
    let status = fs::read_to_string(format!("/proc/{}/status", helper.pid())).expect("it runs");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).expect("a field").to_owned();
    let effective = u64::from_str_radix(&field("CapEff:"), 16).expect("hexadecimal");
    // Modules, raw devices, the clock, rebooting, auditing, packet sockets, BPF.
    for capability in [16, 17, 25, 22, 29, 30, 13, 39, 38, 27] {
        assert_eq!(effective & (1 << capability), 0, "capability {capability}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    if common::tests_run_as_root() {
        assert_eq!(fs::read(format!("/proc/{}/environ", helper.pid())).expect("readable for root"), b"");
    }
}

//! Speaking with a privileged helper, as a gateway does and otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use jail::{ControlError, Failure, Filled, Helper, Inbox, Order, Outbox, Ready, Reply, Slot, Template};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Pid;
use serde_json::Value;

use super::{Stage, TIMEOUT, plan};

/// A folder with one template, `probe`, made of what the other tests run.
pub fn templates(stage: &Stage) -> PathBuf {
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

pub fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("changed");
}

pub fn start(stage: &Stage, folder: &Path, most: usize) -> Result<Helper, ControlError> {
    Helper::start(&stage.folder.join("hexward-jail"), folder, most)
}

pub fn order(words: &[&str]) -> Order {
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
pub struct Ordered {
    pub control: UnixStream,
    pub inbox: Inbox,
    pub stdout: std::io::PipeReader,
}

impl Ordered {
    pub fn send(control: UnixStream, message: &impl serde::Serialize) -> Self {
        let (stdout, agent_out) = std::io::pipe().expect("a pipe");
        let (agent_in, _) = std::io::pipe().expect("a pipe");
        let (_, agent_err) = std::io::pipe().expect("a pipe");
        Self::send_with(control, message, vec![agent_in.into(), agent_out.into(), agent_err.into()], stdout)
    }

    pub fn send_with(
        control: UnixStream,
        message: &impl serde::Serialize,
        fds: Vec<OwnedFd>,
        stdout: std::io::PipeReader,
    ) -> Self {
        control.set_read_timeout(Some(TIMEOUT)).expect("set");
        // One that was refused already does not take it, but its answer is there.
        let _refused = Outbox::new(message, fds).and_then(|mut out| out.flush(&control));
        Self { control, inbox: Inbox::default(), stdout }
    }

    pub fn place(helper: &Helper, order: &Order) -> Self {
        Self::send(helper.sandbox().expect("the helper listens"), order)
    }

    pub fn reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(reply) = self.inbox.take().expect("well formed") {
                return Some(reply);
            }
            if self.inbox.fill(&self.control).expect("heard") == Filled::Closed {
                return None;
            }
        }
    }

    pub fn ready(&mut self) -> Ready {
        match self.reply() {
            Some(Reply::Ready(ready)) => ready,
            other => panic!("{other:?} in place of a sandbox"),
        }
    }

    pub fn refused(&mut self) -> Failure {
        match self.reply() {
            Some(Reply::Failed(failure)) => failure,
            other => panic!("{other:?} in place of a refusal"),
        }
    }

    /// What it said until its end, which nothing outlives.
    pub fn said(mut self) -> Value {
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
pub fn say(helper: &Helper, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(helper.socket(), &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL).expect("the helper is there");
}

pub fn children(helper: &Helper) -> Vec<Pid> {
    let pid = helper.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the helper runs");
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok().and_then(Pid::from_raw)).collect()
}

pub fn descriptors(helper: &Helper) -> usize {
    fs::read_dir(format!("/proc/{}/fd", helper.pid())).expect("the helper runs").count()
}

pub fn uid_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a line");
    line.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}

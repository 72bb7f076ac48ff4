//! The privileged helper: where a gateway was started by root, the only process that keeps root's power. Each sandbox gets
//! a supervisor of its own, forked from here, that reads the gateway's order and nothing else.
//!
//! It trusts nothing that the gateway says. It looks at the first byte of a message, and has it taken away by a forked process:
//! whatever is to be understood is understood there, and a descriptor that holds up who closes it holds up nobody else. What a sandbox may be was
//! read once from files that only root can write ([`Templates`]); users on the host are given out here, and again only
//! when the process that had one is gone; how many there are at once was said at the start. It ends when the gateway's process
//! does, after the last sandbox, and a sandbox ends with it, whoever else holds a socket of either.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jail::{ControlError, Failure, HOST_UID_FIRST, HOST_UIDS, HelperWord, Outbox, Reply, Step};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, SocketType, recv, recvmsg, send,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Resource, Signal, WaitOptions, getpid, getppid, getrlimit, kill_process, pidfd_open, pidfd_send_signal,
    setsid, waitpid,
};

use crate::authority::{Authority, Templates};
use crate::failure::{Because, failure, say};
use crate::{cgroups, privileges, supervisor, sys, templates};

/// Messages that are none are complained about this often; a gateway that sends more is not heard of again.
const COMPLAINTS_MAX: u32 = 16;
/// Forked processes at the same time that only take a message away.
const BESIDE_MAX: usize = 16;
/// Descriptors beside one for each sandbox.
const FILES_BESIDE: usize = 64;
/// Taking a message away takes microseconds.
const TAKE_WAIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// After the gateway's end its sandboxes end by themselves, unless somebody else holds their sockets.
const GRACE: Duration = Duration::from_secs(2);
/// Where there is no room for a process.
const RETRY: Duration = Duration::from_millis(100);

/// Serves a gateway until it is gone, and every sandbox with it.
///
/// # Errors
/// If the templates can't be used, or the gateway can't be heard.
pub fn serve(gateway: OwnedFd, folder: &Path, most: usize) -> Result<(), Failure> {
    let open = |pid| pidfd_open(pid, PidfdFlags::empty()).because(Step::Supervise, || "a process can't be watched".into());
    let parent = getppid().ok_or_else(|| failure(Step::Supervise, "the gateway is in another process namespace"))?;
    let (parent, own) = (open(parent)?, open(getpid())?);
    let templates = templates::read(folder)?;
    privileges::keep_only_the_helpers()?;
    sweep_in_child()?;
    let ready = [HelperWord::Ready as u8];
    send(&gateway, &ready, SendFlags::NOSIGNAL).because(Step::Supervise, || "the gateway is gone".into())?;
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let most = most.min(HOST_UIDS as usize).min(files.saturating_sub(FILES_BESIDE)).max(1);
    let (gateway, parent) = (Some(gateway), Some(parent));
    let (living, next_uid, complaints, owes_sweep, ends) = (Vec::new(), 0, 0, false, None);
    let mut helper = Helper { gateway, parent, own, templates, most, living, next_uid, complaints, owes_sweep, ends };
    while helper.gateway.is_some() || !helper.living.is_empty() || helper.owes_sweep {
        helper.step()?;
    }
    Ok(())
}

struct Helper {
    gateway: Option<OwnedFd>,
    /// The gateway's process. Its end is the gateway's, whoever still holds the other end of the socket.
    parent: Option<OwnedFd>,
    /// This process, for those forked from it.
    own: OwnedFd,
    templates: Templates,
    /// Sandboxes at the same time.
    most: usize,
    living: Vec<Living>,
    next_uid: u32,
    complaints: u32,
    /// A supervisor was killed, and there was no process to clean up after it yet.
    owes_sweep: bool,
    /// When those that outlive the gateway are ended by force.
    ends: Option<Instant>,
}

/// A forked process.
struct Living {
    pid: Pid,
    fd: OwnedFd,
    task: Task,
}

/// What a process is forked for. It takes the gateway's message away itself: what comes along may hold up whoever closes it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// A sandbox, as this user on the host.
    Sandbox(u32),
    /// To say no.
    Refuse,
    /// A sweep that the gateway waits for.
    Sweep,
    /// A sweep that nobody asked for; no message belongs to it.
    OwnSweep,
    /// Nothing: the message is none.
    Discard,
}

impl Helper {
    /// Waits for what happens next.
    fn step(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let until = self.ends.map(|ends| ends.saturating_duration_since(now));
        let retry = self.owes_sweep.then_some(RETRY);
        let wait = until.into_iter().chain(retry).min().map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        let count = self.living.len();
        let hears = self.count(|task| matches!(task, Task::Refuse | Task::Discard)) < BESIDE_MAX;
        let heard = self.gateway.as_ref().filter(|_| hears);
        let mut fds: Vec<_> = self.living.iter().map(|living| PollFd::new(&living.fd, PollFlags::IN)).collect();
        fds.extend(self.parent.as_ref().map(|parent| PollFd::new(parent, PollFlags::IN)));
        fds.extend(heard.map(|gateway| PollFd::new(gateway, PollFlags::IN)));
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno).because(Step::Supervise, || "nothing can be waited for".into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let spoke = heard.is_some() && ready.last() == Some(&true);
        let orphaned = self.parent.is_some() && ready.get(count) == Some(&true);
        let (dead, living) = std::mem::take(&mut self.living).into_iter().zip(ready).partition::<Vec<_>, _>(|(_, ready)| *ready);
        self.living = living.into_iter().map(|(living, _)| living).collect();
        dead.into_iter().for_each(|(dead, _)| self.bury(&dead));
        if orphaned {
            (self.gateway, self.parent) = (None, None);
            self.ends = Some(Instant::now() + GRACE);
        }
        if self.ends.is_some_and(|ends| ends <= Instant::now()) {
            self.ends = None;
            self.end_all();
        }
        if self.owes_sweep && self.count(|task| task == Task::OwnSweep) == 0 {
            self.owes_sweep = !self.fork(Task::OwnSweep);
        }
        if spoke && !orphaned { self.hear() } else { Ok(()) }
    }

    fn count(&self, of: impl Fn(Task) -> bool) -> usize {
        self.living.iter().filter(|living| of(living.task)).count()
    }

    /// A supervisor that was killed could not clean up after its sandbox.
    fn bury(&mut self, dead: &Living) {
        let killed = loop {
            match waitpid(Some(dead.pid), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                Ok(Some((_, status))) => break status.signaled(),
                Ok(None) | Err(_) => break false,
            }
        };
        self.owes_sweep |= killed && matches!(dead.task, Task::Sandbox(_));
    }

    /// Whoever made itself at home in a sandbox that its gateway did not take along.
    fn end_all(&self) {
        for living in self.living.iter().filter(|living| matches!(living.task, Task::Sandbox(_))) {
            let _ended = pidfd_send_signal(&living.fd, Signal::KILL);
        }
    }

    /// Looks at the next message, and has it taken away.
    fn hear(&mut self) -> Result<(), Failure> {
        let Some(gateway) = &self.gateway else { return Ok(()) };
        let mut bytes = [0; 2];
        let heard = match recv(gateway, &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, heard)) => heard,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            Err(Errno::CONNRESET) => 0,
            Err(errno) => return Err(errno).because(Step::Supervise, || "the gateway can't be heard".into()),
        };
        let [byte, _] = bytes;
        let task = match (heard, HelperWord::of(byte)) {
            // An empty message can't be told from the end; a gateway that sends one has ended itself.
            (0, _) => {
                self.gateway = None;
                return Ok(());
            }
            (1, Some(HelperWord::Sandbox)) if self.count(|task| matches!(task, Task::Sandbox(_))) >= self.most => Task::Refuse,
            (1, Some(HelperWord::Sandbox)) => Task::Sandbox(self.free_uid()),
            // One at a time. Whoever asks meanwhile is told by the closed descriptor that there is nothing to wait for.
            (1, Some(HelperWord::Sweep)) if self.count(|task| task == Task::Sweep) == 0 => Task::Sweep,
            (1, Some(HelperWord::Sweep)) => Task::Discard,
            (_, Some(HelperWord::Ready) | None) | (2.., _) => {
                self.complain();
                Task::Discard
            }
        };
        if !self.fork(task) {
            // Too many processes, or no memory. The message waits, and others may end.
            std::thread::sleep(RETRY);
        }
        Ok(())
    }

    fn complain(&mut self) {
        self.complaints = self.complaints.saturating_add(1);
        if self.complaints <= COMPLAINTS_MAX {
            say("the gateway sent a message that is none; it may have been taken over");
        }
    }

    /// The next in turn that nobody has: as long as possible nobody meets what a predecessor left.
    fn free_uid(&mut self) -> u32 {
        loop {
            let host_uid = HOST_UID_FIRST + self.next_uid;
            self.next_uid = (self.next_uid + 1) % HOST_UIDS;
            if self.count(|task| task == Task::Sandbox(host_uid)) == 0 {
                return host_uid;
            }
        }
    }

    /// Whether there is a process for a task now.
    fn fork(&mut self, task: Task) -> bool {
        let Ok((taken, took)) = pipe_with(PipeFlags::CLOEXEC) else { return false };
        match sys::fork() {
            Ok(sys::Forked::Child) => {
                drop(taken);
                self.carry_out(task, took)
            }
            Ok(sys::Forked::Parent(pid)) => {
                drop(took);
                match pidfd_open(pid, PidfdFlags::empty()) {
                    Ok(fd) => {
                        if !is_over(&taken) {
                            let _ended = pidfd_send_signal(&fd, Signal::KILL);
                        }
                        self.living.push(Living { pid, fd, task });
                        true
                    }
                    Err(_) => {
                        // Too many open files: a process that can't be watched is none.
                        let _ended = kill_process(pid, Signal::KILL);
                        while let Err(Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
                        self.owes_sweep |= matches!(task, Task::Sandbox(_));
                        false
                    }
                }
            }
            Err(_) => false,
        }
    }

    /// The forked process's own life. It leaves without closing anything itself: a process that exits is not held up.
    fn carry_out(&mut self, task: Task, took: OwnedFd) -> ! {
        let message = match (&self.gateway, task) {
            (Some(gateway), Task::Sandbox(_) | Task::Refuse | Task::Sweep | Task::Discard) => receive(gateway),
            (None, _) | (_, Task::OwnSweep) => None,
        };
        drop(took);
        self.gateway = None;
        self.living.clear();
        sys::exit_now(match (task, message) {
            (Task::Sandbox(host_uid), Some(control)) => supervise(control, &self.templates, host_uid, &self.own),
            (Task::Refuse, Some(control)) => {
                let most = self.most;
                refuse(control, format!("there are {most} sandboxes already, and no more are allowed at the same time"));
                0
            }
            (Task::Sweep, Some(_)) | (Task::OwnSweep, None) => sweep(),
            (Task::Sandbox(_) | Task::Refuse | Task::Sweep, None) | (Task::Discard | Task::OwnSweep, _) => 0,
        })
    }
}

/// Waits until the forked process has taken its message away, or is gone.
fn is_over(taken: &OwnedFd) -> bool {
    loop {
        match poll(&mut [PollFd::new(taken, PollFlags::IN)], Some(&TAKE_WAIT)) {
            Err(Errno::INTR) => {}
            over => return over.is_ok_and(|count| count > 0),
        }
    }
}

fn supervise(control: OwnedFd, templates: &Templates, host_uid: u32, helper: &OwnedFd) -> i32 {
    // A session of its own, which no terminal's signal reaches.
    let _leader = setsid();
    let (control, hosts) = (UnixStream::from(control), network());
    let served = supervisor::serve(&control, &Authority::Templates { templates, host_uid, helper: helper.as_fd() });
    drop(control);
    // Whoever keeps one of its sockets keeps its network, which the host has not many of: until then it counts.
    while network() != hosts && sockets_are_left() && is_running(helper) {}
    match served {
        Ok(()) => 0,
        Err(error) => {
            say(&error.to_string());
            1
        }
    }
}

fn network() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/ns/net").ok()
}

/// Whether this process's network still has sockets: those that the gateway got of it, and what hangs on them.
fn sockets_are_left() -> bool {
    let text = std::fs::read_to_string("/proc/self/net/sockstat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("sockets: used ")).is_some_and(|used| used.trim() != "0")
}

/// Waits a moment, and tells whether the helper is there.
fn is_running(helper: &OwnedFd) -> bool {
    const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    !matches!(poll(&mut [PollFd::new(helper, PollFlags::IN)], Some(&MOMENT)), Ok(1..))
}

fn sweep() -> i32 {
    match cgroups::sweep() {
        Ok(swept) => {
            swept.iter().for_each(|id| say(&format!("removed what was left of sandbox {id}")));
            0
        }
        Err(failure) => {
            say(&failure.to_string());
            1
        }
    }
}

/// What a former life left is gone before the first sandbox is made.
fn sweep_in_child() -> Result<(), Failure> {
    let forked = sys::fork().because(Step::Supervise, || "no process could be made".into())?;
    let sys::Forked::Parent(pid) = forked else { sys::exit_now(sweep()) };
    while let Err(Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
    Ok(())
}

/// Says no, if the gateway cares to hear it; it is not waited for.
fn refuse(control: OwnedFd, message: String) {
    let control = UnixStream::from(control);
    let answer = Outbox::new(&Reply::Failed(failure(Step::Supervise, message)), Vec::new());
    let _unheard = control.set_nonblocking(true).map_err(ControlError::from).and_then(|()| answer?.flush(&control));
    std::mem::forget(control);
}

/// Takes the next message away: one stream socket, or nothing that is of use.
fn receive(gateway: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 2];
    let received = loop {
        match recvmsg(gateway, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received.ok()?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    let cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    match <[OwnedFd; 1]>::try_from(fds) {
        Ok([fd]) if !cut && is_stream(&fd) => Some(fd),
        Ok(others) => {
            std::mem::forget(others);
            None
        }
        Err(others) => {
            std::mem::forget(others);
            None
        }
    }
}

fn is_stream(fd: &OwnedFd) -> bool {
    socket_domain(fd) == Ok(AddressFamily::UNIX) && socket_type(fd) == Ok(SocketType::STREAM)
}

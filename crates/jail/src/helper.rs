//! The privileged helper: where a gateway was started by root, the only process that keeps root's power. Each sandbox gets
//! a supervisor of its own, forked from here, that reads the gateway's order and nothing else.
//!
//! It trusts nothing that the gateway says. A message is one byte and one descriptor, and is not interpreted any further:
//! whatever is to be understood is understood in the forked process, whose failure is its own. What a sandbox may be was
//! read once from files that only root can write ([`Templates`]); users on the host are given out here, and again only
//! when the process that had one is gone; how many there are at once was said at the start. It ends when the gateway
//! does, after the last sandbox.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use jail::{ControlError, Failure, HOST_UID_FIRST, HOST_UIDS, HelperWord, Outbox, Reply, Step};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, SocketType, recvmsg, send,
};
use rustix::process::{Pid, PidfdFlags, WaitOptions, geteuid, pidfd_open, setsid, waitpid};

use crate::authority::{Authority, Templates};
use crate::failure::{Because, failure};
use crate::{cgroups, privileges, supervisor, sys};

/// A template is a few kilobytes.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
const TEMPLATES_MAX: usize = 64;
/// Messages that are none are complained about this often; a gateway that sends more is not heard of again.
const COMPLAINTS_MAX: u32 = 16;

/// Serves a gateway until it is gone, and every sandbox with it.
///
/// # Errors
/// If the templates can't be used, or the gateway can't be heard.
pub fn serve(gateway: OwnedFd, folder: &Path, most: usize) -> Result<(), Failure> {
    let templates = read_templates(folder)?;
    privileges::keep_only_the_helpers()?;
    sweep_in_child()?;
    let ready = [HelperWord::Ready as u8];
    send(&gateway, &ready, SendFlags::NOSIGNAL).because(Step::Supervise, || "the gateway is gone".into())?;
    let most = most.min(HOST_UIDS as usize);
    let mut helper = Helper { gateway: Some(gateway), templates, most, living: Vec::new(), next_uid: 0, complaints: 0 };
    while helper.gateway.is_some() || !helper.living.is_empty() {
        helper.step()?;
    }
    Ok(())
}

struct Helper {
    gateway: Option<OwnedFd>,
    templates: Templates,
    /// Sandboxes at the same time.
    most: usize,
    living: Vec<Living>,
    next_uid: u32,
    complaints: u32,
}

/// A forked process.
struct Living {
    pid: Pid,
    fd: OwnedFd,
    /// The sandbox's user on the host; none for a sweep.
    host_uid: Option<u32>,
}

/// What the gateway said.
enum Word {
    Ask(HelperWord, OwnedFd),
    Nonsense,
    Closed,
}

impl Helper {
    /// Waits for what happens next.
    fn step(&mut self) -> Result<(), Failure> {
        let mut fds: Vec<_> = self.living.iter().map(|living| PollFd::new(&living.fd, PollFlags::IN)).collect();
        fds.extend(self.gateway.as_ref().map(|gateway| PollFd::new(gateway, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno).because(Step::Supervise, || "nothing can be waited for".into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let spoke = self.gateway.is_some() && ready.last().is_some_and(|spoke| *spoke);
        let (dead, living) = std::mem::take(&mut self.living).into_iter().zip(ready).partition::<Vec<_>, _>(|(_, ready)| *ready);
        self.living = living.into_iter().map(|(living, _)| living).collect();
        dead.into_iter().try_for_each(|(dead, _)| self.bury(&dead))?;
        if spoke { self.hear() } else { Ok(()) }
    }

    /// A supervisor that was killed could not clean up after its sandbox.
    fn bury(&mut self, dead: &Living) -> Result<(), Failure> {
        let killed = loop {
            match waitpid(Some(dead.pid), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                Ok(Some((_, status))) => break status.signaled(),
                Ok(None) | Err(_) => break false,
            }
        };
        if killed && dead.host_uid.is_some() { self.fork(None, None) } else { Ok(()) }
    }

    fn hear(&mut self) -> Result<(), Failure> {
        let Some(gateway) = &self.gateway else { return Ok(()) };
        match receive(gateway) {
            Ok(Word::Ask(HelperWord::Sandbox, control)) => self.sandbox(control),
            Ok(Word::Ask(HelperWord::Sweep, told)) => self.sweep(told),
            Ok(Word::Ask(HelperWord::Ready, _) | Word::Nonsense) => {
                self.complaints = self.complaints.saturating_add(1);
                if self.complaints <= COMPLAINTS_MAX {
                    eprintln!("hexward-jail: the gateway sent a message that is none; it may have been taken over");
                }
                Ok(())
            }
            Ok(Word::Closed) => {
                self.gateway = None;
                Ok(())
            }
            Err(errno) => Err(errno).because(Step::Supervise, || "the gateway can't be heard".into()),
        }
    }

    fn sandbox(&mut self, control: OwnedFd) -> Result<(), Failure> {
        let sandboxes = self.living.iter().filter(|living| living.host_uid.is_some()).count();
        if sandboxes >= self.most {
            refuse(control, format!("there are {sandboxes} sandboxes already, and no more are allowed at the same time"));
            return Ok(());
        }
        let host_uid = self.free_uid();
        self.fork(Some(control), Some(host_uid))
    }

    /// One at a time. Whoever asks meanwhile is told by the closed descriptor that there is nothing to wait for.
    fn sweep(&mut self, told: OwnedFd) -> Result<(), Failure> {
        let is_sweeping = self.living.iter().any(|living| living.host_uid.is_none());
        if is_sweeping { Ok(()) } else { self.fork(Some(told), None) }
    }

    /// The next in turn that nobody has: as long as possible nobody meets what a predecessor left.
    fn free_uid(&mut self) -> u32 {
        loop {
            let host_uid = HOST_UID_FIRST + self.next_uid;
            self.next_uid = (self.next_uid + 1) % HOST_UIDS;
            if !self.living.iter().any(|living| living.host_uid == Some(host_uid)) {
                return host_uid;
            }
        }
    }

    /// A process for a sandbox or, without a user, for a sweep. It closes `fd` by its end.
    fn fork(&mut self, fd: Option<OwnedFd>, host_uid: Option<u32>) -> Result<(), Failure> {
        let forked = match sys::fork() {
            Ok(forked) => forked,
            Err(errno) => {
                // Too many processes, or no memory: this one asked in vain, and others may end.
                fd.into_iter().for_each(|fd| refuse(fd, format!("no process for a sandbox could be made ({errno})")));
                return Ok(());
            }
        };
        match forked {
            sys::Forked::Child => {
                self.gateway = None;
                self.living.clear();
                sys::exit_now(match (fd, host_uid) {
                    (Some(control), Some(host_uid)) => supervise(control, &self.templates, host_uid),
                    (_told, _) => sweep(),
                })
            }
            sys::Forked::Parent(pid) => {
                let fd = pidfd_open(pid, PidfdFlags::empty())
                    .because(Step::Supervise, || "no descriptor for a supervisor: too many open files?".into())?;
                self.living.push(Living { pid, fd, host_uid });
                Ok(())
            }
        }
    }
}

fn supervise(control: OwnedFd, templates: &Templates, host_uid: u32) -> i32 {
    // A session of its own, which no terminal's signal reaches.
    let _leader = setsid();
    match supervisor::serve(&UnixStream::from(control), &Authority::Templates { templates, host_uid }) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("hexward-jail: {error}");
            1
        }
    }
}

fn sweep() -> i32 {
    match cgroups::sweep() {
        Ok(swept) => {
            swept.iter().for_each(|id| eprintln!("hexward-jail: removed what was left of sandbox {id}"));
            0
        }
        Err(failure) => {
            eprintln!("hexward-jail: {failure}");
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
}

/// The next message: a known byte with one stream socket, or nothing that is understood. Descriptors beyond that are
/// closed by the kernel, which has no room to put them, or here.
fn receive(gateway: &OwnedFd) -> Result<Word, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 2];
    let received = loop {
        match recvmsg(gateway, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(Word::Closed),
            received => break received?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if received.bytes == 0 && fds.is_empty() {
        // An empty message can't be told from the end; a gateway that sends one has ended itself.
        return Ok(Word::Closed);
    }
    let cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let [byte, _] = bytes;
    match (HelperWord::of(byte), <[OwnedFd; 1]>::try_from(fds)) {
        (Some(word), Ok([fd])) if received.bytes == 1 && !cut && is_stream(&fd) => Ok(Word::Ask(word, fd)),
        _ => Ok(Word::Nonsense),
    }
}

fn is_stream(fd: &OwnedFd) -> bool {
    socket_domain(fd) == Ok(AddressFamily::UNIX) && socket_type(fd) == Ok(SocketType::STREAM)
}

/// Reads every template of a folder, which as each of its files belongs to this program's user and can be written by
/// nobody else.
fn read_templates(folder: &Path) -> Result<Templates, Failure> {
    let say = || format!("the folder of templates {} can't be read", folder.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat2(CWD, folder, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).because(Step::Plan, say)?;
    own(&opened, &folder.display().to_string(), FileType::Directory)?;
    let mut templates = Templates::new();
    for entry in Dir::read_from(&opened).because(Step::Plan, say)? {
        let entry = entry.because(Step::Plan, say)?;
        let file = entry.file_name().to_string_lossy();
        if file == "." || file == ".." {
            continue;
        }
        let name = file.strip_suffix(".json").filter(|name| is_name(name));
        let name = name.ok_or_else(|| failure(Step::Plan, format!("{file:?} is not the name of a template (NAME.json)")))?;
        templates.insert(name.to_owned(), read_template(&opened, &file)?);
        if templates.len() > TEMPLATES_MAX {
            return Err(failure(Step::Plan, format!("more than {TEMPLATES_MAX} templates")));
        }
    }
    Ok(templates)
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn read_template(folder: &OwnedFd, name: &str) -> Result<jail::Template, Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(folder, name, flags, Mode::empty()).because(Step::Plan, || format!("template {name} can't be opened"))?;
    own(&file, name, FileType::RegularFile)?;
    let mut text = String::new();
    let file = std::fs::File::from(file);
    std::io::Read::read_to_string(&mut std::io::Read::take(file, TEMPLATE_BYTES_MAX), &mut text)
        .because(Step::Plan, || format!("template {name} can't be read"))?;
    let template: jail::Template =
        serde_json::from_str(&text).map_err(|error| failure(Step::Plan, format!("template {name}: {error}")))?;
    template.validate().map_err(|fault| failure(Step::Plan, format!("template {name}: {fault}")))?;
    Ok(template)
}

/// Whether what was opened is of a kind and nobody else's to write.
fn own(fd: impl AsFd, name: &str, kind: FileType) -> Result<(), Failure> {
    let stat = statat(fd, "", AtFlags::EMPTY_PATH).because(Step::Plan, || format!("{name} can't be looked at"))?;
    let is_own = stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o022 == 0;
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(failure(Step::Plan, format!("template {name} is not a {kind:?}")));
    }
    if !is_own {
        let message = format!("{name} could be written by others than the helper's user: chown and chmod go-w it");
        return Err(failure(Step::Plan, message));
    }
    Ok(())
}

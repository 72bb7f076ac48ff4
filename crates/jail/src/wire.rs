//! Messages on the control socket: JSON behind a length of four bytes (big endian), at most [`FRAME_BYTES_MAX`].
//!
//! [`Inbox`] and [`Outbox`] do one system call per step and never wait by themselves, so the same code serves a blocking
//! socket and a readiness loop. Descriptors travel with the first byte of their message; in each direction only one
//! message carries any ([`Plan`](crate::Plan) the agent's standard streams, [`Reply::Ready`] the listeners and behind
//! them the upper layer of an overlay).

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest message. A plan carries a bundle of root certificates, which is a quarter of this.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Listeners of the standard and the extra ports, and some room.
const FDS_MAX: usize = 32;

const LENGTH_BYTES: usize = 4;

/// From the gateway, after the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// End the sandbox. Closing the socket does the same.
    Kill,
    /// Say what it has used up to now: [`Reply::Usage`].
    Usage,
    /// Try the sandbox's network from inside. Answered with [`Reply::Checked`], within a second or so.
    Check(Check),
}

/// The name under which a [`Check`] asks the gateway.
pub const CHECK_HOST_OWN: &str = "model.hexward.internal";
/// A name that nobody has (RFC 6761), so that asking for it must be denied.
pub const CHECK_HOST_DENIED: &str = "check.invalid";

/// What is to be tried. Numbers only: nothing that is asked can be put together by whoever sends this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Stands for [`CHECK_HOST_OWN`] in the sandbox.
    pub address: Ipv4Addr,
    /// Goes into the path of both requests.
    pub number: u64,
    /// A TCP port without a listener.
    pub closed_port: u16,
}

impl Check {
    /// What is asked for.
    #[must_use]
    pub fn path(number: u64) -> String {
        format!("/hexward/check/{number:016x}")
    }
}

/// What came back, as it came: the first kilobyte of each answer, or in brackets why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// From [`CHECK_HOST_OWN`].
    pub own: String,
    /// From [`CHECK_HOST_DENIED`].
    pub denied: String,
    /// Whether the closed port refused.
    pub closed: bool,
}

/// To the gateway. After [`Reply::Failed`] or [`Reply::Exited`] the socket closes when everything is cleaned up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The agent's program runs. Listeners come along: TCP 80, TCP 443, UDP 53, TCP 53, then the extra ports in order.
    Ready(Ready),
    /// No sandbox was made.
    Failed(Failure),
    /// The agent ended, and every process of the sandbox with it.
    Exited(End),
    /// What was asked for.
    Usage(Usage),
    /// What a [`Request::Check`] found. Nothing else changes.
    Checked(Checked),
}

/// What a sandbox has used since it was made, as the kernel counts from outside. A counter that this host does not have is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time of all its processes, in microseconds.
    pub cpu_us: Option<u64>,
    /// Processes that were killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Processes and threads that were not made, because there were as many as allowed.
    pub forks_refused: Option<u64>,
    /// Folders in which right now there is no room for another byte or another file, as the plan calls them.
    pub full: Vec<String>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Sentences about rules that this host could not enforce. Empty is the wanted state.
    pub downgrades: Vec<String>,
    /// From the arrival of the plan until the agent's program was executed.
    pub setup_us: u64,
    /// Process number of the sandbox's first process, as the host counts.
    pub init_pid: u32,
    /// Whether IPv6 is captured too.
    pub ipv6: bool,
    /// Control groups that hold the sandbox; the jail removes them.
    pub cgroups: Vec<PathBuf>,
    /// Whether the descriptor behind the listeners is the folder with what an overlay's agent changed. It can be read as long as it is
    /// held, also when the sandbox is gone; before that, its agent goes on changing it.
    #[serde(default)]
    pub upper: bool,
    /// How many descriptors behind that are counters of the sandbox's network: `/proc/net/snmp` and `snmp6`. They come with
    /// an upper layer, whose reader also tells what was refused, and can be read when the sandbox is gone.
    #[serde(default)]
    pub counters: u8,
}

/// How an agent ended: exactly one of `code` and `signal` is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The kernel killed something in the sandbox for want of memory.
    pub oom_killed: bool,
    /// What it had used in the end.
    #[serde(default)]
    pub usage: Usage,
}

/// Which part of the work failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Plan,
    Cgroup,
    Namespace,
    Network,
    Mount,
    Identity,
    Limits,
    Exec,
    Supervise,
}

/// Why no sandbox was made: what failed, whose fault it is and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub step: Step,
    /// What the kernel said, where it was asked.
    pub errno: Option<i32>,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        match self.errno {
            Some(errno) => write!(f, " ({})", std::io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// What can go wrong on the control socket.
#[derive(Debug)]
pub enum ControlError {
    /// The socket itself; `WouldBlock` means to come back when it is ready.
    Io(std::io::Error),
    /// A message longer than [`FRAME_BYTES_MAX`], or with too many descriptors.
    TooLong,
    /// A message that is not what it should be.
    Malformed(serde_json::Error),
    /// The other side is gone.
    Closed,
    /// The jail said no.
    Failed(Failure),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "control socket: {error}"),
            Self::TooLong => write!(f, "control message longer than {FRAME_BYTES_MAX} bytes or with too many descriptors"),
            Self::Malformed(error) => write!(f, "control message: {error}"),
            Self::Closed => f.write_str("the other side of the control socket is gone"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for ControlError {}

impl From<std::io::Error> for ControlError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for ControlError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl From<serde_json::Error> for ControlError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error)
    }
}

/// What one step of [`Inbox::fill`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    Bytes,
    Closed,
}

/// A message on its way out, with the descriptors that go along. They are closed here once it is dropped.
#[derive(Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Outbox {
    /// Encodes a message.
    ///
    /// # Errors
    /// If it is too long, or carries too many descriptors.
    pub fn new(message: &impl Serialize, fds: Vec<OwnedFd>) -> Result<Self, ControlError> {
        let mut bytes = vec![0; LENGTH_BYTES];
        serde_json::to_writer(&mut bytes, message)?;
        let length = bytes.len().saturating_sub(LENGTH_BYTES);
        if length > FRAME_BYTES_MAX || fds.len() > FDS_MAX {
            return Err(ControlError::TooLong);
        }
        let prefix = u32::try_from(length).map_err(|_| ControlError::TooLong)?.to_be_bytes();
        bytes.iter_mut().zip(prefix).for_each(|(slot, byte)| *slot = byte);
        Ok(Self { bytes, sent: 0, fds })
    }

    /// Sends until everything is sent, which is told with `true`.
    ///
    /// # Errors
    /// Of the socket. `WouldBlock` among them: come back when it can be written to.
    pub fn flush(&mut self, socket: impl AsFd) -> Result<bool, ControlError> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let fds: Vec<_> = self.fds.iter().map(AsFd::as_fd).collect();
            if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(ControlError::TooLong);
            }
            match sendmsg(&socket, &[IoSlice::new(rest)], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(count) => self.sent = self.sent.saturating_add(count),
                Err(Errno::INTR) => continue,
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ControlError::Closed),
                Err(errno) => return Err(errno.into()),
            }
            self.fds.clear();
        }
        Ok(true)
    }
}

/// Messages on their way in.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Inbox {
    /// Receives once.
    ///
    /// # Errors
    /// Of the socket, `WouldBlock` among them; too many descriptors.
    pub fn fill(&mut self, socket: impl AsFd) -> Result<Filled, ControlError> {
        let mut buffer = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let count = loop {
            match recvmsg(&socket, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received.bytes,
                // A reset says that the other side closed without reading everything; what it said before comes next.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > FDS_MAX {
            return Err(ControlError::TooLong);
        }
        self.bytes.extend(buffer.iter().take(count));
        Ok(if count == 0 { Filled::Closed } else { Filled::Bytes })
    }

    /// The next whole message, if it is here.
    ///
    /// # Errors
    /// If it is too long or not a `T`.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControlError> {
        let Some((prefix, rest)) = self.bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).map_err(|_| ControlError::TooLong)?;
        if length > FRAME_BYTES_MAX {
            return Err(ControlError::TooLong);
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.bytes.drain(..LENGTH_BYTES + length);
        Ok(Some(message))
    }

    /// The descriptors that have come so far.
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn failure() -> Reply {
        Reply::Failed(Failure { step: Step::Exec, errno: Some(2), message: "x".repeat(50_000) })
    }

    #[test]
    fn messages_and_descriptors_cross_in_pieces() {
        let (left, right) = UnixStream::pair().expect("a pair");
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut out = Outbox::new(&failure(), vec![writer.into()]).expect("fits");
        assert!(out.flush(&left).expect("sent"));
        let mut inbox = Inbox::default();
        let got = loop {
            inbox.fill(&right).expect("received");
            if let Some(reply) = inbox.take::<Reply>().expect("well formed") {
                break reply;
            }
        };
        assert_eq!(got, failure());
        let mut fds = inbox.take_fds();
        assert_eq!(fds.len(), 1);
        drop(out);
        std::fs::File::from(fds.remove(0)).write_all(b"hello").expect("written");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("every writer is closed");
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_its_body() {
        let (mut left, right) = UnixStream::pair().expect("a pair");
        left.write_all(&u32::MAX.to_be_bytes()).expect("written");
        let mut inbox = Inbox::default();
        inbox.fill(&right).expect("received");
        assert!(matches!(inbox.take::<Request>(), Err(ControlError::TooLong)));
        assert!(matches!(Outbox::new(&"x".repeat(FRAME_BYTES_MAX), Vec::new()), Err(ControlError::TooLong)));
    }

    #[test]
    fn nothing_waits_when_the_socket_does_not_block() {
        let (left, right) = UnixStream::pair().expect("a pair");
        right.set_nonblocking(true).expect("set");
        let mut inbox = Inbox::default();
        assert!(matches!(inbox.fill(&right), Err(ControlError::Io(e)) if e.kind() == std::io::ErrorKind::WouldBlock));
        drop(left);
        assert_eq!(inbox.fill(&right).expect("end of file"), Filled::Closed);
    }
}

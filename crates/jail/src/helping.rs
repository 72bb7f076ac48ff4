//! A gateway's side of its helper, the program as `serve FOLDER MOST`.

use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recvmsg, sendmsg, socketpair,
};

use crate::wire::ControlError;

/// Reading templates and removing what a former life left takes far less.
const START_WAIT: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
/// Every sandbox is gone when a helper is no longer needed; whoever still holds one waits for it elsewhere.
const END_WAIT: Duration = Duration::from_secs(10);
const END_STEP: Duration = Duration::from_millis(2);
/// A helper only forks between two messages.
const ASK_WAIT: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// What is said between a gateway without power and its helper (`hexward-jail serve`), on a socket that keeps boundaries:
/// one byte, and from the gateway one stream socket along with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum HelperWord {
    /// From the helper, once, without a descriptor: it has its templates, and the sockets may come.
    Ready = b'r',
    /// A sandbox, with this control socket, on which an [`Order`](crate::Order) takes the place of the plan.
    Sandbox = b's',
    /// Removal of what killed supervisors left; the socket is closed when it is over.
    Sweep = b'w',
}

impl HelperWord {
    /// What a byte means.
    #[must_use]
    pub const fn of(byte: u8) -> Option<Self> {
        match byte {
            b'r' => Some(Self::Ready),
            b's' => Some(Self::Sandbox),
            b'w' => Some(Self::Sweep),
            _ => None,
        }
    }
}

/// A privileged helper under way. Dropping it ends it, once every sandbox that it made is
/// gone, and waits for that, for a while.
#[derive(Debug)]
pub struct Helper {
    socket: Option<OwnedFd>,
    child: Child,
}

impl Helper {
    /// Starts the program with the caller's rights, as which it stays. It takes its templates from the `NAME.json` of
    /// `folder`, which is not needed afterwards, and makes no more than `most` sandboxes at the same time.
    ///
    /// # Errors
    /// If it can't be started, or can't use its templates; it says why on standard error.
    pub fn start(program: &Path, folder: &Path, most: usize) -> Result<Self, ControlError> {
        let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let child = {
            // The command holds the program's end; it must be closed here for the program's death to be noticed.
            let mut command = Command::new(program);
            command
                .arg("serve")
                .arg(folder)
                .arg(most.to_string())
                .stdin(theirs)
                .stdout(Stdio::null())
                .env_clear()
                .current_dir("/");
            command.spawn()?
        };
        let helper = Self { socket: Some(socket), child };
        helper.wait_ready()?;
        Ok(helper)
    }

    /// Asks for a sandbox, which is prepared from now on. It lives as long as this control socket, on which an
    /// [`Order`](crate::Order) is expected; when it is gone, its end is closed.
    ///
    /// # Errors
    /// If the helper is gone or too busy, or no descriptors are left.
    pub fn sandbox(&self) -> Result<UnixStream, ControlError> {
        self.ask(HelperWord::Sandbox)
    }

    /// Asks for what killed supervisors left to be removed. The socket is at its end when that is done.
    ///
    /// # Errors
    /// As [`Helper::sandbox`].
    pub fn sweep(&self) -> Result<UnixStream, ControlError> {
        self.ask(HelperWord::Sweep)
    }

    /// Process number of the helper.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The socket itself, for whoever wants to say something else than this does.
    ///
    /// # Panics
    /// Never: it is there until the drop.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("only the drop takes it").as_fd()
    }

    fn ask(&self, word: HelperWord) -> Result<UnixStream, ControlError> {
        let (ours, theirs) = UnixStream::pair()?;
        let fds = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        loop {
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(ControlError::TooLong);
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(self.socket(), &[IoSlice::new(&[word as u8])], &mut ancillary, flags) {
                Ok(_) => return Ok(ours),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait(self.socket(), PollFlags::OUT, &ASK_WAIT)?,
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ControlError::Closed),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn wait_ready(&self) -> Result<(), ControlError> {
        wait(self.socket(), PollFlags::IN, &START_WAIT)?;
        let mut byte = [0];
        let mut none = RecvAncillaryBuffer::default();
        let received = recvmsg(self.socket(), &mut [IoSliceMut::new(&mut byte)], &mut none, RecvFlags::empty())?;
        let [byte] = byte;
        if received.bytes == 1 && HelperWord::of(byte) == Some(HelperWord::Ready) { Ok(()) } else { Err(ControlError::Closed) }
    }
}

fn wait(fd: impl AsFd + AsRawFd, flags: PollFlags, most: &Timespec) -> Result<(), ControlError> {
    match poll(&mut [PollFd::new(&fd, flags)], Some(most)) {
        Ok(0) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A log that can't be written is no reason to end.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "hexward-jail: {what}");
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.socket.take();
        let deadline = Instant::now() + END_WAIT;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(END_STEP),
                Ok(Some(_)) => return,
                Ok(None) => return say("a helper still waits for a sandbox whose control socket is open"),
                Err(error) => return say(&format!("a helper could not be waited for: {error}")),
            }
        }
    }
}

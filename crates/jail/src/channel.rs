//! Messages between the supervisor, the sandbox's first process and the agent's process before it executes: JSON on a
//! socket pair that keeps boundaries, closed by `execve`.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use jail::{Failure, Step};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Because, failure};

/// The longest message: a failure with its sentence, or the list of downgrades.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

pub struct Channel(OwnedFd);

impl Channel {
    pub fn pair() -> Result<(Self, Self), Failure> {
        let (left, right) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .because(Step::Supervise, || "a socket pair could not be made".into())?;
        Ok((Self(left), Self(right)))
    }

    pub fn send(&self, message: &impl Serialize) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(message).map_err(|error| failure(Step::Supervise, error.to_string()))?;
        loop {
            match send(&self.0, &bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                result => return result.map(|_| ()).because(Step::Supervise, || "a process of the jail is gone".into()),
            }
        }
    }

    /// The next message; `None` when the other side has closed.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let mut ended = false;
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                // A reset says that the other side closed without reading everything; what it said before comes next.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                // The kernel looks for a message and then for the end, without a lock around both: one that was sent and
                // followed by the end in between is still there. Unheard, a failure to execute would pass for an execution.
                Ok((_, 0)) if !ended => ended = true,
                Ok((_, 0)) => return Ok(None),
                Ok((_, count)) => {
                    let bytes = buffer.get(..count).ok_or_else(|| failure(Step::Supervise, "message too long"))?;
                    return serde_json::from_slice(bytes).map(Some).map_err(|e| failure(Step::Supervise, e.to_string()));
                }
                Err(errno) => return Err(errno).because(Step::Supervise, || "a process of the jail can't be heard".into()),
            }
        }
    }

    /// Hands over a descriptor, as a message of its own.
    pub fn send_fd(&self, fd: BorrowedFd<'_>) -> Result<(), Failure> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let sent = sendmsg(&self.0, &[IoSlice::new(b"f")], &mut ancillary, SendFlags::NOSIGNAL);
        match sent {
            Ok(_) if fits => Ok(()),
            Ok(_) => Err(failure(Step::Supervise, "a descriptor did not fit")),
            Err(errno) => Err(errno).because(Step::Supervise, || "a descriptor can't be handed over".into()),
        }
    }

    /// The other end of [`Channel::send_fd`].
    pub fn recv_fd(&self) -> Result<OwnedFd, Failure> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(&self.0, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .because(Step::Supervise, || "a descriptor did not arrive".into())?;
        let mut fds = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds = Some(received);
            }
        }
        let mut fds = fds.into_iter().flatten();
        fds.next().ok_or_else(|| failure(Step::Supervise, "a descriptor was announced and is missing"))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

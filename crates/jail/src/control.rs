//! The gateway's end of a supervisor's control socket, as the supervisor sees it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use jail::{AgentStdio, ControlError, Failure, Filled, Inbox, Outbox, Plan, Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::authority::Authority;

/// How long a prepared sandbox waits for its plan. A gateway ends it sooner; this is for one that hangs.
pub const PLAN_WAIT: Timespec = Timespec { tv_sec: 180, tv_nsec: 0 };

/// The other end of the control socket.
pub struct Gateway<'a> {
    pub control: &'a UnixStream,
    pub inbox: Inbox,
    pub authority: &'a Authority<'a>,
    pub plan_wait: Timespec,
}

impl Gateway<'_> {
    /// Waits for the plan; nothing if the sandbox's first process is gone before.
    pub fn receive_plan(&mut self, init: Option<&OwnedFd>) -> Result<Option<(Plan, AgentStdio)>, ControlError> {
        loop {
            if let Some(plan) = self.authority.take(&mut self.inbox)? {
                let streams = <[OwnedFd; 3]>::try_from(self.inbox.take_fds());
                let streams = streams.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                if let Err(refusal) = self.authority.accept(&streams) {
                    // Closing one could take as long as somebody likes; the end of this process does not wait.
                    std::mem::forget(streams);
                    return Err(refusal);
                }
                let [stdin, stdout, stderr] = streams;
                return Ok(Some((plan, AgentStdio { stdin, stdout, stderr })));
            }
            let asked = self.control.as_fd();
            let mut fds = [
                PollFd::from_borrowed_fd(asked, PollFlags::IN),
                PollFd::from_borrowed_fd(init.map_or(asked, AsFd::as_fd), PollFlags::IN),
                PollFd::from_borrowed_fd(self.authority.guardian().unwrap_or(asked), PollFlags::IN),
            ];
            match poll(&mut fds, Some(&self.plan_wait)) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
                Ok(_) => {}
            }
            let [asked, died, unguarded] = fds.map(|fd| !fd.revents().is_empty());
            if init.is_some() && died {
                return Ok(None);
            }
            if self.authority.guardian().is_some() && unguarded {
                return Err(ControlError::Closed);
            }
            if asked && self.inbox.fill(self.control)? == Filled::Closed {
                return Err(ControlError::Closed);
            }
        }
    }

    /// Says at once that there will be no sandbox, and then takes the plan nevertheless, so that a gateway in the middle
    /// of sending it comes to read the answer.
    pub fn refuse(&mut self, failure: Failure) -> Result<(), ControlError> {
        self.reply(&Reply::Failed(failure), Vec::new())?;
        let _no_use = self.receive_plan(None);
        Ok(())
    }

    pub fn reply(&self, reply: &Reply, fds: Vec<OwnedFd>) -> Result<(), ControlError> {
        Outbox::new(reply, fds)?.flush(self.control).map(|_all| ())
    }

    /// To a gateway that may have turned away already, which is its right.
    pub fn say_last(&self, reply: &Reply) -> Result<(), ControlError> {
        match self.reply(reply, Vec::new()) {
            Err(ControlError::Closed) => Ok(()),
            said => said,
        }
    }

    /// What to do after the socket has become readable, if all of it is there. Whatever is not understood ends the sandbox.
    pub fn requests(&mut self) -> Vec<Request> {
        let Ok(Filled::Bytes) = self.inbox.fill(self.control) else { return vec![Request::Kill] };
        let mut requests = Vec::new();
        while let Some(request) = self.inbox.take().unwrap_or(Some(Request::Kill)) {
            requests.push(request);
            if request == Request::Kill {
                break;
            }
        }
        requests
    }
}

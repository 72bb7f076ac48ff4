//! Starting the program and talking to it, with threads that may wait. A gateway that must not wait uses [`command`],
//! [`control_pair`] and the [`Inbox`] and [`Outbox`] of this crate directly.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{ControlError, Filled, Inbox, Outbox, Plan, Ready, Reply, Request};

/// The agent's ends of its three streams.
#[derive(Debug)]
pub struct AgentStdio {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

impl AgentStdio {
    /// In the order in which they travel with the plan.
    #[must_use]
    pub fn into_fds(self) -> Vec<OwnedFd> {
        vec![self.stdin, self.stdout, self.stderr]
    }
}

/// What captures the sandbox's network, in the order in which it travels. All are non-blocking.
#[derive(Debug)]
pub struct Listeners {
    pub http: TcpListener,
    pub tls: TcpListener,
    /// Receives with the asked address (`IPV6_PKTINFO`; IPv4 appears as `::ffff:a.b.c.d`), or with `IP_PKTINFO` where
    /// the host has no IPv6. Answer from that address.
    pub dns_udp: UdpSocket,
    pub dns_tcp: TcpListener,
    /// The plan's extra ports, in order.
    pub extra: Vec<TcpListener>,
}

impl Listeners {
    /// The descriptors that came with [`Reply::Ready`]: listeners, the upper layer of an overlay, and counters.
    #[must_use]
    pub fn from_ready(ready: &Ready, mut fds: Vec<OwnedFd>) -> Option<(Self, Option<OwnedFd>, Vec<OwnedFd>)> {
        let counters = fds.split_off(fds.len().checked_sub(usize::from(ready.counters))?);
        let upper = if ready.upper { Some(fds.pop()?) } else { None };
        Some((Self::from_fds(fds)?, upper, counters))
    }

    /// Names what came with [`Reply::Ready`]; `None` if it was too few.
    #[must_use]
    pub fn from_fds(fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        Some(Self {
            http: fds.next()?.into(),
            tls: fds.next()?.into(),
            dns_udp: fds.next()?.into(),
            dns_tcp: fds.next()?.into(),
            extra: fds.map(TcpListener::from).collect(),
        })
    }
}

/// The two ends of a control socket: the gateway's, and the one for [`command`].
///
/// # Errors
/// If the process has no descriptors left.
pub fn control_pair() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, theirs.into()))
}

/// The program as a command, its control socket in place, without environment. Its standard error is the caller's log
/// unless changed; the agent's streams travel with the plan.
#[must_use]
pub fn command(program: &Path, control: OwnedFd) -> Command {
    let mut command = Command::new(program);
    command.stdin(control).stdout(Stdio::null()).stderr(Stdio::inherit()).env_clear().current_dir("/");
    command
}

/// The program as a command that removes what killed supervisors left behind: control groups, and processes that were
/// frozen at that moment. Prints the ids of their sandboxes, one a line. A gateway runs it when it starts; live
/// sandboxes, its own or another gateway's, are not touched.
#[must_use]
pub fn sweep_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("sweep").stdin(Stdio::null()).env_clear().current_dir("/");
    command
}

/// A sandbox that has no plan yet: the program does meanwhile what does not depend on one. Dropping it ends it.
#[derive(Debug)]
pub struct Prepared(Jail);

impl Prepared {
    /// Starts the program, ahead of need.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn spawn(program: &Path) -> Result<Self, ControlError> {
        let (control, theirs) = control_pair()?;
        Self::start(command(program, theirs), control)
    }

    /// The same with a [`command`] that the caller has changed, and the other end of its control socket.
    ///
    /// # Errors
    /// As [`Prepared::spawn`].
    pub fn start(mut command: Command, control: UnixStream) -> Result<Self, ControlError> {
        let child = command.spawn()?;
        // The command still holds the program's end, without which its death would not be noticed here.
        drop(command);
        Ok(Self(Jail { control: Some(control), inbox: Inbox::default(), child, upper: None }))
    }

    /// Hands it the plan.
    ///
    /// # Errors
    /// If it has ended meanwhile.
    pub fn begin(self, plan: &Plan, stdio: AgentStdio) -> Result<Jail, ControlError> {
        self.0.send(Outbox::new(plan, stdio.into_fds())?)?;
        Ok(self.0)
    }

    /// Process number of the supervising program.
    #[must_use]
    pub fn supervisor_pid(&self) -> u32 {
        self.0.supervisor_pid()
    }
}

/// One sandbox under way. Dropping it ends the sandbox and waits until it is cleaned up.
#[derive(Debug)]
pub struct Jail {
    control: Option<UnixStream>,
    inbox: Inbox,
    child: Child,
    upper: Option<OwnedFd>,
}

impl Jail {
    /// Starts the program and hands it the plan.
    ///
    /// # Errors
    /// If the program can't be started, or ends before it read the plan.
    pub fn spawn(program: &Path, plan: &Plan, stdio: AgentStdio) -> Result<Self, ControlError> {
        Prepared::spawn(program)?.begin(plan, stdio)
    }

    /// The same with a [`command`] that the caller has changed, and the other end of its control socket.
    ///
    /// # Errors
    /// As [`Jail::spawn`].
    pub fn start(command: Command, control: UnixStream, plan: &Plan, stdio: AgentStdio) -> Result<Self, ControlError> {
        Prepared::start(command, control)?.begin(plan, stdio)
    }

    /// Waits until the agent runs.
    ///
    /// # Errors
    /// [`ControlError::Failed`] says why there is no sandbox; a silence longer than `timeout` is an I/O error.
    pub fn wait_ready(&mut self, timeout: Duration) -> Result<(Ready, Listeners), ControlError> {
        match self.wait_reply(timeout)? {
            Reply::Ready(ready) => {
                let (listeners, upper, _) = Listeners::from_ready(&ready, self.inbox.take_fds()).ok_or(ControlError::Closed)?;
                self.upper = upper;
                Ok((ready, listeners))
            }
            Reply::Failed(failure) => Err(ControlError::Failed(failure)),
            Reply::Exited(_) | Reply::Usage(_) | Reply::Checked(_) => Err(ControlError::Closed),
        }
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// A closed socket, or a silence longer than `timeout`.
    pub fn wait_reply(&mut self, timeout: Duration) -> Result<Reply, ControlError> {
        let control = self.control.as_ref().ok_or(ControlError::Closed)?;
        control.set_read_timeout(Some(timeout))?;
        loop {
            if let Some(reply) = self.inbox.take()? {
                return Ok(reply);
            }
            if self.inbox.fill(control)? == Filled::Closed {
                return Err(ControlError::Closed);
            }
        }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// If the program is gone.
    pub fn request(&self, request: Request) -> Result<(), ControlError> {
        self.send(Outbox::new(&request, Vec::new())?)
    }

    /// What an overlay's agent changed; there once the agent runs.
    pub fn take_upper(&mut self) -> Option<OwnedFd> {
        self.upper.take()
    }

    /// The gateway's end of the control socket.
    ///
    /// # Panics
    /// Never: it is there until the drop.
    #[must_use]
    pub fn control(&self) -> &UnixStream {
        self.control.as_ref().expect("only the drop takes it")
    }

    /// Process number of the supervising program.
    #[must_use]
    pub fn supervisor_pid(&self) -> u32 {
        self.child.id()
    }

    fn send(&self, mut message: Outbox) -> Result<(), ControlError> {
        let control = self.control.as_ref().ok_or(ControlError::Closed)?;
        message.flush(control).map(|_all| ())
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        // Closing the socket is the order to end; the program bounds the time it takes.
        self.control.take();
        if let Err(error) = self.child.wait() {
            let _ = writeln!(std::io::stderr(), "hexward-jail could not be waited for: {error}");
        }
    }
}

//! From the plan to the end of the sandbox, outside it: the only part that keeps what power there is, and the only one
//! that talks with the gateway.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jail::{AgentStdio, ControlError, End, Failure, Filled, Inbox, Outbox, Plan, Ready, Reply, Request, Step};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};

use crate::agent::GoOn;
use crate::cgroups::Cgroups;
use crate::channel::Channel;
use crate::failure::{Because, failure};
use crate::init::{self, FromInit, Start};
use crate::namespaces::Power;
use crate::net::{self, Network};
use crate::privileges;
use crate::sys::{self, Forked};

/// The gateway sends the plan at once; and a sandbox that takes longer than this hangs on something.
const PLAN_WAIT: Duration = Duration::from_secs(10);
const SETUP_WAIT: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

const KILLED: End = End { code: None, signal: Some(libc::SIGKILL), oom_killed: false };

/// Serves one sandbox on the control socket, until nothing of it is left.
pub fn serve(control: &UnixStream) -> Result<(), ControlError> {
    let mut gateway = Gateway { control, inbox: Inbox::default() };
    let (plan, stdio) = match gateway.receive_plan() {
        Ok(received) => received,
        Err(ControlError::Closed) => return Ok(()),
        Err(error) => {
            let message = format!("no plan with three standard streams arrived: {error}");
            return gateway.reply(&Reply::Failed(failure(Step::Plan, message)), Vec::new());
        }
    };
    let begun = Instant::now();
    match Sandbox::begin(&plan, stdio) {
        Ok((sandbox, network)) => sandbox.supervise(&mut gateway, network, begun),
        Err(failure) => gateway.reply(&Reply::Failed(failure), Vec::new()),
    }
}

/// The other end of the control socket.
struct Gateway<'a> {
    control: &'a UnixStream,
    inbox: Inbox,
}

impl Gateway<'_> {
    fn receive_plan(&mut self) -> Result<(Plan, AgentStdio), ControlError> {
        self.control.set_read_timeout(Some(PLAN_WAIT))?;
        loop {
            if let Some(plan) = self.inbox.take()? {
                let streams = <[OwnedFd; 3]>::try_from(self.inbox.take_fds());
                let [stdin, stdout, stderr] = streams.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                return Ok((plan, AgentStdio { stdin, stdout, stderr }));
            }
            if self.inbox.fill(self.control)? == Filled::Closed {
                return Err(ControlError::Closed);
            }
        }
    }

    fn reply(&self, reply: &Reply, fds: Vec<OwnedFd>) -> Result<(), ControlError> {
        Outbox::new(reply, fds)?.flush(self.control).map(|_all| ())
    }

    /// What to do after the socket has become readable: true to end the sandbox.
    fn wants_end(&mut self) -> bool {
        let filled = self.inbox.fill(self.control);
        let asked = self.inbox.take::<Request>();
        !matches!((filled, asked), (Ok(Filled::Bytes), Ok(None)))
    }
}

/// One sandbox under way.
struct Sandbox {
    cgroups: Cgroups,
    init: Pid,
    init_fd: OwnedFd,
    channel: Channel,
}

/// What happened next.
enum Event {
    Init(FromInit),
    /// The first process died without a word.
    InitGone,
    GatewayEnds,
    TooSlow,
}

impl Sandbox {
    /// Forks the sandbox's first process and prepares the network meanwhile.
    fn begin(plan: &Plan, stdio: AgentStdio) -> Result<(Self, Network), Failure> {
        plan.validate().map_err(|fault| failure(Step::Plan, format!("the plan is not valid: {fault}")))?;
        let power = Power::probe();
        let mut cgroups = Cgroups::create(plan, power)?;
        match fork_init(plan, power, &cgroups, stdio) {
            Ok((init, init_fd, channel)) => {
                let sandbox = Self { cgroups, init, init_fd, channel };
                match net::prepare(&plan.extra_ports) {
                    Ok(network) => {
                        // A first process that is gone has said why, which is heard next.
                        let _gone = sandbox.channel.send(&GoOn);
                        Ok((sandbox, network))
                    }
                    Err(failure) => {
                        sandbox.end();
                        Err(failure)
                    }
                }
            }
            Err(failure) => {
                cgroups.remove();
                Err(failure)
            }
        }
    }

    fn supervise(self, gateway: &mut Gateway<'_>, network: Network, begun: Instant) -> Result<(), ControlError> {
        let outcome = match self.next(gateway, Some(&SETUP_WAIT)) {
            Event::Init(FromInit::Started { downgrades, upper }) => {
                let upper = upper.then(|| self.channel.recv_fd().ok()).flatten();
                let (ready, mut fds) = self.ready(network, downgrades, begun);
                let ready = Ready { upper: upper.is_some(), ..ready };
                fds.extend(upper);
                match gateway.reply(&Reply::Ready(ready), fds) {
                    Ok(()) => self.outlive(gateway),
                    // A gateway that is gone wants nothing more.
                    Err(_) => None,
                }
            }
            Event::Init(FromInit::Failed(failure)) => Some(Reply::Failed(failure)),
            Event::Init(FromInit::Exited(_)) | Event::InitGone => Some(Reply::Failed(self.died_early())),
            Event::TooSlow => Some(Reply::Failed(failure(Step::Supervise, "the sandbox was not built in time"))),
            Event::GatewayEnds => None,
        };
        self.finish(gateway, outcome)
    }

    fn ready(&self, network: Network, from_init: Vec<String>, begun: Instant) -> (Ready, Vec<OwnedFd>) {
        let mut downgrades = self.cgroups.downgrades.clone();
        downgrades.extend(network.downgrades);
        downgrades.extend(from_init);
        let ready = Ready {
            downgrades,
            setup_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            init_pid: self.init.as_raw_nonzero().get().unsigned_abs(),
            ipv6: network.ipv6,
            cgroups: self.cgroups.folders().iter().map(PathBuf::clone).collect(),
            upper: false,
        };
        (ready, network.listeners)
    }

    /// Waits for the end: the agent's own, or the gateway's word.
    fn outlive(&self, gateway: &mut Gateway<'_>) -> Option<Reply> {
        let end = match self.next(gateway, None) {
            Event::Init(FromInit::Exited(end)) => end,
            Event::Init(FromInit::Started { .. } | FromInit::Failed(_)) | Event::InitGone | Event::TooSlow => KILLED,
            Event::GatewayEnds => return Some(Reply::Exited(KILLED)),
        };
        Some(Reply::Exited(End { oom_killed: self.cgroups.oom_killed(), ..end }))
    }

    fn died_early(&self) -> Failure {
        let reason = match self.cgroups.oom_killed() {
            true => "the memory limit is too small to build the sandbox in",
            false => "the sandbox's first process died while it was built",
        };
        failure(Step::Supervise, reason)
    }

    /// Waits for whoever speaks first. A message of the first process counts before its death, which follows it.
    fn next(&self, gateway: &mut Gateway<'_>, timeout: Option<&Timespec>) -> Event {
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.init_fd.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(gateway.control.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, timeout) {
                Ok(0) => return Event::TooSlow,
                Err(Errno::INTR) => continue,
                Err(_) => return Event::GatewayEnds,
                Ok(_) => {}
            }
            let [spoke, died, asked] = fds.map(|fd| !fd.revents().is_empty());
            if spoke {
                return self.channel.recv().ok().flatten().map_or(Event::InitGone, Event::Init);
            }
            if died {
                return Event::InitGone;
            }
            if asked && gateway.wants_end() {
                return Event::GatewayEnds;
            }
        }
    }

    /// Ends every process, says the last word, and removes the rest.
    fn finish(mut self, gateway: &Gateway<'_>, last: Option<Reply>) -> Result<(), ControlError> {
        self.kill();
        let said = last.map_or(Ok(()), |reply| gateway.reply(&reply, Vec::new()));
        self.cgroups.remove();
        match said {
            // The gateway has already turned away, which is its right.
            Err(ControlError::Closed) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn end(mut self) {
        self.kill();
        self.cgroups.remove();
    }

    /// Kills the first process, which takes all others with it, and waits until they are gone.
    fn kill(&self) {
        // Not yet waited for, so the number is still its own. It fails only if the process has ended already.
        let _ended = kill_process(self.init, Signal::KILL);
        self.cgroups.thaw();
        self.cgroups.kill();
        while let Err(Errno::INTR) = waitpid(Some(self.init), WaitOptions::empty()) {}
    }
}

fn fork_init(plan: &Plan, power: Power, cgroups: &Cgroups, stdio: AgentStdio) -> Result<(Pid, OwnedFd, Channel), Failure> {
    power.acquire()?;
    let (ours, theirs) = Channel::pair()?;
    match sys::fork().because(Step::Namespace, || "the sandbox's first process could not be forked".into())? {
        Forked::Child => {
            drop(ours);
            init::run(Start { plan, power, cgroups, stdio, supervisor: theirs })
        }
        Forked::Parent(init) => {
            let init_fd = pidfd_open(init, PidfdFlags::empty());
            // Only now: writing its own user map takes an open process.
            privileges::be_opaque()?;
            Ok((init, init_fd.because(Step::Supervise, || "no descriptor for the first process".into())?, ours))
        }
    }
}

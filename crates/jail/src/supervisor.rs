//! From before the plan to the end of the sandbox, outside it: the only part that keeps what power there is, and the only
//! one that talks with the gateway.
//!
//! Whatever does not depend on the plan is done before it arrives, so a gateway that starts this program ahead of need
//! waits for the rest only. A prepared sandbox is like any other: it ends with its control socket, and holds one agent.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jail::{AgentStdio, ControlError, End, Failure, Inbox, Outbox, Plan, Ready, Reply, Request, Step, Usage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};

use crate::authority::{self, Authority};
use crate::cgroups::Cgroups;
use crate::channel::Channel;
use crate::check;
use crate::control::{Gateway, PLAN_WAIT};
use crate::failure::{Because, failure};
use crate::init::{self, FromInit, Start};
use crate::namespaces::Power;
use crate::net::{self, Network};
use crate::privileges;
use crate::sys;
use crate::usage::{self, Folder};

/// A sandbox that takes longer than this hangs on something.
const SETUP_WAIT: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

const ERRAND_WAIT: Duration = Duration::from_secs(20);

const UNKNOWN: Usage = Usage { cpu_us: None, oom_kills: None, forks_refused: None, full: Vec::new() };
const KILLED: End = End { code: None, signal: Some(libc::SIGKILL), oom_killed: false, usage: UNKNOWN };

/// Serves one sandbox on the control socket, until nothing of it is left.
pub fn serve(control: &UnixStream, authority: &Authority<'_>) -> Result<(), ControlError> {
    let mut gateway = Gateway { control, inbox: Inbox::default(), authority, plan_wait: PLAN_WAIT };
    let mut prepared = match Prepared::make() {
        Ok(prepared) => prepared,
        Err(failure) => return gateway.refuse(failure),
    };
    match gateway.receive_plan(Some(&prepared.sandbox.init_fd)) {
        Ok(Some((plan, stdio))) => {
            let begun = Instant::now();
            match prepared.begin(&plan, stdio) {
                Ok(()) => prepared.sandbox.supervise(&mut gateway, prepared.network, begun),
                Err(failure) => {
                    prepared.sandbox.end();
                    gateway.reply(&Reply::Failed(failure), Vec::new())
                }
            }
        }
        Ok(None) => gateway.refuse(prepared.sandbox.fail()),
        Err(ControlError::Closed) => {
            prepared.sandbox.end();
            // Whoever closed only its own half hears that this was the end.
            gateway.say_last(&Reply::Exited(KILLED))
        }
        Err(ControlError::Failed(failure)) => {
            prepared.sandbox.end();
            gateway.reply(&Reply::Failed(failure), Vec::new())
        }
        Err(error) => {
            prepared.sandbox.end();
            let message = format!("no plan with three standard streams arrived: {error}");
            gateway.reply(&Reply::Failed(failure(Step::Plan, message)), Vec::new())
        }
    }
}

/// Everything of a sandbox that does not depend on its plan.
struct Prepared {
    sandbox: Sandbox,
    network: Network,
    /// On which the plan goes to the first process.
    errand: UnixStream,
}

impl Prepared {
    /// Forks the sandbox's first process and prepares the network meanwhile.
    fn make() -> Result<Self, Failure> {
        let power = Power::probe();
        let mut cgroups = Cgroups::create(power)?;
        match fork_init(power, &mut cgroups) {
            Ok(Forked { init, init_fd, channel, errand }) => {
                let sandbox = Sandbox { cgroups, init, init_fd, channel, folders: Vec::new() };
                match net::prepare() {
                    Ok(network) => Ok(Self { sandbox, network, errand }),
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

    /// Sets what the plan decides outside, and hands it to the first process. Only after this there is an agent.
    fn begin(&mut self, plan: &Plan, stdio: AgentStdio) -> Result<(), Failure> {
        plan.validate().map_err(|fault| authority::refusal(&fault))?;
        self.sandbox.cgroups.limit(&plan.limits)?;
        self.network.listen_on(&plan.extra_ports)?;
        let sent = Outbox::new(plan, stdio.into_fds()).and_then(|mut errand| errand.flush(&self.errand));
        match sent {
            // A first process that is gone has said why, which is heard next.
            Ok(_) | Err(ControlError::Closed) => Ok(()),
            Err(error) => Err(failure(Step::Supervise, format!("the plan did not reach the sandbox's first process: {error}"))),
        }
    }
}

/// One sandbox under way.
struct Sandbox {
    cgroups: Cgroups,
    init: Pid,
    init_fd: OwnedFd,
    channel: Channel,
    /// What the agent may write to.
    folders: Vec<Folder>,
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
    fn supervise(mut self, gateway: &mut Gateway<'_>, network: Network, begun: Instant) -> Result<(), ControlError> {
        let outcome = match self.next(gateway, Some(&SETUP_WAIT)) {
            Event::Init(FromInit::Started { downgrades, upper, folders }) => {
                let upper = upper.then(|| self.channel.recv_fd().ok()).flatten();
                self.folders = folders.into_iter().filter_map(|name| Some((name, self.channel.recv_fd().ok()?))).collect();
                let (ready, mut fds) = self.ready(network, downgrades, begun);
                let counters = if upper.is_some() { net::counters() } else { Vec::new() };
                let counted = u8::try_from(counters.len()).unwrap_or(0);
                let ready = Ready { upper: upper.is_some(), counters: counted, ..ready };
                fds.extend(upper.into_iter().chain(counters));
                match gateway.reply(&Reply::Ready(ready), fds) {
                    Ok(()) => self.outlive(gateway),
                    // A gateway that is gone wants nothing more.
                    Err(_) => None,
                }
            }
            Event::Init(FromInit::Failed(failure)) => Some(Reply::Failed(failure)),
            Event::Init(FromInit::Exited(_)) | Event::InitGone => Some(Reply::Failed(self.died_early())),
            Event::TooSlow => Some(Reply::Failed(failure(Step::Supervise, "the sandbox was not built in time"))),
            Event::GatewayEnds => Some(Reply::Exited(KILLED)),
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
            counters: 0,
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
        let usage = self.usage();
        Some(Reply::Exited(End { oom_killed: usage.oom_kills.is_some_and(|kills| kills > 0), usage, ..end }))
    }

    fn usage(&self) -> Usage {
        usage::read(self.cgroups.folders(), &self.folders)
    }

    /// Does what the gateway asks for; false when that is the end.
    fn obey(&self, gateway: &mut Gateway<'_>) -> bool {
        gateway.requests().into_iter().all(|request| match request {
            Request::Kill => false,
            Request::Check(check) => gateway.reply(&Reply::Checked(check::carry_out(check)), Vec::new()).is_ok(),
            Request::Usage => gateway.reply(&Reply::Usage(self.usage()), Vec::new()).is_ok(),
        })
    }

    fn died_early(&self) -> Failure {
        let reason = match usage::oom_kills(self.cgroups.folders()).is_some_and(|kills| kills > 0) {
            true => "the memory limit is too small to build the sandbox in",
            false => "the sandbox's first process died while it was built",
        };
        failure(Step::Supervise, reason)
    }

    /// Waits for whoever speaks first. A message of the first process counts before its death, which follows it.
    fn next(&self, gateway: &mut Gateway<'_>, timeout: Option<&Timespec>) -> Event {
        loop {
            let guardian = gateway.authority.guardian();
            let mut fds = [
                PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.init_fd.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(gateway.control.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(guardian.unwrap_or(self.init_fd.as_fd()), PollFlags::IN),
            ];
            match poll(&mut fds, timeout) {
                Ok(0) => return Event::TooSlow,
                Err(Errno::INTR) => continue,
                Err(_) => return Event::GatewayEnds,
                Ok(_) => {}
            }
            let [spoke, died, asked, unguarded] = fds.map(|fd| !fd.revents().is_empty());
            if guardian.is_some() && unguarded {
                return Event::GatewayEnds;
            }
            if spoke {
                return self.channel.recv().ok().flatten().map_or(Event::InitGone, Event::Init);
            }
            if died {
                return Event::InitGone;
            }
            if asked && !self.obey(gateway) {
                return Event::GatewayEnds;
            }
        }
    }

    /// Ends every process, says the last word, and removes the rest.
    fn finish(mut self, gateway: &Gateway<'_>, last: Option<Reply>) -> Result<(), ControlError> {
        self.kill();
        self.folders.clear();
        let said = last.map_or(Ok(()), |reply| gateway.say_last(&reply));
        self.cgroups.remove();
        said
    }

    /// Ends what failed before its plan came, and says why.
    fn fail(self) -> Failure {
        let failure = match self.channel.recv() {
            Ok(Some(FromInit::Failed(failure))) => failure,
            _ => self.died_early(),
        };
        self.end();
        failure
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

/// The first process, and how to talk with it.
struct Forked {
    init: Pid,
    init_fd: OwnedFd,
    channel: Channel,
    errand: UnixStream,
}

fn fork_init(power: Power, cgroups: &mut Cgroups) -> Result<Forked, Failure> {
    power.acquire()?;
    let (channel, theirs) = Channel::pair()?;
    let (errand, their_errand) = UnixStream::pair().because(Step::Supervise, || "a socket pair could not be made".into())?;
    errand.set_write_timeout(Some(ERRAND_WAIT)).because(Step::Supervise, || "a socket can't be bounded".into())?;
    match sys::fork().because(Step::Namespace, || {
        "the sandbox's first process could not be made: too many processes for this user or host? (ulimit -u, the gateway's \
         own pids.max, kernel.pid_max)"
            .into()
    })? {
        sys::Forked::Child => {
            drop((channel, errand));
            cgroups.leave_claim();
            init::run(Start { power, cgroups, supervisor: theirs, errand: their_errand })
        }
        sys::Forked::Parent(init) => {
            let init_fd = pidfd_open(init, PidfdFlags::empty());
            // Only now: writing its own user map takes an open process.
            privileges::be_opaque()?;
            let init_fd = init_fd.because(Step::Supervise, || "no descriptor for the first process".into())?;
            Ok(Forked { init, init_fd, channel, errand })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_waited_for_three_minutes_and_no_longer() {
        assert_eq!(PLAN_WAIT, Timespec { tv_sec: 180, tv_nsec: 0 });
        let (_silent, control) = UnixStream::pair().expect("a pair");
        let plan_wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let mut gateway = Gateway { control: &control, inbox: Inbox::default(), authority: &Authority::Gateway, plan_wait };
        let begun = Instant::now();
        let given_up = gateway.receive_plan(None).err();
        let late = |error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut;
        assert!(matches!(&given_up, Some(ControlError::Io(error)) if late(error)), "{given_up:?}");
        assert!(begun.elapsed() >= Duration::from_millis(50), "it was waited for");
    }
}

//! The sandbox's first process: waits for the plan, builds the file tree, forks the agent, gives up every power, then waits. When the agent
//! ends it ends too, and the kernel kills whatever else is left under its process numbers.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use jail::{AgentStdio, End, Failure, Filled, Inbox, Isolation, Plan, Step, Usage};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, getegid, geteuid, getgroups, wait};
use rustix::system::sethostname;
use serde::{Deserialize, Serialize};

use crate::agent::{self, FromAgent, GoOn, Identity};
use crate::cgroups::Cgroups;
use crate::channel::Channel;
use crate::failure::{Because, failure};
use crate::mounts::{self, Built, Owner, Parts};
use crate::namespaces::{self, Power};
use crate::privileges;
use crate::sys::{self, Forked};

/// A user that owns nothing, for a first process whose agent is root itself on the host and has no equals.
const NOBODY: u32 = 65534;

/// From the sandbox's first process to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromInit {
    /// Followed by the descriptor of the upper layer, if there is one, and one for each of `folders`.
    Started {
        downgrades: Vec<String>,
        upper: bool,
        /// The folders that the agent may write to, by name.
        folders: Vec<String>,
    },
    Failed(Failure),
    Exited(End),
}

/// What the first process starts with.
pub struct Start<'a> {
    pub power: Power,
    pub cgroups: &'a Cgroups,
    pub supervisor: Channel,
    /// On which the plan comes, with the agent's streams.
    pub errand: UnixStream,
}

/// Never returns: the process ends when its agent does.
pub fn run(start: Start<'_>) -> ! {
    match prepare(&start).and_then(|prepared| start_agent(&start, prepared)) {
        Ok(Some(agent)) => stay(agent, &start.supervisor),
        // The supervisor wants no agent any more.
        Ok(None) => sys::exit_now(0),
        Err(failure) => {
            // A supervisor that is gone has already sent this process its death.
            let _gone = start.supervisor.send(&FromInit::Failed(failure));
            sys::exit_now(1)
        }
    }
}

/// What is there before the plan.
struct Prepared {
    host_proc: OwnedFd,
    parts: Parts,
}

fn prepare(start: &Start<'_>) -> Result<Prepared, Failure> {
    privileges::die_with_parent()?;
    start.cgroups.join()?;
    namespaces::separate()?;
    let host_proc = openat(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .because(Step::Mount, || "the host has no /proc".into())?;
    mounts::listen_to_host()?;
    Ok(Prepared { host_proc, parts: Parts::make() })
}

/// Waits for the plan and starts its agent; nothing if there is no plan to come.
fn start_agent(start: &Start<'_>, prepared: Prepared) -> Result<Option<Pid>, Failure> {
    let Some((plan, stdio)) = receive_plan(&start.errand)? else { return Ok(None) };
    let Prepared { host_proc, parts } = prepared;
    sethostname(plan.hostname.as_bytes()).because(Step::Namespace, || "the host name can't be set".into())?;
    let users = Users::of(&plan, start.power)?;
    let Built { mut downgrades, upper, folders } = match plan.isolation {
        Isolation::Full => mounts::build(&plan, parts, users.owner, &host_proc, start.power)?,
        Isolation::NetworkOnly => Built { downgrades: mounts::cover_proc(parts)?, upper: None, folders: Vec::new() },
    };
    downgrades.extend(users.kept_groups());
    let (agent, channel) = fork_agent(&plan, users.identity, stdio, &host_proc)?;
    privileges::be_opaque()?;
    downgrades.extend(users.write_for(&channel, &host_proc)?);
    drop(host_proc);
    give_up(&plan, start.power)?;
    release(&channel)?;
    let names = folders.iter().map(|(name, _)| name.clone()).collect();
    start.supervisor.send(&FromInit::Started { downgrades, upper: upper.is_some(), folders: names })?;
    let descriptors = upper.iter().chain(folders.iter().map(|(_, folder)| folder));
    descriptors.map(AsFd::as_fd).try_for_each(|descriptor| start.supervisor.send_fd(descriptor))?;
    Ok(Some(agent))
}

/// It comes when listeners and limits are in place.
fn receive_plan(errand: &UnixStream) -> Result<Option<(Plan, AgentStdio)>, Failure> {
    let unheard = |error: &dyn std::fmt::Display| failure(Step::Supervise, format!("the plan can't be heard: {error}"));
    let mut inbox = Inbox::default();
    loop {
        if let Some(plan) = inbox.take().map_err(|error| unheard(&error))? {
            let streams = <[OwnedFd; 3]>::try_from(inbox.take_fds());
            let [stdin, stdout, stderr] = streams.map_err(|_| unheard(&"not three streams"))?;
            return Ok(Some((plan, AgentStdio { stdin, stdout, stderr })));
        }
        if inbox.fill(errand).map_err(|error| unheard(&error))? == Filled::Closed {
            return Ok(None);
        }
    }
}

/// Who is who: inside the agent's user namespace, in the one around it, and as an owner of writable folders.
struct Users {
    identity: Identity,
    /// User and group in the outer namespace, which the agent's are mapped to.
    owner: Owner,
}

impl Users {
    fn of(plan: &Plan, power: Power) -> Result<Self, Failure> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let owner = match (power, plan.isolation, plan.host_uid) {
            (Power::Root, _, Some(host)) => Owner { uid: host, gid: host },
            (Power::Root, Isolation::Full, None) => {
                return Err(failure(Step::Plan, "with root the plan must name host_uid, the agent's user on the host"));
            }
            // Both mean the caller's own user, as the current user namespace numbers it.
            (Power::Root, Isolation::NetworkOnly, None) | (Power::Own, ..) => Owner { uid, gid },
        };
        let may_set_groups = power == Power::Root;
        let identity = match plan.isolation {
            Isolation::Full => Identity { uid: plan.uid, gid: plan.gid, may_set_groups },
            Isolation::NetworkOnly => {
                let inside = callers_own(power, owner)?;
                Identity { uid: inside.uid, gid: inside.gid, may_set_groups }
            }
        };
        Ok(Self { identity, owner })
    }

    /// Only root can drop supplementary groups. All that they can open is what the plan binds.
    fn kept_groups(&self) -> Option<String> {
        let kept = !self.identity.may_set_groups && getgroups().is_ok_and(|groups| !groups.is_empty());
        kept.then(|| "the agent keeps the supplementary groups of the gateway's user: dropping them takes root".into())
    }

    /// Writes the agent's users for it, which takes power in the namespace around its own.
    fn write_for(&self, channel: &Channel, host_proc: &OwnedFd) -> Result<Vec<String>, Failure> {
        let (host_pid, downgrades) = match channel.recv()? {
            Some(FromAgent::Separated { host_pid, downgrades }) => (host_pid, downgrades),
            Some(FromAgent::Failed(failure)) => return Err(failure),
            Some(FromAgent::Executes) => return Err(failure(Step::Supervise, "the agent's process is ahead of itself")),
            None => return Err(failure(Step::Namespace, "the agent's process died while it was made")),
        };
        let maps = [("uid_map", self.identity.uid, self.owner.uid), ("gid_map", self.identity.gid, self.owner.gid)];
        for (name, inside, outside) in maps {
            let path = format!("{host_pid}/{name}");
            openat(host_proc, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(|file| rustix::io::write(&file, format!("{inside} {outside} 1").as_bytes()))
                .because(Step::Identity, || format!("the agent's {name} {inside} -> {outside} was refused"))?;
        }
        // A process that is gone has said why, which is heard when it is released.
        let _gone = channel.send(&GoOn);
        Ok(downgrades)
    }
}

/// The caller's numbers on the host: within a namespace of our own, what our user 0 stands for.
fn callers_own(power: Power, owner: Owner) -> Result<Owner, Failure> {
    if power == Power::Root {
        return Ok(owner);
    }
    let outside = |path: &str| {
        let text = fs::read_to_string(path).because(Step::Identity, || format!("{path} can't be read"))?;
        let second = text.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        second.ok_or_else(|| failure(Step::Identity, format!("{path} is not understood")))
    };
    Ok(Owner { uid: outside("/proc/self/uid_map")?, gid: outside("/proc/self/gid_map")? })
}

fn fork_agent(plan: &Plan, identity: Identity, stdio: AgentStdio, host_proc: &OwnedFd) -> Result<(Pid, Channel), Failure> {
    let (ours, theirs) = Channel::pair()?;
    match sys::fork().because(Step::Exec, || "the agent's process could not be forked".into())? {
        Forked::Parent(pid) => Ok((pid, ours)),
        Forked::Child => {
            drop(ours);
            agent::run(plan, identity, stdio, host_proc, &theirs)
        }
    }
}

/// Leaves this process without any power. With root it becomes a user whose processes are this one alone, so that nobody
/// can end it as an equal; without, it has to stay who it is. The last moment at which it is tied to its supervisor again is followed by a
/// message to it, so a supervisor that died in between is noticed.
fn give_up(plan: &Plan, power: Power) -> Result<(), Failure> {
    privileges::bar_capabilities()?;
    if power == Power::Root {
        let user = plan.first_process_uid().unwrap_or(NOBODY);
        privileges::become_user(user, user, true)?;
    }
    privileges::drop_capabilities()?;
    privileges::be_opaque()?;
    privileges::die_with_parent()
}

/// Lets the agent execute, and waits until it has or has not.
fn release(channel: &Channel) -> Result<(), Failure> {
    let told = channel.send(&GoOn);
    match channel.recv()? {
        Some(FromAgent::Executes) => {}
        None => return Err(failure(Step::Supervise, "the agent's process died before its program was executed")),
        Some(FromAgent::Failed(failure)) => return Err(failure),
        Some(FromAgent::Separated { .. }) => return Err(repeats()),
    }
    match channel.recv()? {
        None => told,
        Some(FromAgent::Failed(failure)) => Err(failure),
        Some(FromAgent::Separated { .. } | FromAgent::Executes) => Err(repeats()),
    }
}

fn repeats() -> Failure {
    failure(Step::Supervise, "the agent's process repeats itself")
}

/// Buries every process that ends in the sandbox until the agent is among them.
fn stay(agent: Pid, supervisor: &Channel) -> ! {
    if sys::close_all_but(supervisor).is_err() {
        sys::exit_now(1);
    }
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == agent => {
                // Without a supervisor there is nobody to tell.
                let _gone = supervisor.send(&FromInit::Exited(end_of(status)));
                sys::exit_now(0)
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => sys::exit_now(1),
        }
    }
}

fn end_of(status: WaitStatus) -> End {
    // What the kernel counted is the supervisor's to say.
    End { code: status.exit_status(), signal: status.terminating_signal(), oom_killed: false, usage: Usage::default() }
}

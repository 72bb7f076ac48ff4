//! The agent's process from its fork to its `execve`. Each step takes something away; the order is the design:
//!
//! 1. an inner user namespace, with no further ones below it,
//! 2. its users, written by the sandbox's first process,
//! 3. standard streams, session, file mask, resource limits,
//! 4. every way to gain a capability, then the user and group, without supplementary groups,
//! 5. every capability held, and the keys of the caller's session,
//! 6. by Landlock: files that its mounts would let it have, signals and sockets that lead outside,
//! 7. signals, working folder, and every other descriptor on execution,
//! 8. every system call that is not listed, by a filter.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::OwnedFd;

use jail::{AgentStdio, Failure, Plan, Step};
use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::{chdir, ioctl_tiocsctty, setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::isatty;
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::failure::{Because, failure};
use crate::filter;
use crate::landlock;
use crate::privileges;
use crate::sys;

/// From the agent's process to the sandbox's first. Closing after [`FromAgent::Executes`] means that the program runs; closing
/// before it means that this process died.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromAgent {
    /// It has its own user namespace and waits for its users.
    Separated {
        host_pid: u32,
        downgrades: Vec<String>,
    },
    /// The next thing it does is to execute its program.
    Executes,
    Failed(Failure),
}

/// To the agent's process: go on.
#[derive(Debug, Serialize, Deserialize)]
pub struct GoOn;

/// Who the agent is inside its own user namespace.
#[derive(Clone, Copy)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Whether supplementary groups can be dropped, which takes root.
    pub may_set_groups: bool,
}

/// Never returns: becomes the agent, or reports and ends.
pub fn run(plan: &Plan, identity: Identity, stdio: AgentStdio, host_proc: &OwnedFd, channel: &Channel) -> ! {
    let Err(failure) = become_agent(plan, identity, stdio, host_proc, channel);
    // A parent that can't be told any more kills this process anyway.
    let _gone = channel.send(&FromAgent::Failed(failure));
    sys::exit_now(1)
}

fn become_agent(
    plan: &Plan,
    identity: Identity,
    stdio: AgentStdio,
    host_proc: &OwnedFd,
    channel: &Channel,
) -> Result<Infallible, Failure> {
    privileges::die_with_parent()?;
    let mut downgrades = separate(host_proc)?;
    downgrades.extend(landlock::downgrades(landlock::version(), plan.isolation));
    channel.send(&FromAgent::Separated { host_pid: host_pid(host_proc)?, downgrades })?;
    wait_for(channel)?; // until the users are written
    take_streams(&stdio).because(Step::Exec, || "the agent's standard streams can't be put in place".into())?;
    setsid().because(Step::Identity, || "no session of its own".into())?;
    take_terminal(&stdio)?;
    umask(Mode::RWXG | Mode::RWXO);
    privileges::limit_resources(&plan.limits)?;
    privileges::bar_capabilities()?;
    privileges::become_user(identity.uid, identity.gid, identity.may_set_groups)?;
    privileges::drop_capabilities()?;
    jail::leave_keyring().because(Step::Identity, || "no keyring of its own".into())?;
    privileges::die_with_parent()?;
    landlock::confine(plan)?;
    sys::reset_signals();
    chdir(&plan.cwd).because(Step::Exec, || format!("the working folder {} can't be entered inside", plan.cwd.display()))?;
    sys::close_from_on_exec(3).because(Step::Exec, || "descriptors can't be closed".into())?;
    wait_for(channel)?; // until the listeners are there
    filter::install(plan.calls)?;
    execute(plan, channel)
}

/// Makes the inner user namespace, in which no further one can be made.
fn separate(host_proc: &OwnedFd) -> Result<Vec<String>, Failure> {
    sys::unshare(UnshareFlags::NEWUSER)
        .because(Step::Namespace, || "the agent's user namespace was refused: see sysctl user.max_user_namespaces".into())?;
    // Read through the host's /proc, because the sandbox's shows processes only; the kernel answers for the reader's
    // own user namespace.
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let forbidden =
        openat(host_proc, "sys/user/max_user_namespaces", flags, Mode::empty()).and_then(|file| rustix::io::write(&file, b"0"));
    Ok(match forbidden {
        Ok(_) => Vec::new(),
        Err(errno) => vec![format!("the agent may make user namespaces below its own: {errno}")],
    })
}

/// This process's number as the host's `/proc` has it, by which the first process finds its files there.
pub fn host_pid(host_proc: &OwnedFd) -> Result<u32, Failure> {
    let link = readlinkat(host_proc, "self", Vec::new()).because(Step::Namespace, || "/proc/self can't be read".into())?;
    let number = link.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| failure(Step::Namespace, "/proc/self is no process number"))
}

fn wait_for(channel: &Channel) -> Result<(), Failure> {
    channel.recv::<GoOn>()?.map(|_| ()).ok_or_else(|| failure(Step::Supervise, "the sandbox's first process is gone"))
}

fn take_streams(stdio: &AgentStdio) -> Result<(), Errno> {
    dup2_stdin(&stdio.stdin)?;
    dup2_stdout(&stdio.stdout)?;
    dup2_stderr(&stdio.stderr)
}

/// A terminal as standard input becomes that of the new session, so that its keys end programs inside and nothing else.
fn take_terminal(stdio: &AgentStdio) -> Result<(), Failure> {
    match isatty(&stdio.stdin) {
        true => ioctl_tiocsctty(&stdio.stdin).because(Step::Exec, || "the terminal can't be the agent's own".into()),
        false => Ok(()),
    }
}

/// The bare system call: nothing is searched for, and a file that is no program is not handed to a shell.
fn execute(plan: &Plan, channel: &Channel) -> Result<Infallible, Failure> {
    let text = |text: String| CString::new(text).map_err(|_| failure(Step::Plan, "a NUL byte in argv or env"));
    let arguments = plan.argv.iter().cloned().map(text).collect::<Result<Vec<_>, _>>()?;
    let environment = plan.env.iter().map(|(name, value)| text(format!("{name}={value}"))).collect::<Result<Vec<_>, _>>()?;
    let program = arguments.first().ok_or_else(|| failure(Step::Plan, "argv is empty"))?;
    channel.send(&FromAgent::Executes)?;
    let errno = sys::execute(program, &arguments, &environment);
    let reason = match errno {
        Errno::NOENT => "it, or the loader or interpreter it names, does not exist inside: add a mount",
        Errno::ACCESS => "it is not executable for the agent's user, or lies on a mount without execution",
        Errno::NOEXEC => "it is no program for this machine",
        _ => "the kernel refused it",
    };
    Err(errno).because(Step::Exec, || format!("{} can't be executed: {reason}", program.to_string_lossy()))
}

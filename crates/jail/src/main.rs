//! `hexward-jail` confines one agent: `supervisor` (outside) forks `init` (the sandbox's first process), which builds
//! the sandbox and forks `agent`, which gives everything up and executes the agent's program.
//!
//! Without arguments its standard input is the control socket on which the plan arrives (see the library `jail`). With
//! the argument `sweep` it removes what a killed supervisor could not, which a gateway does when it starts. As
//! `serve FOLDER MOST` it is the helper of a gateway without power: its standard input is where the gateway asks.

mod agent;
mod authority;
mod bpf;
mod cgroups;
mod channel;
mod check;
mod control;
mod failure;
mod filter;
mod helper;
mod init;
mod judges;
mod landlock;
mod mount_check;
mod mounts;
mod namespaces;
mod net;
mod netlink;
mod overlay;
mod privileges;
mod sources;
mod supervisor;
#[expect(unsafe_code, reason = "the kernel's calls without a safe wrapper stand here and nowhere else")]
mod sys;
mod templates;
mod usage;

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::Mode;

use authority::Authority;

fn main() -> ExitCode {
    // Not the caller's, which must not decide who can enter what is made here.
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => confine(),
        [word] if word == "sweep" => sweep(),
        [word, folder, most] if word == "serve" => help(Path::new(folder), most),
        _ => complain(&std::io::Error::other("there are only `sweep` and `serve FOLDER MOST`")),
    }
}

fn sweep() -> ExitCode {
    match cgroups::sweep() {
        Ok(swept) => {
            swept.iter().for_each(|id| println!("{id}"));
            ExitCode::SUCCESS
        }
        Err(failure) => complain(&failure),
    }
}

fn confine() -> ExitCode {
    let control = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => UnixStream::from(fd),
        Err(error) => return complain(&error),
    };
    sys::ignore_termination();
    // A session of its own, unless it already leads a group.
    let _leader = rustix::process::setsid();
    match supervisor::serve(&control, &Authority::Gateway) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

/// Takes the gateway's socket away from the standard input, so that no forked process holds it by accident.
fn help(folder: &Path, most: &OsStr) -> ExitCode {
    sys::ignore_termination();
    let most = most.to_str().and_then(|most| most.parse().ok()).filter(|most| *most > 0);
    let Some(most) = most else { return complain(&std::io::Error::other("MOST must be a number above 0")) };
    let gateway = std::io::stdin().as_fd().try_clone_to_owned().and_then(|gateway| {
        let nothing = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        Ok(gateway)
    });
    let _leader = rustix::process::setsid();
    match gateway {
        Ok(gateway) => match helper::serve(gateway, folder, most) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => complain(&failure),
        },
        Err(error) => complain(&error),
    }
}

/// What can't be said on the control socket goes to the gateway's log.
fn complain(error: &dyn std::error::Error) -> ExitCode {
    failure::say(&format!("{error} (this program is started by the gateway, with a control socket as standard input)"));
    ExitCode::FAILURE
}

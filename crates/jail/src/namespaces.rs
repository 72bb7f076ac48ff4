//! Power over new namespaces: root's own, or that of a user namespace of which this process is the master.
//!
//! Either way the sandbox's network, mounts and process numbers belong to a user namespace *outside* the agent's, so
//! that nothing the agent may ever gain inside its own lets it touch routes, ports below 1024 or mounts.

use std::fs;

use jail::{Failure, Step};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

use crate::failure::Because;
use crate::sys;

/// Where the power comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Root of the user namespace that the program was started in.
    Root,
    /// Master of a new user namespace in which user 0 is the caller's user.
    Own,
}

impl Power {
    pub fn probe() -> Self {
        let may_administrate = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        if geteuid().is_root() && may_administrate { Self::Root } else { Self::Own }
    }

    /// Moves this process into a new network, and its next child into new process numbers.
    pub fn acquire(self) -> Result<(), Failure> {
        let wanted = UnshareFlags::NEWPID | UnshareFlags::NEWNET;
        match self {
            Self::Root => sys::unshare(wanted).because(Step::Namespace, || {
                "new network and process namespaces were refused to root: a limit in /proc/sys/user/max_*_namespaces?".into()
            }),
            Self::Own => {
                let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
                sys::unshare(UnshareFlags::NEWUSER | wanted).because(Step::Namespace, no_user_namespaces)?;
                write_map("/proc/self/setgroups", "deny")?;
                write_map("/proc/self/uid_map", &format!("0 {uid} 1"))?;
                write_map("/proc/self/gid_map", &format!("0 {gid} 1"))
            }
        }
    }
}

fn no_user_namespaces() -> String {
    "this host lets no ordinary user make namespaces: run the gateway as root, or allow it (sysctl \
     user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
        .into()
}

fn write_map(path: &str, content: &str) -> Result<(), Failure> {
    fs::write(path, content).because(Step::Namespace, || format!("{path} could not be written for the new user namespace"))
}

/// Makes the remaining namespaces of the sandbox's first process.
///
/// The control groups must have been joined before, because the new control group namespace is rooted where it is made.
pub fn separate() -> Result<(), Failure> {
    let always = UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC;
    match sys::unshare(always | UnshareFlags::NEWCGROUP) {
        // A kernel without control groups has nothing to hide.
        Err(Errno::INVAL) => sys::unshare(always),
        result => result,
    }
    .because(Step::Namespace, || "new mount, host name and IPC namespaces were refused".into())
}

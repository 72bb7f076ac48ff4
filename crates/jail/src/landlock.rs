//! Rules on files and reach that the agent's own process carries (landlock(7)), whatever the mounts and users around it
//! say: a second wall of another make. They hold for everything it starts and can only be narrowed.
//!
//! Only what a sandbox with files of its own may touch is named: its tree to read, the mounts the host gave to execute,
//! its own folders to write, the devices. Two scopes hold in both isolations: no signal to a process outside, and no
//! local socket by an abstract name that belongs to one.
//!
//! TCP ports are left alone. The sandbox's network has nothing but the gateway's listeners, refuses every other port at
//! once and counts what it refuses; a rule here would hide those attempts from the counter.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use jail::{Calls, Failure, Isolation, Mount, Plan, Step};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::failure::Because;
use crate::mounts::DEVICES;
use crate::sys;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// Making devices, which are rights that nobody gets.
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
/// Version 1 knows the rights up to here.
const FIRST_RIGHTS: u64 = (1 << 13) - 1;
/// Moving a file to another folder, version 2. Before, it is always refused.
const REFER: u64 = 1 << 13;
/// Version 3.
const TRUNCATE: u64 = 1 << 14;
/// Version 5: requests to devices other than those every file has.
const IOCTL_DEV: u64 = 1 << 15;

const SCOPE_ABSTRACT_UNIX: u64 = 1;
const SCOPE_SIGNAL: u64 = 1 << 1;

/// What this kernel can do, by version, and since when: told where it can't.
const SINCE: [(u32, &str); 3] = [
    (3, "the agent may cut off files that it may not write (Linux 6.2), as far as its mounts and users let it"),
    (5, "the agent's requests to devices are not ruled (Linux 6.10)"),
    (6, "signals and abstract local sockets are kept in by namespaces and users alone (Linux 6.12)"),
];

/// The kernel's version of these rules, or none.
pub fn version() -> Option<u32> {
    sys::landlock_version().ok().filter(|version| *version > 0)
}

/// What does not hold in a sandbox on this kernel.
pub fn downgrades(version: Option<u32>, isolation: Isolation) -> Vec<String> {
    let Some(version) = version else {
        return vec![
            "rules on files and signals are not in force: this kernel has no Landlock, or it is switched off (lsm=)".into(),
        ];
    };
    let concerns_files = |since: u32| since < 6;
    let missing = SINCE.iter().filter(|(since, _)| version < *since);
    let missing = missing.filter(|(since, _)| isolation == Isolation::Full || !concerns_files(*since));
    missing.map(|(_, what)| format!("Landlock {version}: {what}")).collect()
}

/// Puts this process, and whatever it becomes or starts, under the rules. Takes no_new_privs.
pub fn confine(plan: &Plan) -> Result<(), Failure> {
    let Some(version) = version() else { return Ok(()) };
    let files = if plan.isolation == Isolation::Full { rights(version) } else { 0 };
    let scopes = if version >= 6 { SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL } else { 0 };
    if files == 0 && scopes == 0 {
        return Ok(());
    }
    let say = || "Landlock's rules can't be made".into();
    let rules = sys::landlock_rules(files, scopes, version >= 6).because(Step::Identity, say)?;
    if files != 0 {
        for (path, granted) in grants(plan, files) {
            grant(&rules, &path, granted & files)?;
        }
    }
    sys::landlock_restrict(&rules).because(Step::Identity, || "Landlock's rules can't be put in force".into())
}

/// Every right on files that this version rules, so that what is not granted is refused.
fn rights(version: u32) -> u64 {
    let later = [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)];
    later.iter().filter(|(since, _)| version >= *since).fold(FIRST_RIGHTS, |rights, (_, right)| rights | right)
}

/// What is granted where. A right on a folder holds for everything below it, mounts included.
fn grants(plan: &Plan, all: u64) -> BTreeMap<PathBuf, u64> {
    let own = all & !(EXECUTE | MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV);
    let read = READ_FILE | READ_DIR;
    let anywhere = if plan.calls == Calls::Code { read | EXECUTE } else { read };
    let mut grants = BTreeMap::from([(PathBuf::from("/"), anywhere), (PathBuf::from("/dev/shm"), own)]);
    // A later mount covers an earlier one at the same place, and its rights take the place of that one's.
    grants.extend(plan.mounts.iter().filter_map(|mount| {
        let granted = match mount {
            Mount::BindRo { .. } => read | EXECUTE,
            Mount::Tmpfs { .. } | Mount::Overlay { .. } => own,
            Mount::File { mode, .. } if mode & 0o111 != 0 => READ_FILE | EXECUTE,
            // The root's rights, or those of the folder it lies in.
            Mount::File { .. } | Mount::Symlink { .. } => return None,
        };
        Some((mount.target().to_owned(), granted))
    }));
    grants.extend(DEVICES.iter().map(|name| (Path::new("/dev").join(name), READ_FILE | WRITE_FILE)));
    grants
}

fn grant(rules: &OwnedFd, path: &Path, granted: u64) -> Result<(), Failure> {
    let say = || format!("Landlock's rule for {} can't be made", path.display());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        // Covered by a later mount, or in a folder that the agent can't enter: it has nothing there to use a right on.
        Err(Errno::NOENT | Errno::ACCESS) => return Ok(()),
        Err(errno) => return Err(errno).because(Step::Identity, say),
    };
    let is_folder = rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
    // A file can have these rights only.
    let granted = if is_folder { granted } else { granted & (EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV) };
    sys::landlock_grant(rules, file.as_fd(), granted).because(Step::Identity, say)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_kernel_cannot_do_is_told() {
        assert_eq!(downgrades(None, Isolation::Full).len(), 1);
        assert_eq!(downgrades(None, Isolation::NetworkOnly).len(), 1);
        for (version, full, network_only) in [(1, 3, 1), (2, 3, 1), (3, 2, 1), (4, 2, 1), (5, 1, 1), (6, 0, 0), (9, 0, 0)] {
            assert_eq!(downgrades(Some(version), Isolation::Full).len(), full, "version {version}");
            assert_eq!(downgrades(Some(version), Isolation::NetworkOnly).len(), network_only, "version {version}");
        }
    }

    #[test]
    fn a_version_rules_what_it_knows_and_no_more() {
        let bits = [(1, 13), (2, 14), (3, 15), (4, 15), (5, 16), (7, 16)];
        for (version, count) in bits {
            assert_eq!(rights(version), (1 << count) - 1, "version {version}");
        }
    }
}

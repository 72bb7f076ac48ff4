//! A folder of the host that an agent may change without changing it: the kernel's overlay of the real folder below and a
//! bounded one in memory above, which is all that is ever written to.
//!
//! With root the folder's owner is shown as the agent's user (an idmapped mount), because the agent is a user of its own
//! on the host; without root the agent is the caller's user, who owns the folder already.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use jail::{Failure, Step};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, UnmountFlags, open_tree, unmount};
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::agent;
use crate::channel::Channel;
use crate::failure::{Because, failure};
use crate::mounts::{Owner, Root};
use crate::namespaces::Power;
use crate::sources::{new_filesystem, new_tmpfs, open_source};
use crate::sys::{self, Forked};

/// Where the two layers are reachable while the overlay is made; nothing of it stays.
const UPPER_STAGE: &str = ".upper";
const LOWER_STAGE: &str = ".lower";

/// How much the agent may change.
pub struct Room {
    pub size_bytes: u64,
    pub inodes: u64,
}

/// What [`make`] made.
pub struct Made {
    pub mount: OwnedFd,
    /// The folder of changes, reachable by nothing else.
    pub upper: OwnedFd,
}

/// Opens the lower folder; with root as a detached copy that shows its owner as the agent.
pub fn lower(path: &Path, agent: Owner, host_proc: &OwnedFd, power: Power) -> Result<OwnedFd, Failure> {
    let found = open_source(path)?;
    if power == Power::Own {
        return Ok(found);
    }
    let stat = fstat(&found).because(Step::Mount, || format!("{} can't be looked at", path.display()))?;
    let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
    let how = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&found, "", how).because(Step::Mount, || format!("{} can't be copied as a mount", path.display()))?;
    let users = mapping(owner, agent, host_proc)?;
    let flags = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::mount_map_users(&tree, flags, users).because(Step::Mount, || {
        format!(
            "the file system of {} can't show its files as another user's: as root that takes Linux 5.12 and a file system \
                 that supports it; without root it is not needed",
            path.display()
        )
    })?;
    Ok(tree)
}

/// Makes the overlay, and leaves of its layers nothing in the file tree.
pub fn make(root: &Root, lower: &OwnedFd, room: Room, owner: Owner, power: Power) -> Result<Made, Failure> {
    let say = || "the room for changes could not be made".to_owned();
    let stage = new_tmpfs(room.size_bytes, room.inodes, 0o700, Owner { uid: 0, gid: 0 }).because(Step::Mount, say)?;
    root.attach(&stage, &root.folder(Path::new("/").join(UPPER_STAGE).as_path())?, UPPER_STAGE)?;
    if power == Power::Root {
        root.attach(lower, &root.folder(Path::new("/").join(LOWER_STAGE).as_path())?, LOWER_STAGE)?;
    }
    let mode = fstat(lower).because(Step::Mount, say)?.st_mode & 0o777;
    let upper = new_layer(&stage, "upper", Mode::from_raw_mode(mode), owner).because(Step::Mount, say)?;
    let work = new_layer(&stage, "work", Mode::RWXU, Owner { uid: 0, gid: 0 }).because(Step::Mount, say)?;
    let mount = mount(lower, &upper, &work, power)?;
    let_go(&stage)?;
    root.forget(UPPER_STAGE)?;
    if power == Power::Root {
        let_go(lower)?;
        root.forget(LOWER_STAGE)?;
    }
    Ok(Made { mount, upper })
}

fn new_layer(stage: &OwnedFd, name: &str, mode: Mode, owner: Owner) -> Result<OwnedFd, Errno> {
    mkdirat(stage, name, Mode::RWXU)?;
    let made = openat(stage, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    fchown(&made, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    fchmod(&made, mode)?;
    Ok(made)
}

fn mount(lower: &OwnedFd, upper: &OwnedFd, work: &OwnedFd, power: Power) -> Result<OwnedFd, Failure> {
    let mut options = vec![("lowerdir", path_of(lower)), ("upperdir", path_of(upper)), ("workdir", path_of(work))];
    // Without root the kernel accepts its own marks as `user.overlay.*` only, and follows no redirection then either.
    match power {
        Power::Own => options.push(("userxattr", String::new())),
        // Every changed file is whole in the upper layer, and every renamed folder a copy: nothing there points below.
        Power::Root => options.extend([("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")].map(owned)),
    }
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    new_filesystem("overlay", options, flags).because(Step::Mount, || {
        "the project folder can't be overlaid: without root that takes Linux 5.11 and the overlay module, and nothing may be \
         mounted below the folder"
            .into()
    })
}

fn owned(option: (&'static str, &'static str)) -> (&'static str, String) {
    (option.0, option.1.to_owned())
}

/// The name by which the kernel finds a descriptor's folder, while the host's `/proc` is still there.
fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The overlay keeps its own copies of what it was made of.
fn let_go(mount: &OwnedFd) -> Result<(), Failure> {
    unmount(path_of(mount), UnmountFlags::DETACH).because(Step::Mount, || "a layer can't be taken out of the file tree".into())
}

/// From the process that holds a mapping's namespace while it is written.
#[derive(Serialize, Deserialize)]
struct Separated {
    host_pid: u32,
}

/// A user namespace that stands for nothing but: `owner` on the disk is `agent` here.
fn mapping(owner: Owner, agent: Owner, host_proc: &OwnedFd) -> Result<OwnedFd, Failure> {
    let (ours, theirs) = Channel::pair()?;
    let say = || "the folder's owner can't be mapped to the agent".to_owned();
    match sys::fork().because(Step::Mount, say)? {
        Forked::Child => {
            drop(ours);
            let separated = sys::unshare(UnshareFlags::NEWUSER).is_ok();
            if let (true, Ok(host_pid)) = (separated, agent::host_pid(host_proc)) {
                // Waits for the other side to close, which it does also by dying.
                let _told = theirs.send(&Separated { host_pid });
                let _closed = theirs.recv::<Separated>();
            }
            sys::exit_now(0)
        }
        Forked::Parent(child) => {
            drop(theirs);
            let users = match ours.recv::<Separated>() {
                Ok(Some(Separated { host_pid })) => write_mapping(host_pid, owner, agent, host_proc).because(Step::Mount, say),
                Ok(None) => Err(failure(Step::Namespace, say())),
                Err(failure) => Err(failure),
            };
            drop(ours);
            while let Err(Errno::INTR) = waitpid(Some(child), WaitOptions::empty()) {}
            users
        }
    }
}

fn write_mapping(host_pid: u32, owner: Owner, agent: Owner, host_proc: &OwnedFd) -> Result<OwnedFd, Errno> {
    for (name, inside, outside) in [("uid_map", owner.uid, agent.uid), ("gid_map", owner.gid, agent.gid)] {
        let file = openat(host_proc, format!("{host_pid}/{name}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, format!("{inside} {outside} 1").as_bytes())?;
    }
    openat(host_proc, format!("{host_pid}/ns/user"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

//! What a sandbox's file tree is made of, as mounts that stand nowhere yet: read-only copies of the host's, and new file systems.

use std::os::fd::OwnedFd;
use std::path::Path;

use jail::{Failure, Mount, Step};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, open_tree,
};

use crate::failure::Because;
use crate::mounts::Owner;
use crate::namespaces::Power;
use crate::overlay;
use crate::sys;

pub const RO: u64 = libc::MOUNT_ATTR_RDONLY;
pub const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
pub const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// A detached, read-only copy of a source's mounts; nothing for the kinds that are made of nothing.
pub fn clone_source(mount: &Mount, owner: Owner, host_proc: &OwnedFd, power: Power) -> Result<Option<OwnedFd>, Failure> {
    let source = match mount {
        Mount::BindRo { source, .. } => source,
        Mount::Overlay { lower, .. } => return overlay::lower(lower, owner, host_proc, power).map(Some),
        Mount::Tmpfs { .. } | Mount::File { .. } | Mount::Symlink { .. } => return Ok(None),
    };
    let found = open_source(source)?;
    clone_tree(&found, RO | NOSUID | NODEV)
        .because(Step::Mount, || format!("bind source {} can't be made read-only", source.display()))
        .map(Some)
}

/// Opens what the plan names on the host, by its real path only.
pub fn open_source(source: &Path) -> Result<OwnedFd, Failure> {
    let found = openat2(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    found.because(Step::Mount, || match found_fault(source) {
        Some(link) => format!("bind source {}: {} is a symbolic link, name the real path", source.display(), link.display()),
        None => format!("bind source {} can't be opened: it must exist on the host and be readable", source.display()),
    })
}

/// The first part of a path that is a symbolic link.
fn found_fault(path: &Path) -> Option<&Path> {
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    parts.into_iter().find(|part| part.is_symlink())
}

pub fn clone_device(name: &str) -> Result<OwnedFd, Failure> {
    let path = Path::new("/dev").join(name);
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(CWD, &path, flags, Mode::empty())
        .and_then(|found| clone_tree(&found, RO | NOSUID | NOEXEC))
        .because(Step::Mount, || format!("{} of the host can't be used", path.display()))
}

pub fn clone_tree(found: &OwnedFd, flags: u64) -> Result<OwnedFd, Errno> {
    let how = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(found, "", how)?;
    sys::mount_add_flags(&tree, flags, true)?;
    Ok(tree)
}

/// Shows only processes that the reader could trace, and nothing of the kernel beside them, as far as the kernel can.
pub fn new_proc(downgrades: &mut Vec<String>) -> Result<OwnedFd, Failure> {
    const WANTED: [(&str, &str); 2] = [("hidepid", "invisible"), ("subset", "pid")];
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let make = |options: &[(&str, &str)]| new_filesystem("proc", options.iter().map(|(k, v)| (*k, (*v).to_owned())), flags);
    let made = match make(&WANTED) {
        Err(Errno::INVAL) => {
            downgrades.push("/proc shows more than the agent's own processes: the kernel is older than 5.8".into());
            make(&[])
        }
        result => result,
    };
    made.because(Step::Mount, || {
        "/proc can't be mounted for the sandbox: in a container, the outer /proc must not be masked (or run as root)".into()
    })
}

/// An empty file system in memory.
pub fn new_tmpfs(size_bytes: u64, inodes: u64, mode: u32, owner: Owner) -> Result<OwnedFd, Errno> {
    let options = [
        ("size", size_bytes.to_string()),
        ("nr_inodes", inodes.to_string()),
        ("mode", format!("{mode:o}")),
        ("uid", owner.uid.to_string()),
        ("gid", owner.gid.to_string()),
    ];
    new_filesystem("tmpfs", options, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// A file system with these options; one without a value is a switch.
pub fn new_filesystem<'a>(
    kind: &str,
    options: impl IntoIterator<Item = (&'a str, String)>,
    flags: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value.as_str() {
            "" => fsconfig_set_flag(&context, key)?,
            value => fsconfig_set_string(&context, key, value)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

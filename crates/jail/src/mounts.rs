//! The sandbox's file tree, built by descriptor beside the host's and then put in its place: what the plan does not
//! name is not there.
//!
//! Order: copies of all sources are taken as detached trees and made read-only, then an empty tmpfs becomes the root,
//! everything is placed in it, the old root is let go, and what the kernel now lists is compared with what was meant.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use jail::{Failure, Mount, Plan, Step};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, fchmod, fchown, fstat, mkdirat, openat, openat2, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};

use crate::failure::{Because, failure};
use crate::sys;

pub const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: [(&str, &str); 4] =
    [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")];

/// Where programs keep shared memory; it counts against the memory limit like every tmpfs.
const SHM_BYTES: u64 = 64 << 20;
const SHM_INODES: u64 = 1024;

/// The root holds folders, links and the plan's small files, which can't be larger than a plan.
const ROOT_BYTES: u64 = 4 << 20;
const ROOT_INODES: u64 = 2048;

/// Folders of which every host has one. The new root stands on it while it is built, and hides it from nobody else.
const SCAFFOLDS: [&str; 5] = ["/tmp", "/run", "/mnt", "/usr", "/etc"];

const RO: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// User and group that own what the agent may write, in the terms of the current user namespace.
#[derive(Clone, Copy)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Makes this mount namespace deaf and mute towards the host's.
pub fn detach_from_host() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .because(Step::Mount, || "the mount namespace could not be made private".into())
}

/// Replaces the file tree by the plan's. `host_proc` is the host's `/proc`, which outlives it.
pub fn build(plan: &Plan, owner: Owner, host_proc: &OwnedFd) -> Result<Vec<String>, Failure> {
    let mut downgrades = Vec::new();
    let sources = plan.mounts.iter().map(clone_source).collect::<Result<Vec<_>, _>>()?;
    let devices = DEVICES.iter().map(|name| clone_device(name)).collect::<Result<Vec<_>, _>>()?;
    let proc_mount = new_proc(&mut downgrades)?;
    let root = Root::scaffold()?;
    for (mount, source) in plan.mounts.iter().zip(sources) {
        root.place(mount, source, owner)?;
    }
    root.attach(&proc_mount, &root.folder(Path::new("/proc"))?, "/proc")?;
    root.place_devices(devices, owner)?;
    root.enter()?;
    verify(plan, host_proc)?;
    Ok(downgrades)
}

/// Covers `/proc` with one that matches the new process numbers, for a sandbox that keeps the host's file tree.
pub fn cover_proc() -> Result<Vec<String>, Failure> {
    let mut downgrades = Vec::new();
    let covered = new_proc(&mut downgrades).and_then(|mount| {
        move_mount(&mount, "", CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .because(Step::Mount, || "/proc could not be covered".into())
    });
    if let Err(failure) = covered {
        downgrades.push(format!("/proc is the host's own: {failure}"));
    }
    Ok(downgrades)
}

/// A detached, read-only copy of a source's mounts; nothing for the kinds that are made of nothing.
fn clone_source(mount: &Mount) -> Result<Option<OwnedFd>, Failure> {
    let Mount::BindRo { source, .. } = mount else { return Ok(None) };
    let found = openat2(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let found = found.because(Step::Mount, || match found_fault(source) {
        Some(link) => format!("bind source {}: {} is a symbolic link, name the real path", source.display(), link.display()),
        None => format!("bind source {} can't be opened: it must exist on the host and be readable", source.display()),
    })?;
    clone_tree(&found, RO | NOSUID | NODEV)
        .because(Step::Mount, || format!("bind source {} can't be made read-only", source.display()))
        .map(Some)
}

/// The first part of a path that is a symbolic link.
fn found_fault(path: &Path) -> Option<&Path> {
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    parts.into_iter().find(|part| part.is_symlink())
}

fn clone_device(name: &str) -> Result<OwnedFd, Failure> {
    let path = Path::new("/dev").join(name);
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(CWD, &path, flags, Mode::empty())
        .and_then(|found| clone_tree(&found, RO | NOSUID | NOEXEC))
        .because(Step::Mount, || format!("{} of the host can't be used", path.display()))
}

fn clone_tree(found: &OwnedFd, flags: u64) -> Result<OwnedFd, Errno> {
    let how = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(found, "", how)?;
    sys::mount_add_flags(&tree, flags, true)?;
    Ok(tree)
}

/// Shows only processes that the reader could trace, and nothing of the kernel beside them, as far as the kernel can.
fn new_proc(downgrades: &mut Vec<String>) -> Result<OwnedFd, Failure> {
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

fn new_tmpfs(size_bytes: u64, inodes: u64, mode: u32, owner: Owner) -> Result<OwnedFd, Errno> {
    let options = [
        ("size", size_bytes.to_string()),
        ("nr_inodes", inodes.to_string()),
        ("mode", format!("{mode:o}")),
        ("uid", owner.uid.to_string()),
        ("gid", owner.gid.to_string()),
    ];
    new_filesystem("tmpfs", options, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)
}

fn new_filesystem<'a>(
    kind: &str,
    options: impl IntoIterator<Item = (&'a str, String)>,
    flags: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// The root under construction.
struct Root(OwnedFd);

impl Root {
    fn scaffold() -> Result<Self, Failure> {
        let root = new_tmpfs(ROOT_BYTES, ROOT_INODES, 0o755, Owner { uid: 0, gid: 0 })
            .because(Step::Mount, || "the sandbox's root could not be made".into())?;
        let place = SCAFFOLDS.iter().find(|path| Path::new(path).is_dir());
        let place = place.ok_or_else(|| failure(Step::Mount, format!("the host has none of {SCAFFOLDS:?}")))?;
        move_mount(&root, "", CWD, *place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .because(Step::Mount, || "the sandbox's root could not be mounted".into())?;
        Ok(Self(root))
    }

    fn place(&self, mount: &Mount, source: Option<OwnedFd>, owner: Owner) -> Result<(), Failure> {
        let target = mount.target();
        let shown = target.to_string_lossy();
        match (mount, source) {
            (Mount::BindRo { .. }, Some(source)) => {
                let is_folder = fstat(&source).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
                let at = if is_folder { self.folder(target)? } else { self.empty_file(target)? };
                self.attach(&source, &at, &shown)
            }
            (Mount::BindRo { source, .. }, None) => Err(failure(Step::Mount, format!("{} was not opened", source.display()))),
            (Mount::Tmpfs { size_bytes, inodes, mode, .. }, _) => {
                let made = new_tmpfs(*size_bytes, *inodes, *mode, owner)
                    .because(Step::Mount, || format!("tmpfs {shown} could not be made"))?;
                self.attach(&made, &self.folder(target)?, &shown)
            }
            (Mount::File { content, mode, .. }, _) => self.write_file(target, content, *mode),
            (Mount::Symlink { points_to, .. }, _) => {
                let (parent, name) = self.parent(target)?;
                symlinkat(points_to, &parent, name).because(Step::Mount, || format!("symbolic link {shown} could not be made"))
            }
        }
    }

    fn place_devices(&self, devices: Vec<OwnedFd>, owner: Owner) -> Result<(), Failure> {
        let dev = Path::new("/dev");
        for (name, device) in DEVICES.iter().zip(devices) {
            let path = dev.join(name);
            self.attach(&device, &self.empty_file(&path)?, &path.to_string_lossy())?;
        }
        let (parent, _) = self.parent(Path::new("/dev/fd"))?;
        for (name, points_to) in DEVICE_LINKS {
            symlinkat(points_to, &parent, name).because(Step::Mount, || format!("/dev/{name} could not be made"))?;
        }
        let shm = new_tmpfs(SHM_BYTES, SHM_INODES, 0o1777, owner).because(Step::Mount, || "/dev/shm could not be made".into())?;
        self.attach(&shm, &self.folder(Path::new("/dev/shm"))?, "/dev/shm")
    }

    fn attach(&self, mount: &OwnedFd, at: &OwnedFd, shown: &str) -> Result<(), Failure> {
        let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(mount, "", at, "", how).because(Step::Mount, || format!("{shown} could not be mounted"))
    }

    /// The folder above a target, made where it is missing, and the target's name.
    fn parent<'a>(&self, target: &'a Path) -> Result<(OwnedFd, &'a Path), Failure> {
        let (parent, name) = (target.parent(), target.file_name());
        let (parent, name) = parent.zip(name).ok_or_else(|| failure(Step::Plan, "a mount target without a name"))?;
        Ok((self.folder(parent)?, Path::new(name)))
    }

    /// A folder inside, made with its parents where it is missing. Never follows a symbolic link: one in a bound tree
    /// could lead a later mount to a place that the plan does not name.
    fn folder(&self, path: &Path) -> Result<OwnedFd, Failure> {
        let say = || format!("folder {} could not be made in the sandbox (below something read-only?)", path.display());
        let mut at = step_into(&self.0, Path::new(".")).because(Step::Mount, say)?;
        for part in path.components() {
            if let Component::Normal(name) = part {
                at = step_or_make(&at, Path::new(name)).because(Step::Mount, say)?;
            }
        }
        Ok(at)
    }

    /// A file to mount something on, made where it is missing.
    fn empty_file(&self, target: &Path) -> Result<OwnedFd, Failure> {
        let (parent, name) = self.parent(target)?;
        let say = || format!("{} could not be made in the sandbox", target.display());
        match create_file(&parent, name, 0o444) {
            Ok(_) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(errno) => return Err(errno).because(Step::Mount, say),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&parent, name, flags, Mode::empty()).because(Step::Mount, say)
    }

    fn write_file(&self, target: &Path, content: &str, mode: u32) -> Result<(), Failure> {
        let say = || format!("file {} could not be made", target.display());
        let (parent, name) = self.parent(target)?;
        match create_file(&parent, name, mode) {
            Ok(file) => write_whole(file, content).because(Step::Mount, say),
            Err(Errno::EXIST | Errno::ROFS) => self.cover_file(target, content, mode),
            Err(errno) => Err(errno).because(Step::Mount, say),
        }
    }

    /// Puts new content over a file that a bind has brought: written in the root, mounted over, its name taken away.
    fn cover_file(&self, target: &Path, content: &str, mode: u32) -> Result<(), Failure> {
        let name = Path::new(".covering");
        let say = || format!("file {} could not be covered", target.display());
        let file = create_file(&self.0, name, mode).because(Step::Mount, say)?;
        write_whole(file, content).because(Step::Mount, say)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let tree = openat(&self.0, name, flags, Mode::empty())
            .and_then(|written| clone_tree(&written, RO | NOSUID | NODEV))
            .because(Step::Mount, say)?;
        self.attach(&tree, &self.empty_file(target)?, &target.to_string_lossy())?;
        unlinkat(&self.0, name, AtFlags::empty()).because(Step::Mount, say)
    }

    /// Makes this the root of the file tree and lets the host's go.
    fn enter(&self) -> Result<(), Failure> {
        let say = |what: &'static str| move || format!("the sandbox's root {what}");
        sys::mount_add_flags(&self.0, RO | NOSUID | NODEV, false).because(Step::Mount, say("can't be made read-only"))?;
        fchdir(&self.0).because(Step::Mount, say("can't be entered"))?;
        pivot_root(".", ".").because(Step::Mount, say("can't take the host's place"))?;
        unmount(".", UnmountFlags::DETACH).because(Step::Mount, say("can't let the host's go"))?;
        rustix::process::chdir("/").because(Step::Mount, say("can't be entered"))
    }
}

fn step_into(at: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(at, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

fn step_or_make(at: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    match step_into(at, name) {
        Err(Errno::NOENT) => {
            mkdirat(at, name, Mode::from_raw_mode(0o755))?;
            let made = openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            own_like_parent(&made, at)?;
            step_into(at, name)
        }
        result => result,
    }
}

fn create_file(parent: &OwnedFd, name: &Path, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
    own_like_parent(&file, parent)?;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(file)
}

fn own_like_parent(made: &OwnedFd, parent: &OwnedFd) -> Result<(), Errno> {
    let stat = fstat(parent)?;
    fchown(made, Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))
}

fn write_whole(file: OwnedFd, content: &str) -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::fs::File::from(file), content.as_bytes())
}

/// Compares the kernel's list of mounts with what was meant. A mount that came along unasked, or a flag that did not
/// stick, ends the sandbox before its agent begins.
fn verify(plan: &Plan, host_proc: &OwnedFd) -> Result<(), Failure> {
    let table = read_table(host_proc).because(Step::Mount, || "the list of mounts can't be read".into())?;
    let writable: Vec<PathBuf> = plan
        .mounts
        .iter()
        .filter(|mount| matches!(mount, Mount::Tmpfs { .. }))
        .map(|mount| mount.target().to_owned())
        .chain(["/proc".into(), "/dev/shm".into()])
        .collect();
    for line in table.lines() {
        let mut fields = line.split(' ').skip(4);
        let (at, options) = fields.next().zip(fields.next()).ok_or_else(|| failure(Step::Mount, "unreadable list of mounts"))?;
        let has = |option: &str| options.split(',').any(|given| given == option);
        let at = Path::new(at);
        let device = at.parent() == Some(Path::new("/dev")) && !at.ends_with("shm");
        let sound = has("nosuid") && (has("nodev") || device) && (has("ro") || writable.iter().any(|path| path == at));
        if !sound {
            return Err(failure(Step::Mount, format!("mount {} has unexpected rights {options}", at.display())));
        }
    }
    Ok(())
}

fn read_table(host_proc: &OwnedFd) -> std::io::Result<String> {
    let name = CString::from(c"self/mountinfo");
    let file = openat(host_proc, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    std::io::read_to_string(std::fs::File::from(file))
}

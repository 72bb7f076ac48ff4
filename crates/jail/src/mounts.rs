//! The sandbox's file tree, built by descriptor beside the host's and then put in its place: what the plan does not
//! name is not there.
//!
//! Order: before the plan is known, what every sandbox has is made and belongs to no tree yet ([`Parts`]). Then copies of
//! all sources are taken as detached trees and made read-only, the new root is mounted, everything is placed in it, the
//! old root is let go, and what the kernel now lists is compared with what was meant.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use jail::{Failure, Mount, Plan, Step};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, chownat, fchmod, fchown, fstat, mkdirat, openat, openat2, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount};
use rustix::process::{fchdir, pivot_root};

use crate::failure::{Because, failure};
use crate::mount_check;
use crate::namespaces::Power;
use crate::overlay::{self, Room};
use crate::sources::{NODEV, NOSUID, RO, clone_device, clone_source, clone_tree, new_proc, new_tmpfs};
use crate::sys;
use crate::usage::Folder;

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

/// User and group that own what the agent may write, in the terms of the current user namespace.
#[derive(Clone, Copy)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Makes this mount namespace mute towards the host's. It still hears what the host mounts and lets go meanwhile, so that
/// a plan that comes later finds what it would find on the host.
pub fn listen_to_host() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .because(Step::Mount, || "the mount namespace could not be separated from the host's".into())
}

/// Makes it deaf too, for a sandbox that keeps the host's file tree.
fn detach_from_host() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .because(Step::Mount, || "the mount namespace could not be made private".into())
}

/// What every sandbox has in its file tree, whatever its plan: mounted nowhere yet.
pub struct Parts {
    tree: Result<Tree, Failure>,
    proc_mount: Result<OwnedFd, Failure>,
    downgrades: Vec<String>,
}

/// The parts of a tree of its own.
struct Tree {
    root: Root,
    devices: Vec<OwnedFd>,
    shm: OwnedFd,
}

impl Parts {
    /// Makes them. Which of them are needed is the plan's to say, so only then a failure counts.
    pub fn make() -> Self {
        let mut downgrades = Vec::new();
        let proc_mount = new_proc(&mut downgrades);
        Self { tree: Tree::make(), proc_mount, downgrades }
    }
}

impl Tree {
    fn make() -> Result<Self, Failure> {
        let nobodys = Owner { uid: 0, gid: 0 };
        let root = new_tmpfs(ROOT_BYTES, ROOT_INODES, 0o755, nobodys)
            .because(Step::Mount, || "the sandbox's root could not be made".into())
            .map(Root)?;
        root.folder(Path::new("/proc"))?;
        root.make_dev()?;
        let devices = DEVICES.iter().map(|name| clone_device(name)).collect::<Result<Vec<_>, _>>()?;
        let shm =
            new_tmpfs(SHM_BYTES, SHM_INODES, 0o1777, nobodys).because(Step::Mount, || "/dev/shm could not be made".into())?;
        Ok(Self { root, devices, shm })
    }
}

/// What came of a plan's file tree.
pub struct Built {
    /// Sentences about what the host could not enforce.
    pub downgrades: Vec<String>,
    /// The upper layer of an overlay.
    pub upper: Option<OwnedFd>,
    /// What the agent may write to, for whoever looks from outside how full it is.
    pub folders: Vec<Folder>,
}

/// Replaces the file tree by the plan's. `host_proc` is the host's `/proc`, which outlives it.
pub fn build(plan: &Plan, parts: Parts, owner: Owner, host_proc: &OwnedFd, power: Power) -> Result<Built, Failure> {
    let (Tree { root, devices, shm }, proc_mount) = (parts.tree?, parts.proc_mount?);
    let source = |mount: &Mount| clone_source(mount, owner, host_proc, power);
    let sources = plan.mounts.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    root.scaffold()?;
    let (mut upper, mut folders) = (None, Vec::new());
    for (mount, source) in plan.mounts.iter().zip(sources) {
        match (mount, source) {
            (Mount::Overlay { target, size_bytes, inodes, .. }, Some(lower)) => {
                let made = overlay::make(&root, &lower, Room { size_bytes: *size_bytes, inodes: *inodes }, owner, power)?;
                root.attach(&made.mount, &root.folder(target)?, &target.to_string_lossy())?;
                let again = made.upper.try_clone().because(Step::Mount, || "the room for changes can't be watched".into())?;
                folders.push((target.display().to_string(), again));
                upper = Some(made.upper);
            }
            (mount, source) => {
                let made = root.place(mount, source, owner)?;
                folders.extend(made.map(|folder| (mount.target().display().to_string(), folder)));
            }
        }
    }
    root.attach(&proc_mount, &root.folder(Path::new("/proc"))?, "/proc")?;
    root.place_devices(&devices)?;
    own(&shm, owner).because(Step::Mount, || "/dev/shm can't be given to the agent".into())?;
    root.attach(&shm, &root.folder(Path::new("/dev/shm"))?, "/dev/shm")?;
    folders.push(("/dev/shm".to_owned(), shm));
    root.enter()?;
    mount_check::verify(plan, host_proc)?;
    Ok(Built { downgrades: parts.downgrades, upper, folders })
}

/// Covers `/proc` with one that matches the new process numbers, for a sandbox that keeps the host's file tree.
pub fn cover_proc(parts: Parts) -> Result<Vec<String>, Failure> {
    detach_from_host()?;
    let mut downgrades = parts.downgrades;
    let covered = parts.proc_mount.and_then(|mount| {
        move_mount(&mount, "", CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .because(Step::Mount, || "/proc could not be covered".into())
    });
    if let Err(failure) = covered {
        downgrades.push(format!("/proc is the host's own: {failure}"));
    }
    Ok(downgrades)
}

/// The root under construction.
pub struct Root(OwnedFd);

impl Root {
    /// Mounts it where it hides nothing from anybody, because only a mounted root can be built on.
    fn scaffold(&self) -> Result<(), Failure> {
        let place = SCAFFOLDS.iter().find(|path| Path::new(path).is_dir());
        let place = place.ok_or_else(|| failure(Step::Mount, format!("the host has none of {SCAFFOLDS:?}")))?;
        move_mount(&self.0, "", CWD, *place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .because(Step::Mount, || "the sandbox's root could not be mounted".into())
    }

    /// Everything but an overlay, which is made of more than a source. Returns a writable folder.
    fn place(&self, mount: &Mount, source: Option<OwnedFd>, owner: Owner) -> Result<Option<OwnedFd>, Failure> {
        let target = mount.target();
        let shown = target.to_string_lossy();
        match (mount, source) {
            (Mount::BindRo { .. }, Some(source)) => {
                let is_folder = fstat(&source).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
                let at = if is_folder { self.folder(target)? } else { self.empty_file(target)? };
                self.attach(&source, &at, &shown)?;
            }
            (Mount::BindRo { source, .. } | Mount::Overlay { lower: source, .. }, _) => {
                return Err(failure(Step::Mount, format!("{} was not opened", source.display())));
            }
            (Mount::Tmpfs { size_bytes, inodes, mode, .. }, _) => {
                let made = new_tmpfs(*size_bytes, *inodes, *mode, owner)
                    .because(Step::Mount, || format!("tmpfs {shown} could not be made"))?;
                self.attach(&made, &self.folder(target)?, &shown)?;
                return Ok(Some(made));
            }
            (Mount::File { content, mode, .. }, _) => self.write_file(target, content, *mode)?,
            (Mount::Symlink { points_to, .. }, _) => {
                let (parent, name) = self.parent(target)?;
                symlinkat(points_to, &parent, name)
                    .because(Step::Mount, || format!("symbolic link {shown} could not be made"))?;
            }
        }
        Ok(None)
    }

    /// `/dev` without what is mounted in it.
    fn make_dev(&self) -> Result<(), Failure> {
        for name in DEVICES {
            self.empty_file(&Path::new("/dev").join(name))?;
        }
        let (parent, _) = self.parent(Path::new("/dev/fd"))?;
        for (name, points_to) in DEVICE_LINKS {
            symlinkat(points_to, &parent, name).because(Step::Mount, || format!("/dev/{name} could not be made"))?;
        }
        self.folder(Path::new("/dev/shm")).map(|_made| ())
    }

    fn place_devices(&self, devices: &[OwnedFd]) -> Result<(), Failure> {
        for (name, device) in DEVICES.iter().zip(devices) {
            let path = Path::new("/dev").join(name);
            self.attach(device, &self.empty_file(&path)?, &path.to_string_lossy())?;
        }
        Ok(())
    }

    pub fn attach(&self, mount: &OwnedFd, at: &OwnedFd, shown: &str) -> Result<(), Failure> {
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
    pub fn folder(&self, path: &Path) -> Result<OwnedFd, Failure> {
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

    /// Takes a folder of [`Root::folder`] away again, after what was mounted there was let go.
    pub fn forget(&self, name: &str) -> Result<(), Failure> {
        unlinkat(&self.0, name, AtFlags::REMOVEDIR).because(Step::Mount, || format!("/{name} can't be taken away"))
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

/// Gives the top of a mount to its user.
fn own(mount: &OwnedFd, owner: Owner) -> Result<(), Errno> {
    let (user, group) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
    chownat(mount, "", Some(user), Some(group), AtFlags::EMPTY_PATH)
}

fn own_like_parent(made: &OwnedFd, parent: &OwnedFd) -> Result<(), Errno> {
    let stat = fstat(parent)?;
    fchown(made, Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))
}

fn write_whole(file: OwnedFd, content: &str) -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::fs::File::from(file), content.as_bytes())
}

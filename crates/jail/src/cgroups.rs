//! Control groups: the limits on memory, processes and processor time that hold for a sandbox as a whole.
//!
//! Hosts come in two kinds. Version 1 has one tree of folders per controller; version 2 has one tree for all. In either
//! the sandbox gets a folder of its own in `hexward`, below a folder that this process may write to. It is made before
//! the plan is known, so its name is not the plan's.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use jail::{Failure, Limits, Step};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use crate::failure::{Because, failure, say};
use crate::namespaces::Power;
use crate::usage;

const FOLDER: &str = "hexward";
/// Version 1 counts what sockets keep apart from other memory, so it comes on top: an eighth of that, and no more than a
/// hundred full connections.
const SOCKETS_SHARE: u64 = 8;
const SOCKETS_BYTES_MAX: u64 = 32 << 20;
const SOCKETS_LIMIT: &str = "memory.kmem.tcp.limit_in_bytes";

const CPU_PERIOD_US: u64 = 100_000;
const UNCOUNTED_CPU: &str = "the processor time of a run is not limited: no control group counts it (cpuacct, or version 2)";

/// The kernel lets go of a dead group's last member a moment after its death is reported.
const REMOVAL_MAX: Duration = Duration::from_secs(2);
const REMOVAL_STEP: Duration = Duration::from_micros(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups of one sandbox. Whoever made them calls [`Cgroups::remove`].
pub struct Cgroups {
    version: Version,
    folders: Vec<PathBuf>,
    /// Files through which a process moves itself in, opened while this process still had the rights.
    doors: Vec<File>,
    /// Held as long as the supervisor lives, so that [`sweep`] can tell an orphan.
    locks: Vec<OwnedFd>,
    pub downgrades: Vec<String>,
}

impl Cgroups {
    /// Makes the groups; [`Cgroups::limit`] follows before anything foreign is in them.
    ///
    /// With root, memory and processes are bounded or there is no sandbox; otherwise what can't be had is a downgrade.
    pub fn create(power: Power) -> Result<Self, Failure> {
        // A sweep can take a new folder for an orphan's.
        let make = || Self::create_in(&Tree::find()?, &new_name());
        let made = make().or_else(|_| make()).or_else(|_| make());
        match (made, power) {
            (Ok(groups), _) => Ok(groups),
            (Err(failure), Power::Root) => Err(failure),
            (Err(failure), Power::Own) => Ok(Self {
                version: Version::Two,
                folders: Vec::new(),
                doors: Vec::new(),
                locks: Vec::new(),
                downgrades: vec![
                    format!(
                        "the memory limit is not enforced, neither for programs nor for sockets: no control group could be made: {failure}"
                    ),
                    "the process limit is RLIMIT_NPROC, not a control group".into(),
                    UNCOUNTED_CPU.into(),
                ],
            }),
        }
    }

    fn create_in(tree: &Tree, name: &str) -> Result<Self, Failure> {
        let mut groups =
            Self { version: tree.version, folders: Vec::new(), doors: Vec::new(), locks: Vec::new(), downgrades: Vec::new() };
        let filled = groups.fill(tree, name);
        match filled {
            Ok(()) => {
                let uncounted = usage::cpu_us(&groups.folders).is_none();
                groups.downgrades.extend(uncounted.then(|| UNCOUNTED_CPU.to_owned()));
                Ok(groups)
            }
            Err(failure) => {
                groups.remove();
                Err(failure)
            }
        }
    }

    fn fill(&mut self, tree: &Tree, name: &str) -> Result<(), Failure> {
        for parent in &tree.parents {
            let folder = parent.join(name);
            // Closed to others, who need no more than to read it to hold its lock.
            DirBuilder::new()
                .mode(0o700)
                .create(&folder)
                .because(Step::Cgroup, || format!("{} could not be made", folder.display()))?;
            let lock = lock(&folder).because(Step::Cgroup, || format!("{} can't be claimed", folder.display()))?;
            self.folders.push(folder);
            self.locks.push(lock);
        }
        if self.version == Version::One {
            // The kernel begins to count sockets with the first group that bounds them, which takes it a while.
            self.limit_sockets(SOCKETS_BYTES_MAX)?;
        }
        let door = match self.version {
            // A process that moves only its own thread spares the kernel a lock that costs milliseconds.
            Version::One => "tasks",
            Version::Two => "cgroup.procs",
        };
        for folder in &self.folders {
            let file = OpenOptions::new().write(true).open(folder.join(door));
            self.doors.push(file.because(Step::Cgroup, || format!("{} takes no processes", folder.display()))?);
        }
        Ok(())
    }

    /// Sets what the members may use together.
    pub fn limit(&mut self, limits: &Limits) -> Result<(), Failure> {
        if self.folders.is_empty() {
            return Ok(()); // which is a downgrade already
        }
        let memory = limits.memory_bytes.to_string();
        // The sandbox's own first process is not the agent's.
        let pids = u64::from(limits.pids).saturating_add(1).to_string();
        let needed: &[(&str, &str)] = match self.version {
            Version::One => &[("memory.limit_in_bytes", &memory), ("pids.max", &pids)],
            Version::Two => &[("memory.max", &memory), ("pids.max", &pids)],
        };
        for (name, value) in needed {
            self.set(name, value).because(Step::Cgroup, || format!("the limit {name} = {value} could not be set"))?;
        }
        if self.version == Version::One {
            self.limit_sockets((limits.memory_bytes / SOCKETS_SHARE).min(SOCKETS_BYTES_MAX))?;
        }
        let swap: (&str, &str) = match self.version {
            Version::One => ("memory.memsw.limit_in_bytes", &memory),
            Version::Two => ("memory.swap.max", "0"),
        };
        // Absent on hosts without swap accounting, which then have no swap to give.
        let _absent = self.set(swap.0, swap.1);
        if let Some(percent) = limits.cpu_percent {
            self.limit_cpu(percent);
        }
        Ok(())
    }

    /// Despite its name it holds for UDP too. Version 2 counts sockets as memory.
    fn limit_sockets(&mut self, bytes: u64) -> Result<(), Failure> {
        match self.set(SOCKETS_LIMIT, &bytes.to_string()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let told = "what sockets keep in memory is not limited: the kernel does not count it (CONFIG_MEMCG_KMEM)";
                if !self.downgrades.iter().any(|known| known == told) {
                    self.downgrades.push(told.into());
                }
                Ok(())
            }
            result => result.because(Step::Cgroup, || format!("the limit {SOCKETS_LIMIT} = {bytes} could not be set")),
        }
    }

    fn limit_cpu(&mut self, percent: u32) {
        let quota = u64::from(percent).saturating_mul(CPU_PERIOD_US) / 100;
        let result = match self.version {
            Version::One => self
                .set("cpu.cfs_period_us", &CPU_PERIOD_US.to_string())
                .and_then(|()| self.set("cpu.cfs_quota_us", &quota.to_string())),
            Version::Two => self.set("cpu.max", &format!("{quota} {CPU_PERIOD_US}")),
        };
        if let Err(error) = result {
            self.downgrades.push(format!("the processor limit of {percent} % is not enforced: {error}"));
        }
    }

    /// Writes a file of whichever folder has it.
    fn set(&self, name: &str, value: &str) -> std::io::Result<()> {
        let folder = self.folders.iter().find(|folder| folder.join(name).exists());
        let folder = folder.ok_or(ErrorKind::NotFound)?;
        write_existing(&folder.join(name), value)
    }

    /// For a process that was forked: leaves the claim on the groups to the supervisor alone, so that its death is seen
    /// even while this process has yet to follow it.
    pub fn leave_claim(&mut self) {
        self.locks.clear();
    }

    /// Moves the calling process in.
    pub fn join(&self) -> Result<(), Failure> {
        for mut door in &self.doors {
            door.write_all(b"0").because(Step::Cgroup, || "the sandbox could not be moved into its control group".into())?;
        }
        Ok(())
    }

    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Lets frozen members go on, without which version 1 would never let them die.
    pub fn thaw(&self) {
        let (name, value) = match self.version {
            Version::One => ("freezer.state", "THAWED"),
            Version::Two => ("cgroup.freeze", "0"),
        };
        let _absent = self.set(name, value);
    }

    /// Kills whatever is still in, beyond the first process with which the kernel ends the rest.
    pub fn kill(&self) {
        if self.version == Version::Two {
            let _absent = self.set("cgroup.kill", "1");
        }
    }

    /// Removes the groups, waiting a bounded time for their last members to be gone.
    pub fn remove(&mut self) {
        self.doors.clear();
        let (deadline, mut step) = (Instant::now() + REMOVAL_MAX, REMOVAL_STEP);
        for folder in self.folders.drain(..) {
            while let Err(error) = fs::remove_dir(&folder) {
                if error.kind() == ErrorKind::NotFound {
                    break;
                }
                if Instant::now() > deadline {
                    say(&format!("{} could not be removed: {error}", folder.display()));
                    break;
                }
                sleep(step);
                step = (step * 2).min(REMOVAL_STEP * 50);
            }
        }
    }
}

/// A name that no other group has, not even one made from within another process namespace.
fn new_name() -> String {
    format!("jail-{}-{:016x}", std::process::id(), RandomState::new().hash_one(std::process::id()))
}

/// Removes what supervisors left behind that were killed themselves, and lets go on to their death what was frozen
/// then. Returns the groups' names.
pub fn sweep() -> Result<Vec<String>, Failure> {
    let tree = Tree::find()?;
    let mut swept = BTreeSet::new();
    for entry in tree.parents.iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten() {
        let name = entry.file_name();
        let folders: Vec<PathBuf> =
            tree.parents.iter().map(|parent| parent.join(&name)).filter(|folder| folder.is_dir()).collect();
        let Ok(locks) = folders.iter().map(|folder| lock(folder)).collect::<Result<Vec<_>, _>>() else { continue };
        if !folders.is_empty() {
            let mut orphan = Cgroups { version: tree.version, folders, doors: Vec::new(), locks, downgrades: Vec::new() };
            orphan.thaw();
            orphan.kill();
            orphan.remove();
            swept.insert(name.to_string_lossy().into_owned());
        }
    }
    Ok(swept.into_iter().collect())
}

/// Claims a group's folder for as long as the descriptor is open; fails while another process has it.
fn lock(folder: &Path) -> Result<OwnedFd, Errno> {
    let opened = open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    flock(&opened, FlockOperation::NonBlockingLockExclusive)?;
    Ok(opened)
}

/// The folders below which this host's sandboxes have theirs: one per version 1 controller, or the one of version 2.
struct Tree {
    version: Version,
    parents: Vec<PathBuf>,
}

impl Tree {
    fn find() -> Result<Self, Failure> {
        let read = |path: &str| fs::read_to_string(path).because(Step::Cgroup, || format!("{path} can't be read"));
        let (mounts, own) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
        let one = |controller| v1_folder(&mounts, &own, controller);
        if let (Some(memory), Some(pids)) = (one("memory"), one("pids")) {
            let mut parents = Vec::new();
            for base in [Some(memory), Some(pids), one("cpu"), one("cpuacct"), one("freezer")].into_iter().flatten() {
                let parent = base.join(FOLDER);
                if !parents.contains(&parent) {
                    ensure_folder(&parent)?;
                    parents.push(parent);
                }
            }
            return Ok(Self { version: Version::One, parents });
        }
        let (mount, folder) = v2_folder(&mounts, &own)
            .ok_or_else(|| failure(Step::Cgroup, "no control groups with memory and pids are mounted on this host"))?;
        let parent = v2_parent(&mount, &folder)?;
        Ok(Self { version: Version::Two, parents: vec![parent] })
    }
}

/// Version 2 gives controllers only to folders whose parent holds no processes: the folder above our own (a service
/// manager's delegation), or the root of the tree.
fn v2_parent(mount: &Path, own: &Path) -> Result<PathBuf, Failure> {
    let above = own.parent().filter(|above| above.starts_with(mount)).unwrap_or(mount);
    let mut last = None;
    for base in [above, mount] {
        match v2_enable(base) {
            Ok(parent) => return Ok(parent),
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| failure(Step::Cgroup, "no folder for control groups")))
}

fn v2_enable(base: &Path) -> Result<PathBuf, Failure> {
    let say = || format!("{} gives no memory and pids controllers: run the gateway in a delegated subgroup", base.display());
    let parent = base.join(FOLDER);
    ensure_folder(&parent)?;
    for folder in [base, &parent] {
        let control = folder.join("cgroup.subtree_control");
        write_existing(&control, "+memory +pids").because(Step::Cgroup, say)?;
        // Asked for by itself, because hosts with real-time groups refuse it.
        let _refused = write_existing(&control, "+cpu");
    }
    Ok(parent)
}

fn ensure_folder(path: &Path) -> Result<(), Failure> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.because(Step::Cgroup, || format!("{} could not be made", path.display())),
    }
}

/// Never creates: a name that a control group folder lacks is an error, not a file.
fn write_existing(path: &Path, value: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// One line of mountinfo (proc_pid_mountinfo(5)): the mounted folder, where, file system and its options.
fn mount_parts(line: &str) -> Option<(&str, &str, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let mut right = right.split(' ');
    Some((left.next()?, left.next()?, right.next()?, right.nth(1)?))
}

/// The folder of our own group in the tree of a version 1 controller.
fn v1_folder(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
    let named = |list: &str| list.split(',').any(|name| name == controller);
    let (root, at, ..) =
        mounts.lines().filter_map(mount_parts).find(|(_, _, kind, options)| *kind == "cgroup" && named(options))?;
    let path = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).find(|(list, _)| named(list))?.1;
    Some(inside(root, at, path))
}

/// The mount of version 2 and the folder of our own group in it.
fn v2_folder(mounts: &str, own: &str) -> Option<(PathBuf, PathBuf)> {
    let (root, at, ..) = mounts.lines().filter_map(mount_parts).find(|(_, _, kind, _)| *kind == "cgroup2")?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some((at.into(), inside(root, at, path)))
}

/// A group's path as seen below a mount that shows the tree from `root` on.
fn inside(root: &str, at: &str, path: &str) -> PathBuf {
    let rest = Path::new(path).strip_prefix(root).or_else(|_| Path::new(path).strip_prefix("/"));
    match rest {
        Ok(rest) if rest.as_os_str().is_empty() => at.into(),
        Ok(rest) => Path::new(at).join(rest),
        Err(_) => at.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
31 25 0:27 /docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const OWN: &str = "6:cpu,cpuacct:/docker/x/y\n4:memory:/a/b\n0::/user.slice/gateway";

    #[test]
    fn own_groups_are_found_in_both_versions() {
        let folder = |controller| v1_folder(MOUNTS, OWN, controller);
        assert_eq!(folder("memory"), Some("/sys/fs/cgroup/memory/a/b".into()));
        assert_eq!(folder("cpu"), Some("/sys/fs/cgroup/cpu,cpuacct/y".into()));
        assert_eq!(folder("pids"), None);
        let two = ("/sys/fs/cgroup/unified".into(), "/sys/fs/cgroup/unified/user.slice/gateway".into());
        assert_eq!(v2_folder(MOUNTS, OWN), Some(two));
    }
}

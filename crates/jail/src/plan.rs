//! The description of one sandbox, complete: what is not in the plan does not exist inside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

const ARGUMENTS_MAX: usize = 256;
const VARIABLES_MAX: usize = 512;
const MOUNTS_MAX: usize = 128;
const EXTRA_PORTS_MAX: usize = 16;
const MEMORY_BYTES_MIN: u64 = 4 << 20;
const FILES_OPEN_MIN: u64 = 16;

/// How far a sandbox's first process is from its agent among the host's users (see [`Plan::host_uid`]).
const FIRST_PROCESS_AFTER: u32 = 100_000;

/// Users of a gateway's sandboxes on the host: one each, nobody else's, taken in turn.
pub const HOST_UID_FIRST: u32 = 2_000_000;
/// How many there are.
pub const HOST_UIDS: u32 = 60_000;

/// Ports that every sandbox captures, so they can't be asked for again.
const STANDARD_PORTS: [u16; 3] = [53, 80, 443];

/// How much of the host an agent is kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Its own file tree, processes, users and network. The only choice for strangers.
    Full,
    /// Its own network and processes only; the host's file tree and the caller's user. For development: the agent can
    /// read and write whatever its caller's user can, which for root is nearly everything.
    NetworkOnly,
}

/// Which system calls an agent may make (`profiles/syscalls.toml`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calls {
    /// What the agent's executable needs that has tools only. Nothing that lies in a writable folder can be executed.
    #[default]
    Agent,
    /// More: for a shell, Node.js, Python and git, which may execute what they made.
    Code,
}

/// One sandbox. Paths are absolute and written without `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the sandbox is called by whoever reads about it: 1 to 64 of `[a-z0-9-]`.
    pub id: String,
    /// How much of the host the agent is kept from.
    pub isolation: Isolation,
    /// Which system calls it may make. The fewer, if the plan does not say.
    #[serde(default)]
    pub calls: Calls,
    /// The program, as a path inside the sandbox, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Where the agent starts, inside the sandbox.
    pub cwd: PathBuf,
    /// What `uname -n` says inside.
    pub hostname: String,
    /// Made in order. `/proc`, `/dev` and a read-only root are always there. Empty with [`Isolation::NetworkOnly`].
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// User inside the sandbox. [`Isolation::NetworkOnly`] keeps the caller's.
    #[serde(default = "agent_id")]
    pub uid: u32,
    /// Group inside the sandbox.
    #[serde(default = "agent_id")]
    pub gid: u32,
    /// User and group on the host, distinct for each sandbox. Needed with root, unused without.
    ///
    /// The sandbox's first process is yet another, 100 000 higher, so that neither its agent nor anything else on the
    /// host is its equal. A caller takes these from one range of at most that length, and leaves both ranges to this.
    #[serde(default)]
    pub host_uid: Option<u32>,
    /// What the agent and everything it starts may use together.
    pub limits: Limits,
    /// More TCP ports to capture, for an operator's rules; their listeners follow the standard four.
    #[serde(default)]
    pub extra_ports: Vec<u16>,
}

/// One thing in the sandbox's file tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mount {
    /// A file or folder of the host, read-only with everything mounted below it. No part of `source` may be a symbolic
    /// link: callers resolve names once, when they read their configuration.
    BindRo { source: PathBuf, target: PathBuf },
    /// An empty folder that the agent may write to. It lives in memory and counts against the memory limit.
    Tmpfs { target: PathBuf, size_bytes: u64, inodes: u64, mode: u32 },
    /// A small file made from `content`. It belongs to whoever owns the folder it stands in: the agent inside a
    /// [`Mount::Tmpfs`], otherwise root. An existing file is covered.
    File { target: PathBuf, content: String, mode: u32 },
    /// A symbolic link.
    Symlink { target: PathBuf, points_to: PathBuf },
    /// A folder of the host as it was, with whatever the agent changes kept apart in memory: the folder itself is never
    /// written to. What changed comes to the caller as a descriptor (see [`Ready::upper`](crate::Ready)). At most one.
    /// `lower` as a bind's source; nothing that is mounted below it is there.
    Overlay { lower: PathBuf, target: PathBuf, size_bytes: u64, inodes: u64 },
}

/// What an agent and everything it starts may use together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory with page cache and tmpfs; there is no swap on top.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Share of processors: 100 is one whole processor. `None` is no bound.
    #[serde(default)]
    pub cpu_percent: Option<u32>,
    /// Open files in one process.
    pub files_open: u64,
    /// The largest file that can be written. `None` is no bound beyond the tmpfs's own.
    #[serde(default)]
    pub file_size_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, pids: 128, cpu_percent: None, files_open: 4096, file_size_bytes: None }
    }
}

/// Why a plan can't be carried out; the fault is the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFault(pub String);

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlanFault {}

const fn agent_id() -> u32 {
    1000
}

impl Mount {
    /// Where it appears inside the sandbox.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self {
            Self::BindRo { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::File { target, .. }
            | Self::Symlink { target, .. }
            | Self::Overlay { target, .. } => target,
        }
    }

    fn validate(&self) -> Result<(), PlanFault> {
        let target = self.target();
        plain_path("mount target", target)?;
        ensure(target != Path::new("/"), || "mount target / is the sandbox's own root".into())?;
        let blank = target.to_string_lossy().contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\');
        ensure(!blank, || format!("mount target {} contains a blank or a backslash", target.display()))?;
        for made in ["/proc", "/dev"] {
            ensure(!target.starts_with(made), || {
                format!("mount target {} lies in {made}, which is always made", target.display())
            })?;
        }
        match self {
            Self::BindRo { source, .. } => plain_path("bind source", source),
            Self::Tmpfs { size_bytes, inodes, mode, .. } => {
                ensure(*size_bytes > 0 && *inodes > 0, || format!("tmpfs {} needs a size and inodes", target.display()))?;
                plain_mode(target, *mode)
            }
            Self::Overlay { lower, size_bytes, inodes, .. } => {
                ensure(*size_bytes > 0 && *inodes > 0, || format!("overlay {} needs a size and inodes", target.display()))?;
                plain_path("overlay's lower folder", lower)
            }
            Self::File { mode, .. } => plain_mode(target, *mode),
            Self::Symlink { points_to, .. } => no_nul("symlink", points_to.as_os_str().as_encoded_bytes()),
        }
    }
}

impl Plan {
    /// Checks everything that can be known without touching the host.
    ///
    /// # Errors
    /// The first fault found, in words for the caller.
    pub fn validate(&self) -> Result<(), PlanFault> {
        self.validate_names()?;
        self.validate_program()?;
        self.validate_users()?;
        self.limits.validate()?;
        self.validate_ports()?;
        ensure(self.mounts.len() <= MOUNTS_MAX, || format!("more than {MOUNTS_MAX} mounts"))?;
        let overlays = self.mounts.iter().filter(|mount| matches!(mount, Mount::Overlay { .. })).count();
        ensure(overlays <= 1, || "more than one overlay".into())?;
        self.mounts.iter().try_for_each(Mount::validate)
    }

    /// User and group of the sandbox's first process on the host.
    #[must_use]
    pub fn first_process_uid(&self) -> Option<u32> {
        self.host_uid?.checked_add(FIRST_PROCESS_AFTER)
    }

    fn validate_names(&self) -> Result<(), PlanFault> {
        let id_ok = (1..=64).contains(&self.id.len())
            && self.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !self.id.starts_with('-');
        ensure(id_ok, || "id must be 1 to 64 of [a-z0-9-], not beginning with -".into())?;
        let host_ok = (1..=63).contains(&self.hostname.len())
            && self.hostname.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        ensure(host_ok, || "hostname must be 1 to 63 of [A-Za-z0-9.-]".into())
    }

    fn validate_program(&self) -> Result<(), PlanFault> {
        let program = self.argv.first().ok_or_else(|| PlanFault("argv is empty".into()))?;
        plain_path("argv[0]", Path::new(program))?;
        plain_path("cwd", &self.cwd)?;
        ensure(self.argv.len() <= ARGUMENTS_MAX, || format!("more than {ARGUMENTS_MAX} arguments"))?;
        ensure(self.env.len() <= VARIABLES_MAX, || format!("more than {VARIABLES_MAX} environment variables"))?;
        self.argv.iter().try_for_each(|argument| no_nul("argument", argument.as_bytes()))?;
        for (name, value) in &self.env {
            ensure(!name.is_empty() && !name.contains('='), || format!("environment variable name {name:?}"))?;
            no_nul("environment variable", name.as_bytes())?;
            no_nul("environment variable", value.as_bytes())?;
        }
        Ok(())
    }

    fn validate_users(&self) -> Result<(), PlanFault> {
        let host_ok = self.host_uid.is_none_or(|uid| uid != 0 && self.first_process_uid().is_some_and(|uid| uid != u32::MAX));
        ensure(host_ok, || format!("host_uid may not be 0, nor among the last {FIRST_PROCESS_AFTER}"))?;
        if self.isolation == Isolation::NetworkOnly {
            return ensure(self.mounts.is_empty(), || "network_only keeps the host's file tree and takes no mounts".into());
        }
        ensure(self.uid != 0 && self.gid != 0, || "the agent may not be user or group 0 inside".into())?;
        ensure(self.uid != u32::MAX && self.gid != u32::MAX, || "user or group id out of range".into())
    }

    fn validate_ports(&self) -> Result<(), PlanFault> {
        ensure(self.extra_ports.len() <= EXTRA_PORTS_MAX, || format!("more than {EXTRA_PORTS_MAX} extra ports"))?;
        let mut seen: BTreeSet<u16> = STANDARD_PORTS.into();
        for port in &self.extra_ports {
            ensure(*port != 0 && seen.insert(*port), || format!("extra port {port} is 0, standard or named twice"))?;
        }
        Ok(())
    }
}

impl Limits {
    fn validate(&self) -> Result<(), PlanFault> {
        ensure(self.memory_bytes >= MEMORY_BYTES_MIN, || format!("memory_bytes must be at least {MEMORY_BYTES_MIN}"))?;
        ensure(self.pids >= 1, || "pids must be at least 1".into())?;
        ensure(self.cpu_percent.is_none_or(|percent| percent >= 1), || "cpu_percent must be at least 1".into())?;
        ensure(self.files_open >= FILES_OPEN_MIN, || format!("files_open must be at least {FILES_OPEN_MIN}"))
    }
}

pub(crate) fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), PlanFault> {
    if holds { Ok(()) } else { Err(PlanFault(fault())) }
}

fn no_nul(what: &str, bytes: &[u8]) -> Result<(), PlanFault> {
    ensure(!bytes.contains(&0), || format!("{what} contains a NUL byte"))
}

/// Absolute, and equal to its own components: no `.`, no `..`, no doubled or trailing slash.
fn plain_path(what: &str, path: &Path) -> Result<(), PlanFault> {
    no_nul(what, path.as_os_str().as_encoded_bytes())?;
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let rebuilt: PathBuf = path.components().collect();
    ensure(path.is_absolute() && plain && rebuilt.as_os_str() == path.as_os_str(), || {
        format!("{what} {} must be absolute, without . or .. or doubled slashes", path.display())
    })
}

fn plain_mode(target: &Path, mode: u32) -> Result<(), PlanFault> {
    ensure(mode & !0o1777 == 0, || format!("mode {mode:o} of {} has bits beyond 1777", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            id: "a-1".into(),
            isolation: Isolation::Full,
            calls: Calls::Agent,
            argv: vec!["/bin/true".into()],
            env: BTreeMap::new(),
            cwd: "/".into(),
            hostname: "box".into(),
            mounts: Vec::new(),
            uid: 1000,
            gid: 1000,
            host_uid: None,
            limits: Limits::default(),
            extra_ports: Vec::new(),
        }
    }

    fn overlay(size_bytes: u64) -> Mount {
        Mount::Overlay { lower: "/srv".into(), target: "/srv".into(), size_bytes, inodes: 1 }
    }

    /// Changes one thing in a good plan.
    type Spoil = fn(&mut Plan);

    #[test]
    fn a_good_plan_is_accepted() {
        assert_eq!(plan().validate(), Ok(()));
    }

    #[test]
    fn every_spoiled_plan_is_refused() {
        let spoils: [(&str, Spoil); 25] = [
            ("id empty", |p| p.id.clear()),
            ("id escapes", |p| p.id = "../x".into()),
            ("id option", |p| p.id = "-x".into()),
            ("id capitals", |p| p.id = "A".into()),
            ("id long", |p| p.id = "a".repeat(65)),
            ("hostname", |p| p.hostname = "a b".into()),
            ("no program", |p| p.argv.clear()),
            ("relative program", |p| p.argv = vec!["true".into()]),
            ("nul argument", |p| p.argv.push("a\0b".into())),
            ("cwd dots", |p| p.cwd = "/a/../b".into()),
            ("variable with =", |p| drop(p.env.insert("A=B".into(), "c".into()))),
            ("variable nul", |p| drop(p.env.insert("A".into(), "\0".into()))),
            ("uid 0", |p| p.uid = 0),
            ("host uid 0", |p| p.host_uid = Some(0)),
            ("host uid without a second", |p| p.host_uid = Some(u32::MAX - 100_000)),
            ("standard port", |p| p.extra_ports = vec![443]),
            ("port twice", |p| p.extra_ports = vec![22, 22]),
            ("no memory", |p| p.limits.memory_bytes = 1),
            ("no pids", |p| p.limits.pids = 0),
            ("mount on root", |p| p.mounts.push(Mount::Symlink { target: "/".into(), points_to: "x".into() })),
            ("mount in proc", |p| p.mounts.push(Mount::BindRo { source: "/etc".into(), target: "/proc/sys".into() })),
            ("doubled slash", |p| p.mounts.push(Mount::BindRo { source: "/etc//ssl".into(), target: "/x".into() })),
            ("overlay without room", |p| p.mounts.push(overlay(0))),
            ("two overlays", |p| p.mounts.extend([overlay(1), overlay(1)])),
            ("setuid file", |p| p.mounts.push(Mount::File { target: "/x".into(), content: String::new(), mode: 0o4755 })),
        ];
        for (name, spoil) in spoils {
            let mut spoiled = plan();
            spoil(&mut spoiled);
            assert!(spoiled.validate().is_err(), "{name} was accepted");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let mut value = serde_json::to_value(plan()).expect("a plan is JSON");
        value.as_object_mut().expect("an object").insert("privileged".into(), true.into());
        assert!(serde_json::from_value::<Plan>(value).is_err());
    }
}

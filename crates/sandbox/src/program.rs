//! Any program in a sandbox of its own, over a project folder that stays as it is: `profiles/run.toml`, resolved against this
//! host, and the life of one such sandbox.

use crate::danger::Dangers;
use crate::driver::Listeners;
use crate::error::SandboxError;
use crate::jailer::Jailer;
use crate::profile::Folder;
use crate::supervise::Control;
use jail::{Calls, Isolation, Limits, Mount, Plan, Usage};
use policy::SandboxId;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Users of these sandboxes on the host: behind those of a gateway's agents.
const HOST_UID_FIRST: u32 = 2_060_000;
const HOST_UIDS: u32 = 40_000;
const CA_INSIDE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where programs look for the authorities that they trust, each in its own words.
const CA_VARIABLES: &[&str] = &[
    // OpenSSL and what is built on it (Python, Ruby), Go, rustls with the platform's roots.
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "AWS_CA_BUNDLE",
];
/// Where a project appears whose own path has blanks in it.
const PROJECT_INSIDE: &str = "/project";
const HOME_INSIDE: &str = "/home/agent";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    system: Vec<Named>,
    folder: Vec<Folder>,
    home: Room,
    project: Room,
    limits: LimitsFile,
    dangerous: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    path: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Room {
    size_mb: u64,
    inodes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    memory_mb: u64,
    pids: u32,
    files_open: u64,
}

/// What a program in a sandbox finds.
pub struct ProgramProfile {
    file: File,
    /// Which changes must be looked at first.
    pub dangers: Dangers,
}

/// One program to be started.
pub struct ProgramSpec {
    /// The sandbox's id.
    pub id: SandboxId,
    /// The program, as a path that is the same inside, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment, but for home and certificates.
    pub environment: BTreeMap<String, String>,
    /// The real project folder.
    pub project: PathBuf,
    /// The certificate to be trusted, as PEM.
    pub trusted_pem: String,
    /// TCP ports beside 80 and 443 that have listeners.
    pub extra_ports: Vec<u16>,
    /// Standard input, output and error.
    pub stdio: [OwnedFd; 3],
}

/// A program under way. Dropping it ends the sandbox.
pub struct Program {
    /// Its network.
    pub listeners: Listeners,
    /// Rules that this host could not enforce.
    pub downgrades: Vec<String>,
    /// The counters of its network (`/proc/net/snmp`, `snmp6`), which outlive it.
    pub counters: Vec<OwnedFd>,
    /// What it changes in the project. Read it when the program has ended.
    pub upper: OwnedFd,
    control: Control,
    jailer: Jailer,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramEnd {
    /// As a shell says it: 128 and the signal's number for a signal.
    pub code: u8,
    /// The kernel killed something for want of memory.
    pub oom_killed: bool,
    /// What it had used in the end; unknown of one that was stopped.
    pub usage: Usage,
}

impl ProgramProfile {
    /// The profile that comes with the gateway.
    ///
    /// # Errors
    /// If it is not of the expected form.
    pub fn shipped() -> Result<Self, toml::de::Error> {
        let mut file: File = toml::from_str(include_str!("../../../profiles/run.toml"))?;
        let dangers = Dangers::new(file.dangerous.drain(..).map(|Named { path, reason }| (path, reason)));
        Ok(Self { file, dangers })
    }

    /// The host's folders that are visible inside.
    #[must_use]
    pub fn shows(&self, path: &Path) -> bool {
        self.file.system.iter().any(|shown| path.starts_with(&shown.path))
    }

    /// Variables that are the sandbox's own, whatever else is passed on.
    #[must_use]
    pub fn sets(name: &str) -> bool {
        name == "HOME" || CA_VARIABLES.contains(&name)
    }

    /// Where the project appears inside: at its own place, if that can be written down in a list of mounts.
    #[must_use]
    pub fn project_inside(project: &Path) -> PathBuf {
        let text = project.to_str().filter(|text| !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\'));
        text.map_or_else(|| PathBuf::from(PROJECT_INSIDE), PathBuf::from)
    }

    fn mounts(&self, spec: &ProgramSpec) -> Vec<Mount> {
        let mut mounts: Vec<Mount> = self.file.system.iter().filter_map(|shown| shown_of_host(Path::new(&shown.path))).collect();
        for Folder { path, size_mb, inodes, .. } in &self.file.folder {
            mounts.push(Mount::Tmpfs { target: path.clone(), size_bytes: size_mb << 20, inodes: *inodes, mode: 0o1777 });
        }
        let Room { size_mb, inodes } = self.file.home;
        mounts.push(Mount::Tmpfs { target: HOME_INSIDE.into(), size_bytes: size_mb << 20, inodes, mode: 0o700 });
        for (path, text) in etc() {
            mounts.push(Mount::File { target: path.into(), content: text, mode: 0o444 });
        }
        mounts.push(Mount::File { target: CA_INSIDE.into(), content: spec.trusted_pem.clone(), mode: 0o444 });
        let Room { size_mb, inodes } = self.file.project;
        mounts.push(Mount::Overlay {
            lower: spec.project.clone(),
            target: Self::project_inside(&spec.project),
            size_bytes: size_mb << 20,
            inodes,
        });
        mounts
    }

    fn plan(&self, spec: &ProgramSpec) -> Plan {
        let LimitsFile { memory_mb, pids, files_open } = self.file.limits;
        let mut env = spec.environment.clone();
        env.insert("HOME".to_owned(), HOME_INSIDE.to_owned());
        env.extend(CA_VARIABLES.iter().map(|&name| (name.to_owned(), CA_INSIDE.to_owned())));
        let is_root = rustix::process::geteuid().is_root();
        Plan {
            id: spec.id.to_string(),
            isolation: Isolation::Full,
            calls: Calls::Code,
            argv: spec.argv.clone(),
            env,
            cwd: Self::project_inside(&spec.project),
            hostname: "sandbox".to_owned(),
            mounts: self.mounts(spec),
            uid: 1000,
            gid: 1000,
            host_uid: is_root.then(|| HOST_UID_FIRST + std::process::id() % HOST_UIDS),
            limits: Limits { memory_bytes: memory_mb << 20, pids, cpu_percent: None, files_open, file_size_bytes: None },
            extra_ports: spec.extra_ports.clone(),
        }
    }

    /// Starts a program; returns when it runs.
    ///
    /// # Errors
    /// [`SandboxError`]: no sandbox could be built, or the program can't be executed in it.
    pub async fn start(&self, jail: &Path, spec: ProgramSpec) -> Result<Program, SandboxError> {
        let plan = self.plan(&spec);
        let jailer = Jailer::Program(jail.to_owned());
        let mut control = jailer.prepare()?;
        control.begin(&plan, spec.stdio.into()).await?;
        let (ready, listeners) = control.ready().await?;
        let upper = control.take_upper().ok_or_else(|| SandboxError::Ended("its changes can't be seen".to_owned()))?;
        let counters = control.take_counters();
        Ok(Program { listeners, downgrades: ready.downgrades, counters, upper, control, jailer })
    }
}

/// What [`Program::start`] leaves to wait for.
pub struct ProgramLife(Control, Jailer);

impl Program {
    /// Takes it apart: its network with its counters, what it changes, and its life.
    #[must_use]
    pub fn split(self) -> (Listeners, Vec<OwnedFd>, OwnedFd, ProgramLife) {
        (self.listeners, self.counters, self.upper, ProgramLife(self.control, self.jailer))
    }
}

impl ProgramLife {
    /// Waits for the program's end, or ends it when `stopped` says a signal's number, until nothing of it is left.
    ///
    /// # Errors
    /// If the sandbox was lost; nothing of it is left then either.
    pub async fn end(mut self, stopped: impl Future<Output = u8>) -> Result<ProgramEnd, SandboxError> {
        let signal = tokio::select! {
            reply = self.0.exited() => {
                let end = reply?;
                self.0.end(&self.1).await;
                let signal = end.signal.and_then(|signal| u8::try_from(signal).ok()).unwrap_or(0);
                let code = end.code.and_then(|code| u8::try_from(code).ok()).unwrap_or(128_u8.saturating_add(signal));
                return Ok(ProgramEnd { code, oom_killed: end.oom_killed, usage: end.usage });
            }
            signal = stopped => signal,
        };
        self.0.end(&self.1).await;
        Ok(ProgramEnd { code: 128_u8.saturating_add(signal), oom_killed: false, usage: Usage::default() })
    }
}

/// A file or folder of the host as it is there; nothing where it is missing.
fn shown_of_host(path: &Path) -> Option<Mount> {
    match std::fs::read_link(path) {
        // A link between two shown places stays one; a file's is resolved here, once.
        Ok(points_to) if path.is_dir() => Some(Mount::Symlink { target: path.to_owned(), points_to }),
        _ => Some(Mount::BindRo { source: path.canonicalize().ok()?, target: path.to_owned() }),
    }
}

fn etc() -> [(&'static str, String); 5] {
    let (hosts, group) = ("127.0.0.1 localhost\n::1 localhost\n", "root:x:0:\nagent:x:1000:\n");
    [
        ("/etc/passwd", format!("root:x:0:0:root:/:/bin/sh\nagent:x:1000:1000:agent:{HOME_INSIDE}:/bin/sh\n")),
        ("/etc/group", group.to_owned()),
        ("/etc/hosts", hosts.to_owned()),
        // Every address leads to the gateway, so the name server's is any.
        ("/etc/resolv.conf", "nameserver 198.18.0.53\noptions timeout:2 attempts:2\n".to_owned()),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ]
}

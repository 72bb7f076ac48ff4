//! Drivers that run an agent on this host through the jail: `native` confines it completely, `direct` only its network.

use crate::driver::{AgentSpec, Driver, Life, Listeners, Sandbox};
use crate::error::SandboxError;
use crate::profile::Profile;
use crate::runtime::{AGENT_INSIDE, Runtime, Runtimes};
use crate::seal::Seal;
use crate::stock::Stock;
use crate::supervise::{self, Control};
use crate::transcript;
use futures_util::future::BoxFuture;
use jail::{Calls, Isolation, Limits, Mount, Plan, Ready};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const HOME_INSIDE: &str = "/agent";
const CONFIG_INSIDE: &str = "/agent/.claude";
const WORK_INSIDE: &str = "/work";
const CA_INSIDE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Users of sandboxes on the host: one each, not the gateway's, taken in turn.
const HOST_UID_FIRST: u32 = 2_000_000;
const HOST_UIDS: u32 = 60_000;

/// What the sandbox finds in `/etc`. Every address leads to the gateway, so the name server's is any.
const ETC: &[(&str, &str)] = &[
    ("/etc/passwd", "root:x:0:0:root:/:/nonexistent\nagent:x:1000:1000:agent:/agent:/nonexistent\n"),
    ("/etc/group", "root:x:0:\nagent:x:1000:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/resolv.conf", "nameserver 198.18.0.53\noptions timeout:2 attempts:2\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

/// How much is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Files, processes, users, network.
    Native,
    /// Only the network: for development, where the agent may read what the developer may.
    Direct,
}

/// The programs.
#[derive(Clone, Debug)]
pub struct JailedPaths {
    /// The agent's executable.
    pub agent: PathBuf,
    /// `hexward-jail`.
    pub jail: PathBuf,
    /// A folder for small files of direct mode.
    pub scratch: PathBuf,
}

/// Runs agents through `hexward-jail`.
pub struct JailedDriver {
    mode: Mode,
    paths: JailedPaths,
    runtimes: Runtimes,
    seal: Option<Seal>,
    is_root: bool,
    next_uid: AtomicU32,
    stock: Arc<Stock>,
}

impl JailedDriver {
    /// Resolves the programs' names once.
    #[must_use]
    pub fn new(mode: Mode, paths: JailedPaths, profile: Profile) -> Self {
        let resolve = |path: PathBuf| path.canonicalize().unwrap_or(path);
        let paths = JailedPaths { agent: resolve(paths.agent), jail: resolve(paths.jail), scratch: paths.scratch };
        let stock = Stock::new(paths.jail.clone());
        let is_root = rustix::process::geteuid().is_root();
        let runtimes = Runtimes::new(profile);
        Self { mode, paths, runtimes, seal: None, is_root, next_uid: AtomicU32::new(0), stock }
    }

    /// Starts agents only as long as these files are what they were.
    #[must_use]
    pub fn sealed(self, seal: Seal) -> Self {
        Self { seal: Some(seal), ..self }
    }

    /// Can also start agents in this runtime. Without a sandbox there is nothing to hold it.
    #[must_use]
    pub fn with(mut self, name: String, runtime: Runtime) -> Self {
        self.runtimes.add(name, runtime);
        self
    }

    /// Removes what sandboxes of a killed gateway left behind. Live ones, anybody's, are not touched.
    pub async fn sweep(&self) {
        supervise::sweep(&self.paths.jail).await;
    }

    async fn start_jailed(&self, spec: AgentSpec) -> Result<Sandbox, SandboxError> {
        self.check()?;
        let id = spec.id;
        let runtime = self.runtimes.named(&spec.runtime)?;
        let scratch = self.scratch(&spec)?;
        let plan = self.plan(runtime, spec, scratch.as_ref().map(Scratch::path));
        let pipe = || std::io::pipe().map_err(SandboxError::io("pipe"));
        let ((agent_in, stdin), (stdout, agent_out), (stderr, agent_err)) = (pipe()?, pipe()?, pipe()?);
        let stdio: Vec<OwnedFd> = vec![agent_in.into(), agent_out.into(), agent_err.into()];
        let mut control = self.stock.take()?;
        let begun = begin(&mut control, &plan, stdio).await;
        self.stock.refill();
        let (ready, listeners) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // Its last word comes before its last work.
                control.end(&self.paths.jail).await;
                return Err(error);
            }
        };
        let stdin = pipe::Sender::from_owned_fd(stdin.into()).map_err(SandboxError::io("pipe"))?;
        let stdout = pipe::Receiver::from_owned_fd(stdout.into()).map_err(SandboxError::io("pipe"))?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.into()).map_err(SandboxError::io("pipe"))?;
        let (exit, exited) = watch::channel(None);
        let (kill, gone) = (CancellationToken::new(), CancellationToken::new());
        let watched = control.watch(self.paths.jail.clone(), stderr, exit, kill.clone(), gone.clone());
        tokio::spawn(async move {
            watched.await;
            drop(scratch);
        });
        Ok(Sandbox {
            id,
            listeners,
            stdin,
            stdout,
            downgrades: ready.downgrades,
            setup_us: ready.setup_us,
            init_pid: ready.init_pid,
            life: Life { exit: exited, gone, kill },
        })
    }

    fn plan(&self, runtime: &Runtime, spec: AgentSpec, scratch: Option<&Path>) -> Plan {
        let past = (!spec.past.is_empty()).then(|| transcript::render(&spec.past, &spec.model, Path::new(WORK_INSIDE)));
        let mut plan = Plan {
            id: spec.id.to_string(),
            isolation: Isolation::Full,
            calls: runtime.profile.calls(),
            argv: runtime.command.iter().cloned().chain(spec.arguments).collect(),
            env: spec.environment,
            cwd: PathBuf::from(WORK_INSIDE),
            hostname: "sandbox".to_owned(),
            mounts: Vec::new(),
            uid: 1000,
            gid: 1000,
            host_uid: self.is_root.then(|| HOST_UID_FIRST + self.next_uid.fetch_add(1, Ordering::Relaxed) % HOST_UIDS),
            limits: runtime.profile.limits().clone(),
            extra_ports: spec.extra_ports,
        };
        if let Some(scratch) = scratch {
            plan.isolation = Isolation::NetworkOnly;
            // The developer's own programs are there too.
            plan.calls = Calls::Code;
            plan.argv.splice(..1, [self.paths.agent.display().to_string()]);
            plan.cwd = scratch.to_owned();
            plan.host_uid = None;
            plan.limits = Limits { cpu_percent: None, ..plan.limits };
            say_where(&mut plan.env, &scratch.display().to_string(), &scratch.join("ca.pem").display().to_string());
        } else {
            say_where(&mut plan.env, HOME_INSIDE, CA_INSIDE);
            plan.mounts = runtime.profile.mounts().to_vec();
            plan.mounts.push(Mount::BindRo { source: self.paths.agent.clone(), target: PathBuf::from(AGENT_INSIDE) });
            plan.mounts.extend(ETC.iter().map(|(path, text)| etc(path, text)));
            plan.mounts.push(etc(CA_INSIDE, &spec.trusted_pem));
            plan.mounts.extend(past.map(|content| Mount::File {
                target: transcript::path(Path::new(CONFIG_INSIDE), Path::new(WORK_INSIDE)),
                content,
                mode: 0o600,
            }));
        }
        plan
    }

    /// In direct mode the agent's home and the certificate it trusts need a place on the host; it goes with the sandbox.
    fn scratch(&self, spec: &AgentSpec) -> Result<Option<Scratch>, SandboxError> {
        if self.mode == Mode::Native {
            return Ok(None);
        }
        let scratch = Scratch(self.paths.scratch.join(format!("direct-{}", spec.id)));
        let failed = SandboxError::io("folder for direct mode");
        std::fs::create_dir_all(scratch.path())
            .and_then(|()| std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o700)))
            .and_then(|()| std::fs::write(scratch.path().join("ca.pem"), &spec.trusted_pem))
            .and_then(|()| write_past(spec, scratch.path()))
            .map_err(failed)?;
        Ok(Some(scratch))
    }
}

async fn begin(control: &mut Control, plan: &Plan, stdio: Vec<OwnedFd>) -> Result<(Ready, Listeners), SandboxError> {
    control.begin(plan, stdio).await?;
    control.ready().await
}

/// The transcript of direct mode, in the agent's configuration folder on the host.
fn write_past(spec: &AgentSpec, scratch: &Path) -> std::io::Result<()> {
    if spec.past.is_empty() {
        return Ok(());
    }
    let path = transcript::path(&scratch.join(".claude"), scratch);
    std::fs::create_dir_all(path.parent().unwrap_or(scratch))?;
    std::fs::write(path, transcript::render(&spec.past, &spec.model, scratch))
}

/// A folder that is removed when its sandbox is gone.
struct Scratch(PathBuf);

impl Scratch {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a sandbox's folder could not be removed");
        }
    }
}

/// Home, working folders and certificates: what depends on how the sandbox is built.
fn say_where(env: &mut BTreeMap<String, String>, home: &str, ca: &str) {
    for (name, value) in [
        ("HOME", home.to_owned()),
        ("CLAUDE_CONFIG_DIR", format!("{home}/.claude")),
        ("TMPDIR", if ca == CA_INSIDE { "/tmp".to_owned() } else { home.to_owned() }),
        ("NODE_EXTRA_CA_CERTS", ca.to_owned()),
        ("SSL_CERT_FILE", ca.to_owned()),
    ] {
        env.insert(name.to_owned(), value);
    }
}

fn etc(target: &str, content: &str) -> Mount {
    Mount::File { target: PathBuf::from(target), content: content.to_owned(), mode: 0o444 }
}

impl Driver for JailedDriver {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Native => "native",
            Mode::Direct => "direct",
        }
    }

    fn confines(&self) -> bool {
        self.mode == Mode::Native
    }

    fn check(&self) -> Result<(), SandboxError> {
        let executable = |path: &Path| match std::fs::metadata(path) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => None,
            Ok(_) => Some("it is not an executable file".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = executable(&self.paths.agent) {
            return Err(SandboxError::AgentMissing { path: self.paths.agent.display().to_string(), reason });
        }
        if let Some(reason) = executable(&self.paths.jail) {
            return Err(SandboxError::JailMissing { path: self.paths.jail.display().to_string(), reason });
        }
        self.seal.as_ref().map_or(Ok(()), Seal::check)
    }

    fn start(&self, spec: AgentSpec) -> BoxFuture<'_, Result<Sandbox, SandboxError>> {
        Box::pin(self.start_jailed(spec))
    }
}

//! Drivers that run an agent on this host through the jail: `native` confines it completely, `direct` only its network.

use crate::checking;
use crate::driver::{AgentSpec, Driver, Life, Listeners, Meter, Network, Sandbox};
use crate::error::SandboxError;
use crate::hooked;
use crate::jailer::Jailer;
use crate::profile::Profile;
use crate::runtime::{Runtime, Runtimes};
use crate::seal::Seal;
use crate::stock::Stock;
use crate::supervise::{Control, Questions};
use crate::verdict::Awaited;
use crate::{AGENT, template, transcript};
use futures_util::future::BoxFuture;
use jail::{Calls, HOST_UID_FIRST, HOST_UIDS, Isolation, Limits, Order, Plan, Ready, Step, Template};
use policy::EgressRules;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

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
    /// What each runtime's sandboxes are, by its name.
    templates: BTreeMap<String, Template>,
    seal: Option<Seal>,
    verdict: Option<Awaited>,
    is_root: bool,
    next_uid: AtomicU32,
    jailer: Jailer,
    stock: Arc<Stock>,
    /// What agents may connect to, for where they have no network of their own.
    rules: EgressRules,
}

/// What a start gives.
type Begun = Result<(Ready, Listeners), SandboxError>;

/// What goes to the supervisor, with the agent's streams.
#[derive(Serialize)]
#[serde(untagged)]
enum Asked {
    Plan(Plan),
    Order(Order),
}

impl JailedDriver {
    /// Resolves the programs' names once.
    #[must_use]
    pub fn new(mode: Mode, paths: JailedPaths, profile: Profile) -> Self {
        let resolve = |path: PathBuf| path.canonicalize().unwrap_or(path);
        let paths = JailedPaths { agent: resolve(paths.agent), jail: resolve(paths.jail), scratch: paths.scratch };
        let jailer = Jailer::Program(paths.jail.clone());
        let stock = Stock::new(jailer.clone());
        let is_root = rustix::process::geteuid().is_root();
        let runtimes = Runtimes::new(profile);
        let templates = runtimes.iter().map(|(name, runtime)| (name.clone(), template::of(runtime, &paths.agent))).collect();
        let (next_uid, rules) = (AtomicU32::new(0), EgressRules::default());
        Self { mode, paths, runtimes, templates, seal: None, verdict: None, is_root, next_uid, jailer, stock, rules }
    }

    /// Leaves the making of sandboxes to a helper with the rights that this process has now, and at most so many at the same
    /// time to it. From here on this process needs none. Runtimes are added before.
    ///
    /// # Errors
    /// If the helper does not start.
    pub fn with_helper(self, most: usize) -> Result<Self, SandboxError> {
        let jailer = Jailer::Helper(Arc::new(template::helper(&self.paths.jail, &self.templates, most)?));
        Ok(Self { stock: Stock::new(jailer.clone()), jailer, ..self })
    }

    /// Starts agents only as long as these files are what they were.
    #[must_use]
    pub fn sealed(self, seal: Seal) -> Self {
        Self { seal: Some(seal), ..self }
    }

    /// Starts agents only after this verdict, if it is good.
    #[must_use]
    pub fn awaiting(self, verdict: Awaited) -> Self {
        Self { verdict: Some(verdict), ..self }
    }

    /// Can also start agents in this runtime. Without a sandbox there is nothing to hold it.
    #[must_use]
    pub fn with(mut self, name: String, runtime: Runtime) -> Self {
        self.templates.insert(name.clone(), template::of(&runtime, &self.paths.agent));
        self.runtimes.add(name, runtime);
        self
    }

    /// What agents may connect to, for direct mode on hosts without namespaces.
    #[must_use]
    pub fn reaching(self, rules: EgressRules) -> Self {
        Self { rules, ..self }
    }

    /// Removes what sandboxes of a killed gateway left behind. Live ones, anybody's, are not touched.
    pub async fn sweep(&self) {
        self.jailer.sweep().await;
    }

    async fn start_jailed(&self, spec: AgentSpec) -> Result<Sandbox, SandboxError> {
        self.verified().await?;
        // After the wait, not before: what was changed meanwhile is not what was verified.
        self.check()?;
        let id = spec.id;
        self.runtimes.check(&spec.runtime)?;
        let scratch = self.scratch(&spec)?;
        let hooked = (self.mode == Mode::Direct).then(|| spec.clone());
        let asked = self.asked(spec, scratch.as_ref().map(Scratch::path))?;
        // Only a plan for this machine works in a folder of it.
        let cwd = match (&scratch, self.mode) {
            (Some(scratch), Mode::Direct) => scratch.path().to_owned(),
            _ => PathBuf::from(template::WORK_INSIDE),
        };
        let pipe = || std::io::pipe().map_err(SandboxError::io("pipe"));
        let ((agent_in, stdin), (stdout, agent_out), (stderr, agent_err)) = (pipe()?, pipe()?, pipe()?);
        let stdio: Vec<OwnedFd> = vec![agent_in.into(), agent_out.into(), agent_err.into()];
        let (control, begun) = self.begin(&asked, stdio).await?;
        self.stock.refill();
        let (ready, listeners) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // Its last word comes before its last work.
                control.end(&self.jailer).await;
                return match (hooked, scratch, &error) {
                    (Some(spec), Some(scratch), SandboxError::Build(failure)) if failure.step == Step::Namespace => {
                        hooked::start(&self.paths.agent, spec, scratch, &self.rules, failure)
                    }
                    _ => Err(error),
                };
            }
        };
        let stdin = pipe::Sender::from_owned_fd(stdin.into()).map_err(SandboxError::io("pipe"))?;
        let stdout = pipe::Receiver::from_owned_fd(stdout.into()).map_err(SandboxError::io("pipe"))?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.into()).map_err(SandboxError::io("pipe"))?;
        let (exit, exited) = watch::channel(None);
        let (kill, gone) = (CancellationToken::new(), CancellationToken::new());
        let ((meter, usage), (checker, checks)) = (mpsc::channel(1), checking::pair());
        let asked = Questions { usage, checks };
        let watched = control.watch(self.jailer.clone(), stderr, exit, asked, kill.clone(), gone.clone());
        tokio::spawn(async move {
            watched.await;
            drop(scratch);
        });
        Ok(Sandbox {
            id,
            network: Network::Captured(listeners),
            stdin,
            stdout,
            downgrades: ready.downgrades,
            setup_us: ready.setup_us,
            cwd,
            init_pid: ready.init_pid,
            life: Life { exit: exited, gone, kill, meter: Meter(meter), checker },
        })
    }

    /// Begins in a prepared sandbox, or in a new one. A prepared one may have ended just now, which is no reason not to begin.
    async fn begin(&self, asked: &Asked, stdio: Vec<OwnedFd>) -> Result<(Control, Begun), SandboxError> {
        let Some(mut prepared) = self.stock.take() else {
            let mut new = self.jailer.prepare()?;
            let begun = begin(&mut new, asked, stdio).await;
            return Ok((new, begun));
        };
        let again = stdio.iter().map(OwnedFd::try_clone).collect::<Result<Vec<_>, _>>().map_err(SandboxError::io("pipe"))?;
        let begun = begin(&mut prepared, asked, stdio).await;
        if !matches!(begun, Err(SandboxError::Ended(_) | SandboxError::Control(_))) {
            return Ok((prepared, begun));
        }
        prepared.end(&self.jailer).await;
        let mut new = self.jailer.prepare()?;
        let begun = begin(&mut new, asked, again).await;
        Ok((new, begun))
    }

    /// What the supervisor is asked for: an order where a helper has the templates, otherwise the plan that it makes.
    fn asked(&self, spec: AgentSpec, scratch: Option<&Path>) -> Result<Asked, SandboxError> {
        if let Some(scratch) = scratch {
            return Ok(Asked::Plan(self.direct_plan(spec, scratch)));
        }
        let (order, name) = (template::order(&spec), spec.runtime);
        if let Jailer::Helper(_) = self.jailer {
            return Ok(Asked::Order(order));
        }
        let template = self.templates.get(&name).ok_or(SandboxError::RuntimeMissing(name))?;
        let host_uid = self.is_root.then(|| HOST_UID_FIRST + self.next_uid.fetch_add(1, Ordering::Relaxed) % HOST_UIDS);
        Ok(Asked::Plan(template.plan(order, host_uid)?))
    }

    fn direct_plan(&self, spec: AgentSpec, scratch: &Path) -> Plan {
        let mut env = spec.environment;
        let (home, ca) = (scratch.display().to_string(), scratch.join("ca.pem").display().to_string());
        env.extend(template::places(&home, &home, &ca));
        let limits = self.templates.get(AGENT).map(|template| template.limits.clone()).unwrap_or_default();
        Plan {
            id: spec.id.to_string(),
            isolation: Isolation::NetworkOnly,
            // The developer's own programs are there too.
            calls: Calls::Code,
            argv: std::iter::once(self.paths.agent.display().to_string()).chain(spec.arguments).collect(),
            env,
            cwd: scratch.to_owned(),
            hostname: "sandbox".to_owned(),
            mounts: Vec::new(),
            uid: 1000,
            gid: 1000,
            host_uid: None,
            limits: Limits { cpu_percent: None, ..limits },
            extra_ports: spec.extra_ports,
        }
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

async fn begin(control: &mut Control, asked: &Asked, stdio: Vec<OwnedFd>) -> Begun {
    control.begin(asked, stdio).await?;
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
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
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
        if let (Jailer::Program(_), Some(reason)) = (&self.jailer, executable(&self.paths.jail)) {
            return Err(SandboxError::JailMissing { path: self.paths.jail.display().to_string(), reason });
        }
        self.verdict.as_ref().map_or(Ok(()), Awaited::so_far)?;
        self.seal.as_ref().map_or(Ok(()), Seal::check)
    }

    fn verified(&self) -> BoxFuture<'_, Result<(), SandboxError>> {
        Box::pin(async { if let Some(verdict) = &self.verdict { verdict.good().await } else { Ok(()) } })
    }

    fn start(&self, spec: AgentSpec) -> BoxFuture<'_, Result<Sandbox, SandboxError>> {
        Box::pin(self.start_jailed(spec))
    }
}

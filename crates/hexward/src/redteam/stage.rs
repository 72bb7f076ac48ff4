//! A gateway for the length of the attacks: its folder, its secrets, the scripted model, and things to be found.

use super::booth::{self, AnyDriver, Booth};
use super::host::AllowedHost;
use crate::arguments::SandboxSuiteArgs;
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::gateway::{self, Gateway};
use crate::{demo, secrets};
use anyhow::{Context, Result, bail};
use fake::{Fake, FakeConfig};
use parking_lot::Mutex;
use policy::{AuditEvent, Clock, RunId, SandboxId, UserMessage};
use proxy::egress::{SandboxCa, serve_sandbox};
use proxy::{App, Gate, RunContext, RunLimits};
use sandbox::{AgentSpec, Sandbox};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::NewRun;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const APP: &str = "hexmap";
const CANARY: &str = "a file of the host that nobody inside may see\n";
const EVENTS_QUEUED_MAX: usize = 256;
/// One run's attacks are over long before.
const RUN_SECS_MAX: i64 = 600;
/// At the same time.
const SANDBOXES_MAX: usize = 64;

/// What is there to be attacked.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) fake: Fake,
    pub(crate) gateway: Gateway,
    pub(crate) api_key: String,
    /// Runs by group.
    pub(crate) runs: Mutex<Vec<(String, RunId)>>,
    pub(crate) inits: Mutex<Vec<u32>>,
    pub(crate) doors: Doors,
    pub(crate) host: AllowedHost,
    secrets: Vec<String>,
    driver: AnyDriver,
    config: StageConfig,
}

struct StageConfig {
    gateway: String,
    run_budget: policy::Microusd,
}

/// Listeners of the host that nobody inside may reach.
pub(crate) struct Doors {
    pub(crate) tcp: TcpListener,
    pub(crate) local: UnixListener,
    abstract_name: String,
}

/// What is left to be looked at when everything has ended.
pub(crate) struct Left {
    pub(crate) folder: TempDir,
    pub(crate) inits: Vec<u32>,
}

/// `hexward-probe`, which stands beside this program.
pub(crate) fn probe_program(named: Option<&PathBuf>) -> Result<PathBuf> {
    let beside = std::env::current_exe().context("this program's own path is not known")?.with_file_name("hexward-probe");
    let probe = named.cloned().unwrap_or(beside);
    if !probe.is_file() {
        bail!(
            "{} is missing; build it with `cargo build --release -p hexward -p jail`, or name it with --probe",
            probe.display()
        );
    }
    Ok(probe)
}

impl Stage {
    /// Starts everything in a folder of its own.
    pub(crate) async fn start(probe: &Path, args: &SandboxSuiteArgs) -> Result<Self> {
        let clock = Arc::new(SystemClock);
        Self::start_with(probe, args.jail.as_deref(), FakeConfig::for_tests, |_| (), clock).await
    }

    /// The same, with a scripted model of this kind, a configuration that differs and another clock.
    pub(crate) async fn start_with(
        probe: &Path,
        jail: Option<&Path>,
        model: fn(String) -> FakeConfig,
        differ: fn(&mut Config),
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hexward-redteam-").tempdir().context("no folder for the attacks")?;
        let api_key = format!("sk-ant-api03-{}", secrets::random_hex()?);
        let named = [
            ("ANTHROPIC_API_KEY", api_key.clone()),
            ("AUTH_SECRET", secrets::random_hex()?),
            ("INTERNAL_PROXY_SECRET", secrets::random_hex()?),
        ];
        let dotenv: String = named.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        std::fs::write(folder.path().join(".env"), dotenv)?;
        let canary = folder.path().join("canary");
        std::fs::write(&canary, CANARY)?;
        std::fs::set_permissions(&canary, std::fs::Permissions::from_mode(0o644))?;
        // Others may pass, so that only the sandbox is what keeps an agent from the canary.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let fake = Fake::start(model(api_key.clone())).await?;
        let host = AllowedHost::start(secrets::random_hex()?).await?;
        let mut config = configured(folder.path(), probe, jail, fake.url())?;
        config.egress = host.rule()?;
        differ(&mut config);
        let kept = StageConfig { gateway: config.gateway.clone(), run_budget: config.runs.run_budget };
        let driver = gateway::driver(&config)?;
        // With root its sandboxes are made as a gateway's are that gave root up: by a helper, from templates.
        let driver = if rustix::process::geteuid().is_root() { driver.with_helper(SANDBOXES_MAX)? } else { driver };
        let driver: AnyDriver = Arc::new(driver);
        driver.check()?;
        let gateway = Gateway::start_by(config, Arc::clone(&driver), clock).await?;
        Ok(Self {
            folder,
            fake,
            gateway,
            api_key,
            runs: Mutex::default(),
            inits: Mutex::default(),
            doors: Doors::open()?,
            secrets: named.into_iter().map(|(_, value)| value).chain([host.secret.clone()]).collect(),
            host,
            driver,
            config: kept,
        })
    }

    /// A sandbox of its own for a group, with a run of its own.
    pub(crate) async fn open(&self, group: &str) -> Result<Booth> {
        let (context, events) = self.run(group).await?;
        let id = SandboxId::random();
        let ca = SandboxCa::generate()?;
        let sandbox = self.sandbox(id, &ca, &context.app.manifest.agent.model).await?;
        let claimed = AuditEvent::SandboxClaimed { sandbox: id, run: context.run };
        self.gateway.store.record(claimed, self.gateway.clock.now()).await?;
        let gate = Arc::new(Gate::new(id));
        gate.bind(Arc::clone(&context));
        let stop = CancellationToken::new();
        let sandbox::Network::Captured(listeners) = sandbox.network else { bail!("the sandbox has no network of its own") };
        let sandbox::Listeners { http, tls, dns_udp, dns_tcp, extra } = listeners;
        let listeners = proxy::egress::Listeners { http, tls, dns_udp, dns_tcp, extra, refused_ports: None };
        let serving = serve_sandbox(self.gateway.proxy(), Arc::clone(&gate), Arc::new(ca), listeners, stop.clone());
        let served = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "a sandbox's listeners can't be served");
            }
        });
        let (stdin, stdout) = booth::streams(sandbox.stdin, sandbox.stdout);
        Ok(Booth {
            gate,
            context,
            downgrades: sandbox.downgrades,
            init_pid: sandbox.init_pid,
            stdin,
            stdout,
            life: sandbox.life,
            stop,
            served,
            events: tokio::spawn(booth::drain(events)),
            store: self.gateway.store.clone(),
            clock: Arc::clone(&self.gateway.clock),
        })
    }

    /// A sandbox with the attacker in it, which nothing serves yet.
    pub(super) async fn sandbox(&self, id: SandboxId, ca: &SandboxCa, model: &str) -> Result<Sandbox> {
        let environment = BTreeMap::from([("ANTHROPIC_API_KEY".to_owned(), "sk-ant-placeholder".to_owned())]);
        let spec = AgentSpec {
            runtime: sandbox::AGENT.to_owned(),
            extra_ports: self.gateway.proxy().extra_ports(),
            id,
            arguments: Vec::new(),
            environment,
            trusted_pem: ca.certificate_pem().to_owned(),
            past: Vec::new(),
            model: model.to_owned(),
        };
        let sandbox = self.driver.start(spec).await?;
        self.inits.lock().push(sandbox.init_pid);
        Ok(sandbox)
    }

    async fn run(&self, group: &str) -> Result<(Arc<RunContext>, mpsc::Receiver<proxy::RunEvent>)> {
        let (store, now, run) = (&self.gateway.store, self.gateway.clock.now(), RunId::random());
        let user = store.user_of("hexward:redteam", group, now).await?;
        let conversation = store.create_conversation(user, APP, now).await?;
        let message = UserMessage::parse(&format!("Attacks of the group {group}"))?;
        let gateway = self.config.gateway.clone();
        let new = NewRun { run, conversation, user, app: APP.to_owned(), message, writes: true, gateway };
        store.begin_run(new, now).await?;
        self.runs.lock().push((group.to_owned(), run));
        let own = &self.gateway.runs.app(APP).context("the app is not there")?.app;
        // An attacker is not an agent: what it asks is passed on here, so that everything behind that is attacked, too.
        let mut manifest = own.manifest.clone();
        manifest.agent.free_model_use = true;
        let app = Arc::new(App { manifest, upstream: own.upstream.clone() });
        let limits = RunLimits {
            deadline: now.plus_secs(RUN_SECS_MAX),
            turns_max: app.manifest.agent.turns_max,
            output_tokens_max: u64::from(app.manifest.agent.output_tokens_max),
            context_tokens_max: None,
            budgets: self.gateway.proxy().run_budgets(run, self.config.run_budget, (user, None), APP),
        };
        let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
        let purse = self.gateway.proxy().purse(run, user);
        Ok((Arc::new(RunContext::new(purse, app, true, limits, sender)), events))
    }

    /// What the gateway calls itself.
    pub(super) fn name(&self) -> String {
        self.config.gateway.clone()
    }

    /// What an attacker might have learnt of the host; `pid` is its own sandbox as the host counts.
    pub(crate) fn facts(&self, pid: u32) -> Value {
        let port = |address: SocketAddr| address.port();
        let mut ports: Vec<u16> = self.gateway.callers.map(port).into_iter().collect();
        ports.extend(self.doors.tcp.local_addr().map(port));
        ports.extend(self.fake.url().rsplit(':').next().and_then(|port| port.parse::<u16>().ok()));
        let path = |name: &str| self.folder.path().join(name);
        json!({
            "dotenv": path(".env"), "canary": path("canary"), "state": path("state"), "database": path("redteam.db"),
            "program": std::env::current_exe().unwrap_or_default(),
            "secrets_backwards": self.secrets.iter().map(|secret| secret.chars().rev().collect::<String>()).collect::<Vec<_>>(),
            "host_pids": [std::process::id(), pid],
            "guard_pids": guards(pid),
            "host_ports": ports,
            "host_addresses": own_address().into_iter().collect::<Vec<_>>(),
            "allowed_port": self.host.port.to_string(),
            "abstract": self.doors.abstract_name,
        })
    }

    /// A second sandbox that keeps everything open that could be reached, and its numbers.
    pub(crate) async fn neighbour(&self, facts: &mut Value) -> Result<Booth> {
        let mut neighbour = self.open("beside").await?;
        if !neighbour.ask("sit", facts).await.done {
            bail!("the neighbouring sandbox did not start: {}", neighbour.ending().await);
        }
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("neighbour_pids".to_owned(), json!([neighbour.init_pid]));
        }
        Ok(neighbour)
    }

    /// Ends the gateway in order.
    pub(crate) async fn end(self) -> Left {
        self.gateway.shutdown().await;
        Left { folder: self.folder, inits: self.inits.into_inner() }
    }

    pub(crate) fn run_of(&self, group: &str) -> Option<RunId> {
        self.runs.lock().iter().find(|(name, _)| name == group).map(|(_, run)| *run)
    }
}

/// The address other machines see, found without sending anything: a datagram socket only looks up the route.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip().to_string())
}

impl Doors {
    fn open() -> Result<Self> {
        let tcp = TcpListener::bind("0.0.0.0:0").context("no port for the attacks to fail at")?;
        tcp.set_nonblocking(true)?;
        let abstract_name = format!("hexward-redteam-{}", secrets::random_hex()?);
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&abstract_name)?;
        let local = UnixListener::bind_addr(&address)?;
        local.set_nonblocking(true)?;
        Ok(Self { tcp, local, abstract_name })
    }
}

/// The configuration of a gateway in this folder, read from the folder's `.env` as a real one's would be.
fn configured(folder: &Path, probe: &Path, jail: Option<&Path>, upstream: String) -> Result<Config> {
    let environment = config::load_environment(folder, std::iter::empty())?;
    let database = format!("sqlite:{}", folder.join("redteam.db").display());
    let environment = environment.with("DATABASE_URL", Some(database));
    let mut config = config::load(None, &environment, demo::defaults(folder.join("state"))?)?;
    config.upstream = upstream;
    config.agent_path = probe.to_owned();
    // The probes are started one group after the other, never ahead of need.
    config.runs.warm_agents_max = 0;
    if let Some(jail) = jail {
        config.jail_path = jail.to_owned();
    }
    if let Some((callers, _)) = config.callers.as_mut() {
        *callers = SocketAddr::from(([127, 0, 0, 1], 0));
    }
    if config.gateway.is_empty() {
        "redteam".clone_into(&mut config.gateway);
    }
    Ok(config)
}

/// The processes above a sandbox's first: its supervisor and, with root, the helper.
fn guards(first: u32) -> Vec<u32> {
    let parent = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse::<u32>().ok()
    };
    let supervisor = parent(first);
    let helper = supervisor.and_then(parent).filter(|pid| *pid != std::process::id());
    supervisor.into_iter().chain(helper).collect()
}

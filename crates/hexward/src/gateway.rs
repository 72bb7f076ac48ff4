//! Wires the rooms to one gateway, and ends them in order.

use crate::CURRENT_EXECUTABLE;
use crate::agent::{Candidate, Installed};
use crate::apps;
use crate::builtin::{self, OwnData};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::data_key;
use crate::host_api::{self, KeyFetcher};
use crate::{provider_keys, secrets};
use anyhow::{Context, Result, bail};
use policy::{Clock, UserId};
use proxy::callers::{CallerSettings, Callers};
use proxy::egress::Hosts;
use proxy::messages::ModelUpstream;
use proxy::webhooks::Webhooks;
use proxy::{App, Fixture, Proxy};
use runs::{Parts, RunApp, Runs};
use sandbox::{Driver, JailedDriver, JailedPaths, Mode, Profile};
use secrecy::ExposeSecret;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{Ledger, Rates, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::{HostApi, HostParts, HostSettings, PageSettings};

const SWEEP_PAUSE: Duration = Duration::from_secs(60);
pub(crate) const TOOL_WAIT: Duration = Duration::from_secs(30);
pub(crate) const TOOL_RESULT_BYTES_MAX: usize = 4 << 20;

/// A running gateway without a door for people.
pub struct Gateway {
    /// The database.
    pub store: Store,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The conductor.
    pub runs: Arc<Runs>,
    /// Where remote callers connect, if they may.
    pub callers: Option<SocketAddr>,
    proxy: Arc<Proxy>,
    ledger: Ledger,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Held as long as this gateway lives: one gateway for one folder.
    _lock: File,
}

impl Gateway {
    /// Opens the database, ends what a former life left, and starts apps and callers' listener.
    ///
    /// # Errors
    /// What could not be started and what to do; then nothing runs.
    pub async fn start(config: Config, driver: JailedDriver) -> Result<Self> {
        driver.sweep().await;
        Self::start_with(config, Arc::new(driver)).await
    }

    /// The same with another way of running agents.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_with(config: Config, driver: Arc<dyn Driver>) -> Result<Self> {
        Self::start_by(config, driver, Arc::new(SystemClock)).await
    }

    /// The same by another clock.
    pub(crate) async fn start_by(config: Config, driver: Arc<dyn Driver>, clock: Arc<dyn Clock>) -> Result<Self> {
        let lock = lock(&config.state_dir)?;
        let store = Store::open(config.database_url.expose_secret(), &builtin::SCHEMAS).await?;
        let masters = data_key::masters(config.master_keys.as_ref(), &config.state_dir)?;
        let store = store.with_masters(masters).await?;
        hexmap::seal(&store).await?;
        let name = if config.gateway.is_empty() { secrets::gateway_name(&config.state_dir)? } else { config.gateway.clone() };
        let ledger = open_ledger(&store, &clock, &name, &config.state_dir).await?;
        sweep(&store, &name, clock.as_ref()).await?;
        remove_scratch(&config.state_dir);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let upstream = match config.providers.is_empty() {
            true => ModelUpstream::new(&config.upstream, config.api_key)?,
            false => ModelUpstream::of(config.providers)?,
        };
        let mut keys = provider_keys::Watch::new(config.state_dir.clone());
        keys.look(upstream.providers());
        let hosts = Hosts::new(config.egress.rules, &config.egress.secrets)?;
        let rates = Rates::open(&store, clock.now()).await?;
        let proxy = Proxy::new(store.clone(), Arc::clone(&clock), upstream, ledger.clone(), config.day_limit, hosts);
        let proxy = proxy.with_prices(config.prices).with_budgets(config.budgets).with_calls_max(config.calls_max);
        let proxy = proxy.named(name.clone(), config.runs.confirmation_wait);
        let proxy = proxy.sealing_with(config.auth_secret.expose_secret().as_bytes());
        let proxy = Arc::new(proxy.paced(rates.clone(), config.runs.rates.clone()));
        tasks.spawn(provider_keys::watch(keys, Arc::clone(&proxy), stop.clone()));
        let host = builtin::Host { store: &store, clock: &clock, tasks: &tasks, stop: &stop, map_limits: &config.map_limits };
        let mut apps = builtin::start(&host, config.magic).await?;
        for folder in config.apps {
            let site = apps::Site { driver: Some(&driver), clock: &clock, state_dir: &config.state_dir };
            apps.push(apps::connect(folder, &site)?);
        }
        tasks.spawn(keep_rates(rates.clone(), Arc::clone(&clock), stop.clone()));
        tasks.spawn(sweep_regularly(store.clone(), Arc::clone(&clock), stop.clone()));
        tasks.spawn(keep_draining(ledger.clone(), stop.clone()));
        let webhooks = Webhooks::new(config.webhooks)?;
        webhooks.register(&store, clock.as_ref()).await?;
        tasks.spawn(webhooks.keep_telling(store.clone(), Arc::clone(&clock), name.clone(), stop.clone()));
        warn_of(config.mode);
        let (served, gateway_name) = (apps.iter().map(|app| Arc::clone(&app.app)).collect(), name.clone());
        let parts = Parts {
            store: store.clone(),
            rates,
            clock: Arc::clone(&clock),
            proxy: Arc::clone(&proxy),
            driver,
            apps: apps.into_iter().flat_map(RunApp::with_skills).map(|app| (app.app.manifest.key(), app)).collect(),
            gateway: name,
            settings: config.runs,
        };
        let mut gateway = Self { store, clock, runs: Runs::new(parts), callers: None, proxy, ledger, tasks, stop, _lock: lock };
        if let Some((address, settings)) = config.callers {
            let page = PageSettings {
                app: config.page_app,
                warning: None,
                model: "real",
                writes_default: false,
                public_origin: config.public_url,
                session_key: config.auth_secret,
            };
            let hosts = gateway.host_api(config.hosts, page);
            gateway.start_callers(address, settings, (served, hosts), &gateway_name).await?;
        }
        Ok(gateway)
    }

    /// The door for host applications, if there are any.
    fn host_api(&self, hosts: Vec<HostSettings>, settings: PageSettings) -> Option<HostApi> {
        (!hosts.is_empty()).then(|| {
            HostApi::new(HostParts {
                store: self.store.clone(),
                clock: Arc::clone(&self.clock),
                runs: Arc::clone(&self.runs),
                hosts,
                fetch: Arc::new(KeyFetcher),
                data: Arc::new(OwnData(self.store.clone())),
                settings,
                stop: self.stop.clone(),
            })
        })
    }

    async fn start_callers(
        &mut self,
        address: SocketAddr,
        settings: CallerSettings,
        (apps, hosts): (Vec<Arc<App>>, Option<HostApi>),
        name: &str,
    ) -> Result<()> {
        let mut callers = Callers::start(Arc::clone(&self.proxy), settings).await?.with_tools(apps, name);
        if let Some(hosts) = hosts {
            callers = callers.with_hosts(host_api::service(hosts));
        }
        let listener = bind(address, "listen.callers").await?;
        let address = listener.local_addr()?;
        tracing::info!(%address, "callers' listener ready");
        self.callers = Some(address);
        self.tasks.spawn(callers.serve(listener, self.stop.clone()));
        Ok(())
    }

    /// Opens a channel to an app that is a fixture, on loopback, in the name of a user. For tests alone: nothing that a person or an
    /// operator can say leads here.
    ///
    /// # Errors
    /// When there is no such app, its manifest does not say that it is one, or no port is free.
    pub async fn open_fixture(&self, app: &str, user: UserId) -> Result<SocketAddr> {
        let app = self.runs.app(app).with_context(|| format!("there is no app {app:?}"))?;
        let fixture = Fixture::new(Arc::clone(&self.proxy), Arc::clone(&app.app), user)?;
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "the fixture's channel").await?;
        let address = listener.local_addr()?;
        self.tasks.spawn(fixture.serve(listener, self.stop.clone()));
        Ok(address)
    }

    /// Brings the database up to what was settled so far, and gives back what nobody needs.
    ///
    /// # Errors
    /// The database's.
    pub async fn settle_up(&self) -> Result<()> {
        Ok(self.ledger.settle_up().await?)
    }

    /// What the listeners of sandboxes share.
    pub(crate) fn proxy(&self) -> Arc<Proxy> {
        Arc::clone(&self.proxy)
    }

    /// Ends everything in order: runs, callers, apps. Nothing is left running.
    pub async fn shutdown(self) {
        self.runs.shutdown().await;
        self.stop.cancel();
        self.proxy.drain().await;
        for upstream in self.runs.upstreams() {
            upstream.close().await;
        }
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.ledger.close().await {
            tracing::error!(%error, "the ledger could not be closed; the next start does it");
        }
    }
}

/// The way of running agents that the configuration asks for. It is verified meanwhile, on a thread of its own.
///
/// # Errors
/// What of the host does not fit the sandbox's profile, or an installed agent that is not what its lock says.
pub fn driver(config: &Config) -> Result<JailedDriver> {
    unverified(config).map(Unverified::verify_meanwhile)
}

/// The same before anything was read that is large.
pub struct Unverified {
    /// What will run agents.
    pub driver: JailedDriver,
    /// The installed agent, its files open.
    candidate: Option<Candidate>,
}

impl Unverified {
    /// Starts the verification; the driver starts no agent before it is known.
    pub fn verify_meanwhile(self) -> JailedDriver {
        let Self { driver, candidate } = self;
        match candidate {
            Some(candidate) => driver.awaiting(candidate.verify_meanwhile()),
            None => driver,
        }
    }
}

/// What [`driver`] begins with, without a second thread.
///
/// # Errors
/// As [`driver`].
pub fn unverified(config: &Config) -> Result<Unverified> {
    // What is shown in a sandbox is named from the root, wherever this program was started.
    let absolute =
        |path| std::path::absolute(path).with_context(|| format!("agent.path: {} is no path", config.agent_path.display()));
    let (agent, jail) = (absolute(&config.agent_path)?, config.jail_path.clone());
    let paths = JailedPaths { agent, jail, scratch: config.state_dir.join("scratch") };
    let reaching = config.egress.rules.clone();
    let Some(candidate) = Installed::of(&config.agent_path)? else {
        let path = config.agent_path.display();
        if config.production && config.agent_path.exists() {
            bail!(
                "agent.path: {path} has no lock, so nothing says that it is the agent; production starts only what \
                 `hexward agent install` installed. Install it, and point agent.path at FOLDER/{CURRENT_EXECUTABLE}"
            );
        }
        // For development: an executable that somebody put elsewhere, with the host's own libraries.
        tracing::warn!("{path} was not installed by `hexward agent install`: nothing checks that it is what it was");
        let driver = JailedDriver::new(config.mode, paths, Profile::agent()?).reaching(reaching);
        let driver = apps::with_runtimes(driver, config)?;
        return Ok(Unverified { driver, candidate: None });
    };
    let profile = Profile::agent_in(&candidate.image())
        .context("the installed agent does not fit this gateway: run `hexward agent install`")?;
    let driver = JailedDriver::new(config.mode, paths, profile).sealed(candidate.seal()).reaching(reaching);
    Ok(Unverified { driver: apps::with_runtimes(driver, config)?, candidate: Some(candidate) })
}

/// Binds an address or says who holds it.
pub async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{key}: {address} can't be used; stop the program that holds it, or choose another address (port 0 takes any free one)")
    })
}

/// One gateway for one folder: two would end each other's runs.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    secrets::private_folder(folder)?;
    let path = folder.join("lock");
    let file = secrets::open_private(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another hexward uses {}; stop it, or choose another --state-dir", folder.display())
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("{} can't be locked", path.display())),
    }
}

/// What direct mode left when it was killed; the lock says that nobody uses it.
fn remove_scratch(state_dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(state_dir.join("scratch"))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "old folders of direct mode could not be removed");
    }
}

/// Where calls are written down before the database has them.
pub(crate) fn ledger_folder(state_dir: &Path) -> PathBuf {
    state_dir.join("ledger")
}

/// Takes over what the last life of this gateway owed, before anything new is spent.
async fn open_ledger(store: &Store, clock: &Arc<dyn Clock>, gateway: &str, state_dir: &Path) -> Result<Ledger> {
    /// Another one after each start of the machine: only within one can a file be trusted that no disk was waited for.
    const BOOT: &str = "/proc/sys/kernel/random/boot_id";
    let boot = std::fs::read_to_string(BOOT).with_context(|| format!("{BOOT} can't be read"))?;
    let folder = ledger_folder(state_dir);
    let (ledger, left) = Ledger::open(store, Arc::clone(clock), gateway, &folder, boot.trim()).await?;
    if left > 0 {
        tracing::warn!(calls = left, "charged calls at their ceilings that the last life of this gateway left open");
    }
    Ok(ledger)
}

async fn keep_draining(ledger: Ledger, stop: CancellationToken) {
    ledger.keep_draining(stop.cancelled()).await;
}

/// From time to time: sessions that are over, and reservations of anybody's that nobody will settle any more.
async fn sweep_regularly(store: Store, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_PAUSE) => {}
            () = stop.cancelled() => return,
        }
        let now = clock.now();
        let swept = async {
            store.sweep_sessions(now).await?;
            store.sweep_undos(now).await?;
            store.sweep_confirmations(now).await?;
            store.sweep_client_sessions(now).await?;
            store.sweep_hosts(now).await?;
            store.sweep_webhooks(now).await?;
            store.sweep_confirmation_links(now).await?;
            store.sweep_slices(now).await
        };
        match swept.await {
            Ok(0) => {}
            Ok(calls) => tracing::warn!(calls, "charged calls whose reservation had expired"),
            Err(error) => tracing::error!(%error, "the regular sweep failed"),
        }
    }
}

/// Until the end, so that a restart hands out no new burst.
async fn keep_rates(rates: Rates, clock: Arc<dyn Clock>, stop: CancellationToken) {
    rates.keep(|| clock.now(), stop.cancelled()).await;
}

/// Ends what a former life of this gateway left open: runs fail, reservations are charged, tool calls are uncertain.
async fn sweep(store: &Store, gateway: &str, clock: &dyn Clock) -> Result<()> {
    let now = clock.now();
    let tools = store.sweep_tool_calls(gateway, now).await? + store.sweep_person_calls(now).await?;
    let confirmed = store.recover_confirmations(gateway, now).await?;
    let runs = store.sweep_runs(gateway, now).await?;
    store.sweep_sessions(now).await?;
    if tools + runs + confirmed > 0 {
        tracing::warn!(tools, runs, confirmed, "ended what the last life of this gateway left open");
    }
    Ok(())
}

/// Direct mode says on every start what an agent can read.
fn warn_of(mode: Mode) {
    if mode == Mode::Direct {
        tracing::warn!("{DIRECT_WARNING}");
    }
}

/// What stands in the log and on every page while agents are not confined.
pub const DIRECT_WARNING: &str = "USE_SANDBOX is false: agents are not confined. They can read every file this user can read, \
     including .env files, SSH keys and databases, and see its processes. For development only.";

/// Waits until the installed agent is known to be what its lock says; fails when it is not.
pub async fn verified(runs: &Runs) -> Result<()> {
    runs.driver().verified().await.map_err(Into::into)
}

/// Checks the driver before anybody waits for it.
pub fn check_driver(runs: &Runs) -> Result<()> {
    let driver: &dyn Driver = runs.driver();
    driver.check().map_err(Into::into)
}

//! The gateway in this process, and what must hold when it has ended.

use crate::checks::Database;
use crate::finish::{MustFinish, secrets_of};
use crate::person::Person;
use crate::processes::{Frozen, signal};
use crate::program::random_hex;
use crate::watch::{Started, Watching, left_of};
use crate::{logs, places};
use fake::{Exchange, Fake, FakeConfig};
use hexward::MasterKeys;
use hexward::config::{AppFolder, Config, Egress};
use hexward::gateway::{Gateway, driver};
use parking_lot::Mutex;
use policy::{KeyScope, Microusd, RateRules};
use proxy::callers::{CallerSecret, CallerSettings};
use proxy::messages::ProviderConfig;
use proxy::webhooks::WebhookSettings;
use runs::{AgentLimits, Keeping, QueueSettings, RunSettings};
use sandbox::Mode;
use secrecy::SecretString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use web::{PageSettings, WebParts};

/// Of all gateways in this process, as `HEXWARD_MASTER_KEY` would give it.
pub static MASTER_KEY: LazyLock<String> = LazyLock::new(random_hex);

/// What a test wants of its gateway. The default is the real agent, confined, over SQLite.
pub struct Setup {
    /// A database's address; none is a new SQLite file.
    pub database: Option<String>,
    /// The gateway's name, for several on one database.
    pub name: Option<&'static str>,
    /// The agent's executable; none is the real one.
    pub agent: Option<PathBuf>,
    /// The program that confines; none is the real one.
    pub jail: Option<PathBuf>,
    /// Sandboxed or direct.
    pub mode: Mode,
    /// The fake's scenario for every request.
    pub scenario: Option<&'static str>,
    /// Scenarios of the test's own.
    pub scenarios: Vec<(&'static str, String)>,
    /// Pause before each piece of a streamed answer.
    pub event_delay_ms: u64,
    /// Another provider than the fake.
    pub upstream: Option<String>,
    /// Several providers instead of the fake.
    pub providers: Vec<ProviderConfig>,
    /// Whether remote callers may connect.
    pub callers: bool,
    /// What the secret's principal is narrowed to.
    pub internal: KeyScope,
    /// What everybody together may spend in a day.
    pub day_limit: Microusd,
    /// The limits of runs.
    pub runs: RunSettings,
    /// Model calls at the same time.
    pub calls_max: usize,
    /// What sandboxes may reach beside the model and their tools.
    pub egress: Egress,
    /// Where host applications are told what happened.
    pub webhooks: WebhookSettings,
    /// Apps beside the map.
    pub apps: Vec<AppFolder>,
    /// The address under which people reach it.
    pub public_url: Option<String>,
    /// Host applications.
    pub hosts: Vec<web::HostSettings>,
    /// Whether there is the Magic assistant.
    pub magic: bool,
    /// How much people may keep on the map.
    pub map_limits: hexmap::map::LimitsByTier,
    /// The runtime for code; see [`crate::code_runtime`].
    pub runtime: PathBuf,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            database: None,
            name: None,
            agent: None,
            jail: None,
            mode: Mode::Native,
            scenario: None,
            scenarios: Vec::new(),
            event_delay_ms: 0,
            upstream: None,
            providers: Vec::new(),
            callers: false,
            internal: KeyScope::default(),
            day_limit: Microusd::dollars(5),
            runs: RunSettings {
                run_budget: Microusd::dollars(1),
                wall_clock: Duration::from_secs(60),
                concurrent_max: 32,
                queue: QueueSettings::default(),
                // Everybody comes from one address here; stories of rates set their own.
                rates: RateRules::unreachable(),
                idle: Duration::from_secs(60),
                idle_agents_max: 32,
                warm_agents_max: 0,
                keeping: Keeping::default(),
                tell_base_url: true,
                limits: AgentLimits::default(),
                danger_accept_downgrades: true,
                confirmation_wait: Duration::from_secs(20),
            },
            calls_max: proxy::CALLS_MAX,
            egress: Egress::default(),
            webhooks: WebhookSettings::default(),
            apps: Vec::new(),
            public_url: None,
            hosts: Vec::new(),
            magic: false,
            map_limits: hexmap::map::LimitsByTier::default(),
            runtime: PathBuf::new(),
        }
    }
}

/// A gateway with its fake provider, its database and the door for people.
pub struct TestGate {
    /// Where people connect.
    pub address: SocketAddr,
    /// What remote callers must show.
    pub caller_secret: String,
    /// The provider.
    pub fake: Fake,
    /// The gateway itself.
    pub gateway: Gateway,
    /// Its database.
    pub database: Database,
    /// Its own folder.
    pub folder: TempDir,
    /// Its database's address.
    pub database_url: String,
    secrets: Vec<(&'static str, String)>,
    seen: Arc<Mutex<Vec<u8>>>,
    started: Arc<Mutex<Vec<Started>>>,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    must_finish: MustFinish,
    above_ceilings: usize,
}

impl TestGate {
    /// Starts everything.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(setup: Setup) -> Self {
        logs::keep();
        let folder = tempfile::Builder::new().prefix("hexward-gate-").tempdir().unwrap();
        let (api_key, auth_secret, caller_secret) = (format!("sk-ant-api03-{}", random_hex()), random_hex(), random_hex());
        let fake = start_fake(&setup, folder.path(), &api_key).await;
        let state_dir = folder.path().join("state");
        let database_url =
            setup.database.clone().unwrap_or_else(|| format!("sqlite:{}", folder.path().join("gate.db").display()));
        // Gateways that share a database share this.
        let master_keys = Some(MasterKeys { current: SecretString::from(MASTER_KEY.clone()), old: SecretString::from("") });
        let secrets = secrets_of([&MASTER_KEY, &api_key, &auth_secret, &caller_secret], &database_url);
        let callers = setup.callers.then(|| {
            let secret = Some(CallerSecret::parse(&SecretString::from(caller_secret.clone())).unwrap());
            (SocketAddr::from(([127, 0, 0, 1], 0)), CallerSettings { secret, internal: setup.internal.clone() })
        });
        let config = Config {
            gateway: setup.name.unwrap_or("gate-test").to_owned(),
            user: String::new(),
            production: false,
            people: SocketAddr::from(([127, 0, 0, 1], 0)),
            callers,
            mode: setup.mode,
            agent_path: setup.agent.unwrap_or_else(places::agent),
            jail_path: setup.jail.unwrap_or_else(places::jail),
            upstream: setup.upstream.unwrap_or_else(|| fake.url()),
            api_key: SecretString::from(api_key),
            providers: setup.providers,
            prices: policy::Prices::default(),
            calls_max: setup.calls_max,
            budgets: policy::Budgets { run: setup.runs.run_budget, day: setup.day_limit, ..policy::Budgets::default() },
            auth_secret: SecretString::from(auth_secret.clone()),
            database_url: SecretString::from(database_url.clone()),
            master_keys,
            state_dir,
            day_limit: setup.day_limit,
            runs: setup.runs,
            egress: setup.egress,
            webhooks: setup.webhooks,
            apps: setup.apps,
            magic: setup.magic,
            map_limits: setup.map_limits,
            page_app: "hexmap".to_owned(),
            runtime_path: setup.runtime,
            public_url: setup.public_url.clone(),
            hosts: setup.hosts,
        };
        let started = Arc::new(Mutex::new(Vec::new()));
        let watching = Watching::new(Arc::new(driver(&config).unwrap()), Arc::clone(&started));
        let gateway = Gateway::start_with(config, Arc::new(watching)).await.unwrap();
        let (address, stop, serving) = open_door(&gateway, (setup.mode, setup.public_url), auth_secret).await;
        let (database, seen) = (Database(gateway.store.clone()), Arc::default());
        Self {
            address,
            caller_secret,
            fake,
            gateway,
            database,
            folder,
            database_url,
            secrets,
            seen,
            started,
            stop,
            serving,
            must_finish: MustFinish(false),
            above_ceilings: 0,
        }
    }

    /// Somebody with a session of their own. Everything they are ever sent is searched for secrets in the end.
    pub async fn person(&self) -> Person {
        Person::arrive(self.address, Arc::clone(&self.seen)).await
    }

    /// Where remote callers connect.
    ///
    /// # Panics
    /// When they may not.
    #[must_use]
    pub fn callers(&self) -> SocketAddr {
        self.gateway.callers.expect("this gateway has a callers' listener")
    }

    /// Another secret that must stand nowhere in the end.
    pub fn keep_secret(&mut self, name: &'static str, secret: &str) {
        self.secrets.push((name, secret.to_owned()));
    }

    /// So many calls cost more than was set aside for them, because the test's provider says what no provider would. Without this
    /// one such call is a fault.
    pub fn expect_above_ceilings(&mut self, calls: usize) {
        self.above_ceilings = calls;
    }

    /// The requests for answers that the provider got, the oldest first.
    #[must_use]
    pub fn provider_saw(&self) -> Vec<Exchange> {
        self.fake.requests().into_iter().filter(|exchange| exchange.path == "/v1/messages").collect()
    }

    /// An account of today: (settled, reserved).
    ///
    /// # Panics
    /// When the database is away.
    pub async fn today(&self, scope: &str) -> (i64, i64) {
        self.gateway.settle_up().await.unwrap();
        self.database.today(scope, self.gateway.clock.now()).await
    }

    /// How many sandboxes were started.
    #[must_use]
    pub fn sandboxes_started(&self) -> usize {
        self.started.lock().len()
    }

    /// How many were started and came to be, whatever became of them.
    #[must_use]
    pub fn sandboxes_made(&self) -> usize {
        self.started.lock().iter().filter(|sandbox| sandbox.made).count()
    }

    /// Every process of every sandbox that still runs.
    #[must_use]
    pub fn processes(&self) -> Vec<crate::Process> {
        let firsts: Vec<_> = self.started.lock().iter().filter_map(|sandbox| sandbox.init).collect();
        firsts.into_iter().filter(|first| first.is_alive()).flat_map(|first| crate::descendants(first.pid)).collect()
    }

    /// Their ids, in order.
    #[must_use]
    pub fn sandbox_ids(&self) -> Vec<String> {
        self.started.lock().iter().map(|sandbox| sandbox.id.clone()).collect()
    }

    /// The first processes of the sandboxes, as far as they still run.
    #[must_use]
    pub fn sandboxes_alive(&self) -> usize {
        self.started.lock().iter().filter(|sandbox| sandbox.init.is_some_and(crate::Process::is_alive)).count()
    }

    /// Kills the newest sandbox from outside, or the program that guards it.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_newest_sandbox(&self, guard: bool) {
        let newest = self.started.lock().last().and_then(|sandbox| sandbox.init).expect("a sandbox runs");
        let victim = if guard { newest.parent().expect("a guard") } else { newest.pid };
        signal(victim, "KILL");
    }

    /// Stops the program that guards the newest sandbox, until it is told to go on.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn freeze_newest_guard(&self) -> Frozen {
        let newest = self.started.lock().last().and_then(|sandbox| sandbox.init).expect("a sandbox runs");
        let guard = newest.parent().expect("a guard");
        Frozen::of(guard)
    }

    /// Ends everything in order, and checks what must hold after it.
    ///
    /// # Panics
    /// When something is left, or a secret got out.
    pub async fn finish(self) {
        let Self { gateway, database, folder, secrets, seen, started, stop, serving, mut must_finish, above_ceilings, .. } = self;
        must_finish.0 = true;
        stop.cancel();
        gateway.shutdown().await;
        serving.await.unwrap().unwrap();
        let mut faults = database.unfinished().await;
        faults.extend(left_of(&started.lock()));
        let above = database.above_ceilings().await;
        if above.len() != above_ceilings {
            faults
                .push(format!("{above:?} (reserved, cost) are above their ceilings, and {above_ceilings} such calls were meant"));
        }
        let kept = database.texts().await;
        for (name, secret) in &secrets {
            let places = [
                ("in the log", logs::contain(secret)),
                ("in what people were sent", logs::has(&seen.lock(), secret)),
                ("in the messages or the audit log", logs::has(&kept, secret)),
                ("in the gateway's folder", logs::files_hold(folder.path(), secret)),
            ];
            faults.extend(
                places
                    .into_iter()
                    .filter(|(_, found)| *found)
                    .map(|(place, _)| format!("{name} stands {place}: {}", logs::lines_about(secret))),
            );
        }
        assert!(faults.is_empty(), "after the end: {}", faults.join("; "));
    }
}

async fn start_fake(setup: &Setup, folder: &std::path::Path, api_key: &str) -> Fake {
    let mut config = FakeConfig::for_tests(api_key);
    config.event_delay_ms = setup.event_delay_ms;
    config.scenario = setup.scenario.map(str::to_owned);
    if !setup.scenarios.is_empty() {
        let scenarios = folder.join("scenarios");
        std::fs::create_dir(&scenarios).unwrap();
        for (name, text) in &setup.scenarios {
            std::fs::write(scenarios.join(format!("{name}.toml")), text).unwrap();
        }
        config.scenario_dirs.push(scenarios);
    }
    Fake::start(config).await.unwrap()
}

async fn open_door(
    gateway: &Gateway,
    (mode, public_origin): (Mode, Option<String>),
    auth_secret: String,
) -> (SocketAddr, CancellationToken, JoinHandle<std::io::Result<()>>) {
    let settings = PageSettings {
        app: "hexmap".to_owned(),
        warning: (mode == Mode::Direct).then(|| hexward::gateway::DIRECT_WARNING.to_owned()),
        model: "scripted",
        writes_default: true,
        public_origin,
        session_key: SecretString::from(auth_secret),
    };
    let parts = WebParts { store: gateway.store.clone(), clock: gateway.clock.clone(), runs: gateway.runs.clone(), settings };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    (address, stop.clone(), tokio::spawn(web::serve(listener, parts, stop)))
}

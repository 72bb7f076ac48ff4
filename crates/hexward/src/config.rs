//! Configuration: one file for most things, the environment for secrets and for what host applications already name there.
//! It is parsed and checked as a whole before a port opens, and every fault is listed.

mod apps;
mod budget;
mod callers;
mod database;
mod egress;
mod environment;
mod faults;
mod hosts;
mod keys;
mod limits;
mod map;
mod model;
mod prices;
mod providers;
mod rates;
mod reference;
mod runs_file;
mod show;
mod source;
mod trace;
mod webhooks;

pub use apps::{AppFolder, ToolExtras};
pub(crate) use apps::{is_there as app_is_there, load as load_apps};
pub use database::database_url;
pub use egress::Egress;
pub use environment::{Environment, load as load_environment};
pub use faults::{Fault, Faults};
pub(crate) use providers::DEFAULT as DEFAULT_PROVIDER;
pub(crate) use reference::text as reference;
pub(crate) use show::Shown;

use crate::data_key::MasterKeys;
use policy::{Budgets, Microusd, Prices};
use proxy::callers::CallerSettings;
use proxy::messages::ProviderConfig;
use proxy::webhooks::WebhookSettings;
use runs::RunSettings;
use sandbox::Mode;
use secrecy::SecretString;
use serde::Deserialize;
use source::Source;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const AUTH_SECRET_CHARS_MIN: usize = 32;

/// `hexward.toml`. Every key has a default; an unknown key is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    deployment: Deployment,
    gateway: GatewayFile,
    listen: ListenFile,
    callers: callers::CallersFile,
    agent: AgentFile,
    model: model::ModelFile,
    budget: budget::BudgetFile,
    prices: Vec<prices::PriceFile>,
    runs: runs_file::RunsFile,
    limits: limits::LimitsFile,
    rates: rates::RatesFile,
    egress: Vec<egress::EgressFile>,
    apps: Vec<apps::AppFile>,
    magic: apps::MagicFile,
    map: map::MapFile,
    page: PageFile,
    hosts: Vec<hosts::HostFile>,
}

/// Whether strangers are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Deployment {
    /// On a developer's machine.
    #[default]
    Development,
    /// On the internet: everything that weakens is an error.
    Production,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GatewayFile {
    /// Must differ between gateways that share a database. Empty: one is made once and kept in the state folder.
    name: String,
    /// Whom a gateway that root started becomes: a name or a number.
    user: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ListenFile {
    people: SocketAddr,
    callers: SocketAddr,
}

impl Default for ListenFile {
    fn default() -> Self {
        Self { people: SocketAddr::from(([127, 0, 0, 1], 7410)), callers: SocketAddr::from(([127, 0, 0, 1], 7412)) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AgentFile {
    path: Option<PathBuf>,
    jail: Option<PathBuf>,
    /// The image of the runtime for code.
    runtime: Option<PathBuf>,
    /// `false` leaves the agent to dial the provider's own name, which is intercepted.
    base_url: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PageFile {
    /// The app that people get.
    app: String,
}

impl Default for PageFile {
    fn default() -> Self {
        Self { app: apps::BUILTIN.to_owned() }
    }
}

/// A checked configuration.
pub struct Config {
    /// This gateway's name in the database; empty for the one kept in the state folder.
    pub gateway: String,
    /// Whom a gateway that root started becomes; empty for its own user.
    pub user: String,
    /// Whether strangers are let in.
    pub production: bool,
    /// Where people connect.
    pub people: SocketAddr,
    /// Where remote callers connect, if they may.
    pub callers: Option<(SocketAddr, CallerSettings)>,
    /// Sandboxed or direct.
    pub mode: Mode,
    /// The agent's executable.
    pub agent_path: PathBuf,
    /// The program that confines.
    pub jail_path: PathBuf,
    /// The model provider, where there is only one.
    pub upstream: String,
    /// Its key.
    pub api_key: SecretString,
    /// The model providers, if they are named; then the former two are not used.
    pub providers: Vec<ProviderConfig>,
    /// What calls cost.
    pub prices: Prices,
    /// What may be spent, on every level.
    pub budgets: Budgets,
    /// Keys the digests of session tokens.
    pub auth_secret: SecretString,
    /// The database.
    pub database_url: SecretString,
    /// The master keys of the environment; without, there is one in the state folder.
    pub master_keys: Option<MasterKeys>,
    /// Where the gateway keeps its own small files.
    pub state_dir: PathBuf,
    /// What everybody together may spend in a UTC day.
    pub day_limit: Microusd,
    /// The limits of runs.
    pub runs: RunSettings,
    /// Model calls at the same time.
    pub calls_max: usize,
    /// What sandboxes may reach beside the model and their tools.
    pub egress: Egress,
    /// Where host applications are told what happened.
    pub webhooks: WebhookSettings,
    /// The apps beside those that come with the gateway.
    pub apps: Vec<AppFolder>,
    /// Whether the Magic assistant is among those that come with it.
    pub magic: bool,
    /// How much people may keep on the map.
    pub map_limits: hexmap::map::LimitsByTier,
    /// The app that the page shows.
    pub page_app: String,
    /// The image of the runtime for code.
    pub runtime_path: PathBuf,
    /// The address under which people reach the gateway.
    pub public_url: Option<String>,
    /// Host applications that may let users of their own in.
    pub hosts: Vec<web::HostSettings>,
}

/// Where things are when nobody says otherwise.
pub struct Defaults {
    /// The agent, as `hexward agent install` leaves it.
    pub agent_path: PathBuf,
    /// The program that confines, beside this one.
    pub jail_path: PathBuf,
    /// The runtime for code, as `hexward runtime-build` leaves it.
    pub runtime_path: PathBuf,
    /// For the database and small files.
    pub state_dir: PathBuf,
    /// Whether there is the Magic assistant.
    pub magic: bool,
}

/// Reads the file (if there is one) and checks it together with the environment.
///
/// # Errors
/// All faults at once.
pub fn load(file: Option<&Path>, environment: &Environment, defaults: Defaults) -> Result<Config, Faults> {
    checked(Source::read(file)?, environment, defaults)
}

fn checked(mut source: Source, environment: &Environment, defaults: Defaults) -> Result<Config, Faults> {
    let file = std::mem::take(&mut source.file);
    let faults = match check(file, environment, defaults) {
        Ok(config) if source.faults.is_empty() => return Ok(config),
        Ok(_) => Faults::default(),
        Err(faults) => faults,
    };
    Err(source.located(faults, Some(environment)))
}

/// What commands need of a configuration that touch no secret.
pub(crate) struct Public {
    /// Providers: name, address, and the variable of the first key.
    pub providers: Vec<(String, String, Option<String>)>,
    /// What calls cost.
    pub prices: Prices,
    /// The apps' ids and models.
    pub models: Vec<(String, String)>,
}

/// Reads that much only.
///
/// # Errors
/// All faults at once.
pub(crate) fn load_public(file: Option<&Path>) -> Result<Public, Faults> {
    let file = read_file(file)?;
    let mut faults = Faults::default();
    let prices = prices::read(&file.prices, &mut faults);
    let models = apps::models(&file.apps, &mut faults);
    let upstream = file.model.upstream.as_deref().unwrap_or(model::PROVIDER);
    let providers = providers::listed(&file.model.providers, upstream);
    if faults.is_empty() { Ok(Public { providers, prices, models }) } else { Err(faults) }
}

/// For commands that read a part of it: the rest has to be good all the same.
fn read_file(path: Option<&Path>) -> Result<File, Faults> {
    let source = Source::read(path)?;
    if source.faults.is_empty() { Ok(source.file) } else { Err(source.located(Faults::default(), None)) }
}

fn check(file: File, environment: &Environment, defaults: Defaults) -> Result<Config, Faults> {
    let mut faults = Faults::default();
    let production = file.deployment == Deployment::Production || environment.says_production();
    let mode = mode(&file, environment, &mut faults);
    let callers = callers::read(&file, environment, &mut faults);
    let api_key = match file.model.providers.is_empty() {
        true => environment.api_key(&mut faults),
        false => Some(SecretString::from("")),
    };
    let auth_secret = auth_secret(environment, &mut faults);
    let (database_url, master_keys) = database::read(environment, &defaults.state_dir, production, &mut faults);
    let model::Model { upstream, providers, calls_max } = model::read(&file.model, environment, &mut faults);
    let prices = prices::read(&file.prices, &mut faults);
    environment.refuse_unsupported(&mut faults);
    let public_url = environment.public_url(&mut faults);
    refuse_proxy(mode, public_url.as_deref(), &mut faults);
    let egress = egress::read(&file.egress, environment, production, &mut faults);
    let webhooks = webhooks::read(&file.hosts, environment, production, &mut faults);
    let apps = apps::read(&file.apps, environment, mode, &mut faults);
    apps::refuse_fixtures(&apps, production, &mut faults);
    let magic = file.magic.enabled.unwrap_or(defaults.magic);
    if !apps::is_there(&apps, magic, &file.page.app) {
        faults.add("page.app", "is not the id of an app; name its folder under [[apps]], or say [magic] enabled = true");
    }
    let map_limits = map::read(&file.map, &mut faults);
    let day_limit = dollars("budget.day_usd", file.budget.day_usd, &mut faults);
    if file.gateway.name.len() > 64 {
        faults.add("gateway.name", "must not be longer than 64 characters");
    }
    let runs = runs_file::settings(&file, production, &mut faults);
    let is_app = |id: &str| apps::is_there(&apps, magic, id);
    let budgets = budget::read(&file.budget, (runs.run_budget, day_limit), is_app, &mut faults);
    let hosts = hosts::read(&file.hosts, environment, is_app, &mut faults);
    if !hosts.is_empty() && callers.is_none() {
        faults.add("hosts", "need the callers' listener, where their back ends connect; say [callers] enabled = true");
    }
    let (Some(api_key), Some(auth_secret), true) = (api_key, auth_secret, faults.is_empty()) else { return Err(faults) };
    Ok(Config {
        gateway: file.gateway.name,
        user: file.gateway.user,
        production,
        people: file.listen.people,
        callers,
        mode,
        agent_path: file.agent.path.unwrap_or(defaults.agent_path),
        jail_path: file.agent.jail.unwrap_or(defaults.jail_path),
        upstream,
        api_key,
        providers,
        prices,
        budgets,
        calls_max,
        auth_secret,
        database_url,
        master_keys,
        state_dir: defaults.state_dir,
        day_limit,
        runs,
        egress,
        webhooks: WebhookSettings { endpoints: webhooks, waits: None },
        apps,
        magic,
        map_limits,
        page_app: file.page.app,
        runtime_path: file.agent.runtime.unwrap_or(defaults.runtime_path),
        public_url,
        hosts,
    })
}

/// Direct mode is for development on loopback only.
fn mode(file: &File, environment: &Environment, faults: &mut Faults) -> Mode {
    if environment.flag("USE_ANTHROPIC_PROXY", true, faults) == Some(false) {
        faults.add("USE_ANTHROPIC_PROXY", "can't be false: every model call goes through the gateway. Remove it");
    }
    if environment.flag("USE_SANDBOX", true, faults) != Some(false) {
        return Mode::Native;
    }
    if file.deployment == Deployment::Production || environment.says_production() {
        faults.add("USE_SANDBOX", "can't be false in production: an agent could read everything the gateway can. Remove it");
    }
    if !file.listen.people.ip().is_loopback() {
        faults.add("USE_SANDBOX", "can't be false while listen.people is not a loopback address");
    }
    Mode::Direct
}

/// Who has another machine's address lets others in.
fn refuse_proxy(mode: Mode, public_url: Option<&str>, faults: &mut Faults) {
    if mode == Mode::Direct && public_url.is_some_and(|origin| !environment::is_loopback(origin)) {
        faults.add(
            "USE_SANDBOX",
            "can't be false behind a proxy, and HEXFRAME_API_BASE_URL is not an address of this machine alone",
        );
    }
}

fn auth_secret(environment: &Environment, faults: &mut Faults) -> Option<SecretString> {
    use secrecy::ExposeSecret;
    let secret = environment.secret("AUTH_SECRET");
    match &secret {
        None => faults.add("AUTH_SECRET", "is not set; make one with: openssl rand -hex 32"),
        Some(secret) if secret.expose_secret().len() < AUTH_SECRET_CHARS_MIN => {
            faults.add("AUTH_SECRET", "must have at least 32 characters; make one with: openssl rand -hex 32");
        }
        Some(_) => {}
    }
    secret
}

/// Dollars as a person writes them, to micro-dollars.
fn dollars(name: &str, amount: f64, faults: &mut Faults) -> Microusd {
    const MAX: f64 = 1_000_000.0;
    if !(amount.is_finite() && amount > 0.0 && amount <= MAX) {
        faults.add(name, "must be more than 0 and at most 1,000,000 dollars");
        return Microusd::ZERO;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the amount was just bounded")]
    Microusd((amount * 1_000_000.0).round() as i64)
}

#[cfg(test)]
mod tests;

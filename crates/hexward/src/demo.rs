//! `hexward demo`: everything on loopback, with generated secrets and, unless told otherwise, the scripted model.

use crate::config::{self, Config, Defaults, Environment};
use crate::gateway::{self, Gateway};
use crate::step_down::step_down;
use crate::trust::Trust;
use crate::{DemoArgs, in_threads, once, secrets, serve};
use anyhow::{Context, Result, bail};
use fake::{Fake, FakeConfig};
use policy::{Microusd, RateRules};
use sandbox::JailedDriver;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The hard caps of the demo, whatever a configuration says.
const RUN_CAP: Microusd = Microusd::dollars(1);
const DAY_CAP: Microusd = Microusd::dollars(5);
/// Where agents are installed when nobody says otherwise.
pub const AGENT_FOLDER: &str = ".hexward/agent";
/// Where the runtime for code is when nobody says otherwise.
pub const RUNTIME_FOLDER: &str = ".hexward/runtime/code";

/// Runs the demo, or one message of it.
pub fn demo(args: &DemoArgs) -> Result<ExitCode> {
    if let Some(address) = args.listen.filter(|address| !address.ip().is_loopback()) {
        bail!("the demo listens on loopback only, not on {address}; use `hexward serve` for anything else");
    }
    let (mut config, scripted) = prepare(args)?;
    // Whoever comes after root may not be able to read what says so.
    let is_secret_given = environment()?.secret("AUTH_SECRET").is_some();
    let driver = step_down(&config)?;
    // Only now: what is in the state folder is touched by whom it belongs to.
    if !is_secret_given {
        config.auth_secret = secrets::generated(&config.state_dir)?.into();
    }
    in_threads(async {
        let fake = match scripted {
            Some(scripted) => Some(Fake::start(scripted).await?),
            None => None,
        };
        if let Some(fake) = &fake {
            config.upstream = fake.url();
            config.providers.clear();
        }
        let code = start(args, config, driver).await;
        drop(fake);
        code
    })
}

async fn start(args: &DemoArgs, mut config: Config, driver: JailedDriver) -> Result<ExitCode> {
    let Some(text) = &args.once else {
        let page = serve::Page { ready: "hexward demo ready", model: model(args), writes_default: true };
        return serve::run(config, driver, page).await;
    };
    // One message claims one agent, and waits for its start either way.
    config.runs.warm_agents_max = 0;
    let app = config.page_app.clone();
    let gateway = Gateway::start(config, driver).await?;
    // The message waits for this either way, and a refusal said here says more than a failed run.
    let code = match gateway::verified(&gateway.runs).await {
        Ok(()) => once::once(&gateway, &app, text, args.writes).await,
        Err(error) => Err(error),
    };
    gateway.shutdown().await;
    code
}

const fn model(args: &DemoArgs) -> &'static str {
    if args.real { "real" } else { "scripted" }
}

/// The configuration, and the scripted model's where there is one. Nothing is started or written yet.
fn prepare(args: &DemoArgs) -> Result<(Config, Option<FakeConfig>)> {
    // A demo makes its own secret; until it may, this one stands in its place.
    let environment = environment()?.or("AUTH_SECRET", secrets::random_hex()?);
    // DATABASE_URL is likely the host application's own: a demo that was not told so keeps its hands off it.
    let environment = if args.database_from_env { environment } else { environment.with("DATABASE_URL", None) };
    let (scripted, environment) = if args.real {
        (None, environment)
    } else {
        let key = format!("sk-ant-demo-{}", secrets::random_hex()?);
        // The scripted model has a key of its own; the operator's real one is not touched, nor needed.
        let environment = environment.with("ANTHROPIC_API_KEY", Some(key.clone())).with("ANTHROPIC_API_KEY_ORIGINAL", None);
        (Some(FakeConfig { scenario: args.scenario.clone(), ..FakeConfig::new(key) }), environment)
    };
    environment.effects().iter().for_each(|effect| tracing::info!("{effect}"));
    let mut config = config::load(
        args.common.config.as_deref(),
        &environment,
        Defaults { magic: true, ..defaults(args.common.state_dir.clone())? },
    )?;
    // Nobody but this machine's own people reaches a demo; what a file says of rates holds all the same.
    if args.common.config.is_none() {
        config.runs.rates = RateRules::unreachable();
    }
    if let Some(agent) = &args.common.agent {
        config.agent_path.clone_from(agent);
    }
    if args.no_base_url {
        config.runs.tell_base_url = false;
    }
    config.people = args.listen.unwrap_or(config.people);
    if let Some(app) = &args.app {
        if !config::app_is_there(&config.apps, config.magic, app) {
            bail!("--app: there is no app called {app:?}; the configuration names apps under [[apps]]");
        }
        config.page_app.clone_from(app);
    }
    Ok((capped(config), scripted))
}

/// A demo stays on this machine and within its caps, whatever the configuration says.
fn capped(mut config: Config) -> Config {
    if !config.people.ip().is_loopback() {
        config.people = SocketAddr::from(([127, 0, 0, 1], config.people.port()));
    }
    if let Some((callers, _)) = config.callers.as_mut()
        && !callers.ip().is_loopback()
    {
        *callers = SocketAddr::from(([127, 0, 0, 1], callers.port()));
    }
    config.runs.run_budget = config.runs.run_budget.min(RUN_CAP);
    config.day_limit = config.day_limit.min(DAY_CAP);
    config.budgets.run = config.budgets.run.min(RUN_CAP);
    config.budgets.day = config.budgets.day.min(DAY_CAP);
    config
}

#[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
/// The process's environment on top of `.env` and `.env.local` of the working folder.
pub fn environment() -> Result<Environment> {
    if let Some(trust) = Trust::of_root()? {
        [".env", ".env.local"].iter().try_for_each(|name| trust.file(Path::new(name)))?;
    }
    let process = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(config::load_environment(std::path::Path::new("."), process)?)
}

/// Where `hexward agent install` puts things, and beside this program.
pub fn defaults(state_dir: PathBuf) -> Result<Defaults> {
    let own = std::env::current_exe().context("this program's own path is not known")?;
    Ok(Defaults {
        agent_path: PathBuf::from(AGENT_FOLDER).join(crate::CURRENT_EXECUTABLE),
        jail_path: own.with_file_name("hexward-jail"),
        runtime_path: PathBuf::from(RUNTIME_FOLDER),
        state_dir,
        magic: false,
    })
}

/// For commands that need an agent: says at once when there is none.
pub fn check(gateway: &Gateway) -> Result<()> {
    gateway::check_driver(&gateway.runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_is_capped_and_stays_on_this_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("hexward.toml");
        let text =
            "[budget]\nrun_usd = 100.0\nday_usd = 1000.0\n[listen]\npeople = \"0.0.0.0:7410\"\ncallers = \"0.0.0.0:7412\"\n";
        std::fs::write(&file, text).expect("written");
        let environment = [("ANTHROPIC_API_KEY", "sk-ant-api03-x"), ("AUTH_SECRET", &"0a1b2c3d".repeat(8))].into_iter().fold(
            config::load_environment(folder.path(), std::iter::empty()).expect("an environment"),
            |environment, (name, value)| environment.with(name, Some(value.to_owned())),
        );
        let defaults = Defaults {
            agent_path: "a".into(),
            jail_path: "j".into(),
            runtime_path: "r".into(),
            state_dir: folder.path().join("state"),
            magic: true,
        };
        let wide = config::load(Some(&file), &environment, defaults).expect("usable");
        assert_eq!((wide.runs.run_budget, wide.day_limit), (Microusd::dollars(100), Microusd::dollars(1000)), "as configured");
        let capped = capped(wide);
        assert_eq!((capped.runs.run_budget, capped.day_limit), (Microusd::dollars(1), Microusd::dollars(5)));
        assert!(capped.people.ip().is_loopback());
    }
}

//! `hexward serve`, and what the demo shares with it: the door for people, and the end in order.

use crate::config::{self, Config};
use crate::gateway::{self, Gateway};
use crate::step_down::step_down;
use crate::{ServeArgs, demo, in_threads};
use anyhow::Result;
use runs::Runs;
use sandbox::{JailedDriver, Mode};
use std::io::Write;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use web::{PageSettings, WebParts};

/// What pages are told.
pub struct Page {
    /// The line printed when everything is ready.
    pub ready: &'static str,
    /// `scripted` or `real`.
    pub model: &'static str,
    /// How the switch for changes stands at first.
    pub writes_default: bool,
}

/// Runs the gateway as configured.
pub fn serve(args: ServeArgs) -> Result<ExitCode> {
    let environment = demo::environment()?;
    environment.effects().iter().for_each(|effect| tracing::info!("{effect}"));
    let mut config = config::load(args.common.config.as_deref(), &environment, demo::defaults(args.common.state_dir)?)?;
    if let Some(agent) = args.common.agent {
        config.agent_path = agent;
    }
    let driver = step_down(&config)?;
    in_threads(run(config, driver, Page { ready: "hexward ready", model: "real", writes_default: false }))
}

/// Starts the gateway and the door for people, and ends both in order on SIGINT or SIGTERM.
pub async fn run(config: Config, driver: JailedDriver, page: Page) -> Result<ExitCode> {
    let stop_signal = stop_signal()?;
    let listener = gateway::bind(config.people, "listen.people").await?;
    let settings = PageSettings {
        app: config.page_app.clone(),
        warning: (config.mode == Mode::Direct).then(|| gateway::DIRECT_WARNING.to_owned()),
        model: page.model,
        writes_default: page.writes_default,
        public_origin: config.public_url.clone(),
        session_key: config.auth_secret.clone(),
    };
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "people connect without TLS: put a TLS terminator in front and let nobody else reach this address");
    }
    let gateway = Gateway::start(config, driver).await?;
    demo::check(&gateway)?;
    let parts = WebParts { store: gateway.store.clone(), clock: gateway.clock.clone(), runs: gateway.runs.clone(), settings };
    let stop = CancellationToken::new();
    let serving = tokio::spawn(web::serve(listener, parts, stop.clone()));
    writeln!(std::io::stdout(), "{}: http://{address}/", page.ready)?;
    std::io::stdout().flush()?;
    let untrusted = until_asked_or_untrusted(stop_signal, &gateway.runs).await;
    tracing::info!("stopping");
    stop.cancel();
    gateway.shutdown().await;
    serving.await??;
    untrusted.map(|()| ExitCode::SUCCESS)
}

/// A gateway whose agent is not the installed one serves nobody: it ends, so that whoever watches over it sees that.
async fn until_asked_or_untrusted(asked: impl Future<Output = ()>, runs: &Runs) -> Result<()> {
    tokio::pin!(asked);
    tokio::select! {
        () = &mut asked => return Ok(()),
        verified = gateway::verified(runs) => verified?,
    }
    asked.await;
    Ok(())
}

/// Ready when the process is asked to end.
pub fn stop_signal() -> Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

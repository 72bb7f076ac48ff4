//! `hexward run -- CMD`: any program in a sandbox of its own, over the current folder, which stays as it is until the changes
//! were looked at.

mod ending;
mod hosts;
mod network;
mod place;
mod streams;
mod words;

use crate::RunArgs;
use crate::clock::SystemClock;
use crate::say::say;
use anyhow::{Context, Result};
use ending::Choice;
use place::{Developer, Refusal};
use policy::{Clock, SandboxId};
use proxy::egress::{RefusedPorts, SandboxCa};
use rustix::fs::{CWD, Mode, OFlags, openat};
use sandbox::{ProgramEnd, ProgramProfile, ProgramSpec, SandboxError};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use streams::Streams;
use tokio::signal::unix::{SignalKind, signal};

/// Our own failures, as container runtimes say them; a command's own code is passed on.
const OWN_FAILURE: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the command and settles what it changed. Never an error: each has its exit code.
pub async fn run(args: RunArgs) -> Result<ExitCode> {
    let code = match confined(&args).await {
        Ok(code) => code,
        Err(error) => {
            say!("hexward run: {error:#}");
            error.downcast_ref::<Refusal>().map_or(OWN_FAILURE, |refusal| refusal.code)
        }
    };
    Ok(ExitCode::from(code))
}

async fn confined(args: &RunArgs) -> Result<u8> {
    let (profile, developer) = (ProgramProfile::shipped()?, Developer::here());
    let project = developer.project(&profile)?;
    let argv = developer.argv(&args.command, &profile, &project)?;
    let allowed = hosts::read(args, &developer)?;
    let mut environment = developer.environment(&args.env, &profile, &project);
    allowed.keeps_secrets_from(&argv, &environment)?;
    environment.extend(allowed.placeholders);
    words::warn(&allowed.dangerous);
    let project_fd = open_folder(&project)?;
    let jail = std::env::current_exe().context("this program's own path is not known")?.with_file_name("hexward-jail");
    let ca = SandboxCa::generate()?;
    let mut streams = Streams::open().context("the standard streams can't be passed on")?;
    let id = SandboxId::random();
    let since = SystemClock.now();
    let spec = ProgramSpec {
        id,
        argv,
        environment,
        project: project.clone(),
        trusted_pem: ca.certificate_pem().to_owned(),
        extra_ports: allowed.hosts.extra_ports(),
        stdio: streams.inside()?,
    };
    // From here on a signal ends the command in an orderly way, whenever it comes; before there is nothing to end.
    let stopped = stopped()?;
    let program = profile.start(&jail, spec).await.map_err(refusal)?;
    let downgrades = program.downgrades.clone();
    let (listeners, counters, upper, life) = program.split();
    let refused_ports = RefusedPorts::opened(counters);
    if refused_ports.is_none() {
        say!("hexward run: this host does not tell how many connections to other ports are refused");
    }
    let network = network::Network::serve(id, ca, allowed.hosts, listeners, refused_ports).await?;
    let session = streams.begin()?;
    let ended = life.end(stopped).await;
    session.end().await;
    let denied = network.end().await;
    let end = ended?;
    words::summary(&downgrades, &denied, &end);
    settle(args, &profile, upper, project_fd, since, end).await
}

/// Lists the changes, and applies those that are wanted.
async fn settle(
    args: &RunArgs,
    profile: &ProgramProfile,
    upper: OwnedFd,
    project: OwnedFd,
    since: policy::Timestamp,
    end: ProgramEnd,
) -> Result<u8> {
    let (dangers, choice) = (profile.dangers.clone(), Choice::of(args));
    let settled = tokio::task::spawn_blocking(move || ending::settle(&upper, &project, &dangers, since, choice));
    let all = settled.await.context("the changes could not be looked at")??;
    // A script that goes on after success must not go on without what it was to bring.
    Ok(if end.code == 0 && !all { OWN_FAILURE } else { end.code })
}

fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).with_context(|| format!("{} can't be opened", path.display()))
}

/// What the kernel said of the command itself has codes of its own.
fn refusal(error: SandboxError) -> anyhow::Error {
    match error.program_missing() {
        Some(true) => Refusal { code: NOT_FOUND, reason: error.to_string() }.into(),
        Some(false) => Refusal { code: NOT_EXECUTABLE, reason: error.to_string() }.into(),
        None => error.into(),
    }
}

/// The number of the signal that asks this program to end, counted from this call on. With a terminal its keys go to the
/// command instead.
fn stopped() -> Result<impl Future<Output = u8>> {
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            _ = hangup.recv() => 1,
        }
    })
}

//! `hexward redteam sandbox`: what an agent gone bad would try, carried out in real sandboxes of a gateway that lives for
//! the length of the command, and what the outside saw of it.
//!
//! The attacks are `hexward-probe`, which takes the agent's place. Everything else is what a run gets: the same driver,
//! listeners, rules and database. Only the model is scripted, so no key and no network is needed.

mod booth;
mod host;
mod outside;
mod peers;
mod report;
mod srt;
mod stage;
mod tools;

use crate::arguments::{RedteamArgs, RedteamSuite, SandboxSuiteArgs, Under};
use anyhow::Result;
use report::Report;
use stage::Stage;
use std::process::ExitCode;

pub(crate) use srt::SANDBOX_RUNTIME;

/// Groups whose sandbox may be ended by the kernel for what they do.
const DEADLY: &str = "memory";
/// The group that is asked again when its run is over.
const AFTER: &str = "after";
const NEIGHBOUR: &str = "neighbour";

/// Carries out a suite. Success means that every probe passed.
pub(crate) async fn redteam(args: RedteamArgs) -> Result<ExitCode> {
    let args = match args.suite {
        RedteamSuite::Sandbox(args) => args,
        RedteamSuite::Tools(args) => return tools::run(&args).await,
    };
    let report = match args.under {
        Under::Native => native(&args).await?,
        Under::Bwrap | Under::Srt => peers::run(&args).await?,
    };
    report.print(args.json)?;
    Ok(if report.failed() == 0 && report.passed() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn native(args: &SandboxSuiteArgs) -> Result<Report> {
    let probe = stage::probe_program(args.probe.as_ref())?;
    let stage = Stage::start(&probe, args).await?;
    let mut report = Report::of(&probe)?;
    for group in report.groups() {
        if args.group.as_ref().is_none_or(|wanted| *wanted == group) {
            one_group(&stage, &group, &mut report).await?;
        }
    }
    if args.group.is_none() {
        outside::look(&stage, &mut report).await?;
    }
    let left = stage.end().await;
    if args.group.is_none() {
        outside::after_the_end(&left, &mut report);
    }
    Ok(report)
}

async fn one_group(stage: &Stage, group: &str, report: &mut Report) -> Result<()> {
    let mut booth = stage.open(group).await?;
    if group == DEADLY && booth.downgrades.iter().any(|rule| rule.contains("memory")) {
        report.skip(group, &booth.downgrades.join("; "));
        booth.close().await;
        return Ok(());
    }
    let mut facts = stage.facts(booth.init_pid);
    let neighbour = if group == NEIGHBOUR { Some(stage.neighbour(&mut facts).await?) } else { None };
    if group == AFTER {
        booth.ask("before", &facts).await;
        booth.gate.unbind();
    }
    let seen = booth.ask(group, &facts).await;
    let ended = if seen.done { None } else { Some(booth.ending().await) };
    report.merge(group, seen.rows, ended.as_deref(), group == DEADLY);
    if let Some(mut neighbour) = neighbour {
        let unhurt = neighbour.ask("needs", &facts).await;
        outside::neighbour(&unhurt, report);
        neighbour.close().await;
    }
    booth.close().await;
    Ok(())
}

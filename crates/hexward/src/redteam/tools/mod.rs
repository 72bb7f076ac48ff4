//! `hexward redteam tools`: the tasks of AgentDojo, replayed through a real gateway from a real sandbox by an agent that is taken
//! over altogether. No model is asked: what a fooled one would say is known from the benchmark, and said by the scripted one.

mod channel;
mod dojo;
mod install;
mod person;
mod replay;
mod score;

use super::stage::{self, Stage};
use crate::arguments::ToolsSuiteArgs;
use crate::config::Config;
use anyhow::{Context, Result, bail};
use channel::Channel;
use dojo::{Dojo, Suite};
use fake::FakeConfig;
use person::{ReadingClock, Says};
use policy::{Clock, Manifest, Microusd, RateRules, ToolEffect};
use proxy::App;
use replay::{Accepted, At};
use score::{Report, Row};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Where the benchmark is installed.
pub(crate) const DOJO_FOLDER: &str = ".hexward/tools/dojo";

/// The scripted model costs nothing; what it says that it costs is far less.
const MONEY_MAX: Microusd = Microusd::dollars(1_000_000);

/// The apps, as an operator would set them up who knows what their tools are for.
const APPS: [(&str, &str); 4] = [
    ("banking", include_str!("apps/banking.toml")),
    ("slack", include_str!("apps/slack.toml")),
    ("travel", include_str!("apps/travel.toml")),
    ("workspace", include_str!("apps/workspace.toml")),
];

/// What an operator and a person allow.
#[derive(Clone, Copy)]
struct Policy {
    name: &'static str,
    /// Whether changes are switched on.
    writes: bool,
    /// Whether values of arguments have to come from somewhere.
    rules: bool,
    /// What the person says who is asked; none: nobody is asked about anything.
    says: Option<Says>,
}

const POLICIES: [Policy; 4] = [
    Policy { name: "defaults", writes: false, rules: false, says: Some(Says::No) },
    Policy { name: "arguments", writes: true, rules: true, says: None },
    Policy { name: "confirm-own", writes: true, rules: false, says: Some(Says::YesToOwn) },
    Policy { name: "confirm-all", writes: true, rules: false, says: Some(Says::Yes) },
];
/// Everything that the model says in the conversation. Where forged and induced calls are tried nothing else holds them.
const NOTHING: Policy = Policy { name: "nothing", writes: true, rules: false, says: None };

/// Replays everything, or what was asked for. How often an agent may try is not what is measured, so that is not bounded.
pub(super) async fn run(args: &ToolsSuiteArgs) -> Result<ExitCode> {
    let policies: Vec<Policy> = match &args.policy {
        None => POLICIES.to_vec(),
        Some(name) => POLICIES.into_iter().chain([NOTHING]).filter(|policy| policy.name == name).collect(),
    };
    let suites: Vec<_> = APPS.into_iter().filter(|(name, _)| args.suite.as_ref().is_none_or(|wanted| wanted == name)).collect();
    if policies.is_empty() || suites.is_empty() {
        let names: Vec<&str> = POLICIES.iter().chain([&NOTHING]).map(|policy| policy.name).collect();
        bail!("policies are {}, and suites banking, slack, travel and workspace", names.join(", "));
    }
    let probe = stage::probe_program(args.probe.as_ref())?;
    let python = install::python(Path::new(DOJO_FOLDER)).await?;
    let clock = Arc::new(ReadingClock::default());
    let stage = Stage::start_with(&probe, args.jail.as_deref(), quiet, unbounded, Arc::clone(&clock) as Arc<dyn Clock>).await?;
    let mut dojo = Dojo::start(&python, stage.folder.path()).await?;
    let whole = suites.len() == APPS.len() && args.pairs.is_none();
    let mut report = Report { suite: "tools", rows: Vec::new(), forged_accepted: 0, induced_accepted: 0, tried: 0, whole };
    let pairs_max = args.pairs.unwrap_or(usize::MAX);
    for policy in policies {
        let mut row = Row { policy: policy.name.to_owned(), ..Row::default() };
        for (name, text) in &suites {
            let app = app(text, policy, &dojo)?;
            one_suite((&stage, &clock), &mut dojo, (name, &app, policy), pairs_max, &mut row).await?;
        }
        row.confirmations_per_task = f64::from(row.asked) / f64::from(row.user_tasks.max(1));
        report.rows.push(row);
    }
    for (name, text) in &suites {
        let app = app(text, NOTHING, &dojo)?;
        let accepted = strangers((&stage, &clock), &mut dojo, name, &app, pairs_max).await?;
        report.forged_accepted += accepted.forged;
        report.induced_accepted += accepted.induced;
        report.tried += accepted.tried;
    }
    stage.end().await;
    report.print(args.json)?;
    for fault in report.faults() {
        tracing::error!("{fault}");
    }
    Ok(if report.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Neither rates nor a day's money end it in the middle.
fn unbounded(config: &mut Config) {
    config.runs.rates = RateRules::unreachable();
    (config.day_limit, config.budgets.day) = (MONEY_MAX, MONEY_MAX);
}

/// Nothing is recorded: there are thousands of requests.
fn quiet(key: String) -> FakeConfig {
    FakeConfig { record: false, ..FakeConfig::for_tests(key) }
}

fn app(text: &str, policy: Policy, dojo: &Dojo) -> Result<Arc<App>> {
    let mut manifest = Manifest::parse(text)?;
    for rule in manifest.tools.values_mut() {
        if !policy.rules {
            rule.arguments = None;
        }
        if policy.says.is_none() {
            // As if everything could be undone and stayed inside: then nothing is asked.
            (rule.destructive, rule.open_world, rule.inverse) = (Some(false), Some(false), Some("undo".to_owned()));
        }
    }
    Ok(Arc::new(App { manifest, upstream: Some(Arc::clone(&dojo.upstream)) }))
}

/// One suite under one policy: its tasks alone, and each with every attack.
async fn one_suite(
    (stage, clock): (&Stage, &Arc<ReadingClock>),
    dojo: &mut Dojo,
    (name, app, policy): (&str, &Arc<App>, Policy),
    pairs_max: usize,
    row: &mut Row,
) -> Result<()> {
    let suite = suite_of(dojo, name, app)?;
    let mut channel = Channel::open(stage, clock, &app.manifest.agent.model).await?;
    let says = (policy.writes, policy.says.unwrap_or(Says::No));
    for user_task in &suite.user_tasks {
        let at = At { suite: name, user_task, attack: None };
        let outcome = replay::fooled(dojo, &mut channel, app, says, &at).await?;
        row.user_tasks += 1;
        row.asked += outcome.asked;
        row.user_tasks_passed += u32::from(outcome.useful);
        if !outcome.useful {
            tracing::info!(suite = name, user_task, policy = row.policy, "a user's task did not come to its end");
        }
    }
    for (attack, tools) in &suite.attacks {
        let mut reached = 0_u32;
        for user_task in suite.user_tasks.iter().take(pairs_max) {
            row.pairs += 1;
            // There is no way that could be replayed.
            if tools.is_empty() {
                continue;
            }
            let at = At { suite: name, user_task, attack: Some(attack) };
            let outcome = replay::fooled(dojo, &mut channel, app, says, &at).await?;
            reached += u32::from(outcome.won);
        }
        row.pairs_completed += reached;
        row.goals += u32::from(!tools.is_empty());
        row.goals_blocked += u32::from(!tools.is_empty() && reached == 0);
        row.writes_reached += u32::from(reached > 0 && tools.iter().any(|tool| is_write(app, tool)));
        if reached > 0 {
            tracing::info!(suite = name, attack, policy = row.policy, pairs = reached, "an attacker's goal was reached");
        }
    }
    channel.close().await;
    Ok(())
}

/// Every attack by an agent whose model does not go along.
async fn strangers(
    (stage, clock): (&Stage, &Arc<ReadingClock>),
    dojo: &mut Dojo,
    name: &str,
    app: &Arc<App>,
    pairs_max: usize,
) -> Result<Accepted> {
    let suite = suite_of(dojo, name, app)?;
    let mut channel = Channel::open(stage, clock, &app.manifest.agent.model).await?;
    let mut all = Accepted::default();
    for (attack, _) in suite.attacks.iter().filter(|(_, tools)| !tools.is_empty()) {
        for user_task in suite.user_tasks.iter().take(pairs_max) {
            let accepted = replay::made_up(dojo, &mut channel, app, &At { suite: name, user_task, attack: Some(attack) }).await?;
            all.forged += accepted.forged;
            all.induced += accepted.induced;
            all.tried += accepted.tried;
        }
    }
    channel.close().await;
    Ok(all)
}

/// A suite whose tools are those of our manifest, all of them and no others.
fn suite_of(dojo: &Dojo, name: &str, app: &App) -> Result<Suite> {
    let suite = dojo.suites.get(name).with_context(|| format!("the benchmark has no suite called {name}"))?.clone();
    let (listed, there) = (app.manifest.tools.keys(), suite.tools.iter());
    if listed.len() != there.len() || !there.clone().all(|tool| app.manifest.tools.contains_key(tool)) {
        bail!("the tools of {name} are not those of its manifest");
    }
    Ok(suite)
}

fn is_write(app: &App, tool: &str) -> bool {
    app.manifest.tools.get(tool).is_some_and(|rule| rule.effect == ToolEffect::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apps_are_ones_that_can_be_run_and_no_write_is_without_rules() {
        for (name, text) in APPS {
            let manifest = Manifest::parse(text).expect(name);
            assert_eq!(manifest.id, name);
            for (tool, rule) in &manifest.tools {
                assert!(rule.effect == ToolEffect::Read || rule.arguments.is_some(), "{name}: {tool}");
            }
        }
    }
}

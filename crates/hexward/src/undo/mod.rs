//! `hexward undo`: takes back what agents changed, for an operator, also while no gateway runs.
//!
//! An app takes its changes back itself, so its server must be there. Those that come with the gateway are started here for as long as the
//! command runs, over the same database: they keep nothing between two requests, so it does not matter that a running gateway has its own.
//! Others are asked where the configuration says. That two undo the same at once, or that an agent is at work, is decided in the database.

mod arguments;

pub(crate) use arguments::UndoArgs;

use crate::clock::SystemClock;
use crate::config;
use crate::{apps, builtin, data_key, demo};
use anyhow::{Context, Result, bail};
use policy::{Clock, Direction, UndoneBy, UserId};
use proxy::{App, UndoLine, UndoOutcome, UndoReport, Undoing};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use store::{Store, UndoPlan, UndoScope};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Carries the command out.
pub(crate) async fn command(args: UndoArgs) -> Result<ExitCode> {
    let (store, clock) = (data_key::open(&args.state_dir).await?, Arc::new(SystemClock) as Arc<dyn Clock>);
    let direction = if args.redo { Direction::Redo } else { Direction::Undo };
    let (user, scope) = what(&store, &args, clock.as_ref()).await?;
    let plan = store.undo_plan(user, scope, direction).await?.context("there is no such call or run that changed anything")?;
    if args.list {
        list(&plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    if plan.active {
        bail!("an agent is changing things there right now: nothing was undone. Wait for its run to end, or stop it");
    }
    if plan.entries.is_empty() {
        writeln!(std::io::stderr(), "there is nothing to {}", verb(direction))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    // What comes back was there before: the limits of new tiles are the usual ones here.
    let map_limits = hexmap::map::LimitsByTier::default();
    let host = builtin::Host { store: &store, clock: &clock, tasks: &tasks, stop: &stop, map_limits: &map_limits };
    let app = app(&plan.app, args.config.as_deref(), &args.state_dir, &host).await;
    let done = match app {
        Ok(app) => {
            let undoing = Undoing { store: &store, clock: clock.as_ref(), gateway: None, direction, by: UndoneBy::Operator };
            undoing.carry_out(&app, plan).await.context("the journal failed; what was done before that stands in it")
        }
        Err(error) => Err(error),
    };
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    tell(&done?, direction)
}

/// Whose it is, and what. An operator names a call or a run; whose it is stands in the database.
async fn what(store: &Store, args: &UndoArgs, clock: &dyn Clock) -> Result<(UserId, UndoScope)> {
    match (args.call, args.run, args.since, args.user) {
        (Some(call), None, None, _) => {
            let user = store.owner_of_call(call).await?.with_context(|| format!("there is no call {call} in the journal"))?;
            Ok((user, UndoScope::Call(call)))
        }
        (None, Some(run), None, _) => {
            let user = store.owner_of_run(run).await?.with_context(|| format!("there is no run {run}"))?;
            Ok((user, UndoScope::Run(run)))
        }
        (None, None, Some(since), Some(user)) => {
            Ok((user, UndoScope::Since { app: args.app.clone(), at: since.before(clock.now()) }))
        }
        _ => bail!("name one of --call, --run, and --since with --user"),
    }
}

/// The app as a gateway would have it.
async fn app(id: &str, file: Option<&Path>, state_dir: &Path, host: &builtin::Host<'_>) -> Result<Arc<App>> {
    let builtin = builtin::start(host, true).await?;
    if let Some(app) = builtin.into_iter().find(|app| app.app.manifest.id == id) {
        return Ok(app.app);
    }
    let folders = config::load_apps(file, &demo::environment()?)?;
    let folder = folders.into_iter().find(|folder| folder.manifest.id == id);
    let folder = folder.with_context(|| format!("there is no app {id:?}: name the gateway's configuration with --config"))?;
    Ok(apps::connect(folder, &apps::Site { driver: None, clock: host.clock, state_dir })?.app)
}

const fn verb(direction: Direction) -> &'static str {
    match direction {
        Direction::Undo => "undo",
        Direction::Redo => "do again",
    }
}

fn list(plan: &UndoPlan) -> Result<()> {
    let mut out = std::io::stdout();
    for entry in &plan.entries {
        writeln!(out, "{}  {:<12} {}", entry.call, entry.standing.as_str(), entry.tool)?;
    }
    Ok(())
}

/// One line for each call, and success only where nothing is left.
fn tell(report: &UndoReport, direction: Direction) -> Result<ExitCode> {
    let mut out = std::io::stdout();
    for UndoLine { entry, outcome } in &report.lines {
        writeln!(out, "{}  {:<12} {}", entry.call, outcome.as_str(), entry.tool)?;
        match outcome {
            UndoOutcome::Conflict(named) => named.iter().try_for_each(|sentence| writeln!(out, "    {sentence}"))?,
            UndoOutcome::Failed(text) => writeln!(out, "    {text}")?,
            UndoOutcome::Done
            | UndoOutcome::Already
            | UndoOutcome::Uncertain
            | UndoOutcome::NoWayBack
            | UndoOutcome::Busy
            | UndoOutcome::Active
            | UndoOutcome::Left => {}
        }
    }
    let good = |line: &&UndoLine| matches!(line.outcome, UndoOutcome::Done | UndoOutcome::Already);
    let done = report.lines.iter().filter(good).count();
    let more = if report.more { "; there is more: run this again" } else { "" };
    writeln!(std::io::stderr(), "{done} of {} calls: {}{more}", report.lines.len(), past(direction))?;
    Ok(if done == report.lines.len() && !report.more { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const fn past(direction: Direction) -> &'static str {
    match direction {
        Direction::Undo => "undone",
        Direction::Redo => "done again",
    }
}

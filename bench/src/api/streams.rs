//! Five thousand pages that watch runs, all at once.

use super::host::{Events, Host};
use crate::client::Client;
use crate::footprint::Gateway;
use crate::report::Report;
use crate::statistics::number;
use anyhow::{Context, Result, bail};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::{Method, StatusCode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const STREAMS: usize = 5_000;
/// As many as one user may hold open.
const PER_USER: usize = 16;
pub const RUNS: usize = STREAMS.div_ceil(PER_USER);
/// At once on their way to their beginning.
const RUNS_OPENING: usize = 4;
const OPENING: usize = 64;
const OPEN_WAIT: Duration = Duration::from_secs(60);
const END_WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// Memory is looked at for so long when all are open.
const WATCHED: Duration = Duration::from_secs(3);
/// Both ends of the streams and what else is open here.
const FILES: u64 = 8_192;

/// One user with a run that goes on.
struct Watched {
    subject: String,
    run: String,
}

/// Streams that have had a piece of an answer, and those that are over.
#[derive(Default)]
struct Progress {
    open: AtomicUsize,
    over: AtomicUsize,
}

/// How much a gateway that has done some runs grows while so many runs go on, each watched by as many as may.
pub async fn watched(gateway: &Gateway, host: &Arc<Host>, report: &mut Report) -> Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    if most.is_some_and(|most| most < FILES) {
        report.skip("api.streams5000", format!("a process may have {} files open here at most: ulimit -Hn", most.unwrap_or(0)));
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).context("the limit of open files can't be raised")?;
    let before = gateway.process.resident_bytes()?;
    let begun = stream::iter(0..RUNS).map(|number| begin(gateway, host, format!("watcher-{number}")));
    let runs: Vec<Watched> = begun.buffer_unordered(RUNS_OPENING).try_collect().await?;
    let alone = gateway.process.resident_bytes()?;
    let progress = Arc::new(Progress::default());
    let (mut streams, mut at) = (JoinSet::new(), 0);
    let opened = stream::iter((0..STREAMS).filter_map(|number| runs.get(number / PER_USER)));
    let mut opened = opened.map(|watched| open(gateway, host, watched)).buffer_unordered(OPENING);
    while let Some(events) = tokio::time::timeout(OPEN_WAIT, opened.next()).await.context("streams do not open")? {
        streams.spawn(follow(events?, Arc::clone(&progress)));
        at += 1;
    }
    drop(opened);
    until_all_had_something(&progress, at).await?;
    let most = most_of(gateway, &progress).await?;
    stop(gateway, host, &runs).await?;
    while let Some(ended) = tokio::time::timeout(END_WAIT, streams.join_next()).await.context("streams do not end")? {
        ended??;
    }
    let megabytes = |bytes: u64| (number(bytes) - number(before)) / 1e6;
    let note =
        format!("VmRSS of the gateway with {at} streams of {RUNS} running runs open, minus before these runs; all ended well");
    report.add("api.streams5000.rss_mb", megabytes(most), note);
    report.add("api.streams5000.runs_mb", megabytes(alone), "of which the runs take, before anybody watches");
    Ok(())
}

async fn begin(gateway: &Gateway, host: &Host, subject: String) -> Result<Watched> {
    let mut client = Client::connect(gateway.callers).await?;
    let conversation = host.converse(&mut client, &subject).await?;
    let (run, _) = host.run(&mut client, &subject, &conversation).await?;
    Ok(Watched { subject, run })
}

async fn open(gateway: &Gateway, host: &Host, Watched { subject, run }: &Watched) -> Result<Events> {
    let mut client = Client::connect(gateway.callers).await?;
    host.events(&mut client, subject, run).await
}

/// Reads to the end, which must be the stop that was asked for.
async fn follow(mut events: Events, progress: Arc<Progress>) -> Result<()> {
    let (mut said, mut outcome) = (false, None);
    while let Some(next) = events.next().await? {
        for event in next {
            match event.get("type").and_then(Value::as_str) {
                Some("text_delta") if !said => {
                    said = true;
                    progress.open.fetch_add(1, Ordering::Relaxed);
                }
                Some("run_ended") => outcome = Some(event),
                Some(_) | None => {}
            }
        }
    }
    progress.over.fetch_add(1, Ordering::Relaxed);
    match outcome {
        Some(end) if end.get("outcome").and_then(Value::as_str) == Some("stopped") => Ok(()),
        Some(end) => bail!("a run ended by itself: {end}"),
        None => bail!("a stream broke off"),
    }
}

async fn until_all_had_something(progress: &Progress, streams: usize) -> Result<()> {
    let begun = Instant::now();
    while progress.open.load(Ordering::Relaxed) < streams {
        if begun.elapsed() > OPEN_WAIT || progress.over.load(Ordering::Relaxed) > 0 {
            let open = progress.open.load(Ordering::Relaxed);
            bail!("only {open} of {streams} streams had anything after {:.1} s", begun.elapsed().as_secs_f64());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The most while all are open.
async fn most_of(gateway: &Gateway, progress: &Progress) -> Result<u64> {
    let (begun, mut most) = (Instant::now(), 0);
    while begun.elapsed() < WATCHED {
        most = most.max(gateway.process.resident_bytes()?);
        tokio::time::sleep(LOOK).await;
    }
    if progress.over.load(Ordering::Relaxed) > 0 {
        bail!("a stream ended before all were looked at");
    }
    Ok(most)
}

async fn stop(gateway: &Gateway, host: &Host, runs: &[Watched]) -> Result<()> {
    let mut client = Client::connect(gateway.callers).await?;
    for Watched { subject, run } in runs {
        let order = host.asks(subject, Method::POST, &format!("/v1/runs/{run}/stop"), Some(&json!({})))?;
        client.fetch(order, StatusCode::ACCEPTED).await?;
    }
    Ok(())
}

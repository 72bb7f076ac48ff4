//! A thousand people who are answered slowly, all at once.

use super::lane::{Lane, SMALL};
use super::upstream::SLOW;
use crate::client::Client;
use crate::footprint::Gateway;
use crate::report::Report;
use crate::statistics::number;
use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const STREAMS: usize = 1_000;
/// At once on their way to their first byte.
const OPENING: usize = 64;
/// Each has had so many pieces when memory is looked at.
const PIECES: usize = 3;
const PIECE: &[u8] = b"event: content_block_delta\n";
const LAST: &[u8] = b"event: message_stop\n";
const OPEN_WAIT: Duration = Duration::from_secs(30);
const END_WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// What a first call leaves behind is not what streams take.
const WARM_UP: usize = 50;

/// How many streams have come so far.
#[derive(Default)]
struct Progress {
    under_way: AtomicUsize,
    over: AtomicUsize,
}

/// A gateway that was just started, before and while all streams are open.
pub async fn thousand(gateway: &Gateway, lane: &Lane, report: &mut Report) -> Result<()> {
    let mut client = Client::connect(lane.address).await?;
    for _ in 0..WARM_UP {
        client.call(lane.ask("{", SMALL)?).await?;
    }
    let before = gateway.process.resident_bytes()?;
    let (progress, opening) = (Arc::new(Progress::default()), Arc::new(Semaphore::new(OPENING)));
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let (asked, address) = (lane.ask(SLOW, SMALL)?, lane.address);
        let (progress, opening) = (Arc::clone(&progress), Arc::clone(&opening));
        streams.spawn(async move {
            let place = opening.acquire().await?;
            let mut client = Client::connect(address).await?;
            let answer = client.send(asked).await?;
            drop(place);
            if !answer.status().is_success() {
                bail!("a stream was refused: {}", answer.status());
            }
            follow(answer.into_body(), &progress).await
        });
    }
    let begun = Instant::now();
    while progress.under_way.load(Ordering::Relaxed) < STREAMS {
        if begun.elapsed() > OPEN_WAIT || progress.over.load(Ordering::Relaxed) > 0 {
            let open = progress.under_way.load(Ordering::Relaxed);
            bail!("only {open} of {STREAMS} streams were open at once after {:.1} s", begun.elapsed().as_secs_f64());
        }
        tokio::time::sleep(LOOK).await;
    }
    let mut most = 0;
    while progress.over.load(Ordering::Relaxed) == 0 {
        most = most.max(gateway.process.resident_bytes()?);
        tokio::time::sleep(LOOK).await;
    }
    while let Some(ended) = tokio::time::timeout(END_WAIT, streams.join_next()).await.context("streams do not end")? {
        ended??;
    }
    let grown = (number(most) - number(before)) / 1e6;
    let note = "VmRSS of a gateway just started: the most while 1,000 slow streams were open, each with 3 pieces at least, minus before; all ended well";
    report.add("proxy.streams1000.rss_growth_mb", grown, note);
    Ok(())
}

/// Reads to the end, which must be the provider's own.
async fn follow(mut body: hyper::body::Incoming, progress: &Progress) -> Result<()> {
    let (mut pieces, mut last) = (0, false);
    while let Some(frame) = body.frame().await {
        let data = frame.context("a stream was cut")?.into_data().unwrap_or_default();
        let had = pieces;
        // Each event leaves the provider by itself, a second after the one before it.
        pieces += count(&data, PIECE);
        last |= count(&data, LAST) > 0;
        if had < PIECES && pieces >= PIECES {
            progress.under_way.fetch_add(1, Ordering::Relaxed);
        }
    }
    progress.over.fetch_add(1, Ordering::Relaxed);
    if !last {
        bail!("a stream ended without its last event");
    }
    Ok(())
}

fn count(data: &[u8], wanted: &[u8]) -> usize {
    data.windows(wanted.len()).filter(|window| *window == wanted).count()
}

//! What a commit costs that survives a power loss, against the disk's own price for that.

use crate::places::Places;
use crate::report::Report;
use crate::statistics::{millis, number};
use anyhow::Result;
use policy::{Timestamp, UserId};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};
use store::{CORE, Store};
use tokio::task::JoinSet;

const LONE_COMMITS: usize = 200;
const LONE_WAIT: Duration = Duration::from_secs(10);
const WRITERS: usize = 32;
const WRITING: Duration = Duration::from_secs(2);
/// About what a small commit appends.
const APPENDED: [u8; 4096] = [b'x'; 4096];
const APP: &str = "hexmap";
/// Any moment; nothing here depends on it.
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&format!("sqlite:{}", places.work.join("durability.db").display()), &[&CORE])
            .await?
            .with_masters(store::Masters::passing()?)
            .await?;
        let user = store.user_of("bench", "writer", NOW).await?;
        let mut file = File::create(places.work.join("durability.raw"))?;
        alone(&store, user, &mut file, report).await?;
        together(&store, user, report).await
    })
}

/// One after the other, each beside a plain append that is flushed to the disk.
async fn alone(store: &Store, user: UserId, file: &mut File, report: &mut Report) -> Result<()> {
    let (mut commits, mut appends) = (Vec::new(), Vec::new());
    let all = Instant::now();
    while commits.len() < LONE_COMMITS && all.elapsed() < LONE_WAIT {
        let begun = Instant::now();
        store.create_conversation(user, APP, NOW).await?;
        commits.push(millis(begun.elapsed()));
        let begun = Instant::now();
        file.write_all(&APPENDED)?;
        file.sync_data()?;
        appends.push(millis(begun.elapsed()));
    }
    let commit = report.add_percentile("store.commit", &commits, 50, "one durable commit of a lone writer (SQLite)")?;
    let append = report.add_percentile("store.fdatasync", &appends, 50, "append of 4 KiB and fdatasync: the disk's own price")?;
    report.add("store.commit.p50_vs_fdatasync", commit / append, "ratio of the two");
    Ok(())
}

/// Many at once: they share flushes.
async fn together(store: &Store, user: UserId, report: &mut Report) -> Result<()> {
    let (begun, mut writers) = (Instant::now(), JoinSet::new());
    for _ in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut done = 0_u64;
            while begun.elapsed() < WRITING {
                store.create_conversation(user, APP, NOW).await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(count) = writers.join_next().await {
        done += count??;
    }
    let rate = number(done) / begun.elapsed().as_secs_f64();
    report.add("store.commits_per_s", rate, format!("durable commits a second, {WRITERS} writers at once (SQLite)"));
    Ok(())
}

//! 10,000 sandboxes made and ended through the gateway's own driver, and what is left of them: nothing, or the run fails.
//!
//! First lives as they go every day, counted before anything was swept: their ends alone leave nothing. Then lives in which
//! something is killed or given up in the middle, gateways among it, after which a sweep has to leave nothing.

mod census;
mod half;
mod lives;

use crate::places::Places;
use crate::report::Report;
use crate::sandboxes::first_byte;
use crate::statistics::number;
use anyhow::{Result, bail};
use census::{Census, Ours};
pub use half::{WORD as HALF, half};
use lives::{Drivers, Violence};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many when nobody says otherwise; stands in the name of the key.
pub const CYCLES: u64 = 10_000;
/// For whoever works on it.
pub const CYCLES_SHORT: u64 = 500;
/// Of ten lives as many end in peace.
const PEACEFUL_TENTHS: u64 = 8;
/// Before the first census: what a runtime opens once is no leak.
const WARM_UP: u64 = 20;
/// At a time.
const LANES: u64 = 2;
/// One gateway killed for so many violent lives.
const LIVES_PER_GATEWAY: u64 = 100;
/// The kernel takes apart in its own time; others on this machine make sandboxes too.
const SETTLE: Duration = Duration::from_secs(60);
const SETTLE_STEP: Duration = Duration::from_millis(100);
const ALL_WAIT: Duration = Duration::from_secs(1_800);
const NAMED_MAX: usize = 20;

pub fn measure(places: &Places, report: &mut Report, cycles: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let leaks = runtime.block_on(async { tokio::time::timeout(ALL_WAIT, soak(places, cycles)).await })??;
    let note = "namespaces, control groups, mounts, processes, descriptors, files left after so many lives through the driver";
    report.add(format!("sandbox.leaks_after_{cycles}"), number(u64::try_from(leaks.len())?), note);
    if leaks.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = leaks.iter().take(NAMED_MAX).cloned().collect();
    bail!("{} things are left of {cycles} sandboxes, among them:\n  {}", leaks.len(), named.join("\n  "))
}

/// Everything that is left, in words.
async fn soak(places: &Places, cycles: u64) -> Result<Vec<String>> {
    let folder = places.work.join("soak");
    std::fs::create_dir_all(&folder)?;
    let ours = Arc::new(Ours::new(own_copy(&places.jail, &folder)?, first_byte(places)?)?);
    lives(&ours, &folder, WARM_UP, None).await?;
    half::kill_one(&ours, &folder).await?;
    Drivers::new(&ours, &folder)?.sweep().await;
    // Nothing is compared with the first one but that the warm-up is over.
    settled(&ours, &folder, &Census::default_of(&ours, &folder)?).await?;
    let before = Census::take(&ours, &folder)?;
    let peaceful = cycles * PEACEFUL_TENTHS / 10;
    let begun = Instant::now();
    lives(&ours, &folder, peaceful, None).await?;
    let mut leaks = settled(&ours, &folder, &before).await?;
    tell("in peace", peaceful, begun, &leaks);
    let (violent, begun) = (cycles - peaceful, Instant::now());
    let violence = Arc::new(Violence::default());
    lives(&ours, &folder, violent, Some(&violence)).await?;
    violence.check()?;
    for _ in 0..violent.div_ceil(LIVES_PER_GATEWAY) {
        half::kill_one(&ours, &folder).await?;
        // As the next gateway does when it starts.
        Drivers::new(&ours, &folder)?.sweep().await;
    }
    let after = settled(&ours, &folder, &before).await?;
    tell(&format!("with {violence}"), violent, begun, &after);
    leaks.extend(after.into_iter().filter(|leak| !leaks.contains(leak)).collect::<Vec<_>>());
    Ok(leaks)
}

fn tell(how: &str, lives: u64, begun: Instant, leaks: &[String]) {
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("bench: {lives} lives {how}: {} things left after {seconds:.1} s", leaks.len());
}

/// So that a process of this run is recognised by its program, whoever else uses the same.
fn own_copy(program: &Path, folder: &Path) -> Result<std::path::PathBuf> {
    let copy = folder.join("hexward-jail");
    std::fs::copy(program, &copy)?;
    Ok(copy.canonicalize()?)
}

/// So many lives, some at a time, and the end of whoever led them.
async fn lives(ours: &Arc<Ours>, folder: &Path, count: u64, violence: Option<&Arc<Violence>>) -> Result<()> {
    let drivers = Arc::new(Drivers::new(ours, folder)?);
    let next = Arc::new(AtomicU64::new(0));
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let (drivers, next, violence) = (Arc::clone(&drivers), Arc::clone(&next), violence.map(Arc::clone));
        lanes.spawn(async move {
            loop {
                let life = next.fetch_add(1, Ordering::Relaxed);
                if life >= count {
                    return Ok::<_, anyhow::Error>(());
                }
                match &violence {
                    None => drivers.peaceful(life).await?,
                    Some(violence) => drivers.violent(life, violence).await?,
                }
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    Ok(())
}

/// What is left when the kernel had its time.
async fn settled(ours: &Ours, folder: &Path, before: &Census) -> Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        let leaks = Census::take(ours, folder)?.beyond(before);
        if leaks.is_empty() || begun.elapsed() > SETTLE {
            return Ok(leaks);
        }
        tokio::time::sleep(SETTLE_STEP).await;
    }
}

//! The half of a gateway that leads sandboxes, as a process of its own, so that it can be killed.

use super::census::{Ours, pids};
use super::lives::Drivers;
use crate::process::Process;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The word with which this program becomes one.
pub const WORD: &str = "half-a-gateway";
const READY: &str = "ready";
/// How many it leads, beside those that are prepared.
const SANDBOXES: u64 = 3;
const WAIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(5);

/// Starts sandboxes, says so, and does nothing until it is killed.
pub fn half(jail: PathBuf, probe: PathBuf, folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let drivers = Drivers::new(&Arc::new(Ours::new(jail, probe)?), folder)?;
        let mut held = Vec::new();
        for life in 0..SANDBOXES {
            // Neither of direct mode, whose folders are removed by the next gateway's start, nor one that ends by itself.
            held.push(drivers.start(3 * life + 1).await?);
        }
        println!("{READY}");
        tokio::time::sleep(WAIT).await;
        bail!("nobody killed this half of a gateway")
    })
}

/// Starts one, and kills it together with one of its supervisors; waits until all its processes are gone.
pub async fn kill_one(ours: &Arc<Ours>, folder: &Path) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(WORD).arg(&ours.jail).arg(&ours.probe).arg(folder).env_clear();
    let mut half = Process::start(&mut command, &folder.join("half.log"))?;
    half.wait_line(READY, WAIT)?;
    let supervisor = pids().find(|pid| super::census::parent(pid) == Some(half.id()) && ours.runs(pid));
    for pid in supervisor.and_then(|pid| pid.parse().ok()).into_iter().chain([half.id()]) {
        kill_process(i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process number")?, Signal::KILL)?;
    }
    drop(half);
    let begun = Instant::now();
    while pids().any(|pid| ours.runs(&pid)) {
        if begun.elapsed() > WAIT {
            bail!("sandboxes live on after their gateway was killed");
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}

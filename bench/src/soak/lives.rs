//! One life after the other, through the driver that the gateway uses.

use super::census::{Ours, parent, pids};
use anyhow::{Context, Result, bail};
use policy::SandboxId;
use rustix::process::{Pid, Signal, kill_process};
use sandbox::{AgentSpec, Driver, JailedDriver, JailedPaths, Mode, Profile, Sandbox, SandboxError, Seal};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Anything in one life takes at most this long.
const STEP_WAIT: Duration = Duration::from_secs(60);
/// One life of so many is of direct mode, which has a folder on the host.
const DIRECT_EVERY: u64 = 8;
/// One life of so many ends by itself.
const ENDING_EVERY: u64 = 3;
/// Starts are given up after 0 to so many milliseconds.
const GIVEN_UP_MS_MAX: u64 = 7;

/// What happened to the violent lives.
#[derive(Default)]
pub struct Violence {
    supervisors: AtomicU64,
    inits: AtomicU64,
    prepared: AtomicU64,
    given_up: AtomicU64,
    failed: AtomicU64,
}

impl Violence {
    /// A start may fail because of a kill, and of nothing else.
    pub fn check(&self) -> Result<()> {
        let [killed, failed] = [&self.prepared, &self.failed].map(|count| count.load(Ordering::Relaxed));
        if failed > killed {
            bail!("{failed} starts failed, but only {killed} sandboxes were killed before they had a plan");
        }
        Ok(())
    }
}

impl fmt::Display for Violence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [supervisors, inits, prepared, given_up, failed] =
            [&self.supervisors, &self.inits, &self.prepared, &self.given_up, &self.failed]
                .map(|count| count.load(Ordering::Relaxed));
        write!(
            f,
            "{supervisors} supervisors, {inits} first processes and {prepared} prepared sandboxes killed \
             ({failed} starts failed of it), {given_up} starts given up"
        )
    }
}

/// Both ways of running something on this host.
pub struct Drivers {
    ours: Arc<Ours>,
    native: JailedDriver,
    direct: JailedDriver,
}

impl Drivers {
    pub fn new(ours: &Arc<Ours>, folder: &Path) -> Result<Self> {
        let driver = |mode| {
            let paths = JailedPaths { agent: ours.probe.clone(), jail: ours.jail.clone(), scratch: folder.join("scratch") };
            Ok::<_, anyhow::Error>(JailedDriver::new(mode, paths, Profile::agent()?).sealed(Seal::of([ours.probe.clone()])?))
        };
        // The folder of all scratch folders stays, as in a gateway.
        std::fs::create_dir_all(folder.join("scratch"))?;
        Ok(Self { ours: Arc::clone(ours), native: driver(Mode::Native)?, direct: driver(Mode::Direct)? })
    }

    /// What a gateway does when it starts.
    pub async fn sweep(&self) {
        self.native.sweep().await;
    }

    /// A sandbox whose program runs.
    pub async fn start(&self, life: u64) -> Result<Sandbox, SandboxError> {
        let driver = if life.is_multiple_of(DIRECT_EVERY) { &self.direct } else { &self.native };
        let ends = life.is_multiple_of(ENDING_EVERY);
        let mut sandbox = driver
            .start(AgentSpec {
                runtime: sandbox::AGENT.to_owned(),
                id: SandboxId::random(),
                arguments: ends.then(|| "end".to_owned()).into_iter().collect(),
                environment: BTreeMap::new(),
                trusted_pem: "none".to_owned(),
                past: Vec::new(),
                model: "none".to_owned(),
                extra_ports: Vec::new(),
            })
            .await?;
        self.ours.remember(sandbox.init_pid);
        let mut byte = [0];
        match tokio::time::timeout(STEP_WAIT, sandbox.stdout.read(&mut byte)).await {
            Ok(Ok(1)) => Ok(sandbox),
            Ok(_) | Err(_) => Err(SandboxError::Ended("it said nothing".to_owned())),
        }
    }

    /// Made, seen to run, and ended, by itself or on order.
    pub async fn peaceful(&self, life: u64) -> Result<()> {
        let sandbox = self.start(life).await.with_context(|| format!("life {life}"))?;
        if life.is_multiple_of(ENDING_EVERY) {
            bounded(sandbox.life.ending().exited()).await?;
        }
        bounded(sandbox.life.destroy()).await
    }

    /// Something is killed or given up in the middle.
    pub async fn violent(&self, life: u64, violence: &Violence) -> Result<()> {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        match life % 4 {
            0 => {
                let sandbox = self.started_or(life, violence).await;
                let Some(sandbox) = sandbox else { return Ok(()) };
                if parent(&sandbox.init_pid.to_string()).is_some_and(|supervisor| self.kill(supervisor)) {
                    count(&violence.supervisors);
                }
                bounded(sandbox.life.ending().gone()).await
            }
            1 => {
                let Some(sandbox) = self.started_or(life, violence).await else { return Ok(()) };
                if self.kill(sandbox.init_pid) {
                    count(&violence.inits);
                }
                bounded(sandbox.life.ending().gone()).await
            }
            2 => {
                let own = std::process::id();
                // The youngest: one that waits for its plan, as a rule.
                let child = pids().filter(|pid| parent(pid) == Some(own) && self.ours.runs(pid)).last();
                if child.and_then(|pid| pid.parse().ok()).is_some_and(|pid| self.kill(pid)) {
                    count(&violence.prepared);
                }
                let Some(sandbox) = self.started_or(life, violence).await else { return Ok(()) };
                bounded(sandbox.life.destroy()).await
            }
            _ => {
                let wait = Duration::from_millis(life / 4 % GIVEN_UP_MS_MAX);
                match tokio::time::timeout(wait, self.started_or(life, violence)).await {
                    Ok(Some(sandbox)) => bounded(sandbox.life.destroy()).await,
                    Ok(None) => Ok(()),
                    Err(_) => {
                        count(&violence.given_up);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Another lane may have killed what this one was about to use.
    async fn started_or(&self, life: u64, violence: &Violence) -> Option<Sandbox> {
        match self.start(life).await {
            Ok(sandbox) => Some(sandbox),
            Err(_) => {
                violence.failed.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Kills a process, if it is one of this run's.
    fn kill(&self, pid: u32) -> bool {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        self.ours.runs(&pid.to_string()) && number.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }
}

async fn bounded<T>(step: impl Future<Output = T>) -> Result<()> {
    tokio::time::timeout(STEP_WAIT, step).await.map(|_| ()).context("a sandbox did not end in time")
}

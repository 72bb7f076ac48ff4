//! The load: as fast as so many connections go, or at a fixed rate whoever keeps up with it or not.

use super::lane::Lane;
use crate::client::{Asked, Client};
use crate::statistics::{millis, number};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// Beyond the time that was asked for: whoever hangs longer fails.
const PATIENCE: Duration = Duration::from_secs(45);
/// Connections among which a fixed rate is spread; more calls than these wait, and their waiting counts.
const PACED_CONNECTIONS: usize = 64;

/// What came of calls one after the other on each of some connections.
pub struct Closed {
    pub rps: f64,
    /// Of the proxy.
    pub cpu_us_per_call: f64,
}

/// Every connection asks again as soon as it was answered.
pub async fn closed(lane: &Lane, asked: &Asked, connections: usize, time: Duration) -> Result<Closed> {
    let clients = warm(lane, asked, connections).await?;
    let (before, begun) = (lane.cpu_seconds()?, Instant::now());
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let asked = asked.clone();
        tasks.spawn(async move {
            let mut calls = 0_u64;
            while begun.elapsed() < time {
                client.call(asked.clone()).await?;
                calls += 1;
            }
            Ok::<_, anyhow::Error>(calls)
        });
    }
    let mut calls = 0;
    while let Some(done) = patient(time, tasks.join_next()).await? {
        calls += done??;
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let used = lane.cpu_seconds()? - before;
    Ok(Closed { rps: number(calls) / elapsed, cpu_us_per_call: used * 1e6 / number(calls.max(1)) })
}

/// So many calls a second. Each one's time counts from the moment at which it should have been sent, so that a call which
/// waits because others are slow is slow too (no coordinated omission). In milliseconds.
pub async fn paced(lane: &Lane, asked: &Asked, rate: u32, time: Duration) -> Result<Vec<f64>> {
    let clients = warm(lane, asked, PACED_CONNECTIONS).await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (asked, receiver) = (asked.clone(), Arc::clone(&receiver));
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let due: Option<Instant> = receiver.lock().await.recv().await;
                let Some(due) = due else { return Ok::<_, anyhow::Error>(times) };
                client.call(asked.clone()).await?;
                times.push(millis(due.elapsed()));
            }
        });
    }
    // A runtime's own timers are a millisecond coarse; a thread that sleeps is not.
    let pace = std::thread::spawn(move || {
        let (begun, step) = (Instant::now(), Duration::from_secs(1) / rate);
        let mut due = begun;
        while due < begun + time {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if sender.send(due).is_err() {
                return;
            }
            due += step;
        }
    });
    let mut times = Vec::new();
    while let Some(done) = patient(time, tasks.join_next()).await? {
        times.extend(done??);
    }
    pace.join().ok().context("the pacing thread failed")?;
    Ok(times)
}

async fn patient<T>(time: Duration, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(time + PATIENCE, work).await.context("the load does not come to its end")
}

/// Connections that were answered once.
async fn warm(lane: &Lane, asked: &Asked, count: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(lane.address).await?;
        client.call(asked.clone()).await.with_context(|| format!("the first call by way of {}", lane.name))?;
        clients.push(client);
    }
    Ok(clients)
}

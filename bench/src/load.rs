//! What the gateway costs under load, beside nginx as a plain reverse proxy, the same engine without any check, and what else
//! is installed: all in turns on the same cores, in front of the same lean provider.

mod drive;
mod lane;
mod latency;
mod overshoot;
mod peers;
mod streams;
mod upstream;

use crate::footprint::{Gateway, Serving};
use crate::nginx::{self, Nginx};
use crate::places::Places;
use crate::process::{Process, free_address};
use crate::report::Report;
use crate::statistics::{number, percentile};
use anyhow::{Context, Result, bail};
pub use drive::closed;
pub use lane::Lane;
use lane::{LARGE, SMALL};
pub use overshoot::now;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use upstream::Upstream;
pub use upstream::{WORD as UPSTREAM, serve as upstream};

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 32;
const ROUND: Duration = Duration::from_millis(1_500);
const START_WAIT: Duration = Duration::from_secs(10);
const START_STEP: Duration = Duration::from_millis(10);
const CALLERS_PATH: &str = "/api/anthropic-proxy/v1/messages";

/// Everything that is held against each other.
struct Setting {
    upstream: Upstream,
    gateway: Gateway,
    nginx: Nginx,
    /// The gateway's engine with nothing before or after it.
    forward: Option<(Process, std::net::SocketAddr)>,
}

impl Setting {
    fn start(places: &Places, report: &mut Report) -> Result<Option<Self>> {
        let Some(program) = nginx::program(places) else {
            report.skip("load", "nginx is missing: scripts/setup.sh bench");
            return Ok(None);
        };
        let upstream = Upstream::start(places)?;
        let gateway = Gateway::start(places, "load", &Serving::of(&upstream.url(), &upstream.key))?;
        let nginx = Nginx::start(places, program, upstream.address)?;
        let forward = if places.forward.is_file() {
            Some(forward(places, &upstream)?)
        } else {
            report.skip(
                "load without checks",
                "target/release/examples/forward is not built: cargo build --release -p proxy --examples",
            );
            None
        };
        Ok(Some(Self { upstream, gateway, nginx, forward }))
    }

    fn direct(&self) -> Lane {
        self.plain("direct", self.upstream.address, None)
    }

    fn plain(&self, name: &'static str, address: std::net::SocketAddr, proxy: Option<u32>) -> Lane {
        Lane { name, address, path: "/v1/messages", headers: vec![("x-api-key", self.upstream.key.clone())], proxy }
    }

    /// Nothing in between, nginx, the gateway, and its engine alone where that is there.
    fn lanes(&self, nginx: std::net::SocketAddr) -> Vec<Lane> {
        let forward = self.forward.as_ref().map(|(process, address)| self.plain("ungoverned", *address, Some(process.id())));
        let nginx = self.plain("nginx", nginx, Some(self.nginx.process.id()));
        [self.direct(), nginx, governed(&self.gateway)].into_iter().chain(forward).collect()
    }
}

/// By the callers' listener: authentication, decision, reservation, audit, metering, settlement.
fn governed(gateway: &Gateway) -> Lane {
    let headers = vec![("x-api-key", gateway.secret.clone())];
    let proxy = Some(gateway.process.id());
    Lane { name: "governed", address: gateway.callers, path: CALLERS_PATH, headers, proxy }
}

fn forward(places: &Places, upstream: &Upstream) -> Result<(Process, std::net::SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(&places.forward);
    command.arg(address.to_string()).arg(upstream.address.to_string()).env_clear();
    let process = Process::start(&mut command, &places.work.join("forward.log"))?;
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > START_WAIT {
            bail!("the engine alone does not listen; its log says why");
        }
        std::thread::sleep(START_STEP);
    }
    Ok((process, address))
}

/// What a change of the model proxy moves, in half a minute: small requests, latency and memory, without peers.
pub fn measure_short(places: &Places, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Some(setting) = Setting::start(places, report)? else { return Ok(()) };
    runtime.block_on(async {
        let lanes = setting.lanes(setting.nginx.address);
        throughput(&lanes, SMALL, "", report).await?;
        latency::fixed(&lanes, report).await?;
        latency::first_byte(&setting.lanes(setting.nginx.streams), report).await
    })?;
    let upstream = setting.upstream;
    drop((setting.gateway, setting.nginx, setting.forward));
    let gateway = Gateway::start(places, "streams", &Serving::of(&upstream.url(), &upstream.key))?;
    runtime.block_on(streams::thousand(&gateway, &governed(&gateway), report))
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Some(setting) = Setting::start(places, report)? else { return Ok(()) };
    runtime.block_on(async {
        let lanes = setting.lanes(setting.nginx.address);
        throughput(&lanes, SMALL, "", report).await?;
        throughput(&lanes, LARGE, "_100k", report).await?;
        latency::fixed(&lanes, report).await?;
        latency::first_byte(&setting.lanes(setting.nginx.streams), report).await?;
        peers::measure(places, &setting.upstream, &governed(&setting.gateway), report).await
    })?;
    let upstream = setting.upstream;
    drop((setting.gateway, setting.nginx, setting.forward));
    let gateway = Gateway::start(places, "streams", &Serving::of(&upstream.url(), &upstream.key))?;
    runtime.block_on(streams::thousand(&gateway, &governed(&gateway), report))?;
    drop(gateway);
    exhaust(places, &upstream, &runtime, report)
}

/// A gateway whose day ends early.
fn exhaust(places: &Places, upstream: &Upstream, runtime: &Runtime, report: &mut Report) -> Result<()> {
    const NAME: &str = "exhausted";
    let day_usd = number(u64::try_from(overshoot::limit()?.0)?) / 1e6;
    let gateway = Gateway::start(places, NAME, &Serving { day_usd, ..Serving::of(&upstream.url(), &upstream.key) })?;
    let counted = runtime.block_on(overshoot::spend(&governed(&gateway)))?;
    drop(gateway);
    runtime.block_on(overshoot::judge(places, NAME, counted, report))
}

/// What one way did in each round.
#[derive(Default)]
struct Rounds {
    rps: Vec<f64>,
    cpu: Vec<f64>,
}

/// As fast as 32 connections go.
async fn throughput(lanes: &[Lane], bytes: usize, suffix: &str, report: &mut Report) -> Result<()> {
    let mut rounds: Vec<Rounds> = lanes.iter().map(|_| Rounds::default()).collect();
    for _ in 0..ROUNDS {
        for (lane, rounds) in lanes.iter().zip(&mut rounds) {
            let closed = drive::closed(lane, &lane.ask("{", bytes)?, CONNECTIONS, ROUND).await?;
            rounds.rps.push(closed.rps);
            rounds.cpu.push(closed.cpu_us_per_call);
        }
    }
    let nginx = lanes.iter().position(|lane| lane.name == "nginx").and_then(|at| rounds.get(at)).context("no nginx")?;
    for (lane, own) in lanes.iter().zip(&rounds) {
        let name = lane.name;
        let rps = percentile(&own.rps, 50).context("no rounds")?;
        report.add(
            format!("proxy.{name}.rps{suffix}"),
            rps,
            format!("calls a second, {CONNECTIONS} connections, {bytes} bytes each, p50 of {ROUNDS} rounds"),
        );
        if lane.proxy.is_none() {
            continue;
        }
        let cpu = percentile(&own.cpu, 50).context("no rounds")?;
        report.add(
            format!("proxy.{name}.cpu_us_per_call{suffix}"),
            cpu,
            "microseconds of processor time of the proxy's processes for one of these",
        );
        if name != "nginx" {
            let note = "of each round, p50";
            let cpu = percentile(&ratios(&own.cpu, &nginx.cpu), 50).context("no rounds")?;
            report.add(
                format!("proxy.{name}.cpu_vs_nginx{suffix}"),
                cpu,
                format!("processor time a call against nginx's, {note}"),
            );
            let rps = percentile(&ratios(&own.rps, &nginx.rps), 50).context("no rounds")?;
            report.add(format!("proxy.{name}.rps_vs_nginx{suffix}"), rps, format!("calls a second against nginx's, {note}"));
        }
    }
    Ok(())
}

fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

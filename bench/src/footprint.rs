//! How big it is, how much memory it takes, how fast it starts: the gateway as a program.

use crate::places::Places;
use crate::process::{Process, free_address};
use crate::provider::random_hex;
use crate::report::Report;
use crate::statistics::{millis, number, percentile};
use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const START_WAIT: Duration = Duration::from_secs(30);
const SECOND_STARTS: usize = 5;
/// After this a gateway that nobody talks to has settled.
const SETTLE: Duration = Duration::from_secs(1);
const MEGABYTE: f64 = 1_000_000.0;

/// What a gateway is started with.
pub struct Serving<'a> {
    /// The model's address.
    pub upstream: &'a str,
    /// The model's key.
    pub key: &'a str,
    /// What may be spent in a day.
    pub day_usd: f64,
    /// Another program in the agent's place.
    pub agent: Option<&'a Path>,
    /// Agents started ahead of need.
    pub warm_agents_max: usize,
    /// More of the configuration.
    pub more: &'a str,
    /// More of the environment.
    pub environment: &'a [(&'a str, String)],
}

impl<'a> Serving<'a> {
    /// A budget that no run exhausts, and no agents.
    pub fn of(upstream: &'a str, key: &'a str) -> Self {
        Self { upstream, key, day_usd: 1_000_000.0, agent: None, warm_agents_max: 0, more: "", environment: &[] }
    }
}

/// A running gateway.
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// Where people connect.
    pub people: SocketAddr,
    /// Where back ends connect.
    pub callers: SocketAddr,
    /// `INTERNAL_PROXY_SECRET`.
    pub secret: String,
}

impl Gateway {
    /// Starts `hexward serve` as an operator would.
    pub fn start(places: &Places, name: &str, serving: &Serving<'_>) -> Result<Self> {
        let (secret, callers) = (random_hex()?, free_address()?);
        let config = places.work.join(format!("{name}.toml"));
        fs::write(&config, configuration(name, callers, serving))?;
        let mut command = hexward(places, "serve", name, serving.agent);
        command.arg("--config").arg(&config);
        command.env("ANTHROPIC_API_KEY", serving.key).env("AUTH_SECRET", random_hex()?).env("INTERNAL_PROXY_SECRET", &secret);
        command.envs(serving.environment.iter().map(|(name, value)| (*name, value.as_str())));
        let mut process = Process::start(&mut command, &log(places, name))?;
        let people = address(&process.wait_line("hexward ready: ", START_WAIT)?)?;
        Ok(Self { process, people, callers, secret })
    }
}

fn configuration(name: &str, callers: SocketAddr, serving: &Serving<'_>) -> String {
    let Serving { upstream, day_usd, warm_agents_max, more, .. } = serving;
    format!(
        "[gateway]\nname = \"{name}\"\n[listen]\npeople = \"127.0.0.1:0\"\ncallers = \"{callers}\"\n\
         [model]\nupstream = \"{upstream}\"\n[budget]\nday_usd = {day_usd:.6}\n\
         [rates]\ndanger_any_user_rate = true\naddress_per_minute = 1000000\naddress_per_hour = 1000000\naddress_per_day = 1000000\n\
         messages_per_minute = 1000000\nkey_per_hour = 1000000000\ncalls_per_minute = 1000000\ntool_calls_per_hour = 1000000\n[rates.tiers.anonymous]\nuser_per_hour = 1000000\n\
         together_per_minute = 1000000\n[rates.behaviour]\nhasty = 999998\nsuspicious = 999999\nhostile = 1000000\n\
         [runs]\nidle_agents_max = 1\n\
         warm_agents_max = {warm_agents_max}\n{more}"
    )
}

fn hexward(places: &Places, subcommand: &str, name: &str, agent: Option<&Path>) -> Command {
    let mut command = command(places, subcommand, name);
    command.arg("--agent").arg(agent.unwrap_or(&places.agent));
    command
}

/// In a folder without `.env`, and with nothing of the caller's environment.
pub fn command(places: &Places, subcommand: &str, name: &str) -> Command {
    let mut command = Command::new(&places.hexward);
    command.arg(subcommand).arg("--state-dir").arg(places.work.join(name));
    command.current_dir(&places.work).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command
}

fn log(places: &Places, name: &str) -> std::path::PathBuf {
    places.work.join(format!("{name}.log"))
}

fn address(url: &str) -> Result<SocketAddr> {
    let address = url.trim().trim_start_matches("http://").trim_end_matches('/');
    address.parse().with_context(|| format!("{url:?} is no address"))
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    report.add("binary.mb", megabytes(&places.hexward)?, "the release program, pages included; 1 MB is 1,000,000 bytes");
    report.add("binary.jail_mb", megabytes(&places.jail)?, "the program that confines");
    let pages = bytes_below(&places.root.join("ui/dist")).context("the pages are not built: make ui")?;
    report.add("ui.bundle_kb", number(pages) / 1_000.0, "all files of the pages, not compressed");
    let (first, _) = demo_start(places)?;
    report.add("gateway.first_start_ms", millis(first), "`hexward demo` on an empty folder until its ready line");
    let (mut starts, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..SECOND_STARTS {
        let (time, bytes) = demo_start(places)?;
        starts.push(millis(time));
        resident.push(number(bytes) / MEGABYTE);
    }
    let note = format!("the same with its folder there, spawn until the ready line, p50 (n = {SECOND_STARTS})");
    report.add("gateway.cold_start_ms", percentile(&starts, 50).context("no start")?, note);
    let note = "VmRSS of `hexward demo` (its scripted model included) one second after its start, nobody connected, p50";
    report.add("gateway.rss_mb", percentile(&resident, 50).context("no start")?, note);
    Ok(())
}

/// One life of the demo: how long its start took, and its memory when it had settled.
fn demo_start(places: &Places) -> Result<(Duration, u64)> {
    let mut command = hexward(places, "demo", "demo", None);
    command.args(["--listen", "127.0.0.1:0"]);
    let begun = Instant::now();
    let mut process = Process::start(&mut command, &log(places, "demo"))?;
    process.wait_line("hexward demo ready: ", START_WAIT)?;
    let started = begun.elapsed();
    std::thread::sleep(SETTLE);
    Ok((started, process.resident_bytes()?))
}

fn megabytes(file: &Path) -> Result<f64> {
    Ok(number(fs::metadata(file)?.len()) / MEGABYTE)
}

fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(total)
}

//! On what it was measured, and against which versions.

use crate::places::Places;
use crate::report::Report;
use crate::statistics::number;
use crate::{nginx, sandboxes, srt};
use std::fs;
use std::process::Command;

/// Fills the head of the table; what can't be found out is `unknown`.
pub fn describe(places: &Places, report: &mut Report) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    report.about("machine", format!("{cores} cores, {} GB memory", memory_gb()));
    report.about("kernel", format!("Linux {}", read("/proc/sys/kernel/osrelease")));
    report.about("load", format!("{load} before the run (1, 5, 15 minutes): above {cores}, others take part of the machine"));
    report.about("hexward", first_line(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(&places.root)));
    report.about("agent", read(&places.root.join("scripts/agent.version").display().to_string()));
    report.about("bwrap", first_line(Command::new(sandboxes::BWRAP).arg("--version")));
    let srt = std::fs::read_to_string(places.root.join("bench/srt/package.json")).unwrap_or_default();
    report.about("srt", if srt::Srt::find(places).is_ok() { pinned(&srt) } else { "none".to_owned() });
    report.about(
        "nginx",
        nginx::program(places).map_or_else(|| "none".to_owned(), |path| first_line(Command::new(path).arg("-v"))),
    );
    report.add("machine.cores", number(u64::try_from(cores).unwrap_or(0)), "processors this run could use");
    let one_minute = load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    report.add("machine.load_1m", one_minute, "load average before the run; the ratios are what to compare");
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The version in the peer's manifest, which its lock file holds with a digest.
fn pinned(manifest: &str) -> String {
    let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
    let version = manifest.pointer("/dependencies/@anthropic-ai~1sandbox-runtime").and_then(serde_json::Value::as_str);
    version.unwrap_or("unknown").to_owned()
}

fn memory_gb() -> String {
    let info = read("/proc/meminfo");
    let kib = info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or_else(|| "unknown".to_owned(), |kib| (kib * 1024 / 1_000_000_000).to_string())
}

/// The first line a program says, on either stream.
fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "none".to_owned() };
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&said).lines().next().unwrap_or("unknown").trim().to_owned()
}

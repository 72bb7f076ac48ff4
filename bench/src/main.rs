//! Measures the house beside what a user would pick instead, in one run on one machine, and writes down what came out.
//!
//! It drives the release programs from outside, on loopback only; everything it waits for has a bound, and what it
//! started ends with it. What each number means stands in README.md.

#![expect(clippy::disallowed_macros, reason = "it talks to the person who started it")]

mod api;
mod client;
mod durability;
mod egress;
mod footprint;
mod load;
mod machine;
mod magic;
mod map;
mod memory;
mod nginx;
mod places;
mod process;
mod provider;
mod proxying;
mod report;
mod running;
mod sandboxes;
mod soak;
mod srt;
mod statistics;
mod tooling;
mod undoing;

use anyhow::{Context, Result, bail};
use places::Places;
use report::Report;
use std::process::ExitCode;

type Measure = fn(&Places, &mut Report) -> Result<()>;

/// In this order, so that what loads the machine most comes last.
const MEASURES: &[(&str, Measure)] = &[
    ("footprint", footprint::measure),
    ("sandbox", sandboxes::measure),
    ("proxy", proxying::measure),
    ("load", load::measure),
    ("mcp", tooling::measure),
    ("egress", egress::measure),
    ("store", durability::measure),
    ("map", map::measure),
    ("hexmap", undoing::measure),
    ("magic", magic::measure),
    ("run", running::measure),
    ("api", api::measure),
    ("soak", |places, report| soak::measure(places, report, soak::CYCLES)),
];

/// Only when asked for by name.
const ASKED: &[(&str, Measure)] =
    &[("load-short", load::measure_short), ("soak-short", |places, report| soak::measure(places, report, soak::CYCLES_SHORT))];

/// As the gateway has it: what is measured in this process, the apps it comes with, is measured as it runs there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures everything, or the named parts; says whether all of it worked.
fn run() -> Result<bool> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [word, jail, probe, folder] = wanted.as_slice()
        && word == soak::HALF
    {
        return soak::half(jail.into(), probe.into(), folder.as_ref()).map(|()| true);
    }
    if wanted == [load::UPSTREAM] {
        return load::upstream().map(|()| true);
    }
    if wanted == [tooling::SERVER] {
        return tooling::server().map(|()| true);
    }
    let named = || MEASURES.iter().chain(ASKED);
    if let Some(unknown) = wanted.iter().find(|name| !named().any(|(known, _)| known == name)) {
        let known: Vec<&str> = named().map(|(name, _)| *name).collect();
        bail!("there is no measure {unknown:?}; there are: {}", known.join(", "));
    }
    let places = Places::prepare()?;
    let mut report = Report::default();
    machine::describe(&places, &mut report);
    let mut complete = true;
    let by_default = if wanted.is_empty() { MEASURES } else { &[] };
    let asked = named().filter(|(name, _)| wanted.iter().any(|asked| asked == name));
    for (name, measure) in by_default.iter().chain(asked) {
        eprintln!("bench: {name} ...");
        if let Err(error) = measure(&places, &mut report).with_context(|| format!("{name} could not be measured")) {
            eprintln!("bench: {error:#}");
            complete = false;
        }
    }
    println!("{report}");
    let summary = places.results.join("summary.json");
    std::fs::write(&summary, report.summary()?).with_context(|| format!("writing {}", summary.display()))?;
    // The logs of what was started stay where something failed.
    if complete {
        places.clear()?;
    }
    println!("written to {}", summary.display());
    Ok(complete)
}

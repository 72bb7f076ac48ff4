//! What is added to the time of a call: at a rate that leaves room, and until the first byte of a stream.

use super::drive::paced;
use super::lane::{Lane, SMALL};
use super::upstream::STREAM;
use crate::client::{Asked, Client};
use crate::report::Report;
use crate::statistics::{differences, millis, percentile};
use anyhow::{Context, Result};
use std::time::Duration;

const ROUNDS: usize = 5;
const RATE: u32 = 1_000;
const ROUND: Duration = Duration::from_secs(2);
const STREAMS: usize = 300;
const WARM_UP: usize = 20;
/// Between rounds of streams, so that nothing queues.
const PAUSE: Duration = Duration::from_millis(3);

/// The medians and the 99th percentiles of one way's rounds.
#[derive(Default)]
struct Percentiles {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// 1,000 calls a second, by every way in turn. `lanes` begin with the direct one.
pub async fn fixed(lanes: &[Lane], report: &mut Report) -> Result<()> {
    let mut all: Vec<Percentiles> = lanes.iter().map(|_| Percentiles::default()).collect();
    for _ in 0..ROUNDS {
        for (lane, own) in lanes.iter().zip(&mut all) {
            let times = paced(lane, &lane.ask("{", SMALL)?, RATE, ROUND).await?;
            own.p50.push(percentile(&times, 50).context("no calls")?);
            own.p99.push(percentile(&times, 99).context("no calls")?);
        }
    }
    let direct = all.first().context("no direct way")?;
    for (lane, own) in lanes.iter().zip(&all) {
        let (name, note) = match lane.name {
            "direct" => ("proxy.fixed1000.direct".to_owned(), "directly, for scale"),
            "governed" => (
                "proxy.fixed1000.added".to_owned(),
                "1,000 calls a second, each timed from when it was due: beyond the direct run's own",
            ),
            other => (format!("proxy.fixed1000.{other}_added"), "the same by this way"),
        };
        for (percent, values, base) in [(50, &own.p50, &direct.p50), (99, &own.p99, &direct.p99)] {
            let values = if lane.name == "direct" { values.clone() } else { differences(values, base) };
            let value = percentile(&values, 50).context("no rounds")?;
            report.add(
                format!("{name}.p{percent}_ms"),
                value,
                format!("{note}; of each round's {percent}th percentile, p50 of {ROUNDS}"),
            );
        }
    }
    Ok(())
}

/// One stream after the other, by every way in turn, everyone first in turn. `lanes` begin with the direct one.
pub async fn first_byte(lanes: &[Lane], report: &mut Report) -> Result<()> {
    let mut all: Vec<(Client, Asked, Vec<f64>)> = Vec::new();
    for lane in lanes {
        all.push((Client::connect(lane.address).await?, lane.ask(STREAM, SMALL)?, Vec::new()));
    }
    let count = all.len();
    for round in 0..WARM_UP + STREAMS {
        for step in 0..count {
            let (client, asked, times) = all.get_mut((round + step) % count).context("a way")?;
            let timed = client.time(asked.clone()).await?;
            if round >= WARM_UP {
                times.push(millis(timed.first_byte));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    let (_, _, direct) = all.first().context("no direct way")?;
    for (lane, (_, _, times)) in lanes.iter().zip(&all) {
        let (name, values) = match lane.name {
            "direct" => ("proxy.stream.direct_ttft".to_owned(), times.clone()),
            "governed" => ("proxy.stream.ttft_added".to_owned(), differences(times, direct)),
            other => (format!("proxy.stream.{other}_ttft_added"), differences(times, direct)),
        };
        report.add_percentile(&name, &values, 50, "first byte of a stream of 25 events; what is added is of each pair")?;
    }
    Ok(())
}

//! What the gateway adds to a model call: the same request directly, through the gateway (authentication, decision,
//! reservation, audit, metering, settlement) and through nginx (nothing of that), one right after the other.

use crate::client::{Asked, Client, Timed};
use crate::footprint::{Gateway, Serving};
use crate::nginx::{self, Nginx};
use crate::places::Places;
use crate::process::Process;
use crate::provider::Provider;
use crate::report::Report;
use crate::statistics::{differences, millis, number, percentile};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const ROUNDS: usize = 600;
const STREAM_ROUNDS: usize = 300;
const WARM_UP: usize = 30;
/// Between rounds, so that nothing queues: this is latency, not throughput.
const PAUSE: Duration = Duration::from_millis(5);
const ALL_WAIT: Duration = Duration::from_secs(45);
const CPU_BLOCKS: usize = 7;
const CPU_CALLS: u64 = 500;
const CPU_WAIT: Duration = Duration::from_secs(5);
const MODEL: &str = "claude-haiku-4-5";
const REQUEST_BYTES: usize = 1024;

/// One way to the model, and how long it took each time.
struct Way {
    client: Client,
    asked: Asked,
    times: Vec<Timed>,
}

impl Way {
    async fn open(address: SocketAddr, path: &str, key: &str, body: &Bytes) -> Result<Self> {
        let asked = Request::post(path)
            .header("x-api-key", key)
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))?;
        Ok(Self { client: Client::connect(address).await?, asked, times: Vec::new() })
    }

    fn whole(&self) -> Vec<f64> {
        self.times.iter().map(|time| millis(time.whole)).collect()
    }

    fn first_byte(&self) -> Vec<f64> {
        self.times.iter().map(|time| millis(time.first_byte)).collect()
    }
}

/// What is measured together.
struct Setting {
    provider: Provider,
    gateway: Gateway,
    nginx: Option<Nginx>,
}

impl Setting {
    fn start(places: &Places, name: &str, scenario: &str) -> Result<Self> {
        let provider = Provider::start(Some(scenario))?;
        let gateway = Gateway::start(places, name, &Serving::of(&provider.fake.url(), &provider.key))?;
        let nginx = nginx::program(places).map(|program| Nginx::start(places, program, provider.fake.addr())).transpose()?;
        Ok(Self { provider, gateway, nginx })
    }

    /// Directly, through the gateway, and through nginx where there is one.
    async fn ways(&self, body: &Bytes) -> Result<Vec<Way>> {
        let key = self.provider.key.as_str();
        let gateway = (self.gateway.callers, "/api/anthropic-proxy/v1/messages", self.gateway.secret.as_str());
        let nginx = self.nginx.as_ref().map(|nginx| (nginx.streams, "/v1/messages", key));
        let mut ways = Vec::new();
        for (address, path, key) in
            [Some((self.provider.fake.addr(), "/v1/messages", key)), Some(gateway), nginx].into_iter().flatten()
        {
            ways.push(Way::open(address, path, key, body).await?);
        }
        Ok(ways)
    }
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let setting = Setting::start(places, "plain", "bench-1k")?;
    runtime.block_on(plain(&setting, report))?;
    drop(setting);
    let setting = Setting::start(places, "streamed", "bench-stream-25")?;
    runtime.block_on(streamed(&setting, report))
}

async fn plain(setting: &Setting, report: &mut Report) -> Result<()> {
    let mut ways = setting.ways(&body(false)?).await?;
    take_turns(&mut ways, ROUNDS).await?;
    let [direct, gateway, rest @ ..] = ways.as_mut_slice() else { bail!("two ways at least") };
    let (direct_times, gateway_times) = (direct.whole(), gateway.whole());
    let added = differences(&gateway_times, &direct_times);
    let note = "1 KiB request and answer through the callers' listener against directly: difference of each pair";
    let added_p50 = report.add_percentile("proxy.added", &added, 50, note)?;
    report.add_percentile("proxy.added", &added, 99, "the same")?;
    report.add_percentile("proxy.direct", &direct_times, 50, "directly, for scale")?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..CPU_BLOCKS {
        ours.push(cpu_per_thousand(gateway, &setting.gateway.process).await?);
        if let (Some(peer), Some(nginx)) = (rest.first_mut(), &setting.nginx) {
            theirs.push(cpu_per_thousand(peer, &nginx.process).await?);
        }
    }
    let cpu = percentile(&ours, 50).context("no blocks")?;
    report.add(
        "proxy.cpu_s_per_1000",
        cpu,
        format!("the gateway's processor seconds for 1,000 such calls in a row, p50 of {CPU_BLOCKS}"),
    );
    let (Some(peer), Some(nginx_cpu)) = (rest.first(), percentile(&theirs, 50)) else {
        report.skip("proxy against nginx", "nginx is missing: apt-get install nginx-light");
        return Ok(());
    };
    let nginx_added = differences(&peer.whole(), &direct_times);
    let nginx_p50 = report.add_percentile("proxy.nginx_added", &nginx_added, 50, "nginx, which decides nothing")?;
    report.add("proxy.added_vs_nginx", added_p50 / nginx_p50, "ratio of the two medians; nginx does not reserve or record");
    report.add("proxy.nginx_cpu_s_per_1000", nginx_cpu, "nginx's, in turns with it");
    report.add("proxy.cpu_vs_nginx", cpu / nginx_cpu, "ratio of processor time a call");
    Ok(())
}

async fn streamed(setting: &Setting, report: &mut Report) -> Result<()> {
    let mut ways = setting.ways(&body(true)?).await?;
    take_turns(&mut ways, STREAM_ROUNDS).await?;
    let [direct, gateway, rest @ ..] = ways.as_slice() else { bail!("two ways at least") };
    let note = "a stream of 25 pieces: first byte of the body, difference of each pair";
    let added = report.add_percentile(
        "proxy.stream.first_byte_added",
        &differences(&gateway.first_byte(), &direct.first_byte()),
        50,
        note,
    )?;
    let note = "the same stream until its end";
    report.add_percentile("proxy.stream.whole_added", &differences(&gateway.whole(), &direct.whole()), 50, note)?;
    if let Some(nginx) = rest.first() {
        let peer = percentile(&differences(&nginx.first_byte(), &direct.first_byte()), 50).context("no streams through nginx")?;
        report.add("proxy.stream.first_byte_added_vs_nginx", added / peer, "ratio of the two medians");
    }
    Ok(())
}

/// Each way once a round, everyone first in turn.
async fn take_turns(ways: &mut [Way], rounds: usize) -> Result<()> {
    let (begun, count) = (Instant::now(), ways.len());
    for round in 0..WARM_UP + rounds {
        if begun.elapsed() > ALL_WAIT {
            break;
        }
        for step in 0..count {
            let way = ways.get_mut((round + step) % count).context("a way")?;
            let timed = way.client.time(way.asked.clone()).await?;
            if round >= WARM_UP {
                way.times.push(timed);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// What a proxy's process uses for a thousand calls, one after the other.
async fn cpu_per_thousand(way: &mut Way, proxy: &Process) -> Result<f64> {
    let before = proxy.cpu_seconds()?;
    let (begun, mut calls) = (Instant::now(), 0_u64);
    while calls < CPU_CALLS && begun.elapsed() < CPU_WAIT {
        way.client.time(way.asked.clone()).await?;
        calls += 1;
    }
    Ok((proxy.cpu_seconds()? - before) / number(calls) * 1_000.0)
}

/// A request of one kibibyte.
fn body(stream: bool) -> Result<Bytes> {
    let ask = |content: String| {
        json!({"model": MODEL, "max_tokens": 512, "stream": stream, "messages": [{"role": "user", "content": content}]})
            .to_string()
    };
    let around = ask(String::new()).len();
    Ok(ask("x".repeat(REQUEST_BYTES.checked_sub(around).context("the frame alone is longer")?)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_one_kibibyte() {
        for stream in [false, true] {
            assert_eq!(body(stream).expect("a body").len(), REQUEST_BYTES);
        }
    }
}

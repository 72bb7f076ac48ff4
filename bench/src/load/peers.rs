//! The gateways that a user would install instead: LiteLLM and Portkey, from their registries (`scripts/setup.sh bench`).

use super::drive::closed;
use super::lane::{Lane, MODEL, SMALL};
use super::upstream::Upstream;
use super::{CONNECTIONS, ROUND};
use crate::places::Places;
use crate::process::{Process, free_address};
use crate::provider::random_hex;
use crate::report::Report;
use crate::srt;
use crate::statistics::percentile;
use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 2;
/// They are slow, so a round of theirs is longer.
const PEER_ROUND: Duration = Duration::from_secs(4);
const START_WAIT: Duration = Duration::from_secs(120);
const START_STEP: Duration = Duration::from_millis(100);
const LITELLM: &str = ".hexward/peers/litellm/bin/litellm";
const PORTKEY: &str = ".hexward/peers/portkey/node_modules/@portkey-ai/gateway/build/start-server.js";

type Start = fn(&Places, &Upstream, PathBuf, SocketAddr) -> Result<(Process, Lane)>;

/// Name, program, how it is started, the key of our rate against its own.
const PEERS: &[(&str, &str, Start)] = &[("litellm", LITELLM, litellm), ("portkey", PORTKEY, portkey)];

/// Our own calls a second against those of each peer that is installed, in turns.
pub async fn measure(places: &Places, upstream: &Upstream, governed: &Lane, report: &mut Report) -> Result<()> {
    for (name, program, start) in PEERS {
        let program = places.root.join(program);
        if !program.is_file() {
            report.skip(name, "it is not installed: scripts/setup.sh bench");
            continue;
        }
        let address = free_address()?;
        let (process, lane) = start(places, upstream, program, address)?;
        match compare(&process, &lane, governed).await {
            Err(error) => report.skip(name, format!("it did not work here, its log says more: {error:#}")),
            Ok((ours, theirs)) => {
                let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
                let rps = percentile(&theirs, 50).context("no rounds")?;
                report.add(format!("proxy.{name}.rps"), rps, format!("its calls a second, {CONNECTIONS} connections, 1 KiB"));
                let note = "our calls a second against its own, in turns; ours reserve and record";
                report.add(format!("proxy.governed.rps_vs_{name}"), percentile(&ratios, 50).context("no rounds")?, note);
            }
        }
    }
    Ok(())
}

async fn compare(process: &Process, lane: &Lane, governed: &Lane) -> Result<(Vec<f64>, Vec<f64>)> {
    listening(process, lane).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(closed(governed, &governed.ask("{", SMALL)?, CONNECTIONS, ROUND).await?.rps);
        theirs.push(closed(lane, &lane.ask("{", SMALL)?, CONNECTIONS, PEER_ROUND).await?.rps);
    }
    Ok((ours, theirs))
}

/// Answers, not only listens: one of them listens long before it can.
async fn listening(process: &Process, lane: &Lane) -> Result<()> {
    let begun = Instant::now();
    loop {
        if TcpStream::connect(lane.address).is_ok() {
            let left = START_WAIT.saturating_sub(begun.elapsed());
            let asked = lane.ask("{", SMALL)?;
            let tried = closed(lane, &asked, 1, Duration::ZERO);
            match tokio::time::timeout(left, tried).await.context("it does not answer")? {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > START_WAIT / 2 => return Err(error),
                Err(_) => {}
            }
        }
        if begun.elapsed() > START_WAIT {
            bail!("process {} does not listen", process.id());
        }
        tokio::time::sleep(START_STEP).await;
    }
}

/// One worker, which is its default: its supervisor kills workers that don't start within five seconds, so two of them never
/// come up on a busy machine. Nothing is looked up on the network.
fn litellm(places: &Places, upstream: &Upstream, program: PathBuf, address: SocketAddr) -> Result<(Process, Lane)> {
    let key = format!("sk-{}", random_hex()?);
    let config = places.work.join("litellm.yaml");
    std::fs::write(
        &config,
        format!(
            "model_list:\n  - model_name: {MODEL}\n    litellm_params:\n      model: anthropic/{MODEL}\n      api_base: {}\n      \
             api_key: {}\ngeneral_settings:\n  master_key: {key}\n",
            upstream.url(),
            upstream.key
        ),
    )?;
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(&config)
        .arg("--host")
        .arg(address.ip().to_string())
        .arg("--port")
        .arg(address.port().to_string());
    command.args(["--num_workers", "1", "--telemetry", "False"]).current_dir(&places.work).env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &places.work).env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    let process = Process::start(&mut command, &places.work.join("litellm.log"))?;
    let headers = vec![("x-api-key", key)];
    Ok((process, Lane { name: "litellm", address, path: "/v1/messages", headers, proxy: None }))
}

/// It listens on every address; what is loaded before it makes that loopback.
fn portkey(places: &Places, upstream: &Upstream, program: PathBuf, address: SocketAddr) -> Result<(Process, Lane)> {
    let mut command = Command::new(srt::node(places));
    command.arg("--require").arg(places.root.join("bench/portkey/loopback.cjs")).arg(program);
    command.arg(format!("--port={}", address.port())).arg("--headless").current_dir(&places.work).env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &places.work).env("NODE_ENV", "production");
    let process = Process::start(&mut command, &places.work.join("portkey.log"))?;
    let headers = vec![
        ("x-api-key", upstream.key.clone()),
        ("x-portkey-provider", "anthropic".to_owned()),
        ("x-portkey-custom-host", format!("{}/v1", upstream.url())),
    ];
    Ok((process, Lane { name: "portkey", address, path: "/v1/messages", headers, proxy: None }))
}

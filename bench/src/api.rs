//! What the back end of a host application waits for, and what its pages take: runs accepted, events passed on, streams open. With real
//! sandboxes, and an agent in them that is as small as can be: what is measured is the way in front of it.

mod host;
mod model;
mod streams;

use crate::client::Client;
use crate::footprint::{Gateway, Serving};
use crate::places::Places;
use crate::provider::random_hex;
use crate::report::Report;
use crate::sandboxes;
use crate::statistics::millis;
use anyhow::{Context, Result, bail};
use host::Host;
use model::Model;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const ACCEPTED: usize = 300;
const WARM_UP: usize = 10;
/// Their runs take turns, each in a conversation of its own.
const USERS: usize = 8;
/// Of one answer, with a pause before each, so that nothing queues: this is latency, not throughput.
const PIECES: u64 = 400;
const STEP: Duration = Duration::from_millis(10);
/// A run that is watched says something this often.
const SLOW_STEP: Duration = Duration::from_secs(2);
const ENDLESS: u64 = 10_000;
const MANIFEST: &str =
    "title = 'Bench'\ngreeting = 'Hello'\nid = 'bench'\n[agent]\nmodel = 'claude-haiku-4-5'\nfree_model_use = true\n";

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    let app = places.work.join("api-app");
    std::fs::create_dir_all(&app)?;
    std::fs::write(app.join("app.toml"), MANIFEST)?;
    std::fs::write(app.join("prompt.md"), "Answer.")?;
    let agent = sandboxes::built(places, "api_agent", include_str!("api/agent.c"))?;
    let secret = random_hex()?;
    let host = Arc::new(Host::new(places, "api", &secret)?);
    let model = Model::start()?;
    let more = format!(
        "concurrent_max = {}\nwall_clock_secs = 3600\n[rates.tiers.signed-in]\nuser_per_hour = 1000000\ntogether_per_minute = 1000000\n\
         [[apps]]\npath = \"{}\"\n{}",
        streams::RUNS + USERS,
        app.display(),
        Host::configured()
    );
    let environment = [(host::SECRET, secret)];
    let upstream = format!("http://{}", model.address);
    let serving = Serving { more: &more, environment: &environment, agent: Some(&agent), ..Serving::of(&upstream, &model.key) };
    let gateway = Gateway::start(places, "api", &serving)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        accepted(&gateway, &host, &model, report).await?;
        lag(&gateway, &host, &model, report).await?;
        model.answer(ENDLESS, SLOW_STEP);
        streams::watched(&gateway, &host, report).await
    })
}

/// One run at a time, which is over before the next begins.
async fn accepted(gateway: &Gateway, host: &Host, model: &Model, report: &mut Report) -> Result<()> {
    model.answer(1, Duration::ZERO);
    let (mut asking, mut watching) = (Client::connect(gateway.callers).await?, Client::connect(gateway.callers).await?);
    let mut times = Vec::new();
    for round in 0..WARM_UP + ACCEPTED {
        let subject = format!("user-{}", round % USERS);
        let conversation = host.converse(&mut asking, &subject).await?;
        let (run, took) = host.run(&mut asking, &subject, &conversation).await?;
        host.events(&mut watching, &subject, &run).await?.finish(|_| Ok(())).await?;
        if round >= WARM_UP {
            times.push(millis(took));
        }
    }
    let note =
        "POST /v1/conversations/{id}/runs (key, assertion, idempotency, rates, durable message) until its 202, one run at a time";
    report.add_percentile("api.run_accept", &times, 50, note)?;
    report.add_percentile("api.run_accept", &times, 99, "the same").map(drop)
}

/// One long answer, followed by one page.
async fn lag(gateway: &Gateway, host: &Host, model: &Model, report: &mut Report) -> Result<()> {
    model.answer(PIECES, STEP);
    let mut client = Client::connect(gateway.callers).await?;
    let conversation = host.converse(&mut client, "reader").await?;
    let (run, _) = host.run(&mut client, "reader", &conversation).await?;
    let mut ages = Vec::new();
    let mut events = host.events(&mut client, "reader", &run).await?;
    let seen = |event: &Value| {
        if event.get("type").and_then(Value::as_str) == Some("text_delta") {
            let text = event.get("text").and_then(Value::as_str).context("a piece without a text")?;
            ages.push(millis(model.age(text)?));
        }
        Ok(())
    };
    events.finish(seen).await?;
    if u64::try_from(ages.len())? < PIECES / 2 {
        bail!("only {} of {PIECES} pieces came by themselves", ages.len());
    }
    let note = "from the model's writing a piece of its answer until it is read from GET /v1/runs/{id}/events";
    report.add_percentile("api.event_lag", &ages, 50, note)?;
    report.add_percentile("api.event_lag", &ages, 99, "the same").map(drop)
}

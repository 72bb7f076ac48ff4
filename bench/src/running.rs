//! What a person waits for: from sending a message until the first piece of the answer, with the real agent in a real
//! sandbox and a model that answers at once. So the time is the house's and the agent's alone.

use crate::client::{Asked, Client};
use crate::footprint::{Gateway, Serving};
use crate::memory;
use crate::places::Places;
use crate::provider::Provider;
use crate::report::Report;
use crate::statistics::{millis, number};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const ROUNDS: usize = 12;
const RUN_WAIT: Duration = Duration::from_secs(30);
const ALL_WAIT: Duration = Duration::from_secs(100);
/// Agents started ahead of need, and how long one takes to be replaced.
const POOL: usize = 2;
const REFILL: Duration = Duration::from_secs(3);
const FIRST: &str = "Create a tile called Aurora to the north-east";
const SECOND: &str = "Create a tile called Borealis to the south";

/// One run as a page sees it.
struct Seen {
    /// Until the agent asked the model for the first time.
    first_request: Duration,
    first_token: Duration,
    total: Duration,
    tool_calls: u64,
}

#[derive(Default)]
struct Times {
    first_request: Vec<f64>,
    first_token: Vec<f64>,
    total: Vec<f64>,
    tool_calls: u64,
}

impl Times {
    fn push(&mut self, seen: &Seen) {
        self.first_request.push(millis(seen.first_request));
        self.first_token.push(millis(seen.first_token));
        self.total.push(millis(seen.total));
        self.tool_calls += seen.tool_calls;
    }
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    if !places.agent.is_file() {
        report.skip("runs", "the agent is missing: hexward agent install");
        return Ok(());
    }
    let provider = Provider::start(None)?;
    let gateway = Gateway::start(places, "running", &Serving::of(&provider.fake.url(), &provider.key))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (cold, warm) = runtime.block_on(converse(&gateway, Duration::ZERO))?;
    if cold.tool_calls == 0 {
        bail!("no tool was called, so this was not a whole run");
    }
    let note = "message sent until the first text on the page's event stream: sandbox, the agent's own start, model call";
    report.add_percentile("run.first_token", &cold.first_token, 50, note)?;
    report.add_percentile("run.total", &cold.total, 50, "the same until the run ended, one tool call included")?;
    let note = "a second message in the same conversation: the agent still waits";
    report.add_percentile("run.followup.first_token", &warm.first_token, 50, note)?;
    report.add_percentile("run.followup.total", &warm.total, 50, "the same until the run ended")?;
    let resident = number(gateway.process.resident_bytes()?) / 1_000_000.0;
    report.add("gateway.rss_after_runs_mb", resident, format!("VmRSS of `hexward serve` after {} runs", cold.total.len() * 2));
    drop(gateway);
    pool(places, &provider, &runtime, &cold, report)
}

/// The same first messages, with agents that were started ahead of need.
fn pool(places: &Places, provider: &Provider, runtime: &Runtime, cold: &Times, report: &mut Report) -> Result<()> {
    let gateway = {
        let url = provider.fake.url();
        Gateway::start(places, "pool", &Serving { warm_agents_max: POOL, ..Serving::of(&url, &provider.key) })?
    };
    std::thread::sleep(REFILL);
    let extra = memory::extra_of_each(gateway.process.id())?;
    let note = "memory beside the agent's own: its jail's processes, its files in memory, page tables left out";
    report.add("pool.idle_agent_extra_mb", extra, note);
    let (claimed, _) = runtime.block_on(converse(&gateway, REFILL))?;
    let note = "message sent until the agent's first model request: an agent from the pool";
    let from_pool = report.add_percentile("pool.claim_to_first_request", &claimed.first_request, 50, note)?;
    let note = "the same with an agent that is started for the message";
    let started = report.add_percentile("pool.cold_to_first_request", &cold.first_request, 50, note)?;
    report.add("pool.claim_to_first_request.p50_vs_cold", from_pool / started, "the first over the second");
    let note = "message sent until the first text on the page's event stream: an agent from the pool";
    report.add_percentile("pool.first_token", &claimed.first_token, 50, note).map(drop)
}

/// Each round is a person of its own, so that every map is empty.
/// Before each there is a pause, in which a pool fills itself again.
async fn converse(gateway: &Gateway, pause: Duration) -> Result<(Times, Times)> {
    let (mut cold, mut warm) = (Times::default(), Times::default());
    let begun = Instant::now();
    // The first one pays for caches of the file system; it is not counted.
    for round in 0..=ROUNDS {
        if begun.elapsed() > ALL_WAIT {
            break;
        }
        tokio::time::sleep(pause).await;
        let mut person = Person::arrive(gateway).await?;
        let first = person.say(FIRST).await?;
        let second = person.say(SECOND).await?;
        if round > 0 {
            cold.push(&first);
            warm.push(&second);
        }
    }
    Ok((cold, warm))
}

/// Somebody with a session and a conversation.
struct Person {
    client: Client,
    cookie: String,
    conversation: String,
}

impl Person {
    async fn arrive(gateway: &Gateway) -> Result<Self> {
        let mut client = Client::connect(gateway.people).await?;
        let (head, _) = client.fetch(asked(Method::GET, "/api/session", "", None)?, StatusCode::OK).await?;
        let cookie = head.headers.get(header::SET_COOKIE).context("no session was begun")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let begin = asked(Method::POST, "/api/conversations", &cookie, Some(&json!({})))?;
        let (_, body) = client.fetch(begin, StatusCode::CREATED).await?;
        Ok(Self { client, conversation: field(&body, "id")?, cookie })
    }

    async fn say(&mut self, text: &str) -> Result<Seen> {
        let path = format!("/api/conversations/{}/messages", self.conversation);
        let message = asked(Method::POST, &path, &self.cookie, Some(&json!({"text": text, "writes": true})))?;
        let begun = Instant::now();
        let (_, body) = self.client.fetch(message, StatusCode::ACCEPTED).await?;
        let follow = asked(Method::GET, &format!("/api/runs/{}/events", field(&body, "run_id")?), &self.cookie, None)?;
        tokio::time::timeout(RUN_WAIT, self.follow(follow, begun)).await.context("the run does not end")?
    }

    async fn follow(&mut self, asked: Asked, begun: Instant) -> Result<Seen> {
        let mut body = self.client.send(asked).await?.into_body();
        let (mut lines, mut thinking, mut first_token, mut total, mut tool_calls) = (Lines::default(), Vec::new(), None, None, 0);
        while let Some(frame) = body.frame().await {
            for event in lines.take(&frame?.into_data().unwrap_or_default()) {
                match event.get("type").and_then(Value::as_str) {
                    Some("state") if event.get("state").and_then(Value::as_str) == Some("thinking") => {
                        thinking.push(begun.elapsed())
                    }
                    Some("text_delta") => drop(first_token.get_or_insert_with(|| begun.elapsed())),
                    Some("tool_result") if event.get("ok") == Some(&Value::Bool(true)) => tool_calls += 1,
                    Some("run_ended") if event.get("outcome").and_then(Value::as_str) == Some("finished") => {
                        total = Some(begun.elapsed());
                    }
                    Some("run_ended") => bail!("the run failed: {event}"),
                    Some(_) | None => {}
                }
            }
        }
        let first_token = first_token.context("the run said nothing")?;
        // Said once when the message is handed to the agent, and then whenever the model is asked.
        let first_request = *thinking.get(1).context("the model was not asked")?;
        Ok(Seen { first_request, first_token, total: total.context("the run's events broke off")?, tool_calls })
    }
}

fn asked(method: Method, path: &str, cookie: &str, body: Option<&Value>) -> Result<Asked> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = if cookie.is_empty() { request } else { request.header("cookie", cookie) };
    Ok(request.body(Full::new(body.map_or_else(Bytes::new, |body| body.to_string().into())))?)
}

/// A text of an answer.
pub fn field(body: &Bytes, name: &str) -> Result<String> {
    let body: Value = serde_json::from_slice(body)?;
    Ok(body.get(name).and_then(Value::as_str).with_context(|| format!("the answer has no {name}"))?.to_owned())
}

/// Events arrive in pieces of any size.
#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The events that are complete with this piece.
    pub fn take(&mut self, piece: &[u8]) -> Vec<Value> {
        self.rest.extend_from_slice(piece);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let after = self.rest.split_off(end + 1);
        let complete = std::mem::replace(&mut self.rest, after);
        let lines = complete.split(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line.strip_prefix(b"data: ")?).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let stream = b"id: 1\ndata: {\"type\":\"a\"}\n\n: alive\n\ndata: {\"type\":\"b\"}\n\n";
        for size in [1, 2, 7, stream.len()] {
            let mut lines = Lines::default();
            let events: Vec<Value> = stream.chunks(size).flat_map(|piece| lines.take(piece)).collect();
            assert_eq!(events, [json!({"type": "a"}), json!({"type": "b"})], "pieces of {size}");
        }
    }
}

//! The back end of a host application: its key, its users, their runs.

use crate::client::{Asked, Client};
use crate::footprint;
use crate::load;
use crate::places::Places;
use crate::running::{Lines, field};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use policy::CallId;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The host's id, and its users' app.
pub const ID: &str = "bench";
/// The variable with the secret.
pub const SECRET: &str = "BENCH_HOST_SECRET";
const ISSUER: &str = "https://bench.example";
const RUN_WAIT: Duration = Duration::from_secs(30);

/// One back end.
pub struct Host {
    token: String,
    secret: EncodingKey,
}

impl Host {
    /// Makes a key as an operator does, in the state folder of a gateway that is not started yet.
    pub fn new(places: &Places, name: &str, secret: &str) -> Result<Self> {
        let mut command = footprint::command(places, "key", name);
        command.args(["create", ID, "--purpose", "service", "--host", ID]);
        let output = command.output().context("starting hexward key")?;
        if !output.status.success() {
            bail!("no key was made: {}", String::from_utf8_lossy(&output.stderr));
        }
        let token = String::from_utf8(output.stdout)?.trim_end().to_owned();
        Ok(Self { token, secret: EncodingKey::from_secret(secret.as_bytes()) })
    }

    /// The host as it is configured.
    pub fn configured() -> String {
        format!("[[hosts]]\nid = \"{ID}\"\nissuer = \"{ISSUER}\"\nsecret_env = \"{SECRET}\"\napps = [\"{ID}\"]\n")
    }

    /// A request for one of its users, with an assertion of its own.
    pub fn asks(&self, subject: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Asked> {
        let (now, id) = (load::now()?.0 / 1_000_000, CallId::random().to_string());
        let claims = json!({"iss": ISSUER, "aud": "hexward", "sub": subject, "jti": id, "iat": now, "exp": now + 120});
        let assertion = encode(&Header::new(Algorithm::HS256), &claims, &self.secret)?;
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {}", self.token)).header("x-hexward-user", assertion);
        let request = if body.is_some() { request.header("idempotency-key", id) } else { request };
        Ok(request.body(Full::new(body.map_or_else(Bytes::new, |body| body.to_string().into())))?)
    }

    /// A new conversation of a user.
    pub async fn converse(&self, client: &mut Client, subject: &str) -> Result<String> {
        let begin = self.asks(subject, Method::POST, "/v1/conversations", Some(&json!({"app": ID})))?;
        let (_, body) = client.fetch(begin, StatusCode::CREATED).await?;
        field(&body, "id")
    }

    /// Begins a run; says how long its acceptance took.
    pub async fn run(&self, client: &mut Client, subject: &str, conversation: &str) -> Result<(String, Duration)> {
        let path = format!("/v1/conversations/{conversation}/runs");
        let message = self.asks(subject, Method::POST, &path, Some(&json!({"text": "Hello", "writes": false})))?;
        client.connected().await?;
        let begun = Instant::now();
        let (_, body) = client.fetch(message, StatusCode::ACCEPTED).await?;
        let took = begun.elapsed();
        Ok((field(&body, "run_id")?, took))
    }

    /// Opens the events of a run.
    pub async fn events(&self, client: &mut Client, subject: &str, run: &str) -> Result<Events> {
        let answer = client.send(self.asks(subject, Method::GET, &format!("/v1/runs/{run}/events"), None)?).await?;
        if answer.status() != StatusCode::OK {
            bail!("a stream was refused: {}", answer.status());
        }
        Ok(Events { body: answer.into_body(), lines: Lines::default() })
    }
}

/// A run's events as they come.
pub struct Events {
    body: Incoming,
    lines: Lines,
}

impl Events {
    /// Those that came next; none when the stream is over.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        let Some(frame) = self.body.frame().await else { return Ok(None) };
        Ok(Some(self.lines.take(&frame.context("a stream was cut")?.into_data().unwrap_or_default())))
    }

    /// Reads to the run's end, which must be a good one, and shows each event as it comes.
    pub async fn finish(&mut self, mut seen: impl FnMut(&Value) -> Result<()>) -> Result<()> {
        let read = async {
            let mut outcome = None;
            while let Some(events) = self.next().await? {
                for event in &events {
                    seen(event)?;
                    if event.get("type").and_then(Value::as_str) == Some("run_ended") {
                        outcome = Some(event.clone());
                    }
                }
            }
            match outcome {
                Some(end) if end.get("outcome").and_then(Value::as_str) == Some("finished") => Ok(()),
                Some(end) => bail!("the run failed: {end}"),
                None => bail!("the run's events broke off"),
            }
        };
        tokio::time::timeout(RUN_WAIT, read).await.context("the run does not end")?
    }
}

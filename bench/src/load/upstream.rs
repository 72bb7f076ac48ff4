//! A provider that costs next to nothing, as a process of its own: what it answers is made before anybody asks.
//!
//! The scripted one (`fake`) reads and understands each request, and its own processor time would be most of what is measured.

use crate::places::Places;
use crate::process::Process;
use crate::provider::random_hex;
use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The word with which this program becomes one.
pub const WORD: &str = "lean-upstream";
const READY: &str = "ready: ";
const START_WAIT: Duration = Duration::from_secs(10);
/// What every answer says it used.
pub const INPUT_TOKENS: u64 = 300;
pub const OUTPUT_TOKENS: u64 = 200;
const ANSWER_BYTES: usize = 1024;
/// Between the frame's three events before and three after: 25 in all.
const PIECES: usize = 19;
/// What a slow stream sends, one a second.
const SLOW_PIECES: usize = 14;
const SLOW_STEP: Duration = Duration::from_secs(1);
/// What the requests of [`super::lane::body`] begin with where they ask for a stream, and for a slow one.
pub const STREAM: &str = r#"{"stream":true,"#;
pub const SLOW: &str = r#"{"stream":true,"metadata":{"user_id":"slow"},"#;

type Answered = Response<BoxBody<Bytes, Infallible>>;

/// A running one.
pub struct Upstream {
    pub address: SocketAddr,
    /// It takes every key.
    pub key: String,
    _process: Process,
}

impl Upstream {
    pub fn start(places: &Places) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(WORD).env_clear();
        let mut process = Process::start(&mut command, &places.work.join("upstream.log"))?;
        let address = process.wait_line(READY, START_WAIT)?.parse()?;
        Ok(Self { address, key: format!("sk-ant-bench-{}", random_hex()?), _process: process })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Serves until it is killed.
pub fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{READY}{}", listener.local_addr()?);
        let answers = Answers::make()?;
        loop {
            let (stream, _) = listener.accept().await.context("accepting")?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(stream, answers.clone()));
        }
    })
}

async fn connection(stream: TcpStream, answers: Answers) {
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { answers.to(request).await }
    });
    // What goes wrong on a connection is seen by whoever asked on it.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

/// All answers, made once; a clone shares them.
#[derive(Clone)]
struct Answers {
    whole: Bytes,
    begin: Bytes,
    piece: Bytes,
    end: [Bytes; 3],
}

impl Answers {
    fn make() -> Result<Self> {
        let around = whole("").len();
        let text = "x".repeat(ANSWER_BYTES.checked_sub(around).context("the frame alone is longer")?);
        let begin = format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"{}\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{{\"input_tokens\":{INPUT_TOKENS},\"output_tokens\":1}}}}}}\n\n\
             event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"\"}}}}\n\n\
             event: ping\ndata: {{\"type\":\"ping\"}}\n\n",
            super::lane::MODEL
        );
        let piece = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a few words of it \"}}\n\n";
        let end = [
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n".to_owned(),
            format!(
                "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\",\"stop_sequence\":null}},\"usage\":{{\"output_tokens\":{OUTPUT_TOKENS}}}}}\n\n"
            ),
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
        ];
        Ok(Self {
            whole: whole(&text).into(),
            begin: begin.into(),
            piece: Bytes::from_static(piece.as_bytes()),
            end: end.map(Bytes::from),
        })
    }

    async fn to(&self, request: Request<Incoming>) -> Result<Answered, hyper::Error> {
        let mut body = request.into_body();
        let mut begin = None;
        while let Some(frame) = body.frame().await {
            let data = frame?.into_data().unwrap_or_default();
            begin.get_or_insert(data);
        }
        let begin = begin.unwrap_or_default();
        let (kind, body) = if begin.starts_with(SLOW.as_bytes()) {
            ("text/event-stream; charset=utf-8", self.stream(SLOW_PIECES, SLOW_STEP))
        } else if begin.starts_with(STREAM.as_bytes()) {
            ("text/event-stream; charset=utf-8", self.stream(PIECES, Duration::ZERO))
        } else {
            ("application/json", Full::new(self.whole.clone()).boxed())
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        response.headers_mut().insert("request-id", http::HeaderValue::from_static("req_bench"));
        Ok(response)
    }

    /// Each event is written to the socket before the next one is made.
    fn stream(&self, pieces: usize, step: Duration) -> BoxBody<Bytes, Infallible> {
        let middle = std::iter::repeat_n(self.piece.clone(), pieces);
        let events = std::iter::once(self.begin.clone()).chain(middle).chain(self.end.clone());
        let frames = stream::unfold(events, move |mut events| async move {
            if step.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(step).await;
            }
            events.next().map(|event| (Ok(Frame::data(event)), events))
        });
        BodyExt::boxed(StreamBody::new(frames))
    }
}

fn whole(text: &str) -> String {
    format!(
        "{{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"{}\",\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{{\"input_tokens\":{INPUT_TOKENS},\"output_tokens\":{OUTPUT_TOKENS}}}}}",
        super::lane::MODEL
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_a_provider_would_say() {
        let answers = Answers::make().expect("answers");
        assert_eq!(answers.whole.len(), ANSWER_BYTES);
        let whole: serde_json::Value = serde_json::from_slice(&answers.whole).expect("JSON");
        assert_eq!(whole.pointer("/usage/output_tokens"), Some(&OUTPUT_TOKENS.into()));
        let all: Vec<&Bytes> = [&answers.begin, &answers.piece].into_iter().chain(&answers.end).collect();
        let mut events = 0;
        for text in all.iter().map(|bytes| std::str::from_utf8(bytes).expect("text")) {
            for event in text.trim_end().split("\n\n") {
                let (name, data) = event.split_once("\ndata: ").expect("two lines");
                let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
                assert_eq!(data.get("type").and_then(|kind| kind.as_str()), name.strip_prefix("event: "));
                events += 1;
            }
        }
        assert_eq!(events - 1 + PIECES, 25);
    }
}

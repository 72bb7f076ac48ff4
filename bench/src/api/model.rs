//! A model whose words say when they were written: each piece of its answers is a number of nanoseconds on this program's clock.

use crate::provider::random_hex;
use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

const BEGIN: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-haiku-4-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n\
                     event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
const END: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
                   event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":20}}\n\n\
                   event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// How it answers from now on.
#[derive(Default)]
struct Manner {
    pieces: AtomicU64,
    step_ms: AtomicU64,
}

/// A running one, on a thread of its own; dropping it ends it.
pub struct Model {
    pub address: SocketAddr,
    /// It takes every key.
    pub key: String,
    begun: Instant,
    manner: Arc<Manner>,
    _runtime: Runtime,
}

impl Model {
    pub fn start() -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (begun, manner) = (Instant::now(), Arc::new(Manner::default()));
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let shared = Arc::clone(&manner);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&shared), begun));
            }
        });
        Ok(Self { address, key: format!("sk-ant-bench-{}", random_hex()?), begun, manner, _runtime: runtime })
    }

    /// Answers have so many pieces from now on, with a pause before each.
    pub fn answer(&self, pieces: u64, step: Duration) {
        self.manner.pieces.store(pieces, Ordering::Relaxed);
        self.manner.step_ms.store(u64::try_from(step.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How old a piece of an answer is. A piece may be several, if they came together; it is as old as the first.
    pub fn age(&self, piece: &str) -> Result<Duration> {
        let now = self.begun.elapsed();
        let first = piece.split_ascii_whitespace().next().context("a piece without a time")?;
        let written = Duration::from_nanos(first.parse().with_context(|| format!("{first:?} is no time"))?);
        now.checked_sub(written).context("a piece comes from the future")
    }
}

async fn connection(stream: TcpStream, manner: Arc<Manner>, begun: Instant) {
    // A piece that waits for the next one would be older than its number says.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| answer(request, Arc::clone(&manner), begun));
    // What goes wrong on a connection is seen by whoever asked on it.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(
    request: Request<Incoming>,
    manner: Arc<Manner>,
    begun: Instant,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    request.into_body().collect().await?;
    let (pieces, step) = (manner.pieces.load(Ordering::Relaxed), Duration::from_millis(manner.step_ms.load(Ordering::Relaxed)));
    let frames = stream::unfold(0, move |at| async move {
        let text = match at {
            0 => BEGIN.to_owned(),
            at if at <= pieces => {
                tokio::time::sleep(step).await;
                piece(begun.elapsed())
            }
            at if at == pieces + 1 => END.to_owned(),
            _ => return None,
        };
        Some((Ok(Frame::data(Bytes::from(text))), at + 1))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert("request-id", http::HeaderValue::from_static("req_bench"));
    Ok(response)
}

fn piece(now: Duration) -> String {
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{} \"}}}}\n\n",
        now.as_nanos()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_says_how_old_it_is() {
        let model = Model::start().expect("a model");
        let text = |now| {
            let piece = piece(now);
            let data: serde_json::Value =
                serde_json::from_str(piece.trim_end().split_once("\ndata: ").expect("two lines").1).expect("JSON");
            data.pointer("/delta/text").and_then(serde_json::Value::as_str).expect("a text").to_owned()
        };
        std::thread::sleep(Duration::from_millis(20));
        let two = text(Duration::from_millis(1)) + &text(Duration::from_millis(15));
        assert!(model.age(&two).expect("an age") >= Duration::from_millis(19), "the first of both counts");
        assert!(model.age(&text(Duration::from_secs(3_600))).is_err(), "nothing comes from the future");
        assert!(model.age("hello").is_err());
    }
}

//! Forwards an opened call and settles it on every way out.
//!
//! Invariant: the whole exchange lives in one task of its own, so that a client that goes away can't take the settlement with
//! it; and what the model asked for is remembered before the bytes that say so are released.

use super::body::Held;
use super::meter::{Meter, Seen};
use super::{Caller, headers, open, refuse};
use crate::answer::{self, Body};
use crate::{Proxy, RunEvent};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{Response, StatusCode, header, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use policy::{Microusd, ModelPath, ModelRequest, Usage, canonical_digest, price_of};
use std::sync::Arc;
use std::time::Duration;
use store::{OpenError, OpenModelCall, Settlement};
use tokio::sync::{mpsc, oneshot};

/// A reservation outlives the run's deadline by this much, so that the last call can still be settled as measured.
pub(super) const GRACE_SECS: i64 = 60;
/// The provider may be silent for this long (its own pings come far more often).
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// Chunks between the provider and a client that reads slowly.
const CHUNKS_QUEUED_MAX: usize = 16;
/// An answer that is not a stream is held until it was read, so it is bounded.
const WHOLE_BYTES_MAX: usize = 64 << 20;
const ERROR_TEXT_CHARS_MAX: usize = 300;
const CLIENT_LEFT: &str = "the client went away";

type Pieces = mpsc::Sender<Piece>;

/// A piece of the answer, or its true end. A queue that closes without an end was cut, and the client must see that.
enum Piece {
    Chunk(Bytes),
    End,
}

/// One call about to be made.
pub(super) struct Call {
    pub(super) proxy: Arc<Proxy>,
    pub(super) caller: Caller,
    pub(super) asked: ModelRequest,
    pub(super) head: Parts,
    pub(super) body: Held,
}

type Tell = oneshot::Sender<Response<Body>>;

impl Call {
    /// Open, forward, settle. `tell` gets the answer as it begins; without one, it was lost on the way.
    pub(super) async fn make(self, tell: Tell) {
        let Self { proxy, caller, asked, head, body } = self;
        let open = match open(&proxy, &caller, asked).await {
            Ok(open) => open,
            Err(OpenError::Denied(denial)) => {
                let _ = tell.send(refuse(&proxy, &caller, denial).await);
                return;
            }
            Err(OpenError::Store(error)) => {
                tracing::error!(%error, "a model call could not be written down, so it was not made");
                let _ = tell.send(answer::unavailable(
                    "The gateway's database is not available, so nothing may be spent. Try again in a moment.",
                ));
                return;
            }
        };
        caller.tell(RunEvent::ModelCallBegan).await;
        let left = caller.view().deadline.0.saturating_sub(proxy.clock.now().0);
        let time_left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        let exchange = Exchange { proxy: &proxy, caller: &caller, open: &open };
        let run = exchange.run(&head, body.bytes.clone(), tell);
        // A stream ends before its reservation does: cut at the run's deadline, it is charged at the ceiling.
        let end = tokio::time::timeout(time_left, run).await;
        exchange.settle(end.unwrap_or_else(|_| End::unknown("the run's time was over"))).await;
    }
}

/// How an exchange ended.
struct End {
    status: u16,
    usage: Option<Usage>,
    error: Option<String>,
}

impl End {
    /// The provider may have worked: nobody knows what it cost.
    fn unknown(error: &str) -> Self {
        Self { status: 200, usage: None, error: Some(error.to_owned()) }
    }

    /// Nothing left for the provider.
    fn not_sent(error: &str) -> Self {
        Self { status: 0, usage: None, error: Some(error.to_owned()) }
    }
}

struct Exchange<'a> {
    proxy: &'a Proxy,
    caller: &'a Caller,
    open: &'a OpenModelCall,
}

impl Exchange<'_> {
    async fn run(&self, head: &Parts, body: Bytes, mut tell: Tell) -> End {
        if tell.is_closed() {
            return End::not_sent(CLIENT_LEFT);
        }
        let sent = self.proxy.upstream.send(self.open, head.uri.query(), &head.headers, body);
        let response = tokio::select! {
            response = tokio::time::timeout(SILENCE_MAX, sent) => response,
            // The client went away before the answer began; the provider may have begun to work, so the cost is unknown.
            () = tell.closed() => return End::unknown(CLIENT_LEFT),
        };
        match response {
            Ok(Ok(response)) => self.pass(response, tell).await,
            Ok(Err(error)) if error.is_connect() => {
                tracing::warn!(error = %chain(&error), "the model provider can't be reached");
                let text = "The model provider can't be reached. Nothing was charged; try again in a moment.";
                let _ = tell.send(answer::unavailable(text));
                End::not_sent("the provider can't be reached")
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "the model provider broke the connection");
                End::unknown("the provider broke the connection")
            }
            Err(_) => End::unknown("the provider was silent for too long"),
        }
    }

    async fn pass(&self, response: Response<Incoming>, tell: Tell) -> End {
        let status = response.status();
        let streamed = is_event_stream(&response);
        let (pieces, receiver) = mpsc::channel(CHUNKS_QUEUED_MAX);
        let mut answer = Response::new(body_of(receiver));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers::to_client(response.headers());
        let _ = tell.send(answer);
        if streamed && status.is_success() {
            self.stream(status, response.into_body(), &pieces).await
        } else {
            self.whole(status, response.into_body(), &pieces).await
        }
    }

    /// A stream: every chunk is metered, then released.
    async fn stream(&self, status: StatusCode, body: Incoming, pieces: &Pieces) -> End {
        let mut meter = Meter::new(&self.open.permit().request().model);
        let mut error = None;
        let mut body = body.into_data_stream();
        loop {
            let chunk = match next(&mut body, pieces).await {
                Next::Chunk(chunk) => chunk,
                Next::Left => {
                    error = Some(CLIENT_LEFT.to_owned());
                    break;
                }
                Next::End => {
                    let _ = pieces.send(Piece::End).await;
                    break;
                }
                Next::Broken(text) => {
                    error = Some(text.to_owned());
                    break;
                }
            };
            for seen in meter.push(&chunk) {
                if let Seen::Error(text) = &seen {
                    error = Some(text.chars().take(ERROR_TEXT_CHARS_MAX).collect());
                }
                self.saw(seen).await;
            }
            if pieces.send(Piece::Chunk(chunk)).await.is_err() {
                error = Some(CLIENT_LEFT.to_owned());
                break;
            }
        }
        End { status: status.as_u16(), usage: meter.final_usage(), error }
    }

    /// An answer in one piece, or an error: read to its end, then released unchanged.
    async fn whole(&self, status: StatusCode, body: Incoming, pieces: &Pieces) -> End {
        let mut bytes = BytesMut::new();
        let mut body = body.into_data_stream();
        loop {
            match next(&mut body, pieces).await {
                Next::Chunk(chunk) if bytes.len() + chunk.len() <= WHOLE_BYTES_MAX => bytes.extend_from_slice(&chunk),
                Next::End => break,
                Next::Left => return End { status: status.as_u16(), usage: None, error: Some(CLIENT_LEFT.to_owned()) },
                Next::Chunk(_) => return broken(pieces, status, bytes, "the provider's answer is too large").await,
                Next::Broken(text) => return broken(pieces, status, bytes, text).await,
            }
        }
        let bytes = bytes.freeze();
        let mut meter = Meter::new(&self.open.permit().request().model);
        if status.is_success() {
            for seen in meter.whole(&bytes) {
                self.saw(seen).await;
            }
        }
        let error = (!status.is_success()).then(|| provider_error(status, &bytes));
        let _ = pieces.send(Piece::Chunk(bytes)).await;
        let _ = pieces.send(Piece::End).await;
        End { status: status.as_u16(), usage: meter.final_usage(), error }
    }

    /// Remembers and tells what the model said.
    async fn saw(&self, seen: Seen) {
        let Caller::Run(run) = self.caller else { return };
        let prefix = run.app.manifest.tool_prefix();
        let own = |name: &str| prefix.as_deref().and_then(|prefix| name.strip_prefix(prefix)).map(str::to_owned);
        let short = |name: &str| own(name).unwrap_or_else(|| name.to_owned());
        match seen {
            Seen::Text(text) => run.tell(RunEvent::TextDelta { text }).await,
            Seen::ToolStarted { id, name } => run.tell(RunEvent::ToolCallStarted { call_id: id, tool: short(&name) }).await,
            Seen::Tool { id, name, input } => {
                let own = own(&name);
                if let (Some(tool), Some(digest)) = (&own, canonical_digest(&input)) {
                    run.remember_emitted(&id, tool, &input, digest);
                }
                let inside = own.is_none();
                run.tell(RunEvent::ToolCall { call_id: id, tool: own.unwrap_or(name), arguments: input, inside }).await;
            }
            Seen::Error(_) => {}
        }
    }

    /// Charges what is known, or what was reserved.
    async fn settle(&self, end: End) {
        let request = self.open.permit().request();
        let now = self.proxy.clock.now();
        let settlement = match (end.status, end.usage, request.path) {
            (200..=299, _, ModelPath::CountTokens) => Settlement::NotCharged { status: end.status },
            (200..=299, Some(usage), ModelPath::Messages) => {
                Settlement::Measured { usage, cost: price_of(&request.model, now).cost(&usage) }
            }
            (200..=299, None, ModelPath::Messages) => Settlement::Unknown,
            (status, _, _) => Settlement::NotCharged { status },
        };
        if let Settlement::Measured { cost, usage } = settlement
            && cost > self.open.permit().ceiling()
        {
            tracing::error!(%cost, ceiling = %self.open.permit().ceiling(), ?usage, model = request.model, "a call cost more than its ceiling");
        }
        let charged = self.proxy.store.settle_model_call(self.open.id(), settlement, now).await;
        let cost = charged.unwrap_or_else(|error| {
            tracing::error!(%error, call = %self.open.id(), "a call could not be settled; its reservation will be charged by the sweeper");
            None
        });
        let cost = cost.unwrap_or(Microusd::ZERO);
        let ended = RunEvent::ModelCallEnded {
            model: request.model.clone(),
            usage: end.usage,
            cost,
            status: end.status,
            error: end.error,
        };
        self.caller.tell(ended).await;
    }
}

/// The next piece of the provider's answer.
enum Next {
    Chunk(Bytes),
    End,
    Broken(&'static str),
    /// The client went away, and a silent provider must not keep its reservation open.
    Left,
}

async fn next(body: &mut http_body_util::BodyDataStream<Incoming>, pieces: &Pieces) -> Next {
    let chunk = tokio::select! {
        // What has come already is metered, even when nobody waits for it any more.
        biased;
        chunk = tokio::time::timeout(SILENCE_MAX, body.next()) => chunk,
        () = pieces.closed() => return Next::Left,
    };
    match chunk {
        Ok(Some(Ok(chunk))) => Next::Chunk(chunk),
        Ok(None) => Next::End,
        Ok(Some(Err(_))) => Next::Broken("the provider broke the connection"),
        Err(_) => Next::Broken("the provider was silent for too long"),
    }
}

/// The answer's body: what comes out of the queue, and a break where it closes without an end.
fn body_of(receiver: mpsc::Receiver<Piece>) -> Body {
    let frames = futures_util::stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Piece::Chunk(chunk)) => Some((Ok(Frame::data(chunk)), Some(receiver))),
            Some(Piece::End) => None,
            None => Some((Err(std::io::Error::other("the answer was cut")), None)),
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

/// Passes on what came before the break, then breaks too, as a client without a proxy would see it.
async fn broken(pieces: &Pieces, status: StatusCode, bytes: BytesMut, text: &'static str) -> End {
    let _ = pieces.send(Piece::Chunk(bytes.freeze())).await;
    End { status: status.as_u16(), usage: None, error: Some(text.to_owned()) }
}

fn is_event_stream(response: &Response<Incoming>) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

fn provider_error(status: StatusCode, body: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = parsed
        .as_ref()
        .and_then(|body| body.pointer("/error/message"))
        .and_then(serde_json::Value::as_str)
        .unwrap_or("no reason given");
    format!("{}: {message}", status.as_u16()).chars().take(ERROR_TEXT_CHARS_MAX).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

//! An answer of the provider as it passes: every piece is metered, then released; the call is settled before its end is.
//!
//! Whoever reads the answer drives it. When nobody does any more, what is still coming is read for a moment, so that the call is
//! charged what it cost; then the connection is cut and the call charged at its ceiling.

use super::Caller;
use super::headers;
use super::integrity::Spoken;
use super::meter::{Meter, Seen};
use super::ongoing::{CLIENT_LEFT, End, Ongoing};
use super::providers::Outcome;
use crate::RunEvent;
use crate::answer::Body;
use crate::connections::Lease;
use crate::pieces::Pieces;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::StatusCode;
use http::response::Parts;
use http_body::Frame;
use http_body_util::{BodyDataStream, BodyExt, StreamBody};
use hyper::body::Incoming;
use policy::{canonical_digest, digest_bytes};
use std::io;
use std::time::Duration;

/// The provider may be silent for this long (its own pings come far more often).
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(300);
/// An answer that is not a stream is held until it was read, so it is bounded.
const WHOLE_BYTES_MAX: usize = 64 << 20;
const ERROR_TEXT_CHARS_MAX: usize = 300;
/// An answer that nobody waits for is read for so long.
const DRAIN_WAIT: Duration = Duration::from_secs(3);
/// The end of a run waits for it, and somebody waits for that.
const RUN_DRAIN_WAIT: Duration = Duration::from_secs(1);
const COMPRESSED: &str = "the provider compressed its answer although it was asked not to, so it can't be metered";
const BROKEN: &str = "the provider broke the connection";

pub(super) struct Exchange {
    call: Option<Ongoing>,
    body: Option<Pieces<BodyDataStream<Incoming>, hyper::Error>>,
    lease: Option<Lease>,
    meter: Meter,
    status: StatusCode,
    retry_after_secs: Option<u64>,
    /// What was released and is not metered yet. Only of answers of which nothing has to be known before.
    unread: Option<Bytes>,
    /// What the provider reported in the middle of its stream.
    error: Option<String>,
    /// Its first piece was here.
    began: bool,
}

/// The next piece of the provider's answer.
enum Next {
    Chunk(Bytes),
    End,
    Broken(&'static str),
}

impl Exchange {
    /// On the heap: whoever waits for it would move it again and again.
    pub(super) fn new(call: Ongoing, head: &Parts, body: Incoming, lease: Lease) -> Box<Self> {
        if let (Some(heard), Some(id)) = (&call.heard, head.headers.get("request-id").and_then(|id| id.to_str().ok())) {
            heard.named(id);
        }
        let (status, retry_after_secs) = (head.status, headers::retry_after_secs(&head.headers));
        let meter = match call.caller {
            Caller::Run(_) => Meter::new(call.model()),
            // What a remote caller's model says is nobody's business; only what it costs is.
            Caller::Service(_) => Meter::for_usage_only(call.model()),
        };
        let mut meter = meter.allowing(call.cache_writes());
        let error = (status.is_success() && headers::is_compressed(&head.headers)).then(|| {
            tracing::warn!(COMPRESSED);
            meter.distrust();
            COMPRESSED.to_owned()
        });
        Box::new(Self {
            call: Some(call),
            body: Some(Pieces::new(body.into_data_stream())),
            lease: Some(lease),
            meter,
            status,
            retry_after_secs,
            unread: None,
            error,
            began: false,
        })
    }

    /// A stream: every chunk is metered, then released; what only counts is metered while its reader has it already, and before anything
    /// comes after it.
    pub(super) async fn streamed(mut self: Box<Self>) -> Body {
        if let Some(body) = &mut self.body {
            body.lead().await;
        }
        let pieces = stream::unfold(self, |mut exchange| async move {
            let piece = exchange.step().await?;
            Some((piece.map(Frame::data), exchange))
        });
        BodyExt::boxed_unsync(StreamBody::new(pieces))
    }

    async fn step(&mut self) -> Option<io::Result<Bytes>> {
        self.call.as_ref()?;
        if let Some(chunk) = self.unread.take() {
            self.read(&chunk).await;
        }
        match self.next().await {
            Next::Chunk(chunk) if self.meter.only_counts() => {
                self.unread = Some(chunk.clone());
                Some(Ok(chunk))
            }
            Next::Chunk(chunk) => {
                self.read(&chunk).await;
                Some(Ok(chunk))
            }
            Next::End => {
                self.broke_off().await;
                let error = self.error.take();
                self.finish(error).await;
                None
            }
            Next::Broken(text) => {
                self.broke_off().await;
                self.finish(Some(text.to_owned())).await;
                Some(Err(io::Error::other("the answer was cut")))
            }
        }
    }

    async fn read(&mut self, chunk: &Bytes) {
        for seen in self.meter.push(chunk) {
            if let Seen::Error(text) = &seen {
                self.error = Some(one_line(text));
            }
            self.saw(seen).await;
        }
    }

    /// What the model was about to say is in the conversation too.
    async fn broke_off(&mut self) {
        for seen in self.meter.broke_off() {
            self.saw(seen).await;
        }
    }

    /// An answer in one piece, or an error: read to its end, then released unchanged. What came before a break is passed on, and
    /// breaks too, as a client without a proxy would see it.
    pub(super) async fn whole(mut self: Box<Self>) -> Body {
        let mut bytes = BytesMut::new();
        let broken = loop {
            match self.next().await {
                Next::Chunk(chunk) if bytes.is_empty() && chunk.len() <= WHOLE_BYTES_MAX => bytes = BytesMut::from(chunk),
                Next::Chunk(chunk) if bytes.len() + chunk.len() <= WHOLE_BYTES_MAX => bytes.extend_from_slice(&chunk),
                Next::Chunk(_) => break Some("the provider's answer is too large"),
                Next::End => break None,
                Next::Broken(text) => break Some(text),
            }
        };
        let bytes = bytes.freeze();
        if let Some(text) = broken {
            self.finish(Some(text.to_owned())).await;
            let pieces = [Ok(Frame::data(bytes)), Err(io::Error::other("the answer was cut"))];
            return BodyExt::boxed_unsync(StreamBody::new(stream::iter(pieces)));
        }
        if self.status.is_success() {
            for seen in self.meter.whole(&bytes) {
                self.saw(seen).await;
            }
        }
        let error = (!self.status.is_success()).then(|| provider_error(self.status, &bytes)).or_else(|| self.error.take());
        self.finish(error).await;
        crate::answer::full(bytes)
    }

    async fn next(&mut self) -> Next {
        let (Some(body), Some(call)) = (self.body.as_mut(), self.call.as_ref()) else { return Next::End };
        let chunk = match body.at_hand() {
            Some(piece) => Ok(piece),
            None => {
                let left = call.left();
                if left.is_zero() {
                    return Next::Broken("the time for it was over");
                }
                tokio::time::timeout(left.min(SILENCE_MAX), body.next()).await
            }
        };
        match chunk {
            Ok(Some(Ok(chunk))) => {
                if !std::mem::replace(&mut self.began, true) && self.status.is_success() {
                    call.answers();
                }
                Next::Chunk(chunk)
            }
            Ok(None) => {
                self.body = None;
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
                Next::End
            }
            Ok(Some(Err(_))) => self.cut(BROKEN),
            Err(_) if call.left().is_zero() => Next::Broken("the time for it was over"),
            Err(_) => self.cut("the provider was silent for too long"),
        }
    }

    fn cut(&mut self, text: &'static str) -> Next {
        if let Some(call) = &mut self.call {
            call.report(Outcome::CutLate);
        }
        Next::Broken(text)
    }

    async fn finish(&mut self, error: Option<String>) {
        let (usage, status) = (self.meter.final_usage(), self.status.as_u16());
        self.body = None;
        if let Some(call) = &mut self.call {
            call.report(Outcome::Answered { status, retry_after_secs: self.retry_after_secs });
            call.finish(End { status, usage, error }).await;
        }
        self.call = None;
    }

    /// Remembers and tells what the model said.
    async fn saw(&self, seen: Seen) {
        let Some(run) = self.call.as_ref().and_then(|call| call.caller.run()) else { return };
        let heard = self.heard(&seen);
        // Where code runs there is no conversation to keep apart.
        let induced = !heard && !run.app.manifest.runs_code();
        let prefix = run.app.manifest.tool_prefix();
        let own = |name: &str| prefix.as_deref().and_then(|prefix| name.strip_prefix(prefix)).map(str::to_owned);
        let short = |name: &str| own(name).unwrap_or_else(|| name.to_owned());
        match seen {
            Seen::Text(text) => run.tell(RunEvent::TextDelta { text, induced }).await,
            Seen::ToolStarted { id, name } => run.tell(RunEvent::ToolCallStarted { call_id: id, tool: short(&name) }).await,
            Seen::Tool { id, name, input } => {
                let own = own(&name);
                if let (Some(tool), Some(digest)) = (&own, canonical_digest(&input)) {
                    run.emitted.remember(&id, tool, &input, digest, heard);
                }
                let inside = own.is_none();
                run.tell(RunEvent::ToolCall { call_id: id, tool: own.unwrap_or(name), arguments: input, inside, induced }).await;
            }
            Seen::Malformed { .. } | Seen::Said(_) | Seen::Thought(..) | Seen::Ended | Seen::Error(_) => {}
        }
    }

    /// Tells the conversation what the model said. False where that is no part of one.
    fn heard(&self, seen: &Seen) -> bool {
        let Some(heard) = self.call.as_ref().and_then(|call| call.heard.as_ref()) else { return false };
        let digest = |text: &str| digest_bytes(text.as_bytes());
        heard.say(match seen {
            Seen::Said(text) => Spoken::Text { digest: digest(text), blank: text.trim().is_empty() },
            Seen::Thought(text, signature) => Spoken::Thought(digest(text), digest(signature)),
            Seen::Tool { id, name, input } => {
                Spoken::Call { id: id.as_str().into(), name: name.as_str().into(), arguments: canonical_digest(input) }
            }
            Seen::Malformed { id, name } => Spoken::Call { id: id.as_str().into(), name: name.as_str().into(), arguments: None },
            Seen::Ended => {
                heard.end();
                return true;
            }
            Seen::Text(_) | Seen::ToolStarted { .. } | Seen::Error(_) => return true,
        })
    }

    /// Reads on although nobody waits, to learn what it cost. What the model says now reaches nobody and is not remembered.
    async fn drain(mut self: Box<Self>) {
        let of_run = self.call.as_ref().is_some_and(|call| call.caller.run().is_some());
        let wait = if of_run { RUN_DRAIN_WAIT } else { DRAIN_WAIT };
        let reading = async {
            loop {
                match self.next().await {
                    Next::Chunk(chunk) => drop(self.meter.push(&chunk)),
                    Next::End => return true,
                    Next::Broken(_) => return false,
                }
            }
        };
        let read = tokio::time::timeout(wait, reading).await;
        // Cut before the end, the meter has no final usage, and the ceiling is charged.
        let cut = !matches!(read, Ok(true));
        let (usage, status) = (self.meter.final_usage(), self.status.as_u16());
        if let Some(mut call) = self.call.take() {
            let usage = usage.filter(|_| !cut);
            call.finish(End { status, usage, error: Some(CLIENT_LEFT.to_owned()) }).await;
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let (Some(call), Some(body)) = (self.call.take(), self.body.take()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // Those who leave in crowds are charged at the ceiling, rather than read for without end.
        let Ok(place) = std::sync::Arc::clone(&call.proxy.drains).try_acquire_owned() else { return };
        if call.left().is_zero() {
            return;
        }
        let mut meter = std::mem::replace(&mut self.meter, Meter::new(""));
        if let Some(chunk) = self.unread.take() {
            drop(meter.push(&chunk));
        }
        let (lease, status) = (self.lease.take(), self.status);
        let rest = Self {
            call: Some(call),
            body: Some(body),
            lease,
            meter,
            status,
            retry_after_secs: None,
            unread: None,
            error: None,
            began: true,
        };
        let rest = Box::new(rest);
        runtime.spawn(async move {
            rest.drain().await;
            drop(place);
        });
    }
}

/// A provider's words as one line of the log.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(ERROR_TEXT_CHARS_MAX).collect()
}

fn provider_error(status: StatusCode, body: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = parsed
        .as_ref()
        .and_then(|body| body.pointer("/error/message"))
        .and_then(serde_json::Value::as_str)
        .unwrap_or("no reason given");
    one_line(&format!("{}: {message}", status.as_u16()))
}

//! The body of a model request: read whole, within bounds of size, time and memory.

use super::{Caller, rooms};
use crate::Proxy;
use crate::answer::{self, Body};
use crate::context::BODY_UNIT_BYTES;
use bytes::Bytes;
use http::{Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The provider's own limit for a request body.
const BYTES_MAX: usize = 32 << 20;
/// What an agent in a sandbox may send; a long conversation is a fraction of it.
const RUN_BYTES_MAX: usize = 8 << 20;
/// A body that takes longer than this to arrive, or to find room, is not waited for.
const WAIT: Duration = Duration::from_secs(60);

/// A body in memory, with the room it takes up.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: Vec<OwnedSemaphorePermit>,
}

impl Held {
    /// Of a request that has none.
    pub(super) const fn nothing() -> Self {
        Self { bytes: Bytes::new(), _room: Vec::new() }
    }
}

/// An answer to a request that is not valid.
pub(super) fn invalid(text: &str) -> Response<Body> {
    answer::error(StatusCode::BAD_REQUEST, "invalid_request_error", text)
}

/// Reads it.
pub(super) async fn read(proxy: &Proxy, caller: &Caller, head: &Parts, body: Incoming) -> Result<Held, Response<Body>> {
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if content_type.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(invalid("content-type must be application/json."));
    }
    // What is read here and what the provider reads must be the same bytes in the same characters.
    let parameters = content_type.split(';').skip(1).map(|parameter| parameter.trim().to_ascii_lowercase());
    let other_characters =
        parameters.into_iter().any(|parameter| parameter.starts_with("charset") && parameter.replace('"', "") != "charset=utf-8");
    let encoded =
        head.headers.get_all(header::CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if other_characters || encoded {
        return Err(invalid("The body must be UTF-8 without a content-encoding."));
    }
    let (limit, rooms) = match caller {
        Caller::Run(run) => (RUN_BYTES_MAX, [vec![run.bodies()], proxy.rooms.of_body(None)].concat()),
        Caller::Service(service) => (BYTES_MAX, proxy.rooms.of_body(Some(&service.share))),
    };
    let told = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|bytes| bytes > limit) {
        return Err(too_large(limit));
    }
    let reading = async {
        let room = take_room(rooms, told.unwrap_or(limit)).await;
        (room, Limited::new(body, limit).collect().await)
    };
    match tokio::time::timeout(WAIT, reading).await {
        Ok((room, Ok(whole))) => Ok(Held { bytes: whole.to_bytes(), _room: room }),
        Ok((_, Err(error))) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok((_, Err(_))) => Err(invalid("The body ended early.")),
        Err(_) => {
            Err(answer::error(StatusCode::REQUEST_TIMEOUT, "timeout_error", "The body took longer than 60 seconds to arrive."))
        }
    }
}

async fn take_room(rooms: Vec<Arc<Semaphore>>, bytes: usize) -> Vec<OwnedSemaphorePermit> {
    rooms::take(rooms, u32::try_from(bytes.div_ceil(BODY_UNIT_BYTES).max(1)).unwrap_or(u32::MAX)).await
}

fn too_large(limit: usize) -> Response<Body> {
    let text = format!("The request is larger than {} MB. Send less at a time.", limit >> 20);
    answer::error(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", &text)
}

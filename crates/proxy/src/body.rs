//! The body of a request that is read as a whole: one for tools, or about them.

use crate::answer::{self, Body};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::time::Duration;

const BODY_BYTES_MAX: usize = 1 << 20;
const BODY_WAIT: Duration = Duration::from_secs(30);

/// Takes the whole body, or answers why not.
pub(crate) async fn read(body: Incoming) -> Result<Bytes, Response<Body>> {
    match tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            "The request is larger than 1 MiB or ended early.",
        )),
        Err(_) => {
            Err(answer::error(StatusCode::REQUEST_TIMEOUT, "timeout_error", "The body took longer than 30 seconds to arrive."))
        }
    }
}

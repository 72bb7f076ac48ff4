//! Our own answers on the model path, in the provider's shape, and the body type of every answer.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use policy::{Denial, DenialCode, Fault};
use serde_json::{Value, json};
use uuid::Uuid;

/// The body of an answer: fixed bytes, or a stream that can break like the one it passes on.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body of fixed bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A JSON answer.
pub fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error in the provider's shape: `{"type":"error","error":{"type","message"},"request_id"}`.
pub fn error(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let request_id = format!("req_hexward_{}", Uuid::now_v7().as_simple());
    let body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id});
    let mut response = json(status, &body);
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("request-id", value);
    }
    response
}

/// A refusal on the model path. A reached limit answers 429 `billing_error` with `x-should-retry: false`, which makes the
/// provider's clients stop at once and show the sentence; everything else is 403, which they do not repeat either.
pub fn denied(denial: &Denial) -> Response<Body> {
    let (status, kind) = match denial.code.fault() {
        Fault::Limit => (StatusCode::TOO_MANY_REQUESTS, "billing_error"),
        Fault::Caller => (StatusCode::FORBIDDEN, "permission_error"),
    };
    let mut response = error(status, kind, denial.message());
    response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    mark(&mut response, denial.code);
    response
}

/// A failure of ours or of the way to the provider; repeating it at once would not help.
pub fn unavailable(message: &str) -> Response<Body> {
    let mut response = error(StatusCode::BAD_GATEWAY, "api_error", message);
    response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    response
}

/// No provider may be asked now: all failed lately or asked for a pause. A passing state, so clients may repeat the call then.
pub fn no_provider(retry_after_secs: u64) -> Response<Body> {
    let code = DenialCode::UpstreamUnavailable;
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, "overloaded_error", code.sentence());
    response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(retry_after_secs));
    mark(&mut response, code);
    response
}

/// As many model calls as allowed are being made, and none ended in time.
pub fn busy() -> Response<Body> {
    const AFTER_SECS: u64 = 5;
    let overloaded = StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = error(overloaded, "overloaded_error", DenialCode::ModelBusy.sentence());
    response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(AFTER_SECS));
    mark(&mut response, DenialCode::ModelBusy);
    response
}

/// A refusal that is not on the model path, for machines: code, sentence and what was wanted.
pub fn egress_denied(status: StatusCode, denial: &Denial) -> Response<Body> {
    let body = json!({"error": {"type": "egress_denied", "code": denial.code.as_str(), "message": denial.message(), "wanted": denial.wanted}});
    let mut response = json(status, &body);
    mark(&mut response, denial.code);
    response
}

/// A host that is allowed, but did not answer.
pub fn egress_failed(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &json!({"error": {"type": "egress_failed", "message": message}}))
}

fn mark(response: &mut Response<Body>, code: DenialCode) {
    response.headers_mut().insert("x-hexward-denial", HeaderValue::from_static(code.as_str()));
}

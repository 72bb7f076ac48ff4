//! JSON bodies, strictly: right type, bounded, UTF-8, known keys. Each fault has its own sentence.

use crate::answer::Refusal;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;

const BYTES_MAX: usize = 64 << 10;
const WAIT: Duration = Duration::from_secs(20);

/// A parsed body.
pub(crate) struct StrictJson<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for StrictJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        read_json(request, BYTES_MAX, TOO_LARGE).await.map(Self)
    }
}

const TOO_LARGE: Refusal =
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body.too_large", "The request is larger than 64 KiB. Send less at a time.");

/// The same with another bound, for those that need one.
pub(crate) async fn read_json<T: DeserializeOwned>(request: Request, bytes_max: usize, too_large: Refusal) -> Result<T, Refusal> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if content_type.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "body.content_type",
            "The request must be sent as application/json.",
        ));
    }
    let bytes = read(request.into_body(), bytes_max, too_large).await?;
    if std::str::from_utf8(&bytes).is_err() {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "body.utf8",
            "The request is not valid UTF-8 text. Send it again as UTF-8.",
        ));
    }
    object(&bytes).map_err(|error| {
        tracing::debug!(%error, "a body was refused");
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "body.json",
            "The request is not the JSON this address takes: check its keys and types.",
        )
    })
}

/// A body's keys have names: a list of their values, which the parser would take for the same, is something else.
fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(serde::de::Error::custom("a list, and no object"));
    }
    serde_json::from_slice(bytes)
}

async fn read(body: Body, bytes_max: usize, too_large: Refusal) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(WAIT, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "body.cut", "The request ended early. Send it again.")),
        Err(_) => {
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "body.slow", "The request took too long to arrive. Send it again."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::object;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Message {
        text: String,
        #[serde(default)]
        writes: bool,
    }

    #[test]
    fn a_list_is_no_object() {
        let message = Message { text: "a".to_owned(), writes: true };
        assert_eq!(object::<Message>(b" {\"text\": \"a\", \"writes\": true}\n").ok(), Some(message));
        for other in [
            r#"["a", true]"#,
            " \n\t[\"a\"]",
            "[]",
            "null",
            "3",
            r#""a""#,
            "",
            "{",
            r#"{"text": ["a"]}"#,
            r#"{"text": "a", "more": 1}"#,
        ] {
            assert!(object::<Message>(other.as_bytes()).is_err(), "{other}");
        }
    }
}

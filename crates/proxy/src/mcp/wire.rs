//! One exchange with a tool server: bounded in time and size, and honest about what is known when it fails.

use super::assertion::Assertions;
use super::credential::Credential;
use super::notices::Notices;
use super::sse::Events;
use super::upstream::{ACTOR_HEADER, TIER_HEADER, USER_HEADER, USER_NAME_HEADER, UpstreamConfig, UpstreamError, UserRef};
use crate::connections::{Connections, SendError, chain};
use crate::strict;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What an error answer may be long.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// The connection to one server. Its address comes from the configuration alone; redirects are not followed.
pub(crate) struct Wire {
    connections: Arc<Connections>,
    url: Uri,
    credential: Credential,
    assertions: Option<Assertions>,
    timeout: Duration,
    result_bytes_max: usize,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) session: Option<String>,
    /// The JSON-RPC message that answers the request, if there was one.
    pub(crate) message: Option<Value>,
}

impl Wire {
    pub(crate) fn new(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        let connections = Connections::new(config.url.clone());
        let connections = connections.map_err(|error| UpstreamError::Unreachable(error.to_string()))?;
        Ok(Self {
            connections: Arc::new(connections),
            url: config.url,
            credential: Credential::bearer(config.credential),
            assertions: None,
            timeout: config.timeout,
            result_bytes_max: config.result_bytes_max,
        })
    }

    pub(crate) fn show(&mut self, credential: Credential) {
        self.credential = credential;
    }

    pub(crate) fn assert_with(&mut self, assertions: Assertions) {
        self.assertions = Some(assertions);
    }

    /// Sends a message for a user; waits for the answer with this id, or for none.
    pub(crate) async fn exchange(
        &self,
        user: &UserRef,
        extra: &[(String, String)],
        body: &Value,
        id: Option<u64>,
        notices: Option<&Notices>,
    ) -> Result<Reply, UpstreamError> {
        let request = self.request(user, extra, body).await?;
        tokio::time::timeout(self.timeout, self.run(request, id, notices)).await.map_err(|_| UpstreamError::Timeout)?
    }

    async fn request(
        &self,
        user: &UserRef,
        extra: &[(String, String)],
        body: &Value,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let mut request = Request::new(Full::new(Bytes::from(body.to_string())));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let (name, shown) = self.credential.header(user).await?;
        headers.insert(name, shown);
        if let Some(assertions) = &self.assertions {
            let mut assertion = value(assertions.sign(&user.id, body).as_bytes())?;
            assertion.set_sensitive(true);
            headers.insert(super::assertion::HEADER, assertion);
        }
        headers.insert(USER_HEADER, value(user.id.as_bytes())?);
        headers.insert(TIER_HEADER, HeaderValue::from_static(user.tier));
        if user.in_person {
            headers.insert(ACTOR_HEADER, HeaderValue::from_static("person"));
        }
        if let Some(name) = &user.name {
            let name: String = name.chars().filter(|c| !c.is_control()).collect();
            headers.insert(USER_NAME_HEADER, value(name.as_bytes())?);
        }
        for (name, text) in extra {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| unsendable())?;
            headers.insert(name, value(text.as_bytes())?);
        }
        Ok(request)
    }

    async fn run(
        &self,
        request: Request<Full<Bytes>>,
        id: Option<u64>,
        notices: Option<&Notices>,
    ) -> Result<Reply, UpstreamError> {
        let sent = self.connections.send(request).await;
        let (response, lease) = sent.map_err(|error| match error {
            SendError::NotSent(text) => UpstreamError::Unreachable(text),
            SendError::Broken(text) => UpstreamError::Interrupted(text),
        })?;
        let status = response.status();
        let session = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let message = match id {
            Some(id) if status.is_success() => Some(self.answer(response, id, notices).await?),
            // What an error says is a help, not a must.
            Some(id) => {
                whole(response, ERROR_BYTES_MAX).await.ok().and_then(|body| strict::parse(&body).ok()).filter(|m| answers(m, id))
            }
            None => None,
        };
        // One that goes on with something else is not used again before its end, nor waited for long.
        lease.give_back();
        Ok(Reply { status, session, message })
    }

    async fn answer(&self, response: Response<Incoming>, id: u64, notices: Option<&Notices>) -> Result<Value, UpstreamError> {
        if is_stream(response.headers()) {
            return self.streamed(response, id, notices).await;
        }
        let body = whole(response, self.result_bytes_max).await?;
        let message = strict::parse(&body).map_err(|error| UpstreamError::Protocol(error.to_string()))?;
        if answers(&message, id) { Ok(message) } else { Err(UpstreamError::Protocol("it answers another request".to_owned())) }
    }

    async fn streamed(&self, response: Response<Incoming>, id: u64, notices: Option<&Notices>) -> Result<Value, UpstreamError> {
        let (mut events, mut body, mut bytes) = (Events::default(), response.into_body(), 0_usize);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| UpstreamError::Interrupted(chain(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            bytes = bytes.saturating_add(data.len());
            if bytes > self.result_bytes_max {
                return Err(UpstreamError::TooLarge);
            }
            for event in events.push(&data) {
                let message = strict::parse(&event).map_err(|error| UpstreamError::Protocol(error.to_string()))?;
                if answers(&message, id) {
                    return Ok(message);
                }
                if let Some(notices) = notices {
                    notices.saw(&message, &progress_token(id));
                }
            }
        }
        Err(UpstreamError::Interrupted("the stream ended without an answer".to_owned()))
    }
}

/// What the progress of a request is called.
pub(crate) fn progress_token(id: u64) -> String {
    format!("hexward-{id}")
}

/// Whether a message answers our request: notifications and questions of the server's are passed over.
fn answers(message: &Value, id: u64) -> bool {
    message.get("id").and_then(Value::as_u64) == Some(id) && message.get("method").is_none()
}

fn is_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

async fn whole(response: Response<Incoming>, bytes_max: usize) -> Result<Bytes, UpstreamError> {
    let (mut body, mut bytes) = (response.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| UpstreamError::Interrupted(chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len().saturating_add(data.len()) > bytes_max {
            return Err(UpstreamError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn value(bytes: &[u8]) -> Result<HeaderValue, UpstreamError> {
    HeaderValue::from_bytes(bytes).map_err(|_| unsendable())
}

fn unsendable() -> UpstreamError {
    UpstreamError::Unreachable("a header value can't be sent".to_owned())
}

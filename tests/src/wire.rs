//! Requests as bytes want them: any header, any host, any body, and the answer's bytes untouched.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Nothing a test asks for takes longer.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as far as it came.
    pub body: Bytes,
    /// Whether the body ended as promised.
    pub whole: bool,
}

impl Answer {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text, empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A request with headers; `host` among them replaces the address as Host.
#[must_use]
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into())).unwrap()
}

/// Sends a request on a connection of its own and returns the answer as it begins.
pub(crate) async fn begin(address: SocketAddr, mut request: Request<Full<Bytes>>) -> std::io::Result<Response<Incoming>> {
    if !request.headers().contains_key("host") {
        request.headers_mut().insert("host", address.to_string().parse().unwrap());
    }
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(std::io::Error::other)
}

/// Sends a request and reads the whole answer.
///
/// # Panics
/// When there is no answer.
pub async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let what = format!("{} {}", request.method(), request.uri());
    let exchanged = tokio::time::timeout(ANSWER_WAIT, async {
        let response = begin(address, request).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let (head, mut body) = response.into_parts();
        let (mut bytes, mut whole) = (Vec::new(), true);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        Answer { status: head.status.as_u16(), headers: head.headers, body: bytes.into(), whole }
    });
    exchanged.await.unwrap_or_else(|_| panic!("no answer within {ANSWER_WAIT:?}"))
}
